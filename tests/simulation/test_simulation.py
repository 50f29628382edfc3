"""Random faults in the simulated world; `script/simulate` runs as many seeds as one has time for."""

from __future__ import annotations

import pytest

from tests.simulation import simulate
from tests.simulation.fault import Fault
from tests.simulation.faults import FAULTS
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
    for seed in range(2):
        assert not Single(seed, faults=(fault,)).run().violations


def test_few_seeds_have_every_fault_in_a_world_that_it_takes() -> None:
    seen: set[str] = set()
    for seed in range(0, 75, 3):
        run = Single(seed)
        seen |= {fault.name for fault in run.faults}
        group, *others = run.result.plan.commands
        nodes = [command.split() for command in others if command.startswith("node ")]
        equal = len({words[2] for words in nodes}) == 1  # their priorities
        has = {*nodes[0], group.replace(" ", "="), f"equal={'yes' if equal else 'no'}"}
        assert all(len(nodes) in fault.nodes and {*fault.needs} <= has for fault in run.faults)
    assert seen == {fault.name for fault in FAULTS}


def test_a_bound_that_is_missed_is_a_violation() -> None:
    fault = Fault("nothing takes over", ("crash all", "kill H", "advance 60s", "expect hole <= D + d + A"))
    violations = Single(0, faults=(fault,)).run().violations
    assert len(violations) == 1
    assert "nothing takes over" in violations[0]
