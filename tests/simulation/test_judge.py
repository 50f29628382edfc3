"""The judge knows the limits that docs/protocol.md states, and sees a broken rule all the same."""

from __future__ import annotations

import pytest

from exoip.core.relief import Relief
from tests.simulation.plan import Plan
from tests.simulation.result import Result
from tests.simulation.run import Run

FORMED = ("verify 30s", "node a prio=10", "node b prio=20", "node c prio=30", "start all", "advance 60s")
MISLED = (  # a is told that it holds, and cannot read that it does not
    "health a bad",
    "advance 20s",
    "api a attach effect=no",
    "api a read effect=no failure=unavailable",
    "health a ok",
    "advance 10s",
    "detach-by-hand b",
    "advance 300s",
)
DETACHED = ("api a attach fail", "api a read fail", "api a holders fail", "able c", "detach-by-hand a")
UNABLE = ("api b read fail",)


def holes(*commands: str) -> str:
    """Return all that a run violates in which c stays able, in one text."""
    return "\n".join(Run(Plan(0, (*FORMED, *commands), ("c",), kinds=("api", "hand"))).run().violations)


def test_nobody_replaces_a_holder_that_was_detached_if_the_next_best_node_cannot_read() -> None:
    assert holes(*UNABLE, *DETACHED, "advance 400s") == ""


def test_the_next_best_node_finds_out_that_one_was_misled() -> None:
    assert holes(*MISLED) == ""


@pytest.mark.parametrize("commands", [MISLED, (*DETACHED, "advance 400s")], ids=["misled", "detached"])
def test_a_broken_rule_is_seen_all_the_same(commands: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert holes(*commands) == ""
    monkeypatch.setattr(Relief, "decide", lambda self, now, unfit: None)
    assert "no live holder" in holes(*commands)


def run(*commands: str) -> Result:
    return Run(Plan(0, (*FORMED, *commands), ("all",), kinds=("cut",))).run()


def test_a_hole_is_that_of_a_detach_only_if_no_fault_took_the_other_holder_meanwhile() -> None:
    assert run("kill c", "api b attach effect=no", "split a b", "advance 20s").own > 1
    releases = "operation all 5s", "health a bad", "advance 8s"
    result = run(*releases, "suspend b 20s", "advance 20s")
    assert result.own == 0
    assert result.hole > 1


def test_a_hole_of_a_stop_counts_apart() -> None:
    result = run("kill c", "split a b", "advance 20s", "leave b", "advance 20s")
    assert result.own == 0
    assert result.stop > 1


def test_a_stand_back_ends_by_the_clock_of_the_world_though_that_of_the_node_stood_still() -> None:
    stands_back = "kill c", "freeze a 60s", "advance 90s", "split a b", "advance 10s"
    result = run(*stands_back, "kill-holders-but a", "advance 90s")
    assert result.violations == []


def test_each_time_that_a_node_detaches_a_dead_one_in_vain_counts() -> None:
    stray = "kill w", "advance 30s", "attach-by-hand w", "api a detach refuse", "able b c", "advance 300s"
    commands = (*FORMED[:-2], "node w prio=40", "latency all 1s", "start all", "advance 380s", *stray)
    result = Run(Plan(0, commands, ("b", "c"), kinds=("api", "hand"))).run()
    assert result.violations == []
    assert result.dead > 190
