"""How fast, and how safely, the Elastic IP moves: real nodes on loopback against the simulated zone.

A call takes 100 ms and an operation 200 ms, as a plausible API does. Prints a table and writes every sample as JSON. What must
never happen (a moment without a holder in a planned stop, a mutation after a quick restart, a missed heartbeat, two masters) makes
it exit 1; times are only printed beside their target.

How lateness is measured. The dead holder's last heartbeat is taken from the observer: a member of the group to which every
node sends what it sends to the others, at the same instant, stamped by the kernel on arrival. The attach is stamped by the simulated
zone when it has read the request's first line. Both are of one steady clock of one machine. So the lateness of an attach is
`attach - (last heartbeat + interval x ratio)`, and has in it the survivor's wake-up, its decision, its request, and the zone's own
wake-up. Beside it, in a process of its own, an idle timer of the same length tells how late this machine wakes anybody up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.cluster import ATTACH, ROOT, Cluster, Process

LATENCY, OPERATION = 0.1, 0.2  # seconds
RATIO = 3.0
LATENESS_TARGET = 0.02  # seconds, of the median
AT_ONCE = 5  # clusters of the equal starts
_AGAIN = re.compile(r"attach of this instance failed .*again in ([0-9.]+) s")
_IDLE = """
import select, sys, time
wait = float(sys.argv[1])
while True:
    due = time.monotonic() + wait
    select.select((), (), (), wait)
    print(time.monotonic() - due, flush=True)
"""


@dataclass(slots=True)
class Row:
    """One line of the table: samples in `unit`, what they should be, and whether anything happened that must not."""

    name: str
    unit: str
    samples: list[float] = field(default_factory=list)
    target: str = ""
    met: Callable[[Row], bool] | None = None
    must: bool = False  # missing the target is an error, not just slow

    @property
    def median(self) -> float:
        ordered = sorted(self.samples)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

    @property
    def p99(self) -> float:
        """By the nearest rank: the worst one of fewer than 100."""
        return sorted(self.samples)[max(0, -(-99 * len(self.samples) // 100) - 1)]

    @property
    def verdict(self) -> str:
        if self.met is None or not self.samples:
            return ""
        return "met" if self.met(self) else "VIOLATED" if self.must else "missed"

    def cells(self) -> list[str]:
        if not self.samples:
            return [self.name, "0", *[""] * 5]
        scale, digits = {"ms": (1000.0, 2), "s": (1.0, 2)}.get(self.unit, (1.0, 0))
        figures = [f"{scale * each:.{digits}f}" for each in (self.median, self.p99, max(self.samples))]
        return [f"{self.name}, {self.unit}", str(len(self.samples)), *figures, self.target, self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON data; seconds as such."""
        data = asdict(self)
        del data["met"]
        worst = {"median": self.median, "p99": self.p99, "worst": max(self.samples)} if self.samples else {}
        return data | worst | {"verdict": self.verdict}


def nothing(name: str, unit: str) -> Row:
    """A row whose every sample has to be 0."""
    return Row(name, unit, target="0", met=lambda row: max(row.samples) == 0, must=True)


