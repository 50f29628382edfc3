"""The assessment of real nodes in virtual time, each brought into trouble."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from exoip.core.calls import Failure, Kind
from exoip.core.flap_damping import Damping
from exoip.heartbeat.wire import Heartbeat
from exoip.telemetry.assessment import Level, assess
from tests.simulation.world import EIP, instance_id
from tests.support.single_node import SingleNode


def display_name(wanted: str) -> str:
    return next((name for name in "amzq" if instance_id(name) == wanted), wanted)


def reasons(bench: SingleNode, level: Level = Level.DEGRADED) -> str:
    """Return all reasons, one a line, after a check of the level."""
    found, why = assess(bench.view, display_name, "cure of {}".format, (), bench.api.view())
    assert (found, bool(why)) == (level, level is not Level.HEALTHY), why
    return "\n".join(why)


def healthy(**options: object) -> SingleNode:
    """A master that holds, with its one peer alive."""
    bench = SingleNode(peers="z", **options)  # type: ignore[arg-type]
    bench.beating["z"] = 20
    bench.until(lambda: bench.view.holds and not bench.view.in_doubt)
    assert reasons(bench, Level.HEALTHY) == ""
    return bench


def test_a_backup_of_a_holder_is_healthy():
    bench = SingleNode(peers="a")
    bench.beating["a"] = 5
    bench.holding.add("a")
    bench.advance(5.0)
    assert reasons(bench, Level.HEALTHY) == ""


def test_a_backup_that_read_that_its_master_does_not_hold():
    bench = SingleNode(peers="a")
    bench.beating["a"] = 5
    bench.holding.add("a")
    bench.advance(5.0)
    bench.holding.clear()
    bench.until(lambda: any(peer.holds is False for peer in bench.view.peers))
    assert reasons(bench) == "a is the master but did not hold the Elastic IP when it was last read"


def test_a_node_that_just_started():
    assert reasons(SingleNode(peers="z")).startswith("this node is listening")


def test_a_master_that_does_not_hold_is_critical_and_that_comes_first():
    bench = SingleNode(peers="z")
    bench.beating["z"] = 20
    bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
    bench.until(lambda: bench.view.role == "MASTER" and bool(bench.api.view().degraded))
    first, *others = reasons(bench, Level.CRITICAL).splitlines()
    assert "has to read whether it holds" in first
    assert any(other.startswith("attach fails") for other in others)
    bench.until(lambda: not bench.view.in_doubt)
    assert "does not hold" in reasons(bench, Level.CRITICAL).splitlines()[0]


def test_a_call_that_fails():
    bench = healthy()
    bench.failing[Kind.READ] = Failure.FORBIDDEN
    bench.until(lambda: bool(bench.api.view().degraded))
    assert "read fails" in reasons(bench)


def test_a_dead_peer_and_one_that_still_held():
    bench = healthy()
    del bench.beating["z"]
    bench.advance(4.0)
    assert reasons(bench) == "z is not heard"
    bench.failing[Kind.DETACH] = Failure.UNAVAILABLE
    bench.holding.add("z")
    bench.until(lambda: any(peer.holds for peer in bench.view.peers))
    assert "z is not heard, and held" in reasons(bench)


def test_nobody_expects_to_hear_a_member_that_does_not_run():
    bench = SingleNode(peers="az")
    bench.beating["z"] = 20
    bench.until(lambda: bench.view.holds and not bench.view.in_doubt)
    assert reasons(bench) == "a is not heard"
    assert assess(bench.view, str, str, {instance_id("a")}) == (Level.HEALTHY, ())
    bench = SingleNode(peers="z")
    bench.until(lambda: bench.view.holds)
    assert "no peers" in "; ".join(assess(bench.view, str, str, {instance_id("z")})[1])


@pytest.mark.parametrize(
    ("priority", "words"), [(253, "as far as it knows"), (254, "steps aside or"), (255, "is stopping")]
)
def test_a_peer_that_would_not_take_over(priority, words):
    bench = healthy()
    bench.beating["z"] = priority
    bench.advance(2.0)
    assert reasons(bench).startswith("z ")
    assert words in reasons(bench)


def test_a_node_that_steps_aside():
    bench = healthy()
    bench.node.set_unfit("operator", "drained by ann", bench.now)
    bench.holding.add("z")
    bench.until(lambda: not bench.view.holds)
    assert "drained by ann" in reasons(bench)


def test_another_host_with_the_same_id_is_critical():
    bench = healthy()
    bench.heard("m", 5)
    assert "two hosts have one id" in reasons(bench, Level.CRITICAL)


def test_a_node_that_is_stopping():
    bench = healthy()
    bench.node.leave(bench.now)
    assert "this node is stopping" in reasons(bench)


def test_two_that_hold():
    bench = healthy()
    bench.holding.add("z")
    bench.until(lambda: any(peer.holds for peer in bench.view.peers))
    assert reasons(bench).startswith("z also holds")


def test_an_outsider():
    bench = healthy(verify_interval=4.0)
    bench.holding.add("q")
    bench.until(lambda: bool(bench.view.outsiders))
    assert reasons(bench).startswith("q also holds")
    bench.holding.remove("q")
    bench.candidates = ["q"]
    bench.until(lambda: not bench.view.outsiders)
    assert reasons(bench, Level.HEALTHY) == ""


def test_without_peers():
    bench = SingleNode(peers="")
    bench.until(lambda: bench.view.holds)
    assert "no peers" in reasons(bench)


def test_a_stand_back():
    bench = healthy()
    del bench.beating["z"]
    bench.advance(4.0)
    bench.holding.clear()
    bench.holding.add("z")
    bench.until(lambda: bench.view.yielded)
    first = "an instance that is not heard holds the Elastic IP; this node waits instead of fighting"
    assert reasons(bench).splitlines()[0] == first
    assert bench.view.stand_back_until > bench.now
    bench.heard("z", 20)
    assert bench.view.stand_back_until == -math.inf


def test_a_stand_back_from_an_instance_that_is_no_member():
    bench = healthy()
    bench.holding.clear()
    bench.holding.add("q")
    bench.until(lambda: bench.view.yielded)
    told = reasons(bench).splitlines()
    assert told[0].startswith("an instance that is not heard holds the Elastic IP; this node waits")
    assert "q holds the Elastic IP and is not a member; detach it by hand" in told


def test_a_node_that_cannot_send_names_the_fault_as_its_own():
    bench = healthy()
    bench.node.set_mute("Operation not permitted", bench.now)
    assert reasons(bench) == (
        "this node cannot send any heartbeat (Operation not permitted): "
        "the fault is here; check its address, routes and firewall"
    )
    bench.node.set_mute("", bench.now)
    assert reasons(bench, Level.HEALTHY) == ""


def test_a_backup_that_still_holds():
    bench = healthy()
    bench.beating["z"] = 5
    bench.advance(1.5)
    assert "until z does" in reasons(bench)
    bench.failing[Kind.DETACH] = Failure.FORBIDDEN
    bench.holding.add("z")
    bench.until(lambda: any(peer.holds for peer in bench.view.peers))
    assert "still holds the Elastic IP, beside z, and has to detach itself" in reasons(bench)


def test_a_role_that_changes_again_and_again():
    bench = healthy()
    for _ in range(8):
        bench.beating["z"] = 5
        bench.advance(2.0)
        bench.beating["z"] = 20
        bench.advance(2.0)
    assert bench.view.damping.delay > 0
    assert f"changed {len(bench.view.damping.changes)} times" in reasons(bench)
    bench.node.set_config(replace(bench.config, flap_damping=False), 30.0, bench.now)
    assert bench.view.damping == Damping(), "nobody waits if the damping is off"
    assert reasons(bench, Level.HEALTHY) == ""


def test_a_peer_that_was_never_heard():
    bench = SingleNode(peers="z")
    bench.until(lambda: bench.view.holds)
    assert reasons(bench) == "z is not heard"
    bench.advance(20.0)
    assert reasons(bench) == f"z was never heard: cure of {instance_id('z')}"


def test_a_peer_that_sends_from_another_address():
    bench = SingleNode(peers="z")
    bench.until(lambda: bench.view.holds)
    bench.node.heard(Heartbeat(20, EIP, instance_id("z")), "192.0.2.9", bench.now)
    assert reasons(bench).splitlines()[0] == (
        "z has the id that 192.0.2.9 sends heartbeats with: use 192.0.2.9 as its address, "
        "or bind its exoip to host-z (bind-address)"
    )
