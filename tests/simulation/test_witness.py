"""The witness sees a daemon that does, says or sends what it may not."""

from __future__ import annotations

import pytest

from exoip.core import mutations
from exoip.core.election import Election
from exoip.core.flap_damping import Damping
from exoip.core.mutations import Mutations
from exoip.core.node import Node
from exoip.core.split_brain import StandBack
from tests.simulation.plan import Plan
from tests.simulation.run import Run

FORMED = ("node a prio=10", "node b prio=20", "node c prio=30", "start all", "advance 60s")
FLAPS = ("health a bad", "advance 8s", "health a ok", "advance 8s") * 8
CUT = ("api b detach fail", "split ac b", "advance 25s", "api b ok", "advance 120s")


def seen(*commands: str) -> str:
    """Return all that a run violates, in one text."""
    return "\n".join(Run(Plan(0, (*FORMED, *commands), ("all",), kinds=("cut",))).run().violations)


def test_nothing_in_runs_without_a_fault_of_the_code() -> None:
    assert seen(*FLAPS) == seen(*CUT) == seen("leave a", "advance 20s") == ""
    assert seen("suspend b 40s", "health b bad", "advance 50s") == ""
    assert seen("member a unknown-to b", "member b unknown-to a", "able c", "advance 20s") == ""


@pytest.mark.parametrize(
    ("where", "name", "instead", "commands", "expected"),
    [
        (Election, "_advertise", lambda self, now: 10, ("health a bad", "advance 5s"), "though it is to stand aside"),
        (Damping, "changed", lambda self, now: False, FLAPS, "is not damped"),
        (Mutations, "_holds_and_heard", lambda self, instance_id: True, ("health a bad", "advance 5s"), "lets go"),
        (mutations, "NEWCOMER_TIME", 90.0, CUT, "after both held"),
        (
            StandBack,
            "seen",
            lambda self, instance_id, outcome: self._answered(instance_id, outcome.ended) if outcome.holds else [],
            ("drop a->b a->c", "advance 20s"),
            "which it hears",
        ),
        (Node, "_look_for_stall", lambda self, now: None, ("suspend b 9s", "advance 9s"), "takes one for dead"),
    ],
)
def test_what_may_not_be(
    where: object,
    name: str,
    instead: object,
    commands: tuple[str, ...],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(where, name, instead)
    assert expected in seen(*commands)
