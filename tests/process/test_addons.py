"""Health checks, hooks and metrics of real daemons: each edge once, in a process.

The unit tests of health, hooks and the exporter have the details.
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
from itertools import pairwise
from pathlib import Path
from typing import Self
from urllib.request import urlopen

import pytest

from tests.process.test_cluster import never_without_a_holder
from tests.support.cluster import Cluster
from tests.support.process import Process
from tests.support.waiting import PATIENCE

OFTEN = ["--check-interval", "0.1", "--check-timeout", "2", "--check-rise", "2", "--check-fall", "2"]


class Services:
    """A file for each node: its service works as long as the file exists."""

    def __init__(self, cluster: Cluster) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="exoip-services-")
        for name, node in cluster.nodes.items():
            self.mend(name)
            node.words += ["--check-command", f"test -e {self[name]}", *OFTEN]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def __getitem__(self, name: str) -> Path:
        return Path(self._folder.name, name)

    def mend(self, name: str) -> None:
        self[name].touch()

    def break_(self, name: str) -> None:
        self[name].unlink()


def test_a_failing_service_hands_over_without_a_gap_and_comes_back() -> None:
    with Cluster(2) as cluster, Services(cluster) as services:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        services.break_("n1")
        cluster.settle("n2")
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]
        assert cluster["n1"].logged("health check command fails: exit status 1")
        services.mend("n1")
        cluster.until(lambda: "n1" in cluster.holders(), "n1 takes it back")
        assert never_without_a_holder(cluster, mark)


def test_a_node_that_starts_with_a_broken_service_takes_nothing() -> None:
    """Even if its first result takes longer than the dead time, as here."""
    with Cluster(2) as cluster, Services(cluster) as services:
        better = cluster["n1"]
        better.words[better.words.index("--check-command") + 1] = (
            f"sleep {1.5 * cluster.dead_time:g}; test -e {services['n1']}"
        )
        services.break_("n1")
        cluster.start("n2")
        cluster.settle("n2")
        mark = cluster.mark
        cluster.start("n1")
        cluster.until(lambda: better.logged("check command fails"), "its first result")
        assert cluster.moves(mark) == []
        assert better.logged("stepping aside if another node can serve: health check command has no result yet")
        services.mend("n1")
        cluster.until(lambda: "n1" in cluster.holders(), "n1 takes it")


def regular(cluster: Cluster, node: Process, since: float = 0.0) -> bool:
    """Whether no pause between this node's heartbeats came near the dead time."""
    beats = cluster.observer.of(node, since)
    return max(later.at - earlier.at for earlier, later in pairwise(beats)) < cluster.dead_time


def test_a_check_that_hangs_moves_the_address_and_delays_no_heartbeat() -> None:
    """It ignores SIGTERM, starts children that ignore it too, and writes without end."""
    hang = (
        "trap '' TERM; for i in 1 2 3 4; do (while :; do sleep 0.1; done) & done; while :; do echo yyyyyyyyyyyy; done"
    )
    with Cluster(2) as cluster, tempfile.TemporaryDirectory(prefix="exoip-services-") as folder:
        node, flag = cluster["n1"], Path(folder, "hang")
        node.words += ["--check-command", f"test -e {flag} || exit 0; {hang}", *OFTEN, "--check-timeout", "0.3"]
        cluster.start()
        cluster.settle("n1")
        flag.touch()
        mark = cluster.mark
        cluster.settle("n2")
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]
        assert regular(cluster, node)
        flag.unlink()
        cluster.until(lambda: "n1" in cluster.holders(), "n1 takes it back")


def test_a_holder_that_crashed_and_is_back_in_time_moves_nothing_for_lack_of_a_result() -> None:
    run = tempfile.TemporaryDirectory(prefix="exoip-run-")
    with Cluster(2, interval=0.5, ratio=6) as cluster, Services(cluster), run as folder:
        holder = cluster["n1"]
        holder.env["RUNTIME_DIRECTORY"] = folder
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        holder.kill()
        holder.start()
        cluster.until(lambda: holder.role == "MASTER", "it is master again")
        cluster.settle("n1")
        assert cluster.moves(mark) == [("n1", "attach", "n1")] or cluster.moves(mark) == []
        assert cluster.history(mark) == []
        assert not cluster["n2"].logged("role MASTER (was")


