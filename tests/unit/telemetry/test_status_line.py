"""The line for `systemctl status`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exoip.core.calls import Failure, Kind
from exoip.core.peers import Role
from exoip.core.snapshot import PeerView, Snapshot
from exoip.telemetry.api_health import ApiView, Trouble
from exoip.telemetry.status import status_line
from tests.simulation.world import EIP
from tests.support.single_node import SingleNode, backup, master

PEERS = tuple(PeerView(name, f"host-{name}", name == "a", 10, 0.0, None, True) for name in "abc")
REFUSED = tuple(
    replace(peer, denied="signature") for peer in PEERS
)  # a is alive all the same: somebody else pretends to be a
PLAIN = Snapshot(1.0, Role.MASTER, "", 0.0, "m", 10, True, False, False, False, False, PEERS, {})


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
            {"role": Role.BACKUP, "leaving": True, "unfit": True, "yielded": True, "mute": "no route"},
            f"BACKUP for {EIP}, 1 of 3 peers alive, holding it, unable to send, stopping, standing back, stepping aside",
        ),
    ],
)
def test_in_a_line(changes, line):
    assert status_line(replace(PLAIN, **changes), EIP) == line


def test_the_calls_that_fail():
    api = ApiView({Kind.READ: Trouble(Failure.TIMEOUT, 0.0), Kind.ATTACH: Trouble(Failure.FORBIDDEN, 0.0)})
    line = f"MASTER of {EIP}, 1 of 3 peers alive, degraded: read timeout, attach refused"
    assert status_line(PLAIN, EIP, api) == line


def test_of_real_nodes():
    assert status_line(SingleNode().view, EIP) == f"LISTENING for {EIP}, 0 of 2 peers alive"
    assert status_line(master().view, EIP) == f"MASTER of {EIP}, 0 of 2 peers alive"
    assert status_line(backup().view, EIP) == f"BACKUP for {EIP}, 1 of 2 peers alive"


def test_of_a_node_in_trouble():
    bench = SingleNode()
    bench.failing[Kind.ATTACH] = Failure.FORBIDDEN
    bench.advance(5)
    assert status_line(bench.view, EIP, bench.api.view()) == (
        f"MASTER of {EIP}, 0 of 2 peers alive, not holding it, stepping aside, degraded: attach refused"
    )
    assert status_line(bench.view, EIP, bench.api.view()).isascii()
