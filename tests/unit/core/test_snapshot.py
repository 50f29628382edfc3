"""What a snapshot says of the other nodes."""

from __future__ import annotations

import math

import pytest

from exoip.core.calls import Failure, Kind
from exoip.core.mutations import JOB_TIME
from exoip.core.peers import Role
from tests.simulation.world import instance_id
from tests.support.single_node import SingleNode, master


def test_each_other_node_with_what_is_known_of_it():
    bench = SingleNode()
    bench.beating["a"] = 5
    bench.holding.add("a")
    bench.advance(2.5)
    a, z = bench.view.peers
    assert (a.address, a.alive, a.priority, a.holds, a.listed) == ("host-a", True, 5, True, True)
    assert (z.address, z.alive, z.holds, z.listed) == ("host-z", False, False, True)


def holds(bench: SingleNode, name: str) -> bool | None:
    (found,) = (peer.holds for peer in bench.view.peers if peer.address == f"host-{name}")
    return found


def test_a_read_from_before_the_master_took_over_shows_nothing():
    bench = SingleNode(preempt_delay=math.inf)
    bench.beating.update(a=20, z=30)
    bench.failing[Kind.ATTACH] = Failure.FORBIDDEN
    bench.until(lambda: holds(bench, "a") is False)
    bench.node.set_unfit("operator", "drained", bench.now)
    bench.failing[Kind.READ] = Failure.UNREACHABLE
    bench.advance(5.0)
    assert (bench.role, bench.view.master) == (Role.BACKUP, instance_id("a"))
    assert (holds(bench, "a"), holds(bench, "z")) == (None, None)


def test_a_read_from_before_the_end_of_listening_shows_nothing():
    """Where all start together, the master attaches only then."""
    bench = SingleNode()
    bench.beating["a"] = 5
    bench.until(lambda: holds(bench, "a") is False)
    bench.until(lambda: bench.role is Role.BACKUP)
    assert (holds(bench, "a"), holds(bench, "z")) == (None, None)


def test_a_read_counts_for_two_verify_intervals():
    bench = master(verify_interval=8.0)
    assert holds(bench, "a") is False
    bench.failing[Kind.READ] = Failure.UNREACHABLE
    bench.until(lambda: holds(bench, "a") is None)
    assert bench.now - bench.view.peers[0].read_at == pytest.approx(16.0, abs=0.1)


def test_that_a_new_master_does_not_hold_says_nothing_while_it_may_come_to_hold():
    bench = SingleNode(verify_interval=2.0)
    bench.beating["a"] = 5
    bench.until(lambda: bench.role is Role.BACKUP)
    since = bench.view.since
    bench.until(lambda: bench.view.peers[0].read_at > since)
    bench.until(lambda: holds(bench, "a") is False)
    assert bench.view.peers[0].read_at >= since + JOB_TIME
    assert bench.role is Role.BACKUP  # whatever the verify interval, it says so before it relieves that one


def beside_an_outsider() -> SingleNode:
    bench = SingleNode(verify_interval=4.0)
    bench.holding.add("q")
    bench.until(lambda: bench.view.outsiders == (instance_id("q"),))
    return bench


def test_only_a_master_that_holds_knows_of_outsiders():
    bench = beside_an_outsider()
    bench.beating["a"] = 5
    bench.until(lambda: bench.role is Role.BACKUP)
    assert bench.view.outsiders == ()


def test_an_outsider_that_joins_the_group_is_none():
    bench = beside_an_outsider()
    bench.node.set_members({instance_id(name): (f"host-{name}", 12345) for name in "amqz"}, bench.now)
    assert bench.view.outsiders == ()
    bench.until(lambda: holds(bench, "q") is True)
