"""Datagrams that were refused: counted by cause, told of at most once a minute per sender and cause. Pure.

Whatever is sent to this node, what is kept stays small: at most `MOST_SENDERS` senders are told apart.
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
        self._told: dict[tuple[str, str], float] = {}
        self._pruned = -math.inf

    def note(self, address: str, cause: str, now: float) -> Event | None:
        """Count one refusal; return the event when it is time to tell of it."""
        self.counts[cause] += 1
        if now - self._told.get((address, cause), -math.inf) < TOLD_EVERY:
            return None
        if len(self._told) >= MOST_SENDERS:
            if now - self._pruned < TOLD_EVERY:
                return None
            self._pruned = now
            self._told = {key: at for key, at in self._told.items() if now - at < TOLD_EVERY}
            if len(self._told) >= MOST_SENDERS:
                return None
        self._told[address, cause] = now
        return Event(What.DATAGRAM_REFUSED, now, "", cause, {"address": address, "count": self.counts[cause]})
