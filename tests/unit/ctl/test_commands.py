"""exoipctl as an operator runs it: the command, with real daemons and their control sockets."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from exoip import __version__
from exoip.ctl.__main__ import COMMANDS
from exoip.ctl.client import TIMEOUT
from exoip.ctl.options import build_parser
from tests.support.cluster import Cluster
from tests.support.ctl import Ctl, on_a_terminal
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.slow


def test_where_nothing_runs_nothing_is_known(ctl: Ctl) -> None:
    ctl.executed = True
    assert "no exoip runs here, or only without a control socket" in ctl(code=3, errors=True)
    assert "web is not running" in ctl("status", "web", code=3)
    assert ctl.json() == {"version": 1, "level": "unknown", "instances": []}
    for command in (("drain",), ("undrain",), ("failover",), ("wait", "--role", "master", "--timeout", "0")):
        assert "web is not running" in ctl(*command, "web", code=3, errors=True)


def test_two_healthy_daemons(cluster: Cluster, ctl: Ctl) -> None:
    until(lambda: [ctl.level(name) for name in ("n1", "n2")] == ["healthy"] * 2, "both are healthy")
    text = ctl()
    assert f"n1  {cluster.eip}  MASTER  healthy\n" in text
    assert f"n2  {cluster.eip}  BACKUP  healthy\n" in text
    assert "\x1b" not in text
    for env, colored in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        assert ("\x1b[" in on_a_terminal(ctl, env)) is colored
    both = ctl.json()
    assert [one["name"] for one in both["instances"]] == ["n1", "n2"]
    status = both["instances"][0]["status"]
    assert (status["instance"], status["eip"]) == (cluster["n1"].id, cluster.eip)
    assert abs(status["at"] - time.time()) < PATIENCE
    assert [one["name"] for one in ctl.json("n2")["instances"]] == ["n2"]
    metrics = ctl("metrics", "n1").splitlines()
    assert "exoip_holds 1.0" in metrics
    assert 'exoip_role{role="MASTER"} 1.0' in metrics
    with subprocess.Popen(["sh", "-c", '"$@" | true', "sh", *ctl.program], env=ctl.env, cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader_left:  # fmt: skip
        assert reader_left.communicate(timeout=PATIENCE) == ("", "")


def test_daemons_in_trouble(cluster: Cluster, ctl: Ctl) -> None:
    cluster["n2"].kill()
    until(lambda: ctl.level("n1") == "degraded", "the death is noticed")
    assert f"! n2 ({cluster['n2'].address}) is not heard" in ctl("status", "n1", code=1)
    assert "  degraded\n" in ctl("status", "n1", "--fail-on", "critical"), "no reason to end the survivor"
    assert "nothing listens" in ctl("status", "--fail-on", "critical", code=2)
    assert "nothing listens" in ctl("status", "n2", code=2), "its socket is still there: it crashed"
    assert ctl.json()["level"] == "critical", "the worst of both"
    cluster.fault("status", status=503)
    until(lambda: "has failed for" in ctl("status", "n1", code=None), "the failing call is shown")
    cluster.clear()
    cluster["n1"].stop()
    assert "n1 is not running" in ctl("status", "n1", code=3)
    cluster.fault("status", method="PUT", status=503)
    cluster.start("n2")
    until(lambda: "MASTER  critical" in ctl("status", "n2", code=None), "a master that cannot attach")
    cluster.clear()


def test_a_failover_that_the_daemon_rejects(cluster: Cluster, ctl: Ctl) -> None:
    """Other orders, and their effect: tests/docs/test_operating.py."""
    assert "no failover: this node does not hold" in ctl("failover", "n2", code=1, errors=True)
    assert "takes it back after 600 s" in ctl("failover", "n1")
    ctl("wait", "n2", "--role", "master")
    cluster.settle("n2")
    assert "no node can take over: n1" in ctl("failover", "n2", code=1, errors=True)
    assert "forced, although no node can take over" in ctl("failover", "n2", "--force", "--for", "10")
    assert cluster.holders() == {"n2"}


def test_a_drain_or_its_end_that_a_restart_would_undo_is_not_done(cluster: Cluster, ctl: Ctl, tmp_path: Path) -> None:
    state = tmp_path / "lib" / "n2"
    state.rmdir()
    text = ctl("drain", "n2", code=1)
    assert f"this node steps aside, but only until its daemon ends: {state}/drained cannot be written" in text
    assert json.loads(ctl("drain", "n2", "--json", code=1))["lasting"] is False
    assert "drained by ann" in ctl("status", "n2", code=1), "it is in force all the same"
    (state / "drained").mkdir(parents=True)
    assert "the next start drains it again" in ctl("undrain", "n2", code=1)
    (state / "drained").rmdir()
    assert ctl("undrain", "n2") == "this node was not drained\n"


def test_waiting(cluster: Cluster, ctl: Ctl) -> None:
    began = time.monotonic()
    text = ctl("wait", "n2", "--role", "master", "--timeout", "0.5", code=1, errors=True)
    assert f"n2 is BACKUP and does not hold {cluster.eip} after " in text
    assert time.monotonic() - began >= 0.5
    cluster["n2"].stop()
    cluster.fault("status", status=503, key="EXOn2")
    later = threading.Timer(0.5, cluster.start, ["n2"])
    later.start()
    until(lambda: (ctl.runtime / "n2/control").exists(), "its socket")
    for condition in (("--role", "backup"), ("--holds", "yes"), ("--holds", "no")):
        assert "n2 is still starting" in ctl("wait", "n2", *condition, "--timeout", "0", code=1, errors=True)
    cluster.clear()
    assert ctl("wait", "n2", "--role", "backup", "--timeout", "60").startswith("n2 is BACKUP")
    later.join(PATIENCE)


def test_waiting_for_a_daemon_that_hangs_ends_in_time(cluster: Cluster, ctl: Ctl) -> None:
    cluster["n2"].send(signal.SIGSTOP)
    began = time.monotonic()
    words = ctl("wait", "n2", "--role", "master", "--timeout", "0.5", code=3, errors=True)
    assert "did not answer within 0.5 s, after waiting for" in words
    assert time.monotonic() - began < TIMEOUT
    cluster["n2"].send(signal.SIGCONT)


def test_an_order_that_a_daemon_which_hangs_did_not_answer_is_carried_out_later(cluster: Cluster, ctl: Ctl) -> None:
    cluster["n2"].send(signal.SIGSTOP)
    assert "n2 did not answer within 5 s, but may still" in ctl("drain", "n2", code=3, errors=True)
    cluster["n2"].send(signal.SIGCONT)
    until(lambda: "drained by ann" in ctl("status", "n2", code=None), "it is drained")


def test_waiting_believes_nothing_that_was_not_read(cluster: Cluster, ctl: Ctl) -> None:
    holder = next(iter(cluster.holders()))
    cluster.fault("status", status=503, key=f"EXO{holder}")
    cluster[holder].kill()
    cluster.start(holder)
    until(lambda: "has to read whether it holds" in ctl("status", holder, code=None), "it takes part")
    words = ctl("wait", holder, "--holds", "no", "--timeout", "0", code=1, errors=True)
    assert f"and has to read whether it holds {cluster.eip}" in words
    cluster.clear()
    assert "and holds" in ctl("wait", holder, "--holds", "yes")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("reboot",), "invalid choice: 'reboot'"),
        (("drain",), "required: NAME"),
        (("wait", "web"), "needs --role or --holds"),
        (("wait", "web", "--role", "king"), "invalid choice: 'king'"),
        (("wait", "web", "--role", "master", "--timeout", "soon"), "'soon' must be seconds from 0 to 86400"),
        (("wait", "web", "--role", "master", "--timeout", "nan"), "'nan' must be seconds"),
        (("failover", "web", "--for", "1"), "'1' must be seconds from 10 to 86400"),
        (("status", "--watch", "0"), "'0' must be seconds from 0.1"),
        (("status", "web", "--watch", "soon"), "'soon' must be seconds"),
        (("status", "-n", "-1"), "-1"),
        (("priority", "web", "0"), "'0' must be 1 to 252, the lowest wins"),
        (("priority", "web", "253"), "'253' must be 1 to 252"),
        (("priority", "web", "-5"), "'-5' must be 1 to 252"),
        (("drain", "web", "--why", "a\nb"), "must be one line of at most 200 characters"),
        (("drain", "../web"), "cannot be an instance name"),
    ],
)
def test_a_wrong_command_line_is_not_a_broken_service(ctl: Ctl, words: tuple[str, ...], text: str) -> None:
    assert re.search(text, ctl(*words, code=3, errors=True))


def test_the_version_and_the_help(ctl: Ctl) -> None:
    ctl.executed = True
    assert ctl("--version") == f"exoipctl {__version__}\n"
    text = ctl("--help")
    assert all(f"    {command} " in text for command in COMMANDS)


def test_the_cluster_from_any_node(cluster: Cluster, ctl: Ctl) -> None:
    for name in ("n1", "n2"):
        lines = [line.split() for line in ctl("cluster", name).splitlines()]
        assert lines[0][:2] == [name, cluster.eip]
        assert sorted(line[:4] for line in lines[2:]) == [
            ["n1", cluster["n1"].address, "MASTER", "10"],
            ["n2", cluster["n2"].address, "BACKUP", "20"],
        ]
    (one, two) = json.loads(ctl("cluster", "--json"))["clusters"]
    assert [node["role"] for node in one["nodes"]] == ["master", "backup"]
    assert [(node["name"], node["own"]) for node in two["nodes"]] == [("n2", True), ("n1", False)]
    cluster["n2"].stop()
    assert "n2 is not running" in ctl("cluster", "n2", code=3)


def test_every_command_that_reports_something_does_so_as_json(cluster: Cluster, ctl: Ctl, tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    for words in (
        ("status",), ("cluster",), ("wait", "n1", "--holds", "yes"), ("metrics", "n1"), ("drain", "n2"), ("undrain", "n2"),
        ("priority", "n2", "30"), ("failover", "n1"), ("history", "--input", str(tmp_path / "journal")),
    ):  # fmt: skip
        told = json.loads(ctl(*words, "--json", code=None))
        assert told["version"] == 1, words
    (sample,) = (
        one
        for one in json.loads(ctl("metrics", "n2", "--json"))["samples"]
        if one["name"] == "exoip_advertised_priority"
    )
    assert sample["value"] == 30


def test_the_last_events(cluster: Cluster, ctl: Ctl) -> None:
    def shown(*words: str) -> int:
        text = ctl("status", "n1", *words)
        return len(re.findall(r"\d\d:\d\d:\d\d  ", text))

    assert (shown(), shown("-n", "2"), shown("--lines", "0")) == (5, 2, 0)
    events = ctl.json("n1")["instances"][0]["status"]["events"]
    assert {"peer-alive", "role", "attached"} <= {one["event"] for one in events}
    assert {"info"} == {one["level"] for one in events}


@pytest.mark.parametrize(
    ("words", "watched"),
    [
        (["--watch"], (2.0, None)),
        (["--watch", "5"], (5.0, None)),
        (["--watch", "eip"], (2.0, "eip")),
        (["eip", "--watch"], (2.0, "eip")),
        (["--watch", "0.5", "eip"], (0.5, "eip")),
        (["eip"], (None, "eip")),
    ],
)
def test_the_seconds_of_watch_may_be_left_out(words: list[str], watched: tuple[float | None, str | None]) -> None:
    options = build_parser().parse_args(["status", *words])
    assert (options.watch, options.name) == watched
