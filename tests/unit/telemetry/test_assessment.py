"""Whether all is well: of real nodes in virtual time, each brought into trouble."""

from __future__ import annotations

import math

import pytest

from exoip.core.calls import Failure, Kind
from exoip.telemetry.assessment import Level, assess
from tests.simulation.world import instance_id
from tests.support.virtual import Bench, backup


def label(wanted: str) -> str:
    return next((name for name in "amzq" if instance_id(name) == wanted), wanted)


def judged(bench: Bench) -> tuple[Level, tuple[str, ...]]:
    return assess(bench.view, label)


def well(**options: object) -> Bench:
    """A master that holds, with its one peer alive."""
    bench = Bench(peers="z", **options)  # type: ignore[arg-type]
    bench.beating["z"] = 20
    bench.until(lambda: bench.view.holds and not bench.view.in_doubt)
    assert judged(bench) == (Level.HEALTHY, ())
    return bench


def test_a_backup_beside_its_master_is_healthy():
    bench = Bench(peers="a")
    bench.beating["a"] = 5
    bench.holding.add("a")
    bench.advance(5.0)
    assert judged(bench) == (Level.HEALTHY, ())


def test_who_just_started_is_not_yet_of_use():
    level, reasons = judged(Bench(peers="z"))
    assert level is Level.DEGRADED
    assert reasons[0] == "this node listens before it takes part"


def test_a_master_that_does_not_hold_is_critical():
    bench = Bench(peers="z")
    bench.beating["z"] = 20
    bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
    bench.until(lambda: bench.view.role == "MASTER" and bool(bench.view.degraded))
    level, reasons = judged(bench)
    assert level is Level.CRITICAL
    assert reasons[0] == "this node is the master and does not hold it"
    assert any(reason.startswith("the API fails at attach (unavailable)") for reason in reasons)


def test_a_call_that_fails():
    bench = well()
    bench.failing[Kind.READ] = Failure.FORBIDDEN
    bench.until(lambda: bool(bench.view.degraded))
    level, reasons = judged(bench)
    assert level is Level.DEGRADED
    assert [reason for reason in reasons if reason.startswith("the API fails at read (refused)")]


def test_a_dead_peer_and_one_that_still_held():
    bench = well()
    del bench.beating["z"]
    bench.advance(4.0)
    assert judged(bench) == (Level.DEGRADED, ("z is not heard",))
    bench.failing[Kind.DETACH] = Failure.UNAVAILABLE
    bench.holding.add("z")
    bench.until(lambda: any(peer.holds for peer in bench.view.peers))
    assert "z is not heard, and held it when that was last read" in judged(bench)[1]


@pytest.mark.parametrize(("priority", "words"), [(253, "but holds"), (254, "steps aside or"), (255, "is leaving")])
def test_a_peer_that_would_not_take_over(priority, words):
    bench = well()
    bench.beating["z"] = priority
    bench.advance(2.0)
    level, (reason,) = judged(bench)
    assert level is Level.DEGRADED
    assert reason.startswith("z ")
    assert words in reason


def test_why_this_node_steps_aside():
    bench = well()
    bench.node.set_unfit("operator", "drained by ann", bench.now)
    bench.holding.add("z")
    bench.until(lambda: not bench.view.holds)
    level, reasons = judged(bench)
    assert level is Level.DEGRADED
    assert "this node steps aside: drained by ann" in reasons


def test_a_leaver():
    bench = well()
    bench.node.leave(bench.now)
    assert judged(bench)[1][0] == "this node is leaving"


def test_two_that_hold():
    bench = well()
    bench.holding.add("z")
    bench.until(lambda: any(peer.holds for peer in bench.view.peers))
    assert judged(bench) == (Level.DEGRADED, ("z holds it too",))


def test_an_outsider():
    bench = well(verify_interval=4.0)
    bench.holding.add("q")
    bench.until(lambda: bool(bench.view.outsiders))
    assert judged(bench) == (Level.DEGRADED, ("q holds it too, and is no member: detach it by hand",))
    bench.holding.remove("q")
    bench.candidates = ["q"]
    bench.until(lambda: not bench.view.outsiders)
    assert judged(bench) == (Level.HEALTHY, ())


def test_without_peers():
    bench = Bench(peers="")
    bench.until(lambda: bench.view.holds)
    assert judged(bench) == (Level.DEGRADED, ("this node has no peers: nobody would take over",))


def test_a_stand_back():
    bench = well()
    del bench.beating["z"]
    bench.advance(4.0)
    bench.holding.clear()
    bench.holding.add("z")
    bench.until(lambda: bench.view.yielded)
    assert judged(bench)[1][0] == "this node lost it to one that it does not hear, and stands back"
    assert bench.view.stand_back_until > bench.now
    bench.heard("z", 20)
    assert bench.view.stand_back_until == -math.inf


def test_a_backup_that_still_holds():
    bench = well()
    bench.beating["z"] = 5
    bench.advance(1.5)
    assert bench.view.holds
    assert "this node still holds it, until z does" in judged(bench)[1]


def test_a_role_that_changes_again_and_again():
    bench = well()
    for _ in range(8):
        bench.beating["z"] = 5
        bench.advance(2.0)
        bench.beating["z"] = 20
        bench.advance(2.0)
    assert bench.view.flapping.delay > 0
    assert f"the role changed {bench.view.flapping.changes} times lately" in judged(bench)[1]


def test_the_worst_comes_first():
    bench = backup()
    level, reasons = judged(bench)
    assert level is Level.DEGRADED
    assert reasons
    assert assess(bench.view, label)[0] is level
