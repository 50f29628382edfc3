"""What became of the Elastic IP (EIP) after an event, by the zone's own record, and whether that was right. Pure.

Wrong is, after an event's bound and until the next event, anything but one holder, the one that is expected; and, where the move
is make-before-break, any moment with no holder at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

History = Sequence[tuple[float, frozenset[str]]]  # from this second on these hold; nobody before the first


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to the cluster at second `at`. `bound` seconds later `expected` (an instance id) holds alone.

    `expected` None: nothing is to move. `gapless`: there is a holder at every moment.
    """

    name: str
    at: float
    expected: str | None
    bound: float
    gapless: bool = True

    def __post_init__(self) -> None:
        if self.bound < 0:
            raise ValueError(f"{self.name}: a bound of {self.bound} s lies before the event")


def holders_at(history: History, moment: float) -> frozenset[str]:
    """Who holds at `moment`."""
    return next((holders for since, holders in reversed(history) if since <= moment), frozenset())


def stretches(history: History, start: float, end: float) -> Iterator[tuple[float, frozenset[str]]]:
    """Who holds at `start`, and each change after it to `end`, both included."""
    yield start, holders_at(history, start)
    yield from ((since, holders) for since, holders in history if start < since <= end)


def moved_at(history: History, event: Event, end: float) -> float | None:
    """Since when the expected one holds alone, as seen at `end`; None: it does not, or nothing was expected."""
    if event.expected is None:
        return None
    found: float | None = None
    for since, holders in stretches(history, event.at, end):
        if holders != {event.expected}:
            found = None
        elif found is None:
            found = since
    return found


def wrongs(history: History, event: Event, end: float, names: Mapping[str, str]) -> list[str]:
    """What was wrong from the event to the next one at `end`, one sentence each; `names` are those of the instances."""
    found = []
    for since, holders in stretches(history, event.at, end):
        if event.gapless and not holders:
            found.append(f"{event.name}: nobody held it {since - event.at:.2f} s after the event")
    if event.expected is None:
        return found
    expected = names.get(event.expected, event.expected)
    for since, holders in stretches(history, min(event.at + event.bound, end), end):
        if holders != {event.expected}:
            told = " and ".join(sorted(names.get(one, one) for one in holders)) or "nobody"
            found.append(
                f"{event.name}: held by {told} {since - event.at:.2f} s after the event, "
                f"not by {expected} alone; its bound is {event.bound:.2f} s"
            )
    return found
