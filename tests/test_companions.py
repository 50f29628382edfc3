"""Health checks as an operator has them: real daemons whose service fails, hangs, comes back, or is checked otherwise after a reload."""

from __future__ import annotations

import signal
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Self

import pytest

from tests.beside import New, beside, outcomes  # noqa: F401
from tests.cluster import Cluster, Process
from tests.test_cluster import never_without_a_holder

OFTEN = ["--check-interval", "0.1", "--check-timeout", "2", "--check-rise", "2", "--check-fall", "2"]


class Services:
    """A file for each node: its service is well while the file is there."""

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


def passing(node: Process) -> bool:
    said = [line for line in node.log if "health check command " in line and ("fails" in line or "passes" in line)]
    return bool(said) and "passes" in said[-1]


@beside
def test_a_failing_service_hands_over_without_a_gap_and_comes_back(new: New) -> None:
    with new(3) as cluster, Services(cluster) as services:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        services.break_("n1")
        cluster.settle("n2")
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]
        assert cluster["n1"].logged("health check command fails: exit status 1")
        services.mend("n1")
        cluster.settle("n1")
        assert never_without_a_holder(cluster, mark)


@beside
def test_where_all_services_fail_nothing_moves_until_one_is_well(new: New) -> None:
    with new(2) as cluster, Services(cluster) as services:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        services.break_("n2")
        cluster.until(lambda: cluster["n2"].logged("check command fails"), "n2 fails")
        services.break_("n1")
        cluster.until(lambda: cluster["n1"].logged("check command fails"), "n1 fails")
        assert all(holders == {"n1"} for holders in cluster.watch(2 * cluster.dead_time))
        assert cluster.moves(mark) == []
        services.mend("n2")
        cluster.settle("n2")
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]


@beside
def test_a_node_that_starts_with_a_broken_service_takes_nothing(new: New) -> None:
    """However long its first result takes: here longer than its dead time."""
    with new(2) as cluster, Services(cluster) as services:
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
        assert all(holders == {"n2"} for holders in cluster.watch(2 * cluster.dead_time))
        assert cluster.moves(mark) == []
        assert better.logged("stepping aside if another can serve: health check command has no result yet")
        services.mend("n1")
        cluster.settle("n1")


@beside
def test_a_node_alone_serves_though_its_service_fails(new: New) -> None:
    with new(1) as cluster, Services(cluster) as services:
        services.break_("n1")
        cluster.start()
        cluster.settle("n1")
        assert not passing(cluster["n1"])


@pytest.mark.parametrize("kind", ["deaf", "flood", "forks"])
@beside
def test_a_check_that_hangs_moves_the_address_and_stops_no_heartbeat(new: New, kind: str) -> None:
    lines = {
        "deaf": "trap '' TERM; while :; do sleep 0.05; done",
        "flood": "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyy; done",
        "forks": "trap '' TERM; for i in 1 2 3 4 5 6 7 8; do (while :; do sleep 0.1; done) & done; wait",
    }
    with new(2) as cluster, tempfile.TemporaryDirectory(prefix="exoip-services-") as folder:
        node, flag = cluster["n1"], Path(folder, "hang")
        line = f"test -e {flag} || exit 0; {lines[kind]}"
        node.words += ["--check-command", line, *OFTEN, "--check-timeout", "0.3"]
        cluster.start()
        cluster.settle("n1")
        flag.touch()
        mark = cluster.mark
        cluster.settle("n2")
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]
        beats = cluster.observer.of(node)
        assert max(later.at - earlier.at for earlier, later in pairwise(beats)) < cluster.dead_time
        flag.unlink()
        cluster.settle("n1")


@beside
def test_a_holder_that_crashed_and_is_back_in_time_moves_nothing_for_want_of_a_result(new: New) -> None:
    run = tempfile.TemporaryDirectory(prefix="exoip-run-")
    with new(2, interval=0.5, ratio=6) as cluster, Services(cluster), run as folder:
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
        assert not cluster["n2"].logged("MASTER now")


def with_file(node: Process, folder: str, text: str) -> Path:
    path = Path(folder, "exoip.conf")
    path.write_text(text)
    node.words += ["-c", str(path)]
    return path


@beside
def test_a_reload_adds_changes_and_takes_out_a_check(new: New) -> None:
    with new(2) as cluster, tempfile.TemporaryDirectory(prefix="exoip-conf-") as folder:
        node = cluster["n1"]
        often = "check-interval = 0.1\ncheck-fall = 2\n"
        path = with_file(node, folder, often)
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        for number, text in enumerate(
            (f"check-command = true\n{often}", "check-command = true\ncheck-interval = 0.2\n"), 1
        ):
            path.write_text(text)
            node.send(signal.SIGHUP)
            cluster.until(lambda n=number: len(node.logged("read again and in force")) == n, "it is read again")
        assert all(holders == {"n1"} for holders in cluster.watch(cluster.dead_time))
        assert cluster.moves(mark) == []
        path.write_text(f"check-command = false\n{often}")
        node.send(signal.SIGHUP)
        cluster.settle("n2")
        path.write_text(often)
        node.send(signal.SIGHUP)
        cluster.settle("n1")
        path.write_text("check-command = true\ncheck-fall = 0\n")
        node.send(signal.SIGHUP)
        cluster.until(lambda: node.logged("stays as it was"), "the reason")
        assert "check-fall" in node.logged("stays as it was")[0]


@beside
def test_a_stop_leaves_no_child_behind(new: New) -> None:
    with new(2) as cluster, tempfile.TemporaryDirectory(prefix="exoip-pids-") as folder:
        node, pids = cluster["n1"], Path(folder, "pids")
        node.words += ["--check-command", f"trap '' TERM; echo $$ >>{pids}; exec sleep 25", "--check-timeout", "30"]
        cluster.start()
        cluster.settle("n2")
        cluster.until(lambda: pids.exists() and pids.read_text(), "the check runs")
        assert node.stop() == 0
        pid = int(pids.read_text().split()[-1])
        cluster.until(lambda: not Path(f"/proc/{pid}").exists(), "its check is gone")


@beside
def test_a_check_sees_no_secret(new: New) -> None:
    with new(1) as cluster, tempfile.TemporaryDirectory(prefix="exoip-env-") as folder:
        node, seen = cluster["n1"], Path(folder, "env")
        node.env |= {"NOTIFY_SOCKET": f"{folder}/notify", "MINE": "kept"}
        node.words += ["--check-command", f"env >{seen}.new && mv {seen}.new {seen}"]
        cluster.start()
        cluster.settle("n1")
        cluster.until(seen.exists, "the check ran")
        text = seen.read_text()
        assert node.env["IF_EXOSCALE_API_SECRET"] not in text
        assert not [line for line in text.splitlines() if line.startswith(("IF_", "EXOSCALE_", "NOTIFY_", "PYTHON"))]
        assert "MINE=kept" in text.splitlines()
