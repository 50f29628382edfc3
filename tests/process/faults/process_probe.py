"""One daemon as it is seen from outside: what it tells a service manager, what it logs, and what it costs by /proc."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import Process

_STATUS = re.compile(r"(?P<role>LISTENING|BACKUP|MASTER) \w+ \S+, (?P<alive>\d+) of \d+ peers alive(?P<more>.*)")
_BAD = re.compile(r"Traceback|CRITICAL|Fatal Python error|log entries were dropped")
_HOOK = """#!/bin/sh
echo "$1 $EXOIP_HOLDS" >>"${0%/*}/told"
"""
# A check, a program or a connection that begins just then has files open for a moment: look again.
_LOOKS, _LAST_LOOKS, _BETWEEN = 5, 50, 0.04
CONNECTIONS = 2  # to the API: a daemon has two clients, of one connection each
RELOADED, NOT_RELOADED = "the configuration was read again and is in force", "the configuration stays as it was"


@dataclass(frozen=True, slots=True)
class Status:
    """What a daemon told last in its status line."""

    role: str = ""
    alive: int = 0
    yielded: bool = False
    holds: bool = False

    @classmethod
    def of(cls, line: str) -> Status:
        """Read a status line; one that tells of no role (it waits for the API) is a Status without one."""
        found = _STATUS.match(line)
        if found is None:
            return cls()
        words = [word.strip() for word in found["more"].split(",")]
        holds = "holding it" in words or (found["role"] == "MASTER" and "not holding it" not in words)
        return cls(found["role"], int(found["alive"]), "yielded" in words, holds)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process uses: resident KiB, threads, file descriptors that are no TCP connection, and TCP connections."""

    memory: int = 0
    threads: int = 0
    files: int = 0
    connections: int = 0

    @classmethod
    def of(cls, pid: int) -> Cost:
        """Look into /proc. A file that is closed meanwhile is not counted."""
        proc = Path("/proc", str(pid))
        said = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line)
        tables = [table for name in ("tcp", "tcp6") if (table := proc / "net" / name).exists()]
        tcp = {f"socket:[{line.split()[9]}]" for table in tables for line in table.read_text().splitlines()[1:]}
        links = []
        for file in (proc / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(file))
        connections = sum(link in tcp for link in links)
        return cls(int(said["VmRSS"].split()[0]), int(said["Threads"]), len(links) - connections, connections)


@dataclass(slots=True)
class Life:
    """One start of a daemon: its cost at the first quiet and at the last, and how many faults of the run it has lived through."""

    number: int
    first: Cost | None = None
    last: Cost | None = None
    faults: int = 0

    @property
    def growth(self) -> int:
        """KiB of memory that it has now on top of those at its first quiet."""
        return self.last.memory - self.first.memory if self.first and self.last else 0

    def __str__(self) -> str:
        first, last = self.first or Cost(), self.last or Cost()
        return (
            f"{self.faults} faults, {first.memory} -> {last.memory} KiB, {first.threads} -> {last.threads} threads,"
            f" {first.files} -> {last.files} files, {last.connections} connections"
        )


class Witness:
    """Watches one node. `look` takes in what it told and logged; `wrong` gathers what must never be logged.

    Its health check fails while there is the file `sick`; `hook` is the program that it tells of its role, `notified` what it told last.
    """

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder / process.name
        self.folder.mkdir()
        self.runtime = self.folder / "run"
        self.hook, self.sick, self._notified = (self.folder / name for name in ("hook", "sick", "told"))
        self.hook.write_text(_HOOK)
        self.hook.chmod(0o755)
        self.status, self.ready, self.reload_failed, self.reloads = Status(), False, False, 0
        self.wrong: list[str] = []
        self.lives: list[Life] = []
        self._read = 0
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(str(self.folder / "notify"))
        self._told.setblocking(False)
        process.env |= {"NOTIFY_SOCKET": str(self.folder / "notify"), "RUNTIME_DIRECTORY": str(self.runtime)}
        self.runtime.mkdir()

    def start(self) -> None:
        """Start the daemon."""
        self.look()
        self.status, self.ready, self.reload_failed = Status(), False, False
        self._notified.unlink(missing_ok=True)
        self.lives.append(Life(len(self.lives) + 1))
        self.process.start()

    @property
    def notified(self) -> tuple[str, bool]:
        """The role, and whether it holds, that its program was told last in this life."""
        text = self._notified.read_text() if self._notified.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()  # a whole line only: it may just be written
        role, holds = lines[-1].split() if lines else ("", "")
        return role, holds == "yes"

    def forget(self) -> None:
        """Empty the runtime directory, as a reboot does."""
        shutil.rmtree(self.runtime)
        self.runtime.mkdir()

    def close(self) -> None:
        """Listen no more."""
        self._told.close()

    def look(self) -> None:
        """Take in what it told and what it logged since the last look."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._take(self._told.recv(65536).decode("utf-8", "replace"))
        lines = self.process.lines
        while self._read < len(lines):
            line = lines[self._read]
            self._read += 1
            if _BAD.search(line):
                self.wrong.append(f"{self.process.name} logs: {line}")
            if RELOADED in line:
                self.reloads += 1
            elif NOT_RELOADED in line:
                self.reload_failed = True

    def _take(self, text: str) -> None:
        for line in text.split("\n"):
            name, _, value = line.partition("=")
            if name == "READY":
                self.ready = True
            elif name in ("RELOADING", "STOPPING"):
                self.ready = False
            elif name == "STATUS":
                self.status = Status.of(value)

    def measure(self) -> None:
        """Note what it costs now, in quiet."""
        life, costs = self.lives[-1], [Cost.of(self.process.pid)]
        while len(costs) < (_LOOKS if life.first is None else _LAST_LOOKS):
            if life.first and (costs[-1].files, costs[-1].threads) == (life.first.files, life.first.threads):
                break
            time.sleep(_BETWEEN)
            costs.append(Cost.of(self.process.pid))
        cost = min(costs, key=lambda one: (one.files, one.threads))
        life.first = life.first or cost
        life.last = cost

    def grown(self, memory: int) -> list[str]:
        """What its present life has that it had not at its first quiet; `memory`: KiB that it may grow by."""
        life = self.lives[-1]
        if life.first is None or life.last is None:
            return []
        name, first, last = self.process.name, life.first, life.last
        told = []
        if last.threads != first.threads:
            told.append(f"{name} has {last.threads} threads, and had {first.threads}")
        if last.files != first.files:
            told.append(f"{name} has {last.files} open files, and had {first.files}")
        if last.connections > CONNECTIONS:
            told.append(f"{name} has {last.connections} TCP connections")
        if life.growth > memory:
            told.append(f"{name} has {last.memory} KiB of memory, and had {first.memory}")
        return told
