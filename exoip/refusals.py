"""Datagrams that were refused: counted by cause, told of at most once a minute per sender and cause. Pure.

Whatever is sent to this node, what is kept stays small: of those who are no members at most `MOST_SENDERS` are told apart. Members are
as many as the group has, and a flood of false senders does not keep untold what a member does wrong.
"""

from __future__ import annotations

import math
from collections import Counter

from exoip.events import Event, What

TOLD_EVERY = 60.0  # seconds
MOST_SENDERS = 100


class Refusals:
    """`counts`: by cause, since the start."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._members: dict[tuple[str, str], float] = {}  # when a sender and cause was told of last
        self._others: dict[tuple[str, str], float] = {}
        self._pruned = -math.inf

    def note(self, address: str, cause: str, now: float, *, member: bool = False) -> Event | None:
        """Count one refusal, of something that came from a member's address or not; return the event when it is time to tell of it."""
        self.counts[cause] += 1
        told = self._members if member else self._others
        if now - told.get((address, cause), -math.inf) < TOLD_EVERY:
            return None
        if len(told) >= MOST_SENDERS and (member or now - self._pruned >= TOLD_EVERY):
            self._pruned = now
            for old in [key for key, at in told.items() if now - at >= TOLD_EVERY]:
                del told[old]
        if len(told) >= MOST_SENDERS and not member:
            return None
        told[address, cause] = now
        details = {"address": address, "count": self.counts[cause], "cause": cause}
        return Event(What.DATAGRAM_REFUSED, now, "", cause, details)