def say(text: str) -> None:
    """Tell how far it is; the figures alone go to the standard output."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def new_cluster(nodes: int, interval: float, **more: Any) -> Cluster:
    return Cluster(nodes, interval=interval, ratio=RATIO, latency=LATENCY, operation=OPERATION,
                   tell=lambda text: sys.stderr.write(text + "\n"), **more)  # fmt: skip


# -- the holder dies, the holder is stopped ----------------------------------------------------------------------------


class Moves:
    """Kills and stops the holder of a pair in turn; each time the other takes over, and the old one comes back behind it."""

    def __init__(self, interval: float) -> None:
        label = f"interval {interval:g} s"
        self._interval = interval
        target = f"median <= {LATENESS_TARGET * 1000:g}"
        self.late = Row(f"SIGKILL, {label}: attach after its due time", "ms", target=target,
                        met=lambda row: row.median <= LATENESS_TARGET)  # fmt: skip
        self.idle = Row(f"an idle timer beside it, {label}: lateness", "ms")
        self.early = nothing(f"SIGKILL, {label}: attaches before their due time", "count")
        self.dead = Row(f"SIGKILL, {label}: no live holder for", "s")
        self.quick = Row(f"SIGTERM, {label}: attach after the signal", "ms")
        self.gone = Row(f"SIGTERM, {label}: the other alone holds after", "s")
        self.bare = nothing(f"SIGTERM, {label}: time with no holder", "ms")

    @property
    def rows(self) -> list[Row]:
        return [self.late, self.idle, self.early, self.dead, self.quick, self.gone, self.bare]

    def run(self, runs: int) -> None:
        """`runs` of each."""
        if not runs:
            return
        timer = subprocess.Popen([sys.executable, "-c", _IDLE, f"{self._interval * RATIO:g}"],
                                 stdout=subprocess.PIPE, text=True)  # fmt: skip
        try:
            with new_cluster(2, self._interval) as cluster:
                cluster.start()
                holder, other = cluster["n1"], cluster["n2"]
                for number in range(2 * runs):
                    cluster.settle(holder.name)
                    (self._stop if number % 2 else self._kill)(cluster, holder, other)
                    if number == 2 * runs - 1:
                        break
                    rest = 30 + 220 * number // (2 * runs)  # ever worse, so that nobody takes back
                    holder.words[holder.words.index("-P") + 1] = str(rest)
                    holder.start()
                    holder, other = other, holder
        finally:
            timer.kill()
            lines, _ = timer.communicate()
        self.idle.samples = [float(line) for line in lines.splitlines()]

    def _kill(self, cluster: Cluster, holder: Process, other: Process) -> None:
        mark, heard = cluster.mark, len(cluster.observer.of(holder))
        cluster.until(lambda: len(cluster.observer.of(holder)) > heard, "the holder beats")
        time.sleep(random.uniform(0.1, 0.8) * self._interval)  # anywhere between two heartbeats, never within one
        killed = time.monotonic()
        holder.kill()
        cluster.until(lambda: cluster.holders() == {other.name}, f"{other.name} alone holds")
        last = cluster.observer.of(holder)[-1].at
        attach = first_attach(cluster, mark, other)
        late = attach - (last + cluster.dead_time)
        self.late.samples.append(late)
        # Two targets of one heartbeat are some microseconds apart, more when the sender is interrupted between them
        self.early.samples.append(float(late < -self._interval / 4))
        self.dead.samples.append(held_from(cluster, mark, other) - killed)

    def _stop(self, cluster: Cluster, holder: Process, other: Process) -> None:
        mark, stopped = cluster.mark, time.monotonic()
        holder.stop()
        cluster.until(lambda: cluster.holders() == {other.name}, f"{other.name} alone holds")
        self.quick.samples.append(first_attach(cluster, mark, other) - stopped)
        changes = [(entry.time, entry.holders) for entry in cluster.record(mark) if entry.kind == "holders"]
        self.gone.samples.append(changes[-1][0] - stopped)
        self.bare.samples.append(sum(later[0] - at for (at, held), later in pairwise(changes) if not held))


def first_attach(cluster: Cluster, mark: int, node: Process) -> float:
    """When the node's first attach since that mark arrived at the API."""
    return next(e.time for e in cluster.mutations(mark) if e.operation == ATTACH and e.instance == node.id)


def held_from(cluster: Cluster, mark: int, node: Process) -> float:
    """When the node was first seen among the holders since that mark."""
    return next(e.time for e in cluster.record(mark) if e.kind == "holders" and node.id in e.holders)


# -- two equals --------------------------------------------------------------------------------------------------------


def equal_starts(starts: int) -> list[Row]:
    """Two nodes of equal priority, together or one after the other: how often there was not exactly one master."""
    wrong = nothing("equal priorities: starts without exactly one master and holder", "count")
    calls_made = Row("equal priorities: mutations in one start", "count")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for right, calls in pool.map(equal_start, range(starts)):
            wrong.samples.append(float(not right))
            calls_made.samples.append(calls)
    return [wrong, calls_made]


def equal_start(number: int) -> tuple[bool, int]:
    """Whether one start ended in one master and holder that stayed, and how many mutations it took."""
    try:
        with new_cluster(2, 0.1, priorities=(10, 10)) as cluster:
            low, high = sorted(cluster.nodes.values(), key=lambda node: node.id)
            (low, high)[number % 2].start()
            time.sleep(random.choice((0.0, 0.0, random.uniform(0.0, 1.0))))  # so that all kinds of overlap occur
            (high, low)[number % 2].start()
            cluster.settle(low.name)
            alone = all(holders == {low.name} for holders in cluster.watch(2 * cluster.dead_time))
            return alone and (low.role, high.role) == ("MASTER", "BACKUP"), len(cluster.mutations())
    except AssertionError as error:
        say(f"equal start {number}: {error}")
        return False, 0


# -- an outage of the API ----------------------------------------------------------------------------------------------


