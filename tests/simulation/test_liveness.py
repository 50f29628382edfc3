"""The harsher world itself: a seed decides everything, what it decides is a scenario, and shrinking
keeps a failure.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.liveness import Liveness, Plan, plan, shrink
from tests.simulation.scenario import ScenarioError, run

# A master whose attach is answered with a long Retry-After keeps the EIP from the able node c.
STUCK = Plan(
    0,
    (
        "node a prio=10", "node b prio=20", "node c prio=30", "start a", "start b", "start c", "advance 60s",
        "health a ok", "api b attach effect=no failure=unavailable retry=300s", "loss 0%", "kill a",
    ),
    ("c",),
)  # fmt: skip


def violated(plan: Plan) -> list[str]:
    return Liveness(plan).run().violations


def test_a_seed_decides_everything() -> None:
    assert plan(7) == plan(7) != plan(8)
    first, second = (Liveness(plan(7), quiet=False).run() for _ in range(2))
    assert (first.violations, first.transcript) == (second.violations, second.transcript)


@pytest.mark.parametrize("seed", range(20))
def test_every_plan_can_be_run(seed: int) -> None:
    assert not any("Error" in violation for violation in violated(plan(seed)))


def test_an_able_core_without_faults_violates_nothing() -> None:
    assert violated(Plan(0, STUCK.commands[:7], ("a",))) == []


def test_a_failing_run_is_shrunk_and_stays_a_failing_scenario(tmp_path: Path) -> None:
    def stuck(candidate: Plan) -> bool:
        return any("attach effect=no" in line for line in candidate.commands) and "kill a" in candidate.commands

    short = shrink(STUCK, stuck)
    assert short.commands == (STUCK.commands[8], "kill a")
    file = tmp_path / "found.txt"
    file.write_text(Plan(0, (*STUCK.commands[:7], "kill a", "kill b", "kill c"), ("a",)).scenario())
    assert "> able a" in file.read_text()
    run(file)
    file.write_text(file.read_text().replace("> able a", "> kill a") + "> expect holders a b\n")
    with pytest.raises(ScenarioError):
        run(file)
