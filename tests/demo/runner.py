"""Wait until the cluster has settled after an act, report what happens meanwhile, judge the act
when the next one begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exoip.sandbox.zone import COMMANDS
from tests.demo.cluster import Cluster
from tests.demo.display import Display
from tests.demo.events import happened_at, makes_master, silence
from tests.demo.instance import Instance
from tests.demo.report import Row
from tests.demo.verdict import Event, faults, moved_at

STEP = 0.02  # seconds between two checks
SETTLED = 0.8  # seconds that a new state must last before the next act
STARTS = 20.0  # seconds until a daemon and a web server have started
GRACE = 5.0  # seconds after the event's bound until the nodes agree


class Failed(Exception):
    """The demo cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Act:
    """An event and what must follow.

    `taker` takes over; `silent` is the holder that is no longer heard, if any.

    `detected`: the taker makes itself master because of it. `lossless`: no request may be lost.
    """

    event: Event
    taker: Instance
    silent: Instance | None = None
    detected: bool = True
    lossless: bool = False


class Runner:
    """Runs one act at a time. `rows`, `problems` and `remarks` are for the report."""

    def __init__(self, cluster: Cluster, display: Display) -> None:
        self.cluster = cluster
        self.display = display
        self.rows: list[Row] = []
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self._act: Act | None = None

    def wait(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Report what happens until the condition is true; return False if the deadline comes
        first.
        """
        while True:
            self._report()
            if condition():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(STEP)

    def ready_at(self, instances: Sequence[Instance]) -> float:
        """Wait until all are ready; return when that was."""
        if not self.wait(lambda: all(one.ready for one in instances), time.monotonic() + STARTS):
            raise Failed(f"not ready within {STARTS:g} s: {_states(instances)}")
        return time.monotonic()

    def settle(self, alive: Sequence[Instance], further: Callable[[], bool] = lambda: True) -> None:
        """Wait until for SETTLED seconds only the expected one holds, the nodes `alive` agree, and
        `further` is true.
        """
        act = self._act
        if act is None:
            raise RuntimeError("no act has begun")
        event = act.event
        since: float | None = None

        def settled() -> bool:
            nonlocal since
            moved = moved_at(self.cluster.history, event, time.monotonic()) is not None and further()
            if not moved or not all(
                one.node.agrees(master=one.id == event.expected, peers=len(alive) - 1) for one in alive
            ):
                since = None
            elif since is None:
                since = time.monotonic()
            return since is not None and time.monotonic() >= since + SETTLED

        if not self.wait(settled, event.at + event.bound + GRACE):
            self.end(time.monotonic())
            states = _states(self.cluster.instances)
            raise Failed(f"{event.name}: not settled {event.bound + GRACE:.1f} s after the event: {states}")

    # Reports and verdicts

    def say(self, text: str) -> None:
        """Announce what is done to the cluster next."""
        self._report()
        self.display.say()
        self._line(time.monotonic(), "demo", text)

    def _line(self, at: float, source: str, text: str) -> None:
        self.display.say(f"{at - self.cluster.started:6.2f}  {source:6}  {text}")

    def _report(self) -> None:
        for at, source, text in self.cluster.happenings():
            self._line(at, source, text)
        self.display.refresh()

    def begin(self, act: Act) -> None:
        """End the act before and begin the next one."""
        self.end(act.event.at)
        self._act = act

    def end(self, at: float) -> None:
        """End the present act, if any, and judge it."""
        if self._act is None:
            return
        act, self._act = self._act, None
        history = self.cluster.history
        self.problems += faults(history, act.event, at, self.cluster.names)
        self.rows.append(row(self.cluster, act, at))
        if act.lossless and self.rows[-1].lost:
            self.problems.append(f"{act.event.name}: {self.rows[-1].lost} requests were lost; none may be")


def _states(instances: Sequence[Instance]) -> str:
    return "; ".join(f"{one.name}: {one.description}" for one in instances)


def row(cluster: Cluster, act: Act, end: float) -> Row:
    """Return the table's row for an act that ended at `end`."""
    event, taker = act.event, act.taker
    entries = [(cluster.monotonic(happened_at(entry)), entry) for entry in cluster.entries_of[taker.name]]
    entries = [(at, entry) for at, entry in entries if event.at <= at < end]
    origin = event.at
    if act.silent is not None:
        peer = act.silent.id
        origin = next((at - silent for at, entry in entries if (silent := silence(entry, peer)) is not None), origin)
    master = next((at for at, entry in entries if act.detected and makes_master(entry)), None)
    attaches = [one for one in cluster.record() if one.kind == "call" and one.operation == COMMANDS["attach"]]
    sent = next((one.time for one in attaches if one.key == taker.name and event.at <= one.time < end), None)
    moved = moved_at(cluster.history, event, end)
    times = [None if at is None else at - origin for at in (master, sent, moved)]
    bound = None if event.expected is None else event.bound
    return Row(event.name, times[0], times[1], times[2], bound, cluster.client.lost(event.at, end))
