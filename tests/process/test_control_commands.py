"""The control socket of real daemons: drain and crash, a start that waits, a flood of clients."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exoip.operator.control_protocol import VERSION
from exoip.operator.control_server import MOST_CLIENTS
from tests.support.cluster import Cluster
from tests.support.waiting import PATIENCE


def ask(folder: Path, name: str, request: str, **fields: Any) -> dict[str, Any]:
    """Send a request to a node through its control socket; `folder` is the cluster's."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "run" / name / "control"))
        client.settimeout(PATIENCE)
        client.sendall(json.dumps({"version": VERSION, "request": request, **fields}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(client.makefile("rb").readline())
        return answer


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(nodes=2, folder=tmp_path) as made:
        yield made


def test_a_drain_moves_it_without_a_gap_and_outlives_a_crash(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start()
    cluster.settle("n1")
    mark = cluster.mark
    assert ask(tmp_path, "n1", "drain", by="ann", why="new kernel")["lasting"] is True
    cluster.settle("n2")
    cluster["n1"].kill()
    cluster["n1"].start()
    cluster.settle("n2")
    status = ask(tmp_path, "n1", "status")["status"]
    assert status["aside"][0]["why"] == f"drained by ann (uid {os.getuid()}): new kernel"
    assert status["health"]["level"] == "degraded"
    assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]
    assert ask(tmp_path, "n1", "undrain")["ok"] is True
    cluster.until(lambda: "n1" in cluster.holders(), "n1 takes it back")
    assert all(cluster.history(mark))


def test_a_daemon_that_waits_for_the_api_answers(cluster: Cluster, tmp_path: Path) -> None:
    cluster.fault("status", status=503, key="EXOn1")
    cluster.start("n1")
    cluster.until(lambda: cluster["n1"].logged("waiting for the API"), "it waits")
    status = ask(tmp_path, "n1", "status")["status"]
    assert status["daemon"]["phase"] == "starting"
    assert "503" in status["health"]["reasons"][0]
    cluster.clear()
    cluster.settle("n1")
    assert ask(tmp_path, "n1", "status")["status"]["role"] == "master"


def test_clients_of_every_kind_delay_no_heartbeat_and_no_move(cluster: Cluster, tmp_path: Path) -> None:
    """Some are silent and the others send requests without end, while the holder dies."""
    cluster.start()
    cluster.settle("n1")
    stop, silent = threading.Event(), [socket.socket(socket.AF_UNIX) for _ in range(MOST_CLIENTS // 2)]
    for one in silent:
        one.connect(str(tmp_path / "run/n2/control"))

    def flood() -> None:
        while not stop.is_set():
            assert ask(tmp_path, "n2", "status")["ok"]

    floods = [threading.Thread(target=flood) for _ in range(MOST_CLIENTS // 2)]
    for one in floods:
        one.start()
    try:
        since = cluster.observer.heard[-1].at
        cluster["n1"].kill()
        cluster.settle("n2")
        times = [heard.at for heard in cluster.observer.of(cluster["n2"], since)]
        assert max(after - before for before, after in pairwise(times)) < cluster.dead_time / 2
    finally:
        stop.set()
        for one in silent:
            one.close()
        for one in floods:
            one.join(PATIENCE)
