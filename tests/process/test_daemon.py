"""The daemon as systemd sees it: a real `exoip -W`, a simulated zone and a notification socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exoip.daemon.clock import clock
from exoip.daemon.state_files import PAUSED_STARTS, START_PAUSE
from tests.support.cluster import Cluster
from tests.support.process import Process


class Notified:
    """The receiving end of $NOTIFY_SOCKET. `texts` are the datagrams so far, in order."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.texts: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._read, name="notified")
        self._thread.start()

    def _read(self) -> None:
        while text := self._socket.recv(65536):
            self.texts.append(text.decode("utf-8"))

    @property
    def lines(self) -> list[str]:
        """Return the assignments, in order."""
        return [line for text in list(self.texts) for line in text.split("\n")]

    @property
    def statuses(self) -> list[str]:
        return [line.removeprefix("STATUS=") for line in self.lines if line.startswith("STATUS=")]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.path)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def notified(tmp_path) -> Iterator[Notified]:
    one = Notified(tmp_path / "notify")
    yield one
    one.close()


@pytest.fixture
def cluster(notified) -> Iterator[Cluster]:
    """One node that notifies `notified`, not started."""
    with Cluster(nodes=1) as made:
        made["n1"].executed = True  # signals come from the first moment on
        made["n1"].env["NOTIFY_SOCKET"] = notified.path
        yield made


def ready(cluster: Cluster, notified: Notified, count: int = 1) -> None:
    cluster.until(lambda: notified.lines.count("READY=1") >= count, f"READY=1 (for the time {count})")


def extensions(notified: Notified) -> list[int]:
    """Return the microseconds of each EXTEND_TIMEOUT_USEC."""
    return [int(line.split("=")[1]) for line in notified.lines if line.startswith("EXTEND_TIMEOUT_USEC=")]


class TestNotifications:
    def test_it_waits_for_the_api_and_is_ready_only_after_the_discovery(self, cluster, notified):
        node = cluster["n1"]
        cluster.fault("status", status=503, message="Größe\nREADY=1\nzwei ☃")
        cluster.start()
        cluster.until(lambda: len(extensions(notified)) >= 3, "three tries")
        assert min(extensions(notified)) > 36e6, "the longest wait, with jitter"
        first, second, *_ = notified.statuses
        assert first in ("waiting for the API", "waiting for the metadata service, then the API")
        assert second.startswith("waiting for the API: ")
        assert "503" in second
        assert "zwei" in second
        assert all(text.isascii() for text in notified.texts)
        assert "READY=1" not in notified.lines
        assert len(node.logged("waiting for the API")) == 1
        assert node.running
        assert cluster.observer.of(node) == []
        cluster.clear()
        ready(cluster, notified)
        cluster.settle("n1")
        cluster.until(lambda: f"MASTER of {cluster.eip}, 0 of 1 peers alive" in notified.statuses, "a master's status")
        assert any(text.startswith(f"LISTENING for {cluster.eip}") for text in notified.statuses)

    def test_the_watchdog_is_fed_the_status_shows_trouble_and_a_stop_asks_for_time(self, cluster, notified):
        node = cluster["n1"]
        node.env["WATCHDOG_USEC"] = "100000"
        node.words += ["--verify-interval", "0.5", "--leave-timeout", "7"]
        cluster.start()
        cluster.settle("n1")
        cluster.until(lambda: notified.lines.count("WATCHDOG=1") >= 20, "twenty pings")
        cluster.fault("status", status=500)
        cluster.until(lambda: "degraded" in notified.statuses[-1], "a status that tells of it")
        cluster.clear()
        cluster.until(lambda: "degraded" not in notified.statuses[-1], "a status that does not any more")
        assert node.stop() == 0
        assert "STOPPING=1" in notified.lines
        assert extensions(notified)[-1] >= 7_000_000
        assert cluster.holders() == set()


