"""Two equals, an outage of the API, a restart within the dead time: what must never happen there,
and how long the rest takes.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from tests.benchmarks.cluster import OPERATION, RATIO, BenchCluster
from tests.benchmarks.figures import Figure, exactly

AT_ONCE = 5  # clusters beside each other; nothing here is about milliseconds
LONGEST_BACKOFF = 5 * 1.2  # of an attach, jitter included: docs/protocol.md


def equal_starts(starts: int) -> list[Figure]:
    """Two nodes of equal priority, together or one after the other: how often there was not exactly
    one master.
    """
    wrong = exactly("equal priorities: starts without exactly one master and holder", "count")
    calls_made = Figure("equal priorities: mutations in one start", "count")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for right, calls in pool.map(_equal_start, range(starts)):
            wrong.samples.append(float(not right))
            calls_made.samples.append(calls)
    return [wrong, calls_made]


def _equal_start(number: int) -> tuple[bool, int]:
    """Whether one start ended in one master and holder that stayed, and how many mutations it took."""
    try:
        with BenchCluster(2, 0.1, priorities=(10, 10)) as cluster:
            low, high = sorted(cluster.nodes.values(), key=lambda node: node.id)
            (low, high)[number % 2].start()
            time.sleep(random.choice((0.0, 0.0, random.uniform(0.0, 1.0))))  # so that all kinds of overlap occur
            (high, low)[number % 2].start()
            cluster.settle(low.name)
            alone = all(holders == {low.name} for holders in cluster.watch(2 * cluster.dead_time))
            return alone and (low.role, high.role) == ("MASTER", "BACKUP"), len(cluster.mutations())
    except AssertionError as error:
        sys.stderr.write(f"bench: equal start {number}: {error}\n")
        return False, 0


class Outage:
    """503 to everything for `seconds` while the holder dies."""

    def __init__(self, seconds: float, interval: float, latency: float) -> None:
        self._seconds, self._interval, self._latency = seconds, interval, latency
        label = f"API 503 for {seconds:g} s, interval {interval:g} s, {latency * 1000:g} ms a call"
        self.missed = exactly(f"{label}: heartbeats that survivors missed", "count")
        self.first = self._within(f"{label}: attach after its return", LONGEST_BACKOFF + latency)
        self.moved = self._within(f"{label}: moved after its return", LONGEST_BACKOFF + 2 * latency + OPERATION)
        self.calls = Figure(f"{label}: attaches after its return until it moved", "count")

    @staticmethod
    def _within(name: str, bound: float) -> Figure:
        met: Callable[[Figure], bool] = lambda figure: figure.worst <= bound  # noqa: E731
        return Figure(name, "s", target=f"worst <= {bound:g}", met=met)

    def run(self, runs: int) -> list[Figure]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(self._one) for _ in range(runs)]:
                done.result()
        return [self.missed, self.first, self.moved, self.calls]

    def _one(self) -> None:
        with BenchCluster(3, self._interval, latency=self._latency) as cluster:
            cluster.start()
            cluster.settle("n1")
            mark, survivors = cluster.mark, [cluster["n2"], cluster["n3"]]
            began = time.monotonic()
            cluster.fault("status")
            cluster["n1"].kill()
            time.sleep(max(0.0, began + self._seconds - time.monotonic()))
            returned, tried = cluster.clear(), len(cluster.mutations(mark))
            cluster.until(lambda: cluster.holders() != {"n1"}, "the Elastic IP moves")
            after = cluster.mutations(mark)[tried:]
            change = next(e for e in cluster.record(mark) if e.kind == "holders")
            for node in survivors:
                heard = [each.at for each in cluster.observer.of(node) if began <= each.at <= change.time]
                gaps = [later - earlier for earlier, later in pairwise([began, *heard])]
                self.missed.samples.append(float(sum(max(0, round(gap / self._interval) - 1) for gap in gaps)))
        self.first.samples.append(after[0].time - returned)
        self.calls.samples.append(sum(e.time <= change.time for e in after))
        self.moved.samples.append(change.time - returned)


def outages(runs: int) -> list[Figure]:
    """10 s of it, as README compares them."""
    figures = []
    for interval in (1.0, 0.1):
        for latency in (0.0, 0.3):
            figures += Outage(10.0, interval, latency).run(runs)
    return figures


def restarts(count: int) -> list[Figure]:
    """SIGKILL of the holder and a start at once, as systemd does it."""
    mutations = exactly("SIGKILL and restart, interval 1 s: mutations", "count")
    silent = Figure("SIGKILL and restart, interval 1 s: silence", "s", target=f"worst < {RATIO:g}",
                    met=lambda figure: figure.worst < RATIO)  # fmt: skip
    with BenchCluster(2, 1.0) as cluster:
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
