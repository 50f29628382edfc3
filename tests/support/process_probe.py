"""What the kernel says that a process uses, read from /proc."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process uses now, and what it used so far."""

    memory: int  # KiB resident
    threads: int
    files: int  # open files that are no TCP connection
    connections: int  # over TCP
    processor: float  # seconds of processor time so far
    sleeps: int  # how often one of its threads has gone to sleep by itself so far

    @classmethod
    def of(cls, pid: int) -> Self:
        """Look at a process. A file that is closed meanwhile is not counted."""
        proc = Path("/proc", str(pid))
        connections, files = _descriptors(proc)
        run, sleeps = 0, 0
        for task in (proc / "task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that just ended
                run += int((task / "schedstat").read_text().split()[0])
                sleeps += _number(task / "status", "voluntary_ctxt_switches")
        return cls(
            memory=resident(pid),
            threads=_number(proc / "status", "Threads"),
            files=files,
            connections=connections,
            processor=run / 1e9,
            sleeps=sleeps,
        )


def resident(pid: int | None = None) -> int:
    """Return the KiB of memory that a process has resident; without a pid, this one."""
    return _number(Path(f"/proc/{pid or os.getpid()}/status"), "VmRSS")


def _descriptors(proc: Path) -> tuple[int, int]:
    """Return how many TCP connections and how many other files are open."""
    tables = [table for name in ("tcp", "tcp6") if (table := proc / "net" / name).exists()]
    tcp = {f"socket:[{line.split()[9]}]" for table in tables for line in table.read_text().splitlines()[1:]}
    links = []
    for file in (proc / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(file))
    connections = sum(link in tcp for link in links)
    return connections, len(links) - connections


def _number(file: Path, name: str) -> int:
    return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