class TestStop:
    @pytest.mark.parametrize(
        ("number", "fault"),
        [(signal.SIGTERM, {"kind": "status", "status": 503}), (signal.SIGINT, {"kind": "hang", "seconds": 60.0})],
    )
    def test_while_it_waits_for_the_api(self, cluster, notified, number, fault):
        cluster.fault(**fault)
        cluster.start()
        cluster.until(lambda: cluster["n1"].logged("waiting for the API"), "it waits")
        cluster["n1"].send(number)
        assert cluster["n1"].wait() == 0
        assert "READY=1" not in notified.lines

    def test_at_any_moment_of_the_start(self, cluster, notified):
        """Before the handler is installed, the signal ends the process by its default action.

        Never with a traceback.
        """
        for count in range(4):
            cluster.start()
            node = cluster["n1"]
            seen = len(cluster.record())
            cluster.until(lambda seen=seen, count=count: len(cluster.record()) >= seen + count, "some calls")
            node.send(signal.SIGTERM)
            assert node.wait() in (0, -signal.SIGTERM)
            assert node.logged("Traceback") == []
        node.exits[:] = [code for code in node.exits if code != -signal.SIGTERM]
        cluster.start()
        cluster.settle("n1")

    def test_an_api_that_hangs_does_not_hold_it_for_ever_and_twice_is_as_good_as_once(self, cluster, notified):
        node = cluster["n1"]
        node.words += ["--leave-timeout", "0.5"]
        cluster.start()
        cluster.settle("n1")
        cluster.fault("hang", seconds=60.0)
        node.send(signal.SIGTERM)
        cluster.until(lambda: "STOPPING=1" in notified.lines, "STOPPING=1")
        node.send(signal.SIGTERM)
        assert node.wait() == 0
        assert notified.lines.count("STOPPING=1") == 1
        assert node.logged("still holding")


def heard(cluster: Cluster, priority: int) -> None:
    """Wait until the last heartbeat has this priority."""
    last = cluster.observer.of
    cluster.until(
        lambda: last(cluster["n1"]) and last(cluster["n1"])[-1].heartbeat.priority == priority,
        f"priority {priority} is heard",
    )


class TestSignals:
    def test_one_better_and_one_worse(self, cluster):
        cluster.start()
        cluster.settle("n1")
        for number, priority in ((signal.SIGUSR1, 9), (signal.SIGUSR1, 8), (signal.SIGUSR2, 9), (signal.SIGUSR2, 10)):
            cluster["n1"].send(number)
            heard(cluster, priority)

    def test_a_reload_changes_everything_or_nothing(self, cluster, notified, tmp_path):
        node, path = cluster["n1"], tmp_path / "exoip.conf"
        path.write_text("host-priority = 30\n")
        at = node.words.index("-P")
        node.words[at : at + 2] = ["-c", str(path)]
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        bad = [
            ("host-priority = 300\n", "300"),
            ("no-such-option = 1\n", "no-such-option"),
            ("host-priority = 40\nlog-stdout = yes\n", "log-stdout cannot be changed by a reload"),
            (None, "exoip.conf"),  # no such file
        ]
        for count, (text, said) in enumerate(bad, start=1):
            path.write_text(text) if text else path.unlink()
            node.send(signal.SIGHUP)
            ready(cluster, notified, count + 1)
            cluster.until(lambda n=count: len(node.logged("stays as it was")) == n, "the reason")
            assert said in node.logged("stays as it was")[-1]
        assert {one.heartbeat.priority for one in cluster.observer.of(node)} == {30}
        cluster.fault("status", status=503)
        path.write_text("host-priority = 40\nadvertisement-interval = 0.2\n")  # which does not concern the API
        node.send(signal.SIGHUP)
        heard(cluster, 40)
        ready(cluster, notified, len(bad) + 2)
        cluster.clear()
        path.write_text("host-priority = 50\n")
        node.send(signal.SIGHUP)
        heard(cluster, 50)
        ready(cluster, notified, len(bad) + 3)
        lines = notified.lines
        reloading = lines.index("RELOADING=1")
        assert int(lines[reloading + 1].removeprefix("MONOTONIC_USEC=")) > 0
        assert lines.index("READY=1", reloading) > reloading
        assert cluster.mutations(mark) == []
        assert cluster.holders() == {"n1"}


def test_after_a_crash_it_is_there_at_once_even_without_the_api(cluster, notified, tmp_path):
    """Whatever its state files contain."""
    runtime = tmp_path / "run"
    runtime.mkdir()
    node = cluster["n1"]
    node.env["RUNTIME_DIRECTORY"] = str(runtime)
    cluster.start()
    cluster.settle("n1")
    node.kill()
    cluster.fault("status", status=503)
    since = cluster.observer.heard[-1].at
    node.start()
    ready(cluster, notified, 2)
    cluster.until(lambda: cluster.observer.of(node, since + 1e-6), "heartbeats")
    node.kill()
    for path in runtime.iterdir():
        if path.is_file():
            path.write_bytes(b"\xff{[nonsense")
    cluster.clear()
    node.start()
    ready(cluster, notified, 3)
    cluster.settle("n1")
    assert node.stop() == 0
    assert list(runtime.iterdir()) == [], "a planned stop leaves something behind"


