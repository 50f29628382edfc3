"""The counters of the metrics."""

from __future__ import annotations

import threading

from exoip.core.calls import Call, Failure, Kind, Outcome
from exoip.core.events import Event, EventName
from exoip.telemetry.counters import DONE, Counters


def role(new: str, old: str) -> Event:
    return Event(EventName.ROLE, 1.0, "x", "", {"role": new, "old_role": old})


def test_everything_is_there_from_the_start_so_that_an_increase_from_nothing_is_seen():
    counts = Counters().snapshot()
    assert counts.events == dict.fromkeys(EventName, 0)
    assert set(counts.calls) == {(kind, outcome) for kind in Kind for outcome in (DONE, *Failure)}
    assert set(counts.calls.values()) == {(0, 0.0)}


def test_events_and_failovers():
    counters = Counters()
    for event in (
        role("MASTER", "LISTENING"),
        role("BACKUP", "MASTER"),
        role("MASTER", "BACKUP"),
        role("MASTER", "MASTER"),
    ):
        counters.count_event(event)
    counters.count_event(Event(EventName.ATTACHED, 1.0))
    counts = counters.snapshot()
    assert (counts.failovers, counts.events[EventName.ROLE], counts.events[EventName.ATTACHED]) == (1, 4, 1)


def test_calls_with_their_seconds():
    counters = Counters()
    counters.count_call(Call(Kind.READ), Outcome(1.0, 1.5))
    counters.count_call(Call(Kind.READ), Outcome(2.0, 4.0))
    counters.count_call(Call(Kind.READ), Outcome(2.0, 3.0, Failure.TIMEOUT))
    calls = counters.snapshot().calls
    assert calls[Kind.READ, DONE] == (2, 2.5)
    assert calls[Kind.READ, "timeout"] == (1, 1.0)


def test_a_copy_stays_as_it_is():
    counters = Counters()
    before = counters.snapshot()
    counters.count_event(Event(EventName.ATTACHED, 1.0))
    assert before.events[EventName.ATTACHED] == 0


def test_threads_lose_nothing():
    counters = Counters()

    def count() -> None:
        for _ in range(2000):
            counters.count_call(Call(Kind.POLL), Outcome(0.0, 1.0))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.snapshot().calls[Kind.POLL, DONE] == (8000, 8000.0)