@pytest.mark.parametrize("besides", ["", "looked for elsewhere", "not kept"])
def test_a_node_whose_service_fails_and_that_is_restarted_takes_nothing(besides: str) -> None:
    """Nor does it if the same broken service is looked for elsewhere from then on, or if a full
    runtime directory could not keep that it fails.
    """
    run = tempfile.TemporaryDirectory(prefix="exoip-run-")
    with Cluster(2, interval=0.2) as cluster, Services(cluster) as services, run as folder:
        broken = cluster["n1"]
        broken.env["RUNTIME_DIRECTORY"] = folder
        cluster.start()
        cluster.settle("n1")
        if besides == "not kept":
            Path(folder, "checks.new").mkdir()  # even root cannot write to it as to a file
        services.break_("n1")
        cluster.settle("n2")
        assert (besides == "not kept") == bool(broken.logged("which health checks fail is not kept"))
        mark = cluster.mark
        broken.words += ["--check-fall", "100"]  # if it began as passing, it would take the EIP for seconds
        if besides == "looked for elsewhere":
            at = broken.words.index("--check-command")
            broken.words[at : at + 2] = ["--check-tcp", f"{broken.address}:1"]
        broken.send(signal.SIGQUIT)
        assert broken.wait() == 0
        broken.start()
        cluster.until(lambda: broken.role == "BACKUP", "it has listened")
        cluster.until(lambda: broken.logged(" fails: "), "it has a result")
        assert cluster.moves(mark) == []


def with_file(node: Process, folder: str, text: str) -> Path:
    path = Path(folder, "exoip.conf")
    path.write_text(text)
    node.words += ["-c", str(path)]
    return path


def test_a_reload_adds_changes_and_removes_a_check() -> None:
    with Cluster(2, ratio=15) as cluster, tempfile.TemporaryDirectory(prefix="exoip-conf-") as folder:
        node = cluster["n1"]
        often = "check-interval = 0.1\ncheck-fall = 2\n"
        path = with_file(node, folder, often)
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        for text in (f"check-command = true\n{often}", "check-command = true\ncheck-interval = 0.2\n"):
            path.write_text(text)
            cluster.reload("n1")
        assert all(holders == {"n1"} for holders in cluster.watch(cluster.dead_time))
        assert cluster.moves(mark) == []
        path.write_text(f"check-command = false\n{often}")
        node.send(signal.SIGHUP)
        cluster.settle("n2")
        mark = cluster.mark
        # The same broken service, found elsewhere: if the check began as passing, it would fail only in ten seconds.
        path.write_text(f"check-tcp = {node.address}:1\ncheck-interval = 0.1\ncheck-fall = 100\n")
        cluster.reload("n1")
        cluster.until(lambda: node.logged(f"health check tcp {node.address}:1 fails"), "the new one has a result")
        assert cluster.moves(mark) == []
        path.write_text(often)
        node.send(signal.SIGHUP)
        cluster.until(lambda: "n1" in cluster.holders(), "n1 takes it back")


# -- hooks


class Calls:
    """The calls of the nodes' notify programs, in order. `body`: what else each call does."""

    def __init__(self, cluster: Cluster, body: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="exoip-hooks-")
        self._names = {node.id: name for name, node in cluster.nodes.items()}
        self.log = Path(self._folder.name, "log")
        self.program = Path(self._folder.name, "hook")
        line = "$EXOIP_INSTANCE $$ $1 $EXOIP_HOLDS $EXOIP_OLD_ROLE"
        self.program.write_text(f'#!/bin/sh\necho "{line}" >>{self.log}\n{body}\n')
        self.program.chmod(0o755)
        for node in cluster.nodes.values():
            node.words += ["--notify", str(self.program)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def _all(self, name: str) -> list[list[str]]:
        calls = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [rest for instance, *rest in calls if self._names[instance] == name]

    def of(self, name: str) -> list[str]:
        """ "role holds old-role" of each call of one node."""
        return [" ".join(rest[1:]) for rest in self._all(name)]

    def pid(self, name: str) -> int:
        """Return the process id of the last call of one node."""
        return int(self._all(name)[-1][0])


def test_each_change_is_reported_in_order_with_the_last_one_of_a_stop() -> None:
    with Cluster(2, ratio=15) as cluster, Calls(cluster) as calls:
        cluster.start()
        cluster.settle("n1")
        cluster.until(lambda: len(calls.of("n1")) == 2 and calls.of("n2"), "both are told")
        assert cluster["n1"].stop() == 0
        assert calls.of("n1") == ["MASTER no LISTENING", "MASTER yes MASTER", "BACKUP yes MASTER", "BACKUP no BACKUP"]
        cluster.settle("n2")
        cluster.until(lambda: len(calls.of("n2")) == 3, "n2 is told")
        assert calls.of("n2") == ["BACKUP no LISTENING", "MASTER no BACKUP", "MASTER yes MASTER"]
        assert len(cluster["n2"].logged("the notify program finished in")) == 3


def test_a_hook_that_hangs_delays_no_heartbeat_and_no_move_and_a_stop_no_longer_than_the_leave_timeout() -> None:
    with (
        Cluster(2, ratio=10, options=("-v", "--leave-timeout", "1.5")) as cluster,
        Calls(cluster, "trap '' TERM; while :; do sleep 0.05; done") as calls,
    ):
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        assert cluster["n1"].stop() == 0
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]
        assert all(regular(cluster, cluster[name]) for name in ("n1", "n2"))
        assert cluster["n1"].logged("stopped before the notify program was called for every change")
        pid = calls.pid("n1")
        cluster.until(lambda: not Path(f"/proc/{pid}").exists(), "its call is killed")


