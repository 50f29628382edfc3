"""The holder dies, the holder is stopped: how long until another holds, and what that takes.

The dead holder's last heartbeat is taken from the observer: a member of the group to which every
node sends what it sends to the others, at the same instant, stamped by the kernel on arrival. A
call is stamped by the simulated zone when it has read the request's first line. Both are of one
steady clock of one machine. So the lateness of an attach, `attach - (last heartbeat + interval x
ratio)`, has in it the survivor's wake-up, its decision, its request, and the zone's own wake-up and
decryption.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

from exoip.sandbox.record import Entry
from tests.benchmarks.cluster import LATENCY, RATIO, BenchCluster
from tests.benchmarks.figures import Figure, at_most, exactly
from tests.benchmarks.noise import Noise
from tests.support.cluster import DETACH
from tests.support.process import Process
from tests.support.waiting import PATIENCE

READ = "get-instance"
POLL = 0.25  # between two looks at an operation, docs/protocol.md
WORST_PRIORITY, MOST_MOVES = 250, 220


class Moves:
    """Kills and stops the holder of a pair in turn; each time the other takes over, and the old one
    comes back behind it.
    """

    def __init__(self, interval: float, latency: float = LATENCY) -> None:
        self._interval, self._latency = interval, latency
        at = f"interval {interval:g} s, {latency * 1000:g} ms a call"
        kill, stop = f"SIGKILL, {at}", f"SIGTERM, {at}"
        self._noise = Noise(at, interval * RATIO)
        self.late = at_most(f"{kill}: attach on the wire after the deadline", "ms", 3, 10)
        self.early = exactly(f"{kill}: attaches before the deadline", "count")
        self.reads = exactly(f"{kill}: reads answered between deadline and attach", "count")
        self.shaken = exactly(f"{kill}: new connections between deadline and attach", "count")
        self.hole = Figure(f"{kill}: no live holder for", "s")
        detection = 1000 * (interval * RATIO + latency)
        self.answer = at_most(f"{kill}: attach answered after", "ms", p99=detection + 10)
        self.clear = at_most(f"{kill}: detach of the dead on the wire after the attach's operation", "ms",
                             p99=1000 * (POLL + latency) + 10)  # fmt: skip
        self.moved = Figure(f"{kill}: new attached and dead detached after the deadline", "s")
        self.kill_calls = Figure(f"{kill}: API calls", "count")
        self.quick = at_most(f"{stop}: the peer's attach on the wire after the signal", "ms", p99=10)
        self.gone = Figure(f"{stop}: the peer alone holds after", "s")
        self.bare = exactly(f"{stop}: time with no holder", "ms")
        self.stop_calls = Figure(f"{stop}: API calls of both", "count")

    @property
    def figures(self) -> list[Figure]:
        return [
            self.late, self._noise.figure, self.early, self.reads, self.shaken, self.answer, self.hole, self.clear, self.moved,
            self.kill_calls, self.quick, self.gone, self.bare, self.stop_calls,
        ]  # fmt: skip

    def run(self, runs: int, parallel: int = 1) -> list[Figure]:
        """`runs` of each, in as many clusters beside each other; two that are at it at the same
        moment cost each other something.
        """
        with self._noise, ThreadPoolExecutor(parallel) as pool:
            for done in [pool.submit(self._alternate, 2 * runs // parallel) for _ in range(parallel)]:
                done.result()
        return self.figures

    def _alternate(self, moves: int) -> None:
        assert moves <= MOST_MOVES, "no priority is left"
        with BenchCluster(2, self._interval, latency=self._latency) as cluster:
            cluster.start()
            holder, other = cluster["n1"], cluster["n2"]
            for turn in range(moves):
                cluster.settle(holder.name)
                (self._stop if turn % 2 else self._kill)(cluster, holder, other)
                if turn < moves - 1:  # ever worse, so that nobody takes back
                    holder.words[holder.words.index("-P") + 1] = str(30 + (WORST_PRIORITY - 30) * turn // moves)
                    holder.start()
                    holder, other = other, holder

    def _kill(self, cluster: BenchCluster, holder: Process, other: Process) -> None:
        heard, cleared = len(cluster.observer.of(holder)), len(other.events("cleared", "let-go"))
        cluster.until(lambda: len(cluster.observer.of(holder)) > heard, "the holder beats")
        time.sleep(random.uniform(0.1, 0.8) * self._interval)  # anywhere between two heartbeats, never within one
        mark, killed = cluster.mark, time.monotonic()
        holder.kill()
        cluster.until(lambda: cluster.holders() == {other.name}, f"{other.name} alone holds")
        cluster.until(lambda: len(other.events("cleared", "let-go")) > cleared, f"{other.name} has seen that")
        due = cluster.observer.of(holder)[-1].at + cluster.dead_time
        attach, calls = cluster.first_attach(mark, other), [c for c in cluster.calls(mark, other) if c.time >= due]
        self.late.samples.append(attach.time - due)
        # Two targets of one heartbeat are some microseconds apart, more when the sender is
        # interrupted between them
        self.early.samples.append(float(attach.time - due < -self._interval / 4))
        reads = [call for call in calls if call.method == "GET" and call.time < attach.time]
        self.reads.samples.append(sum(cluster.answered(read) < attach.time for read in reads))  # it may have waited for
        self.shaken.samples.append(sum(due <= moment < attach.time for moment in cluster.accepted))
        self.answer.samples.append(cluster.answered(attach) - killed)
        attached = cluster.held_from(mark, other)
        self.hole.samples.append(attached - killed)
        detach = next(call for call in calls if call.operation == DETACH)
        self.clear.samples.append(detach.time - attached)
        self.moved.samples.append(changes(cluster.record(mark))[-1].time - due)
        self.kill_calls.samples.append(len(calls))

    def _stop(self, cluster: BenchCluster, holder: Process, other: Process) -> None:
        mark, stopped = cluster.mark, time.monotonic()
        holder.stop()
        cluster.until(lambda: cluster.holders() == {other.name}, f"{other.name} alone holds")
        self.quick.samples.append(cluster.first_attach(mark, other).time - stopped)
        moved = changes(cluster.record(mark))
        self.gone.samples.append(moved[-1].time - stopped)
        self.bare.samples.append(sum(later.time - one.time for one, later in pairwise(moved) if not one.holders))
        self.stop_calls.samples.append(len(cluster.calls(mark)))


def changes(record: Sequence[Entry]) -> list[Entry]:
    """The changes of the holders in it."""
    return [entry for entry in record if entry.kind == "holders"]


def failover(runs: int, interval: float, parallel: int = 1) -> list[Figure]:
    """Deaths and stops at one interval."""
    return Moves(interval).run(runs, parallel)


def slow_calls(runs: int) -> list[Figure]:
    """Whole moves at other times of a call; at 100 ms they are among the others."""
    figures: list[Figure] = []
    for latency in (0.0, 0.3):
        moves = Moves(0.2, latency)
        moves.run(runs, parallel=2)
        figures += [moves.late, moves.hole, moves.clear, moves.moved, moves.gone, moves.bare]
    return figures


def hanging(runs: int) -> list[Figure]:
    """Deaths while a read of the survivor is under way and is not answered."""
    interval = 0.2
    label = f"SIGKILL while a read hangs, interval {interval:g} s, {LATENCY * 1000:g} ms a call"
    late = at_most(f"{label}: attach on the wire after the deadline", "ms", 3, 10)
    shaken = exactly(f"{label}: new connections between deadline and attach", "count")
    with BenchCluster(2, interval, options=("-v", "--verify-interval", "0.5")) as cluster:
        cluster.start()
        holder, other = cluster["n1"], cluster["n2"]
        for turn in range(runs):
            cluster.settle(holder.name)
            cluster.fault("hang", method="GET", key=f"EXO{other.name}", seconds=PATIENCE)
            mark = cluster.mark
            cluster.until(lambda since=mark, one=other: cluster.calls(since, one), "a read of the survivor hangs")
            time.sleep(random.uniform(0.0, interval))
            mark = cluster.mark
            holder.kill()
            cluster.until(lambda since=mark: cluster.mutations(since), "the survivor attaches")
            due, attach = cluster.observer.of(holder)[-1].at + cluster.dead_time, cluster.first_attach(mark, other)
            late.samples.append(attach.time - due)
            shaken.samples.append(sum(due <= moment < attach.time for moment in cluster.accepted))
            cluster.clear()
            mark = cluster.mark
            cluster.until(lambda taker=other.name: cluster.holders() == {taker}, f"{other.name} alone holds")
            cluster.until(  # the read that hangs has timed out by then: before, the survivor would step aside for who comes back
                lambda since=mark, one=other: _reads(cluster, since, one),
                f"{other.name} reads itself again",
            )
            if turn < runs - 1:
                holder.words[holder.words.index("-P") + 1] = str(30 + turn)
                holder.start()
                holder, other = other, holder
    return [late, shaken]


def _reads(cluster: BenchCluster, since: int, node: Process) -> bool:
    """Whether that node has asked for its own instance since that mark."""
    return any(call.operation == READ and call.instance == node.id for call in cluster.calls(since, node))
