"""Random faults in the simulated world; `script/simulate` runs as many seeds as one has time for."""

from __future__ import annotations

import pytest

from tests.simulation import simulate

SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_violated_under_random_faults(seed: int) -> None:
    result = simulate.one(seed)
    assert not result.violations, (
        f"{result.violations}; faults: {result.faults}; see script/simulate --transcript {seed}"
    )


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (simulate.run_chaos(7, quiet=False).transcript for _ in range(2))
    assert first == second
    assert len(first) > 10
