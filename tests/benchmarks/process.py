"""What the kernel says a process took: processor time, wake-ups, resident memory, threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Taken:
    """Up to now: seconds of processor time, how often a thread of it went to sleep by itself; KiB resident, and threads."""

    processor: float
    sleeps: int
    resident: int
    threads: int

    @classmethod
    def by(cls, pid: int) -> Self:
        """Look at a process."""
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        run = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
        sleeps = sum(_number(task / "status", "voluntary_ctxt_switches") for task in tasks)
        return cls(run, sleeps, resident(pid), len(tasks))


def resident(pid: int | None = None) -> int:
    """The KiB of memory that a process has resident, this one's without a pid."""
    return _number(Path(f"/proc/{pid or os.getpid()}/status"), "VmRSS")


def _number(file: Path, name: str) -> int:
    return next(_numbers(file, name))


def _numbers(file: Path, name: str) -> Iterator[int]:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            yield int(line.split()[1])
