"""The cluster of the benchmarks: as in production each daemon speaks TLS to the zone and runs as
its unit says, niceness included.

A call takes 100 ms and an operation 200 ms unless said otherwise, as a plausible API does.
`accepted` are the moments at which the zone accepted a connection.
"""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exoip.sandbox.record import Entry
from tests.benchmarks.trust import Trust
from tests.support.cluster import ATTACH, Cluster
from tests.support.paths import ROOT
from tests.support.process import Process

LATENCY, OPERATION = 0.1, 0.2  # seconds
RATIO = 3.0
UNIT = ROOT / "systemd" / "exoip@.service"


_making = threading.Lock()


def trust() -> Trust:
    """The one certificate of every zone here; its folder goes with the process."""
    with _making:  # clusters are made in several threads, and a cache alone would make several
        return _trust()


@functools.cache
def _trust() -> Trust:
    folder = Path(tempfile.mkdtemp(prefix="exoip-bench-"))
    atexit.register(shutil.rmtree, folder)
    return Trust(folder)


def unit_setting(name: str) -> str:
    """What the unit's assignments of that name say, one after the other."""
    return " ".join(re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE))


def as_unit(process: Process, *, plain: bool = False) -> Process:
    """Make a process run as the unit says, or but for its environment as any other if `plain`."""
    nice = ["nice", "-n", unit_setting("Nice")] if shutil.which("nice") and not plain else []
    process.program = [*nice, sys.executable, "-m", "tests.benchmarks.daemon", str(trust().trusted)]
    process.env |= dict(word.split("=", 1) for word in unit_setting("Environment").split())
    return process


class BenchCluster(Cluster):
    """A cluster over TLS; see above."""

    def __init__(
        self,
        nodes: int,
        interval: float,
        *,
        latency: float = LATENCY,
        operation: float = OPERATION,
        plain: bool = False,
        priorities: Sequence[int] = (),
        **more: Any,
    ) -> None:
        super().__init__(nodes, interval=interval, ratio=RATIO, latency=latency, operation=operation, priorities=priorities,
                         tls=trust().server, tell=lambda text: sys.stderr.write(text + "\n"), **more)  # fmt: skip
        self.latency = latency
        self.accepted: list[float] = []
        listener = self.server._listener
        assert listener is not None
        accept = listener.get_request

        def accepting() -> tuple[Any, Any]:
            connection = accept()
            self.accepted.append(self.server.now())
            return connection

        listener.get_request = accepting  # type: ignore[method-assign]
        for node in self.nodes.values():
            as_unit(node, plain=plain)

    def calls(self, since: int, node: Process | None = None) -> list[Entry]:
        """The calls of the API that arrived from that mark on, from that node or from all."""
        keys = {f"EXO{node.name}"} if node else {f"EXO{name}" for name in self.nodes}
        return [entry for entry in self.record(since) if entry.kind == "call" and entry.key in keys]

    def answered(self, call: Entry) -> float:
        """When that call was answered."""
        return next(
            entry.time for entry in self.record(call.index) if entry.kind == "answer" and entry.call == call.index
        )

    def first_attach(self, mark: int, node: Process) -> Entry:
        """The node's first attach since that mark, as it arrived at the API."""
        return next(e for e in self.mutations(mark) if e.operation == ATTACH and e.instance == node.id)

    def held_from(self, mark: int, node: Process) -> float:
        """When the node was first seen among the holders since that mark."""
        return next(e.time for e in self.record(mark) if e.kind == "holders" and node.id in e.holders)
