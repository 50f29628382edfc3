"""Random faults in the simulated world; `script/simulate` runs as many seeds as one has time for."""

from __future__ import annotations

import pytest

from tests.simulation import simulate

SEEDS = range(16, 43)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_violated_under_random_faults(seed: int) -> None:
    result = simulate.one(seed)
    assert not result.violations, (
        f"{result.violations}; faults: {result.plan.kinds}; see script/simulate --transcript {seed}"
    )
