"""What real daemons report about peers that they cannot read or never hear."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.test_control_commands import ask
from tests.support.cluster import GROUP, Cluster
from tests.support.ctl import Ctl
from tests.support.process import Process


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with a dead time of 0.25 s, in a group without a rule."""
    options = ("-v", "--verify-interval", "1")
    with Cluster(nodes=2, folder=tmp_path, interval=0.05, observed=False, options=options) as made:
        yield made


def peer(folder: Path, name: str, other: Process) -> dict[str, Any]:
    """Return what a node reports about another one."""
    (found,) = (one for one in ask(folder, name, "status")["status"].get("peers", ()) if one["instance"] == other.id)
    return dict(found)


def test_a_backup_does_not_claim_what_it_cannot_know(cluster: Cluster, tmp_path: Path) -> None:
    """It read the holder only at its own start, before that one held."""
    cluster.start()
    cluster.settle("n1")
    cluster.until(lambda: peer(tmp_path, "n2", cluster["n1"])["holds"] is None, "that read is too old")
    assert peer(tmp_path, "n2", cluster["n1"])["read_at"] is not None
    samples = ask(tmp_path, "n2", "metrics")["metrics"].splitlines()
    assert not [line for line in samples if line.startswith("exoip_peer_holds{")]
    cluster["n1"].kill()
    cluster.settle("n2")
    cluster.until(lambda: peer(tmp_path, "n2", cluster["n1"])["holds"] is False, "the new master reads the others")


def test_a_running_peer_that_was_never_heard(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start("n1")
    cluster.until(lambda: cluster["n1"].events("never-heard", peer=cluster["n2"]), "the silence is reported")
    (entry,) = cluster["n1"].events("never-heard")
    rule = f"rule add {GROUP} --protocol udp --port {cluster.port} --security-group {GROUP}"
    assert entry["MESSAGE"].startswith(
        f"n2 ({cluster['n2'].address}) was never heard, although the API shows it running"
    )
    assert rule in entry["MESSAGE"]
    status = ask(tmp_path, "n1", "status")["status"]
    assert any("was never heard" in reason and rule in reason for reason in status["health"]["reasons"])
    assert peer(tmp_path, "n1", cluster["n2"])["never_heard"] is True
    name = f'exoip_peer_never_heard{{address="{cluster["n2"].address}",peer="n2 ({cluster["n2"].address})"}}'
    assert f"{name} 1.0" in ask(tmp_path, "n1", "metrics")["metrics"].splitlines()
    cluster.start("n2")
    cluster.settle("n1")
    assert peer(tmp_path, "n1", cluster["n2"])["never_heard"] is False


def test_a_peer_that_sends_from_another_address(cluster: Cluster, tmp_path: Path) -> None:
    n2, other = cluster["n2"], f"{cluster.net}.77"
    n2.words = [f"{other}:{cluster.port}" if word.startswith(f"{n2.address}:") else word for word in n2.words]
    cluster.start()
    cluster.until(lambda: cluster["n1"].events("datagram-refused"), "what it sends is dropped")
    (entry, *_) = cluster["n1"].events("datagram-refused")
    assert (entry["EXOIP_CAUSE"], entry["EXOIP_ADDRESS"], entry["EXOIP_PEER_INSTANCE"]) == ("address", other, n2.id)
    assert entry["MESSAGE"].startswith(
        f"{other} sends heartbeats with the id of n2 ({n2.address}), which are dropped: use {other} as its address, or bind"
    )
    assert peer(tmp_path, "n1", n2)["elsewhere"] == other
    cluster["n1"].stop()
    n2.stop()


def test_a_drain_waits_for_the_own_attach(cluster: Cluster, tmp_path: Path) -> None:
    """While its attach is under way, a node must not seem to hold nothing: it would be rebooted."""
    ctl, n2 = Ctl(tmp_path), cluster["n2"]
    cluster.start()
    cluster.settle("n1")
    with cluster.server.lock:
        cluster.zone.operation_seconds = math.inf
    cluster["n1"].kill()
    cluster.until(lambda: n2.events("attaching"), "n2 takes over")
    ctl("drain", "n2", code=None)
    assert "n2 is MASTER and attaches" in ctl("wait", "n2", "--holds", "no", "--timeout", "0.1", code=1, errors=True)
    with cluster.server.lock:
        cluster.zone.operation_seconds = 0
    ctl("wait", "n2", "--holds", "yes")
    assert "n2" in cluster.holders(), "it is drained, but no other node can serve"
