"""The status line."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from exoip.core.calls import Failure, Kind
from exoip.core.peers import Role
from exoip.core.snapshot import PeerView, Snapshot, status
from tests.simulation.world import EIP, instance_id
from tests.support.single_node import SingleNode, backup, master

PEERS = tuple(PeerView(name, f"host-{name}", name == "a", 10, 0.0, None, True) for name in "abc")
REFUSED = tuple(
    replace(peer, denied="signature") for peer in PEERS
)  # a is alive all the same: somebody else pretends to be a
PLAIN = Snapshot(1.0, Role.MASTER, "", 0.0, "m", 10, True, False, False, False, False, "", PEERS, {})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, f"MASTER of {EIP}, 1 of 3 peers alive"),
        (
            {"peers": REFUSED[:2]},
            f"MASTER of {EIP}, 1 of 2 peers alive, dropping heartbeats from host-b (signature)",
        ),
        ({"holds": False}, f"MASTER of {EIP}, 1 of 3 peers alive, not holding it"),
        ({"role": Role.BACKUP, "holds": False}, f"BACKUP for {EIP}, 1 of 3 peers alive"),
        ({"role": Role.BACKUP}, f"BACKUP for {EIP}, 1 of 3 peers alive, holding it"),
        ({"role": Role.LISTENING, "holds": False, "peers": ()}, f"LISTENING for {EIP}, 0 of 0 peers alive"),
        (
            {"role": Role.BACKUP, "leaving": True, "unfit": True, "yielded": True},
            f"BACKUP for {EIP}, 1 of 3 peers alive, holding it, stopping, standing back, stepping aside",
        ),
        (
            {"degraded": "read timeout, attach refused"},
            f"MASTER of {EIP}, 1 of 3 peers alive, degraded: read timeout, attach refused",
        ),
    ],
)
def test_in_a_line(changes, line):
    assert status(replace(PLAIN, **changes), EIP) == line


def test_of_real_nodes():
    assert status(SingleNode().view, EIP) == f"LISTENING for {EIP}, 0 of 2 peers alive"
    assert status(master().view, EIP) == f"MASTER of {EIP}, 0 of 2 peers alive"
    assert status(backup().view, EIP) == f"BACKUP for {EIP}, 1 of 2 peers alive"


def test_of_a_node_in_trouble():
    bench = SingleNode()
    bench.failing[Kind.ATTACH] = Failure.FORBIDDEN
    bench.advance(5)
    assert status(bench.view, EIP) == (
        f"MASTER of {EIP}, 0 of 2 peers alive, not holding it, stepping aside, degraded: attach refused"
    )
    assert status(bench.view, EIP).isascii()


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
    assert holds(bench, "a") is None
    assert holds(backup(under="a"), "z") is None


def test_a_read_counts_for_two_verify_intervals():
    bench = master(verify_interval=8.0)
    assert holds(bench, "a") is False
    bench.failing[Kind.READ] = Failure.UNREACHABLE
    bench.until(lambda: holds(bench, "a") is None)
    assert bench.now - bench.view.peers[0].read_at == pytest.approx(16.0, abs=0.1)
