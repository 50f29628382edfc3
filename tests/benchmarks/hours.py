"""A long time in no time: the parts of one node that have no thread, in virtual time, over hours, a
day and 1000 failovers.

    python -m tests.benchmarks.hours HOURS FAILOVERS      measures it in a process of its own and prints it as JSON

What is measured is what such a time leaves behind: every heartbeat comes as its bytes, every event
is told to the journal.
"""

from __future__ import annotations

import exoip.daemon.command  # noqa: F401  as the daemon loads it

# isort: split
import gc
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from exoip.core.peers import Role
from exoip.core.reads import REFRESH_INTERVAL
from exoip.heartbeat.wire import Heartbeat, decode, encode
from exoip.telemetry.journal import Journal
from tests.benchmarks.figures import Figure
from tests.simulation.world import EIP, instance_id
from tests.support.paths import ROOT
from tests.support.process_probe import resident
from tests.support.single_node import SingleNode, among, requests

HOUR, DAY = 3600.0, 24
FAILOVERS, WARM = 1000, 100
GROWTH_TARGET = 0.5  # MiB
SIZES = (3, 10, 100, 1000)  # nodes of a cluster
PLACES = (("the master", 260), ("the next best node", 130), ("the one after", 180), ("any other", 30))  # calls at most


class Long(SingleNode):
    """A bench that remembers nothing but how many calls there were of each kind."""

    def __init__(self) -> None:
        super().__init__(refresh_in=REFRESH_INTERVAL)
        self.operation = 0.2
        self.node.set_config(replace(self.config, flap_damping=False), 30.0, self.now)  # or it would wait ever longer
        self._journal = Journal(EIP, instance_id(self.own), str)
        self.made: Counter[str] = Counter()

    def heard(self, name: str, priority: int) -> None:
        datagram = encode(Heartbeat(priority, EIP, instance_id(name)))
        self.node.heard(decode(datagram), f"host-{name}", self.now)

    def pump(self) -> float:
        wake = super().pump()
        for event in self.events:
            self._journal.log(event)
        self.made.update(str(call.kind) for _, call in self.calls)
        for each in (self.events, self.calls, self.beats):
            each.clear()
        return wake

    def in_an_hour(self) -> int:
        """How many calls the next hour takes."""
        before = self.made.total()
        self.advance(HOUR)
        return self.made.total() - before

    def fail_over(self) -> int:
        """The better peer, which holds, dies, comes back, and takes over; return the calls that its
        death took.
        """
        before = self.made.total()
        del self.beating["a"]
        self.until(lambda: self.holding == {"m"})
        taken = self.made.total() - before
        self.beating["a"] = 5
        self.until(lambda: self.role is Role.BACKUP)
        self.holding.add("a")
        self.until(lambda: self.holding == {"a"})
        return taken


def measure(day: int, many: int) -> dict[str, list[float]]:
    """The samples of each figure, over so many hours and failovers; of memory KiB, and the objects
    that are there to collect.
    """
    logging.getLogger("exoip").addHandler(logging.StreamHandler(open(os.devnull, "w")))  # noqa: SIM115
    logging.getLogger("exoip").propagate = False
    bench = Long()
    bench.beating["z"] = 20
    master = [bench.in_an_hour() for _ in range(3)][1:]  # the first has the start in it
    at_first = resident(), _objects()
    master += [bench.in_an_hour() for _ in range(day - 1)]
    after_a_day = resident(), _objects()
    bench.beating["a"] = 5
    bench.holding.add("a")
    bench.until(lambda: bench.holding == {"a"})
    backup = [bench.in_an_hour() for _ in range(2)]
    failovers = [bench.fail_over() for _ in range(WARM)]
    before = resident(), _objects()
    failovers += [bench.fail_over() for _ in range(many)]
    after = resident(), _objects()
    return {
        "master": master,
        "backup": backup,
        "failover": failovers,
        "day": [after_a_day[0] - at_first[0]],
        "day's objects": [after_a_day[1] - at_first[1]],
        "failovers": [after[0] - before[0]],
        "failovers' objects": [after[1] - before[1]],
    }


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def apart(day: int, many: int) -> dict[str, list[float]]:
    """`measure` in a process of its own, which measures no coverage."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-m", "tests.benchmarks.hours", str(day), str(many)]
    done = subprocess.run(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


def quiet_hours() -> list[Figure]:
    """The calls of a quiet hour in clusters of 3 to 1000 nodes, by the number of better nodes."""
    found = []
    for size in SIZES:
        for place, (who, most) in enumerate(PLACES):
            bench = among(size, place) if place < size else None
            if bench is None:
                continue
            since = bench.now
            bench.advance(HOUR)
            name = f"virtual time: API calls of {who} in a quiet hour, {size} nodes"
            met: Callable[[Figure], bool] = lambda figure, most=most: figure.worst <= most  # noqa: E731
            found.append(Figure(name, "count", [requests(bench, since)], f"<= {most}", met))
    return found


def hours() -> list[Figure]:
    """A day and 1000 failovers."""
    found = apart(DAY, FAILOVERS)
    few: Callable[[Figure], bool] = lambda figure: figure.worst < GROWTH_TARGET * 1024  # noqa: E731
    return [
        *quiet_hours(),
        Figure("virtual time: API calls of a master in a quiet hour beside a silent member", "count", found["master"]),
        Figure("virtual time: API calls of a backup in a quiet hour", "count", found["backup"]),
        Figure("virtual time: API calls of a failover, until the dead holder is cleared", "count", found["failover"]),
        Figure("virtual time: memory grown in a day", "MiB", found["day"], f"< {GROWTH_TARGET:g}", few),
        Figure("virtual time: objects more after a day", "count", found["day's objects"]),
        Figure(
            f"virtual time: memory grown in {FAILOVERS} failovers",
            "MiB",
            found["failovers"],
            f"< {GROWTH_TARGET:g}",
            few,
        ),
        Figure(f"virtual time: objects more after {FAILOVERS} failovers", "count", found["failovers' objects"]),
    ]


if __name__ == "__main__":
    json.dump(measure(*map(int, sys.argv[1:])), sys.stdout)