def test_a_restart_of_all_nodes_at_once_moves_nothing(tmp_path):
    """As an upgrade of all hosts does: SIGQUIT, and a start within the dead time."""
    with Cluster(nodes=2, interval=0.6) as cluster:
        nodes = [cluster["n1"], cluster["n2"]]
        for node in nodes:
            node.env["RUNTIME_DIRECTORY"] = str(tmp_path / node.name)
            (tmp_path / node.name).mkdir()
        cluster.start()
        cluster.settle("n1")
        before = cluster.mark
        for node in nodes:
            node.send(signal.SIGQUIT)
        for node in nodes:
            assert node.wait() == 0
            assert any("stopping for a restart" in line for line in node.lines)
            kept = {"topology.json", "checks"} | ({"held"} if node.name == "n1" else set())
            assert {path.name for path in (tmp_path / node.name).iterdir()} == kept, "it counts as a crash"
            node.start()
        cluster.settle("n1")
        assert not cluster.mutations(before)
        assert not [entry for node in nodes for entry in node.entries if entry.get("EXOIP_EVENT") == "peer-dead"]


A_THREAD_DIES = """
from exoip.__main__ import main
from exoip.daemon.heartbeat_threads import Sender

Sender.turn = lambda self: 1 / 0
main()
"""


class Unread:
    """The place of a process's output: a pipe that is full, which nobody reads."""

    def __init__(self) -> None:
        self.lines = ["(nobody reads them)"]
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self._writing, bytes(512))
        os.set_blocking(self._writing, True)

    def fileno(self) -> int:
        return self._writing

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


class TestALogThatNobodyReads:
    """Nothing waits for it, not even the end."""

    @pytest.fixture
    def pair(self, tmp_path) -> Iterator[Cluster]:
        with Cluster(nodes=2, interval=1.0) as made:
            node = made["n1"]
            node._output.close()
            node._output = Unread()
            node.executed = True  # a fork of the launcher takes its output for a file
            node.env |= {"RUNTIME_DIRECTORY": str(tmp_path), "PYTHONUNBUFFERED": ""}
            yield made

    @pytest.mark.parametrize("words", [[], ["-O"]])
    def test_a_stop_hands_over_and_ends(self, pair, words):
        node = pair["n1"]
        node.words += words
        pair.start()
        pair.settle("n1")
        assert node.stop() == 0
        assert pair.holders() == {"n2"}

    def test_a_restart_moves_nothing(self, pair):
        pair.start()
        pair.settle("n1")
        before = pair.mark
        pair["n1"].send(signal.SIGQUIT)
        assert pair["n1"].wait() == 0
        pair["n1"].start()
        pair.settle("n1")
        assert not pair.mutations(before)
        assert not pair["n2"].events("peer-dead")

    def test_a_start_that_fails_ends(self, pair):
        node = pair["n1"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((node.address, pair.port))
            node.start()
            assert node.wait() == 78
        node.forget()

    def test_a_thread_that_dies_ends_it(self, pair):
        node = pair["n1"]
        node.program[1:] = ["-c", A_THREAD_DIES]
        node.start()
        assert node.wait() == 1
        node.forget()


class TestCrashLoop:
    """The fifth start within a minute."""

    @pytest.fixture
    def fifth(self, cluster, tmp_path) -> Iterator[Process]:
        node = cluster["n1"]
        node.env["RUNTIME_DIRECTORY"] = str(tmp_path)
        (tmp_path / "starts").write_text(f"{clock()}\n" * (PAUSED_STARTS - 1))
        self.since = clock()
        cluster.start()
        cluster.until(lambda: len((tmp_path / "starts").read_text().split()) == PAUSED_STARTS, "the start is noted")
        return node

    def test_it_is_silent_for_a_second_and_then_unfit(self, cluster, notified, fifth):
        ready(cluster, notified)
        assert clock() - self.since >= START_PAUSE
        cluster.until(lambda: cluster.observer.of(fifth), "heartbeats")
        cluster.until(lambda: fifth.logged("started too often"), "it says that it is unfit")

    @pytest.mark.parametrize(("number", "kept"), [(signal.SIGTERM, set()), (signal.SIGQUIT, {"topology.json"})])
    def test_a_stop_ends_its_pause(self, cluster, notified, fifth, tmp_path, number, kept):
        (tmp_path / "topology.json").write_text("what the daemon before discovered")
        cluster.until(lambda: fifth.logged("start 5 within a minute: pausing"), "it says that it pauses")
        fifth.send(number)
        assert fifth.wait() == 0
        assert "READY=1" not in notified.lines
        assert [entry for entry in cluster.record() if entry.kind == "call"] == []
        assert {path.name for path in tmp_path.iterdir()} & {"starts", "topology.json"} == kept
