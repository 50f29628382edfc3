"""The daemon as systemd sees it: a real `exoip -W` beside a simulated zone, and a notification socket of the test's own."""

from __future__ import annotations

import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exoip.daemon.clock import clock
from exoip.daemon.state_files import PAUSE, SLOW
from tests.support.cluster import Cluster
from tests.support.process import Process
from tests.support.waiting import until


class Notified:
    """The receiving end of $NOTIFY_SOCKET, which reads as systemd does. `texts` are the datagrams so far, in order."""

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
        """The assignments, in order."""
        return [line for text in list(self.texts) for line in text.split("\n")]

    @property
    def statuses(self) -> list[str]:
        return [line.removeprefix("STATUS=") for line in self.lines if line.startswith("STATUS=")]

    def drain(self) -> list[str]:
        """Everything that was sent before this call."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"LAST", self.path)
        until(lambda: "LAST" in self.texts, "the last datagram")
        self.texts.remove("LAST")
        return self.texts

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
    """One node, not started, that tells `notified`."""
    with Cluster(nodes=1) as made:
        made["n1"].env["NOTIFY_SOCKET"] = notified.path
        yield made


def ready(cluster: Cluster, notified: Notified, count: int = 1) -> None:
    cluster.until(lambda: notified.lines.count("READY=1") >= count, f"READY=1 (for the time {count})")


class TestNotifications:
    def test_ready_only_after_the_discovery(self, cluster, notified):
        cluster.fault("status", status=503)
        cluster.start()
        cluster.until(lambda: notified.statuses, "a status")
        assert re.match("waiting for the API: .*503", notified.statuses[0])
        calls = len(cluster.record())
        cluster.until(lambda: len(cluster.record()) > calls, "another try")
        assert "READY=1" not in notified.lines
        assert cluster["n1"].running
        assert cluster.observer.of(cluster["n1"]) == []
        cluster.clear()
        ready(cluster, notified)
        cluster.settle("n1")

    def test_waiting_for_the_api_does_not_run_into_a_start_timeout(self, cluster, notified):
        cluster.fault("drop")
        cluster.start()
        cluster.until(
            lambda: len([x for x in notified.lines if x.startswith("EXTEND_TIMEOUT_USEC=")]) >= 2, "two extensions"
        )
        longest_wait = 36e6  # microseconds, with jitter
        assert all(int(x.split("=")[1]) > longest_wait for x in notified.lines if x.startswith("EXTEND_TIMEOUT_USEC="))

    def test_the_wait_is_logged_once_not_with_each_try(self, cluster, notified):
        cluster.fault("status", status=503)
        cluster.start()
        cluster.until(
            lambda: len([x for x in notified.lines if x.startswith("EXTEND_TIMEOUT_USEC=")]) >= 3, "three tries"
        )
        assert len(cluster["n1"].logged("waiting for the API")) == 1

    def test_a_status_is_ascii_and_one_line_whatever_the_api_says(self, cluster, notified):
        cluster.fault("status", status=503, message="Größe\nREADY=1\nzwei ☃")
        cluster.start()
        cluster.until(lambda: notified.statuses, "a status")
        assert all(text.isascii() for text in notified.texts)
        assert "READY=1" not in notified.lines
        assert "zwei" in notified.statuses[0]

    def test_the_status_follows_the_node(self, cluster, notified):
        cluster.start()
        cluster.until(
            lambda: f"MASTER of {cluster.eip}, 0 of 1 peers alive" in notified.statuses, "the status of a master"
        )
        assert notified.statuses[0].startswith(f"LISTENING for {cluster.eip}")

    def test_the_status_tells_of_an_api_that_fails(self, cluster, notified):
        cluster["n1"].words += ["--verify-interval", "0.5"]
        cluster.start()
        cluster.settle("n1")
        cluster.fault("status", status=500)
        cluster.until(lambda: "degraded" in notified.statuses[-1], "a status that tells of it")
        cluster.clear()
        cluster.until(lambda: "degraded" not in notified.statuses[-1], "a status that does not any more")

    def test_the_watchdog_is_fed_in_time(self, cluster, notified):
        cluster["n1"].env["WATCHDOG_USEC"] = "100000"
        cluster.start()
        ready(cluster, notified)
        cluster.until(lambda: notified.lines.count("WATCHDOG=1") >= 20, "twenty pings")

    def test_stopping_asks_for_as_long_as_the_hand_over_may_take(self, cluster, notified):
        cluster["n1"].words += ["--leave-timeout", "7"]
        cluster.start()
        cluster.settle("n1")
        assert cluster["n1"].stop() == 0
        (text,) = [text for text in notified.texts if "STOPPING=1" in text]
        found = re.search(r"^EXTEND_TIMEOUT_USEC=(\d+)$", text, re.MULTILINE)
        assert found
        assert int(found[1]) >= 7_000_000
        assert cluster.holders() == set()

    def test_no_socket_no_trouble(self, cluster, notified):
        cluster["n1"].env["NOTIFY_SOCKET"] = notified.path + "-that-is-not-there"
        cluster.start()
        cluster.settle("n1")


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "hang", "seconds": 60.0}])
    def test_while_it_waits_for_the_api(self, cluster, notified, number, fault):
        fault = dict(fault)
        cluster.fault(fault.pop("kind"), **fault)
        cluster.start()
        cluster.until(lambda: notified.statuses, "a status")
        cluster["n1"].send(number)
        assert cluster["n1"].wait() == 0
        assert "READY=1" not in notified.lines

    def test_at_any_moment_of_the_start(self, cluster, notified):
        """The signal may come before the handler is there: then it ends the process as signals do. Never a traceback."""
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

    def test_twice_is_as_good_as_once(self, cluster, notified):
        cluster.start()
        cluster.settle("n1")
        cluster.fault("hang", method="PUT", seconds=1.0, when="before")
        cluster["n1"].send(signal.SIGTERM)
        cluster.until(lambda: "STOPPING=1" in notified.lines, "STOPPING=1")
        cluster["n1"].send(signal.SIGTERM)
        assert cluster["n1"].wait() == 0
        assert notified.lines.count("STOPPING=1") == 1
        assert cluster.holders() == set()

    def test_an_api_that_hangs_does_not_hold_it_for_ever(self, cluster, notified):
        cluster["n1"].words += ["--leave-timeout", "0.5"]
        cluster.start()
        cluster.settle("n1")
        cluster.fault("hang", seconds=60.0)
        assert cluster["n1"].stop() == 0
        assert cluster["n1"].logged("still holding")


class TestRefusedStarts:
    def test_the_port_is_in_use(self, cluster):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((cluster["n1"].address, cluster.port))
            cluster.start()
            assert cluster["n1"].wait() == 78
        node = cluster["n1"]
        until(lambda: node.logged("in use"), "the message")
        assert node.logged(f"{node.address}:{cluster.port} is in use")
        assert node.logged("Traceback") == []
        self.forgive(node)

    def test_the_address_is_of_another_machine(self, cluster):
        node = cluster["n1"]
        node.words[node.words.index("-l") + 1] = "192.0.2.1:12345"
        self.fails(node, 78, "192.0.2.1:12345 is no address of this machine")

    @pytest.mark.parametrize("status", [401, 403])
    def test_the_key_is_refused(self, cluster, notified, status):
        cluster.fault("status", status=status)
        self.fails(cluster["n1"], 77, "the API key")
        assert "READY=1" not in notified.lines

    def test_an_eip_that_the_zone_does_not_know(self, cluster):
        node = cluster["n1"]
        node.words[node.words.index("-xi") + 1] = "192.0.2.77"
        self.fails(node, 78, "192.0.2.77")

    def fails(self, node: Process, code: int, text: str) -> None:
        node.start()
        assert node.wait() == code
        until(lambda: node.logged(text), f"a line with {text}")
        assert node.logged("Traceback") == []
        self.forgive(node)

    def forgive(self, node: Process) -> None:
        """The cluster takes any other end than 0 for a failure."""
        node.close(gently=True)
        node.exits.clear()


class TestSignals:
    def heard(self, cluster: Cluster, priority: int) -> None:
        cluster.until(
            lambda: (
                cluster.observer.of(cluster["n1"])[-1:]
                and cluster.observer.of(cluster["n1"])[-1].heartbeat.priority == priority
            ),
            f"priority {priority} is heard",
        )

    def with_file(self, cluster: Cluster, path: Path, text: str) -> Process:
        """The node with its priority from a file."""
        node = cluster["n1"]
        path.write_text(text)
        at = node.words.index("-P")
        node.words[at : at + 2] = ["-c", str(path)]
        return node

    def test_one_better_and_one_worse(self, cluster):
        cluster.start()
        cluster.settle("n1")
        for number, priority in ((signal.SIGUSR1, 9), (signal.SIGUSR1, 8), (signal.SIGUSR2, 9), (signal.SIGUSR2, 10)):
            cluster["n1"].send(number)
            self.heard(cluster, priority)

    @pytest.mark.parametrize(("start", "number"), [("1", signal.SIGUSR1), ("252", signal.SIGUSR2)])
    def test_never_out_of_its_range(self, cluster, start, number):
        node = cluster["n1"]
        node.words[node.words.index("-P") + 1] = start
        cluster.start()
        cluster.settle("n1")
        node.send(number)
        cluster.until(lambda: node.logged("requested by a signal"), "the signal was taken")
        count = len(cluster.observer.of(node))
        cluster.until(lambda: len(cluster.observer.of(node)) >= count + 3, "some heartbeats more")
        assert {heard.heartbeat.priority for heard in cluster.observer.of(node)} == {int(start)}

    def test_reload(self, cluster, notified, tmp_path):
        path = tmp_path / "exoip.conf"
        node = self.with_file(cluster, path, "host-priority = 30\n")
        cluster.start()
        cluster.settle("n1")
        self.heard(cluster, 30)
        mark = cluster.mark
        path.write_text("host-priority = 40\nadvertisement-interval = 0.2\n")
        node.send(signal.SIGHUP)
        self.heard(cluster, 40)
        ready(cluster, notified, 2)
        lines = notified.lines
        reloading = lines.index("RELOADING=1")
        assert int(lines[reloading + 1].removeprefix("MONOTONIC_USEC=")) > 0
        assert lines.index("READY=1", reloading) > reloading
        assert cluster.mutations(mark) == []
        assert cluster.holders() == {"n1"}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("host-priority = 300\n", "300"),
            ("no-such-option = 1\n", "no-such-option"),
            ("host-priority = 40\nlog-stdout = yes\n", "log-stdout cannot be changed by a reload"),
            (None, "exoip.conf"),
        ],
    )
    def test_a_reload_that_can_not_be_changes_nothing(self, cluster, notified, tmp_path, text, said):
        path = tmp_path / "exoip.conf"
        node = self.with_file(cluster, path, "host-priority = 30\n")
        cluster.start()
        cluster.settle("n1")
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        node.send(signal.SIGHUP)
        ready(cluster, notified, 2)
        cluster.until(lambda: node.logged("stays as it was"), "the reason")
        assert said in node.logged("stays as it was")[0]
        count = len(cluster.observer.of(node))
        cluster.until(lambda: len(cluster.observer.of(node)) >= count + 3, "some heartbeats more")
        assert {heard.heartbeat.priority for heard in cluster.observer.of(node)} == {30}
        assert cluster.holders() == {"n1"}

    def test_a_reload_while_the_api_is_away_changes_nothing(self, cluster, notified, tmp_path):
        path = tmp_path / "exoip.conf"
        node = self.with_file(cluster, path, "host-priority = 30\n")
        cluster.start()
        cluster.settle("n1")
        path.write_text("host-priority = 40\n")
        cluster.fault("status", status=503)
        node.send(signal.SIGHUP)
        ready(cluster, notified, 2)
        cluster.clear()
        node.send(signal.SIGHUP)
        self.heard(cluster, 40)


class TestRestarts:
    def test_after_a_crash_it_is_there_at_once_even_without_the_api(self, cluster, notified, tmp_path):
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
        cluster.clear()
        cluster.settle("n1")
        assert node.stop() == 0
        assert list(runtime.iterdir()) == [], "a planned stop leaves something behind"

    def test_what_is_remembered_may_be_nonsense(self, cluster, notified, tmp_path):
        node = cluster["n1"]
        node.env["RUNTIME_DIRECTORY"] = str(tmp_path)
        cluster.start()
        cluster.settle("n1")
        node.kill()
        for path in tmp_path.iterdir():
            if path.is_file():
                path.write_bytes(b"\xff{[nonsense")
        node.start()
        cluster.settle("n1")


class TestCrashLoop:
    """Its fifth start within a minute."""

    @pytest.fixture
    def fifth(self, cluster, tmp_path) -> Iterator[Process]:
        node = cluster["n1"]
        node.env["RUNTIME_DIRECTORY"] = str(tmp_path)
        (tmp_path / "starts").write_text(f"{clock()}\n" * (SLOW - 1))
        self.since = clock()
        cluster.start()
        cluster.until(lambda: len((tmp_path / "starts").read_text().split()) == SLOW, "the start is noted")
        return node

    def test_it_is_silent_for_a_second_and_then_stands_aside(self, cluster, notified, fifth):
        ready(cluster, notified)
        assert clock() - self.since >= PAUSE
        cluster.until(lambda: cluster.observer.of(fifth), "heartbeats")
        cluster.until(lambda: fifth.logged("started too often"), "it tells that it stands aside")

    def test_a_stop_ends_its_pause(self, cluster, notified, fifth, tmp_path):
        cluster.until(lambda: fifth.logged("start 5 within a minute: pausing"), "it tells that it pauses")
        assert fifth.stop() == 0
        assert "READY=1" not in notified.lines
        assert [entry for entry in cluster.record() if entry.kind == "call"] == []
        assert not (tmp_path / "starts").exists()
