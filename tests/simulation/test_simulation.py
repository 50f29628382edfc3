"""Random faults in the simulated world; `script/simulate` runs as many seeds as one has time for."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.simulation import simulate
from tests.simulation.faults import FAULTS, Fault
from tests.simulation.single import Single

SEEDS = range(16, 32)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_violated_under_random_faults(seed: int) -> None:
    result = simulate.one(seed)
    assert not result.violations, (
        f"{result.violations}; faults: {result.plan.kinds}; see script/simulate --transcript {seed}"
    )


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_one_fault_out_of_quiet_keeps_the_bounds(fault: Fault) -> None:
    worlds = (Single(seed, faults=(fault,)) for seed in range(60))
    runs = list(islice((run for run in worlds if fault.fits(run.result.plan.commands)), 2))
    assert len(runs) == 2
    for run in runs:
        assert not run.run().violations


def test_a_bound_that_is_missed_is_a_violation() -> None:
    fault = Fault("nothing takes over", ("crash all", "kill H", "advance 60s", "expect hole <= D + d + A"))
    violations = Single(0, faults=(fault,)).run().violations
    assert len(violations) == 1
    assert "nothing takes over" in violations[0]
