"""The machine's own noise: how late it wakes an idle process, measured beside whatever else is
measured.
"""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Self

from tests.benchmarks.figures import Figure

NOISE = "an idle timer beside it is late by"
_IDLE = """
import select, sys, time
wait = float(sys.argv[1])
while True:
    due = time.monotonic() + wait
    select.select((), (), (), wait)
    print(time.monotonic() - due, flush=True)
"""
_BUSY = "while True: pass"


class Noise:
    """An idle timer of `wait` seconds in a process of its own, which runs as long as the context;
    then `figure` has its lateness.
    """

    def __init__(self, name: str, wait: float) -> None:
        self.figure = Figure(f"{name}: {NOISE}", "ms")
        self._wait = wait

    def __enter__(self) -> Self:
        command = [sys.executable, "-c", _IDLE, f"{self._wait:g}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        lines, _ = self._process.communicate()
        self.figure.samples = [float(line) for line in lines.splitlines()]


class Busy:
    """That many processes which never wait, as long as the context."""

    def __init__(self, processes: int) -> None:
        self._number = processes

    def __enter__(self) -> Self:
        self._processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(self._number)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
