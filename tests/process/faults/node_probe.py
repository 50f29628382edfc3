"""Watch one node from outside: whether it is ready, what it must not log, what each start uses."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import Process
from tests.support.process_probe import Usage

_BAD = re.compile(r"Traceback|CRITICAL|Fatal Python error|log entries were dropped")
_HOOK = """#!/bin/sh
echo "$1 $EXOIP_HOLDS" >>"${0%/*}/told"
"""
# A check, a program or a connection that begins just then has files open for a moment: look again.
_LOOKS, _LAST_LOOKS, _BETWEEN = 5, 50, 0.04
CONNECTIONS = 2  # to the API: a daemon has two clients, of one connection each


@dataclass(slots=True)
class Life:
    """One start of a daemon: what it used at the first and the last quiet time, and how many faults
    it survived.
    """

    number: int
    first: Usage | None = None
    last: Usage | None = None
    faults: int = 0

    @property
    def growth(self) -> int:
        """Return how many KiB its memory grew by since the first quiet time."""
        return self.last.memory - self.first.memory if self.first and self.last else 0

    def __str__(self) -> str:
        if self.first is None or self.last is None:
            return f"{self.faults} faults"
        first, last = self.first, self.last
        return (
            f"{self.faults} faults, {first.memory} -> {last.memory} KiB, {first.threads} -> {last.threads} threads,"
            f" {first.files} -> {last.files} files, {last.connections} connections"
        )


class NodeProbe:
    """Watches one node.

    `look` reads what the node sent to systemd and logged; `wrong` collects what must never be
    logged. The health check fails while the file `sick` exists. `hook` is the notify program, and
    `notified` its last call.
    """

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder / process.name
        self.folder.mkdir()
        self.runtime = self.folder / "run"
        self.hook, self.sick, self._notified = (self.folder / name for name in ("hook", "sick", "told"))
        self.hook.write_text(_HOOK)
        self.hook.chmod(0o755)
        self.ready = self.reload_failed = self._reloading = False
        self.reloads = 0
        self.wrong: list[str] = []
        self.lives: list[Life] = []
        self._lines_read = self._reload_from = 0
        self._systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._systemd.bind(str(self.folder / "notify"))
        self._systemd.setblocking(False)
        process.env |= {"NOTIFY_SOCKET": str(self.folder / "notify"), "RUNTIME_DIRECTORY": str(self.runtime)}
        self.runtime.mkdir()

    def start(self) -> None:
        """Start the daemon."""
        self.look()
        self.ready = self.reload_failed = self._reloading = False
        self._notified.unlink(missing_ok=True)
        self.lives.append(Life(len(self.lives) + 1))
        self.process.start()

    def reload(self) -> None:
        """Send SIGHUP."""
        self.reload_failed, self._reload_from = False, len(self.process.entries)
        self.process.send(signal.SIGHUP)

    @property
    def notified(self) -> tuple[str, bool]:
        """Return the role and the holding of the last call of its program since the start."""
        text = self._notified.read_text() if self._notified.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()  # a whole line only: it may just be written
        role, holds = lines[-1].split() if lines else ("", "")
        return role, holds == "yes"

    def forget(self) -> None:
        """Empty the runtime directory, as a reboot does."""
        shutil.rmtree(self.runtime)
        self.runtime.mkdir()

    def close(self) -> None:
        """Stop listening."""
        self._systemd.close()

    def look(self) -> None:
        """Read what it sent to systemd and logged since the last look."""
        with contextlib.suppress(BlockingIOError):
            while True:
                for line in self._systemd.recv(65536).decode("utf-8", "replace").split("\n"):
                    self._heard(line)
        lines = self.process.lines
        self.wrong += [f"{self.process.name} logs: {line}" for line in lines[self._lines_read :] if _BAD.search(line)]
        self._lines_read = len(lines)

    def _heard(self, assignment: str) -> None:
        match assignment:
            case "RELOADING=1":
                self.ready, self._reloading = False, True
            case "STOPPING=1":
                self.ready = False
            case "READY=1":
                self.ready = True
                if self._reloading:
                    # The one error that is no event: why the configuration stays as it was
                    since = self.process.entries[self._reload_from :]
                    self.reload_failed = any(one["LEVEL"] == "ERROR" and "EXOIP_EVENT" not in one for one in since)
                    self.reloads += not self.reload_failed
                    self._reloading = False

    def measure(self) -> None:
        """Note what it uses now, in a quiet time."""
        life, looks = self.lives[-1], [Usage.of(self.process.pid)]
        while len(looks) < (_LOOKS if life.first is None else _LAST_LOOKS):
            if life.first and (looks[-1].files, looks[-1].threads) == (life.first.files, life.first.threads):
                break
            time.sleep(_BETWEEN)
            looks.append(Usage.of(self.process.pid))
        usage = min(looks, key=lambda one: (one.files, one.threads))
        life.first = life.first or usage
        life.last = usage

    def grown(self, memory: int) -> list[str]:
        """Return what it uses more than at its first quiet time since the start.

        `memory`: KiB that it may grow by.
        """
        life = self.lives[-1]
        if life.first is None or life.last is None:
            return []
        name, first, last = self.process.name, life.first, life.last
        found = []
        if last.threads != first.threads:
            found.append(f"{name} has {last.threads} threads, and had {first.threads}")
        if last.files != first.files:
            found.append(f"{name} has {last.files} open files, and had {first.files}")
        if last.connections > CONNECTIONS:
            found.append(f"{name} has {last.connections} TCP connections")
        if life.growth > memory:
            found.append(f"{name} has {last.memory} KiB of memory, and had {first.memory}")
        return found
