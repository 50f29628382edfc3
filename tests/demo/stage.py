"""The stage: waits until the cluster has settled, tells what happens meanwhile, and judges each act when the next one begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exoip.sandbox.zone import COMMANDS
from tests.demo.cluster import Cluster
from tests.demo.display import Display
from tests.demo.instance import Instance
from tests.demo.judge import Event, moved_at, wrongs
from tests.demo.report import Row
from tests.demo.view import happened_at, makes_master, silence

STEP = 0.02  # seconds between two looks
SETTLED = 0.8  # so long a new state must last before the next act
STARTS = 20.0  # a daemon and a web server have started
GRACE = 5.0  # the nodes agree, so long after the event's bound


class Failed(Exception):
    """The play can not go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Act:
    """An event on stage. `taker` is to take over; `silent` is the holder that is not heard any more, if that is what happened.

    `detected`: the taker makes itself master because of it. `lossless`: no request may be lost.
    """

    event: Event
    taker: Instance
    silent: Instance | None = None
    detected: bool = True
    lossless: bool = False


class Stage:
    """One act at a time. `rows`, `problems` and `remarks` grow meanwhile."""

    def __init__(self, cluster: Cluster, display: Display) -> None:
        self.cluster = cluster
        self.display = display
        self.rows: list[Row] = []
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self._act: Act | None = None

    def wait(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Go on telling what happens until the condition holds; False when the deadline passes first."""
        while True:
            self._tell()
            if condition():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(STEP)

    def ready_at(self, instances: Sequence[Instance]) -> float:
        """Wait until they are ready; returns since when all are."""
        if not self.wait(lambda: all(one.ready_at is not None for one in instances), time.monotonic() + STARTS):
            states = "; ".join(f"{one.name}: {one.state}" for one in instances)
            raise Failed(f"not ready within {STARTS:g} s: {states}")
        return max(one.ready_at for one in instances if one.ready_at is not None)

    def settle(self, alive: Sequence[Instance], further: Callable[[], bool] = lambda: True) -> None:
        """Wait until the expected one holds alone, the nodes `alive` agree on that, and `further` is so, for a while."""
        act = self._act
        if act is None:
            raise RuntimeError("nothing has begun that could settle")
        event = act.event
        since: float | None = None

        def settled() -> bool:
            nonlocal since
            as_wished = moved_at(self.cluster.history, event, time.monotonic()) is not None and further()
            if not (
                as_wished
                and all(one.view.agrees(master=one.id == event.expected, peers=len(alive) - 1) for one in alive)
            ):
                since = None
            elif since is None:
                since = time.monotonic()
            return since is not None and time.monotonic() >= since + SETTLED

        if not self.wait(settled, event.at + event.bound + GRACE):
            states = "; ".join(f"{one.name}: {one.state}" for one in self.cluster.instances)
            self.end(time.monotonic())
            raise Failed(f"{event.name}: not settled {event.bound + GRACE:.1f} s after the event: {states}")

    # Telling and judging

    def say(self, text: str) -> None:
        """Say what is done to the cluster next."""
        self._tell()
        self.display.say()
        self._line(time.monotonic(), "demo", text)

    def _line(self, at: float, source: str, text: str) -> None:
        self.display.say(f"{at - self.cluster.started:6.2f}  {source:6}  {text}")

    def _tell(self) -> None:
        for at, source, text in self.cluster.happenings():
            self._line(at, source, text)
        self.display.refresh()

    def begin(self, act: Act) -> None:
        """The next act is on stage."""
        self.end(act.event.at)
        self._act = act

    def end(self, at: float) -> None:
        """The window of the act on stage ends: judge it."""
        if self._act is None:
            return
        act, self._act = self._act, None
        history = self.cluster.history
        self.problems += wrongs(history, act.event, at, self.cluster.names)
        self.rows.append(row(self.cluster, act, at))
        if act.lossless and self.rows[-1].lost:
            self.problems.append(f"{act.event.name}: {self.rows[-1].lost} requests were lost, and none may be")


def row(cluster: Cluster, act: Act, end: float) -> Row:
    """What came of an act whose window ended at `end`."""
    event, taker = act.event, act.taker
    told = [(cluster.monotonic(happened_at(entry)), entry) for entry in cluster.told[taker.name]]
    told = [(at, entry) for at, entry in told if event.at <= at < end]
    origin = event.at
    if act.silent is not None:
        peer = act.silent.id
        origin = next((at - silent for at, entry in told if (silent := silence(entry, peer)) is not None), origin)
    master = next((at for at, entry in told if act.detected and makes_master(entry)), None)
    attaches = [one for one in cluster.entries() if one.kind == "call" and one.operation == COMMANDS["attach"]]
    sent = next((one.time for one in attaches if one.key == taker.name and event.at <= one.time < end), None)
    moved = moved_at(cluster.history, event, end)
    times = [None if at is None else at - origin for at in (master, sent, moved)]
    bound = None if event.expected is None else event.bound
    return Row(event.name, times[0], times[1], times[2], bound, cluster.client.lost(event.at, end))
