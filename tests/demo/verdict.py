"""Judge where the Elastic IP was after an event, by the zone's own record. Pure.

From an event's bound until the next event, only the expected instance may hold. If the move is
make-before-break there must be a holder at every moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

History = Sequence[tuple[float, frozenset[str]]]  # from this second on these hold; nobody before the first


@dataclass(frozen=True, slots=True)
class Event:
    """Something done to the cluster at second `at`.

    `bound` seconds later only `expected` (an instance id) holds.

    `expected` None: nothing has to move. `gapless`: there is a holder at every moment.
    """

    name: str
    at: float
    expected: str | None
    bound: float
    gapless: bool = True


def _stretches(history: History, start: float, end: float) -> Iterator[tuple[float, frozenset[str]]]:
    """Yield who holds at `start`, and each change after it until `end`, both included."""
    yield start, next((holders for since, holders in reversed(history) if since <= start), frozenset())
    yield from ((since, holders) for since, holders in history if start < since <= end)


def moved_at(history: History, event: Event, end: float) -> float | None:
    """Return since when only the expected instance holds, as seen at `end`; None if it does not, or
    none was expected.
    """
    if event.expected is None:
        return None
    found: float | None = None
    for since, holders in _stretches(history, event.at, end):
        if holders != {event.expected}:
            found = None
        elif found is None:
            found = since
    return found


def faults(history: History, event: Event, end: float, names: Mapping[str, str]) -> list[str]:
    """Return a sentence for each fault from the event to the next one at `end`.

    `names`: of instances by id.
    """
    found = []
    for since, holders in _stretches(history, event.at, end):
        if event.gapless and not holders:
            found.append(f"{event.name}: no node held it {since - event.at:.2f} s after the event")
    if event.expected is None:
        return found
    expected = names.get(event.expected, event.expected)
    for since, holders in _stretches(history, min(event.at + event.bound, end), end):
        if holders != {event.expected}:
            held = " and ".join(sorted(names.get(one, one) for one in holders)) or "no node"
            found.append(
                f"{event.name}: held by {held} {since - event.at:.2f} s after the event, "
                f"not only by {expected}; the bound is {event.bound:.2f} s"
            )
    return found