def outage(seconds: float, interval: float) -> list[Row]:
    """503 to everything for that long while the holder dies; the figures are of one such outage."""
    label = f"API 503 for {seconds:g} s"
    missed = nothing(f"{label}: heartbeats that survivors missed", "count")
    beats = Row(f"{label}: heartbeats of survivors", "count")
    worst = Row(f"{label}: a heartbeat later than the interval by", "ms")
    first = Row(f"{label}: attach after its return", "s", target="<= one backoff")
    backoff = Row(f"{label}: the backoff that was under way", "s")
    calls = Row(f"{label}: attaches after its return until it moved", "count", target="1",
                met=lambda row: max(row.samples) == 1)  # fmt: skip
    moved = Row(f"{label}: moved after its return", "s", target="<= one backoff + call + operation")
    rows = [missed, beats, worst, first, backoff, calls, moved]
    if not seconds:
        return []
    with new_cluster(3, interval) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark, survivors = cluster.mark, [cluster["n2"], cluster["n3"]]
        began = time.monotonic()
        cluster.fault("status")
        cluster["n1"].kill()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        returned, tried = cluster.clear(), len(cluster.mutations(mark))
        cluster.until(lambda: cluster.holders() != {"n1"}, "the Elastic IP moves")
        after = cluster.mutations(mark)[tried:]
        change = next(e for e in cluster.record(mark) if e.kind == "holders")
        by_whom = cluster[cluster.name(after[0].instance)]
        waits = [float(found[1]) for line in by_whom.log if (found := _AGAIN.search(line))]
        for node in survivors:
            heard = [each.at for each in cluster.observer.of(node) if began <= each.at <= change.time]
            gaps = [later - earlier for earlier, later in pairwise([began, *heard])]
            missed.samples.append(float(sum(max(0, round(gap / interval) - 1) for gap in gaps)))
            beats.samples.append(len(heard))
            worst.samples += [gap - interval for gap in gaps[1:] if gap > interval]
        first.samples.append(after[0].time - returned)
        backoff.samples.append(waits[-1])
        calls.samples.append(sum(e.time <= change.time for e in after))
        moved.samples.append(change.time - returned)
        first.met = lambda row: max(row.samples) <= waits[-1] + LATENCY
        moved.met = lambda row: max(row.samples) <= waits[-1] + 2 * LATENCY + OPERATION
    return rows


# -- a restart within the dead time ------------------------------------------------------------------------------------


def restarts(count: int, interval: float) -> list[Row]:
    """SIGKILL of the holder and a start at once, as systemd does it, with what it remembers."""
    mutations = nothing(f"restart, interval {interval:g} s: mutations", "count")
    silent = Row(f"restart, interval {interval:g} s: silence", "s", target=f"< {interval * RATIO:g}",
                 met=lambda row: max(row.samples) < interval * RATIO)  # fmt: skip
    if not count:
        return []
    with new_cluster(2, interval) as cluster:
        cluster.start()
        for _ in range(count):
            cluster.settle("n1")
            mark, before = cluster.mark, len(cluster.observer.of(cluster["n1"]))
            cluster["n1"].kill()
            cluster["n1"].start()
            cluster.settle("n1")
            mutations.samples.append(len(cluster.mutations(mark)))
            heard = [each.at for each in cluster.observer.of(cluster["n1"])][before - 1 :]
            silent.samples.append(max(later - earlier for earlier, later in pairwise(heard)))
    return [mutations, silent]


# -- all of it ---------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> str:
    """The rows as text, aligned."""
    cells = [["", "samples", "median", "p99", "worst", "target", ""], *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = []
    for line in cells:
        padded = [each.ljust(width) if n in (0, 5, 6) else each.rjust(width)
                  for n, (each, width) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def machine() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processors": str(os.cpu_count()),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "call": f"{LATENCY:g} s",
        "operation": f"{OPERATION:g} s",
        "dead ratio": f"{RATIO:g}",
    }


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="SIGKILLs and SIGTERMs at an interval of 0.2 s (20)")
    parser.add_argument("--slow-runs", type=int, default=3, help="the same at an interval of 1 s (3)")
    parser.add_argument("--starts", type=int, default=50, help="starts of two equal nodes (50)")
    parser.add_argument("--outage", type=float, default=20.0, help="seconds without the API, 0 for none (20)")
    parser.add_argument("--restarts", type=int, default=5, help="restarts within the dead time (5)")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "failover.json", help="where all samples go")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything that is asked for; 1 when something happened that must never happen."""
    chosen = options(arguments)
    about, rows = machine(), list[Row]()
    for interval, runs in ((0.2, chosen.runs), (1.0, chosen.slow_runs)):
        if runs:
            say(f"{runs} SIGKILLs and {runs} SIGTERMs of the holder at an interval of {interval:g} s")
            moves = Moves(interval)
            moves.run(runs)
            rows += moves.rows
    if chosen.starts:
        say(f"{chosen.starts} starts of two equal nodes")
        rows += equal_starts(chosen.starts)
    if chosen.outage:
        say(f"an outage of the API of {chosen.outage:g} s while the holder dies")
        rows += outage(chosen.outage, 1.0)
    if chosen.restarts:
        say(f"{chosen.restarts} restarts within the dead time")
        rows += restarts(chosen.restarts, 1.0)
    print(", ".join(f"{name} {text}" for name, text in about.items()))
    print(table(rows))
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps({"machine": about, "rows": [row.as_dict() for row in rows]}, indent=1) + "\n")
    print(f"samples: {chosen.json}")
    return int(any(row.verdict == "VIOLATED" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