def test_a_reload_calls_another_program_at_once_and_rejects_one_that_does_not_exist() -> None:
    with Cluster(1) as cluster, Calls(cluster) as calls, tempfile.TemporaryDirectory(prefix="exoip-conf-") as folder:
        node = cluster["n1"]
        del node.words[-2:]
        path = with_file(node, folder, "")
        cluster.start()
        cluster.settle("n1")
        path.write_text(f"notify = {calls.program}\n")
        node.send(signal.SIGHUP)
        cluster.until(lambda: calls.of("n1") == ["MASTER yes LISTENING"], "it is told")
        path.write_text(f"notify = {folder}/nothing\n")
        node.send(signal.SIGHUP)
        cluster.until(lambda: node.logged("stays as it was"), "the reason")
        assert f"--notify {folder}/nothing: there is no such file" in node.logged("stays as it was")[0]
        path.write_text("")
        cluster.reload("n1")


def test_a_program_that_does_not_exist_ends_the_start() -> None:
    with Cluster(1) as cluster:
        node = cluster["n1"]
        node.words += ["--notify", "/nowhere/hook"]
        cluster.start()
        assert node.wait() == 78
        assert node.logged("--notify /nowhere/hook: there is no such file")
        node.close(gently=True)
        node.exits.clear()  # the cluster takes any other end than 0 for a failure


# -- metrics


def scrape(node: Process, port: int) -> dict[str, float]:
    """Return the samples of one node, by name and labels."""
    with urlopen(f"http://{node.address}:{port}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_metrics_show_a_failover() -> None:
    with Cluster(2, ratio=15) as cluster, Services(cluster) as services:
        port = 20000 + cluster.port % 10000  # each node has an address of its own
        for node in cluster.nodes.values():
            node.words += ["--metrics-listen", f"{node.address}:{port}"]
        cluster.start()
        cluster.settle("n1")
        before = scrape(cluster["n2"], port)
        assert before["exoip_holds"] == 0
        assert before['exoip_role{role="BACKUP"}'] == 1
        assert before["exoip_peers"] == 2  # the observer too
        services.break_("n1")
        cluster.settle("n2")
        cluster.until(lambda: scrape(cluster["n2"], port)["exoip_failovers_total"] == 1, "it is counted")
        after, other = scrape(cluster["n2"], port), scrape(cluster["n1"], port)
        assert after["exoip_holds"] == 1
        assert after['exoip_moves_total{move="attach"}'] == 1
        assert after['exoip_api_calls_total{call="attach",outcome="done"}'] == 1
        assert after["exoip_heartbeats_sent_total"] > before["exoip_heartbeats_sent_total"]
        assert after["exoip_datagrams_received_total"] > before["exoip_datagrams_received_total"]
        assert other["exoip_unfit"] == 1
        assert other['exoip_check_state{check="command",state="failing"}'] == 1
        assert other['exoip_unfit_reason{reason="health check command"}'] == 1
        secret = cluster["n1"].env["IF_EXOSCALE_API_SECRET"]
        assert secret not in urlopen(f"http://{cluster['n1'].address}:{port}/metrics").read().decode()


def test_a_flood_of_scrapes_delays_no_heartbeat() -> None:
    with Cluster(2, interval=0.1, ratio=10) as cluster:
        node, port = cluster["n1"], 20000 + cluster.port % 10000
        node.words += ["--metrics-listen", f"{node.address}:{port}"]
        cluster.start()
        cluster.settle("n1")
        since, stop = cluster.observer.heard[-1].at, threading.Event()

        def flood() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    scrape(node, port)

        threads = [threading.Thread(target=flood) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            cluster.until(lambda: len(cluster.observer.of(node, since)) > 20, "twenty heartbeats")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert regular(cluster, node, since)
        assert cluster.holders() == {"n1"}
