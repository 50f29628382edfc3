"""The API's secret and the heartbeats' keys appear in nothing that a run shows or leaves behind.

One real daemon runs with --verbose through everything that can go wrong, and is then killed in a
way that dumps its stacks. Everything that it produced is searched. What the kernel shows to the
process's own user and to root, /proc/PID/environ and memory, is not searched: a secret in a
variable is there, as SECURITY.md says; one in a credential or a file is not.
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exoip.ctl.__main__ import run as exoipctl
from exoip.heartbeat.wire import Heartbeat, encode
from tests.process.test_cluster import Sender
from tests.process.test_daemon import Notified
from tests.support.cluster import Cluster
from tests.support.paths import ROOT
from tests.support.process import Process
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.xdist_group("secrets")  # they share one long run

AUTH_KEY, OLD_KEY = "ThE-kEy-oF-tHe-HeArTbEaTs", "aN-oLdEr-KeY-oF-tHeM"
COLLECT = (
    'cat /proc/self/environ /proc/self/cmdline /proc/$PPID/cmdline >>"%s"; '
    'for each in /proc/self/fd/*; do readlink "$each"; done >>"%s"'
)


class Run:
    """A cluster of one node with its secrets in its file, and all that it can write to or start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notified = Notified(folder / "notify")
        self.cluster = Cluster(1, options=("-v",))
        self.node: Process = self.cluster["n1"]
        self.node.executed = True  # with a command line of its own
        self.secret = self.node.env.pop("IF_EXOSCALE_API_SECRET")
        for name in ("run/web", "state", "children"):
            (folder / name).mkdir(parents=True)
        children = folder / "children" / "seen"
        hook = folder / "hook"
        hook.write_text("#!/bin/sh\n" + COLLECT % (children, children) + "\nexit 1\n")
        hook.chmod(0o755)
        self.file = folder / "exoip.conf"
        self.good = (
            f"exoscale-api-secret = {self.secret}\nauth-key = {AUTH_KEY},{OLD_KEY}\nnotify = {hook}\n"
            f"check-command = '{COLLECT % (children, children)}; echo $IF_AUTH_KEY'\ncheck-interval = 0.2\nverify-interval = 0.5\n"
        )
        self.write(self.good)
        self.node.words += ["-c", str(self.file)]
        self.node.env |= {
            "NOTIFY_SOCKET": self.notified.path,
            "RUNTIME_DIRECTORY": str(folder / "run" / "web"),
            "STATE_DIRECTORY": str(folder / "state"),
        }
        self.shown: list[str] = []

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.file.chmod(0o640)

    def ctl(self, *words: str) -> None:
        """Return the output of exoipctl."""
        out, errors = io.StringIO(), io.StringIO()
        exoipctl(["--runtime-dir", str(self.folder / "run"), *words], {}, out, errors)
        self.shown.append(out.getvalue() + errors.getvalue())

    def reload(self, text: str) -> None:
        """Reload this file, good or bad."""
        told = len(self.node.logged("configuration"))
        self.write(text)
        self.node.send(signal.SIGHUP)
        self.cluster.until(lambda: len(self.node.logged("configuration")) > told, "it is told what came of the reload")

    def left(self) -> Iterator[tuple[str, str]]:
        """Return everything that the run produced, by its place."""
        yield "the log", "\n".join(self.node.lines)
        yield "what systemd was told", "\n".join(self.notified.lines)
        yield "exoipctl and exoip -n", "\n".join(self.shown)
        for path in self.folder.rglob("*"):
            if path.is_file() and path != self.file:
                yield str(path), path.read_bytes().decode("utf-8", "replace")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict[str, str]]:
    """Return what is left of a run through everything that can go wrong."""
    run = Run(tmp_path_factory.mktemp("secrets"))
    node = run.node
    with run.cluster as cluster:
        cluster.fault("status", status=503)
        cluster.start()
        cluster.until(lambda: node.logged("waiting for the API"), "it waits for the API")
        cluster.clear()
        cluster.settle("n1")
        command_line = Path(f"/proc/{node.pid}/cmdline").read_bytes().decode()
        for kind in ("status", "drop", "garbage", "half"):
            number = len(cluster.record())
            cluster.fault(kind, count=2, **({"status": 500} if kind == "status" else {}))
            cluster.until(
                lambda number=number: len([e for e in cluster.record(number) if e.kind == "call"]) > 2, "a failure"
            )
        cluster.clear()
        with Sender(cluster, node, 1) as sender:
            for trailer in (b"", bytes(24)):
                sender.send(encode(Heartbeat(1, cluster.eip, cluster.listener.id)) + trailer)
        cluster.until(lambda: node.logged("signature"), "a forged heartbeat is told of")
        for wrong in (
            f"host-priority = {run.secret}\n",  # at the wrong name
            f"{AUTH_KEY} = {run.secret}\n",
            f"auth-key {AUTH_KEY}\n",
            f"auth-key = {AUTH_KEY} {OLD_KEY}\n",
            f"auth-mode = {OLD_KEY}\n",
            f"exoscale-api-endpoint = https://{run.secret}@example.org/v2\n",
        ):
            run.reload(run.good + wrong)
        run.reload(f"check-fall = 2{run.good}")  # a line break is missing
        run.reload(run.good.replace(run.secret, run.secret[:-1] + "~"))  # the API refuses that one
        run.reload(run.good)
        for words in (
            ["status", "web"],
            ["status", "--json"],
            ["drain", "web", "--why", "x"],
            ["undrain", "web"],
            ["priority", "web", "30"],
        ):
            run.ctl(*words)
        checked = [sys.executable, "-m", "exoip", *node.words, "-n"]
        run.shown.append(
            subprocess.run(checked, env=node.env, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE).stdout
        )
        until(lambda: (run.folder / "children" / "seen").stat().st_size > 1000, "its children were there")
        cluster.fault("status", status=403)
        cluster.until(lambda: node.logged("403"), "the API refuses the key")
        node.send(signal.SIGABRT)  # as the watchdog does: every thread's stack is told
        assert node.wait() == -signal.SIGABRT
        found = dict(run.left()) | {"its command line": command_line}
        node.forget()
    run.notified.close()
    return run, found


