"""What happened since the start, counted for the metrics: events, moves, failovers, calls to the API. Costs nothing per heartbeat."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from exoip.core.calls import Call, Failure, Kind, Outcome
from exoip.core.events import Event, EventName
from exoip.core.peers import Role

DONE = "done"  # the outcome of a call that gave what was asked


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """A copy. `calls`: by kind and outcome (DONE or a failure's name), how many and how many seconds in all."""

    events: dict[EventName, int]
    failovers: int
    calls: dict[tuple[Kind, str], tuple[int, float]]


class Counters:
    """Counts events and API calls; any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: Counter[EventName] = Counter(dict.fromkeys(EventName, 0))
        self._failovers = 0
        outcomes = (DONE, *Failure)
        self._calls = {(kind, str(outcome)): (0, 0.0) for kind in Kind for outcome in outcomes}

    def count_event(self, event: Event) -> None:
        """Count an event. A failover is this node's becoming master after it was a backup."""
        with self._lock:
            self._events[event.name] += 1
            if event.name is EventName.ROLE and event.details["role"] == Role.MASTER:
                self._failovers += event.details["old_role"] == Role.BACKUP

    def count_call(self, call: Call, outcome: Outcome) -> None:
        """Count a call to the API."""
        key = (call.kind, DONE if outcome.failure is None else str(outcome.failure))
        with self._lock:
            count, seconds = self._calls[key]
            self._calls[key] = count + 1, seconds + outcome.ended - outcome.began

    def snapshot(self) -> CounterSnapshot:
        """Return the counts so far."""
        with self._lock:
            return CounterSnapshot(dict(self._events), self._failovers, dict(self._calls))
