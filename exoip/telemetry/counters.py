"""Count events, failovers and API calls for the metrics. Costs nothing per heartbeat.

Shown by tests/unit/telemetry/test_counters.py.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from exoip.core.calls import Call, Failure, Kind, Outcome
from exoip.core.events import Event, EventName
from exoip.core.peers import Role

DONE = "done"  # the outcome of a successful call


@dataclass(frozen=True, slots=True)
class CounterSnapshot:
    """The counters at one moment.

    `calls`: number and total seconds, by kind and outcome (DONE or a failure).
    """

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
        """Count an event. A failover is a change of this node from backup to master."""
        with self._lock:
            self._events[event.name] += 1
            if event.name is EventName.ROLE and event.details["role"] == Role.MASTER:
                self._failovers += event.details["old_role"] == Role.BACKUP

    def count_call(self, call: Call, outcome: Outcome) -> None:
        """Count an API call."""
        key = (call.kind, DONE if outcome.failure is None else str(outcome.failure))
        with self._lock:
            count, seconds = self._calls[key]
            self._calls[key] = count + 1, seconds + outcome.ended - outcome.began

    def snapshot(self) -> CounterSnapshot:
        """Return a copy of the counters."""
        with self._lock:
            return CounterSnapshot(dict(self._events), self._failovers, dict(self._calls))
