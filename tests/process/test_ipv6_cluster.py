"""Two real nodes keep an IPv6 prefix, with heartbeats over IPv6 too."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.ctl import Ctl
from tests.support.waiting import until

IP, PREFIX = "2001:db8:0:1::1", "2001:db8:0:1::/96"
KEY = "a-key-of-both-nodes-and-no-other"

pytestmark = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with signed heartbeats over ::1, so each has its own port.

    They write the prefix in two ways.
    """
    with Cluster(2, eip=PREFIX, folder=tmp_path, observed=False) as cluster:
        first = 10000 + 2 * (os.getpid() % 10000)  # below the ephemeral ones
        places = {f"[::1]:{first + number}": node for number, node in enumerate(cluster.nodes.values())}
        for place, node in places.items():
            peers = ",".join(f"{where}={other.id}" for where, other in places.items())
            for option, text in (("-l", place), ("-G", peers), ("-xi", IP if node.name == "n1" else PREFIX)):
                node.words[node.words.index(option) + 1] = text
            node.words[node.words.index("-G")] = "-p"
            node.env["IF_AUTH_KEY"] = KEY
        yield cluster


def test_a_death_a_drain_and_a_return_move_the_prefix(cluster: Cluster, tmp_path: Path) -> None:
    n1, n2 = cluster["n1"], cluster["n2"]
    hook, told = tmp_path / "hook", tmp_path / "told"
    hook.write_text(f'#!/bin/sh\necho "$1 $2 $EXOIP_EIP" >>{told}\n')
    hook.chmod(0o755)
    n2.words += ["--notify", str(hook)]
    cluster.start()
    cluster.settle("n1")
    n1.kill()
    cluster.settle("n2")
    n1.start()
    cluster.settle("n1")
    ctl = Ctl(tmp_path)
    ctl("drain", "n1")
    cluster.settle("n2")
    ctl("wait", "n1", "--holds", "no")
    assert "IPv6" not in "".join(n1.lines + n2.lines), "nothing to warn of"

    shown = {one["name"]: one["status"] for one in ctl.json()["instances"]}
    assert [(shown[name]["eip"], shown[name]["holds"]) for name in ("n1", "n2")] == [(PREFIX, False), (PREFIX, True)]
    assert all(not status["refused"] for status in shown.values()), "each heartbeat counted"
    assert all(peer["address"] == "::1" for status in shown.values() for peer in status["peers"])
    for node in (n1, n2):
        assert {entry["EXOIP_EIP"] for entry in node.entries if "EXOIP_EIP" in entry} == {PREFIX}
        assert node.logged(f"attached {PREFIX} to this instance")
    assert f'eip="{PREFIX}"' in ctl("metrics", "n2")
    until(lambda: f"MASTER {PREFIX} {PREFIX}\n" in told.read_text(), "the notify program is told")


@pytest.mark.parametrize(("mode", "holders", "words"), [("-A", {"n1"}, "attached to"), ("-D", set(), "detached from")])
def test_by_hand(cluster: Cluster, mode: str, holders: set[str], words: str) -> None:
    n1 = cluster["n1"]
    if mode == "-D":
        with cluster.server.lock:
            cluster.zone.force(n1.id, True, cluster.server.now())
    n1.words[n1.words.index("-W")] = mode
    n1.start()
    assert n1.wait() == 0
    assert n1.logged(f"{PREFIX} is {words} {n1.id}")
    assert cluster.holders() == holders