def test_the_run_saw_what_it_was_to_see(left: tuple[Run, dict[str, str]]) -> None:
    """Otherwise the absence of secrets would prove nothing."""
    _, found = left
    log = found["the log"]
    for text in (
        "waiting for the API",
        "403",
        "the configuration stays as it was",
        "read again and is in force",
        "signature",
        "Thread 0x",
        "Current thread 0x",
    ):
        assert text in log, text
    assert "auth-key" in found["exoipctl and exoip -n"]
    assert "****" in found["exoipctl and exoip -n"]
    assert "MASTER" in found["exoipctl and exoip -n"]
    assert "STATUS=" in found["what systemd was told"]
    seen = next(text for where, text in found.items() if where.endswith("children/seen"))
    assert "PATH=" in seen
    assert "EXOIP_" in seen


@pytest.mark.parametrize("which", ["the API's secret", "the key that signs", "the key that is still believed"])
def test_no_secret_is_left_anywhere(left: tuple[Run, dict[str, str]], which: str) -> None:
    run, found = left
    secret = {
        "the API's secret": run.secret,
        "the key that signs": AUTH_KEY,
        "the key that is still believed": OLD_KEY,
    }[which]
    lines = [(where, line) for where, text in found.items() for line in text.splitlines()]
    assert [(where, line) for where, line in lines if secret[:12] in line] == []


def test_children_see_nothing_that_is_the_daemons(left: tuple[Run, dict[str, str]]) -> None:
    _, found = left
    seen = next(text for where, text in found.items() if where.endswith("children/seen"))
    assert [
        word
        for word in ("NOTIFY_SOCKET", "IF_", "EXOSCALE_", "CREDENTIALS_", "RUNTIME_DIRECTORY", "socket:[")
        if word in seen
    ] == []


def test_no_core_is_left_by_a_daemon_that_was_started_by_hand() -> None:
    with Cluster(1) as cluster:
        cluster.start()
        cluster.settle("n1")
        limits = Path(f"/proc/{cluster['n1'].pid}/limits").read_text()
    assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size")] == ["0"]
