"""Time the reads: own state and others, successors, and the group.

Verify      At once after a change, again after 1, 2, 4 s… up to the verify interval, then at that
            interval. Shown by 32a, 45, TestVerify.
Successors  A backup that holds reads the master every second. A leaver reads every peer that may
            take over every 0.25 s, the one read longest ago first. Shown by 21a, 22a, 37b.
Refresh     Read the group every 5 minutes; early, but at most every 30 s. Shown by 29b.
"""

from __future__ import annotations

import math
from collections import deque

from exoip.core.calls import Call

RELEASE_READ_INTERVAL = 1.0  # seconds between two reads of the master by a backup that holds
LEAVE_READ_INTERVAL = 0.25  # seconds between two reads of one peer by a leaver
FIRST_VERIFY = 1.0  # seconds from the first round of verification to the second
REFRESH_INTERVAL = 300.0  # seconds between two reads of the group
EARLY_REFRESH_INTERVAL = 30.0  # the same if an unknown node sends heartbeats, or after a failure


class ReadSchedule:
    """When the next read of each kind is due, in seconds.

    `queue`: the remaining reads of the round of verification that is under way.
    """

    def __init__(self, now: float, refresh_in: float) -> None:
        self.verify_at = now
        self.verify_step = FIRST_VERIFY
        self.release_read_at = -math.inf
        self.refresh_at = now + refresh_in
        self.queue: deque[Call] = deque()
        self._refreshed_at = now
        self._idle = 0.0  # seconds between two rounds of a node that is no master that holds
        self._read_at: dict[str, float] = {}  # when each successor was last read

    def verify_again(self, now: float) -> None:
        """Verify now, and often at first, because something changed."""
        self.verify_at, self.verify_step = now, FIRST_VERIFY
        self.queue.clear()

    def round_begins(self, now: float, longest: float) -> None:
        """Begin a round of a master that holds."""
        self._idle = 0.0
        self.verify_at = now + min(self.verify_step, longest)
        self.verify_step = min(2 * self.verify_step, longest)

    def idle_round_begins(self, now: float, every: float) -> bool:
        """Begin a round of any other node; return whether it is the first since a change."""
        first = self.verify_step == FIRST_VERIFY
        self._idle, self.verify_step, self.verify_at = every, 2 * FIRST_VERIFY, now + every
        return first

    def next_release_read(self, successors: list[str], leaving: bool, now: float) -> str:
        """Return which successor to read now, and set when the next one is due."""
        target = min(successors, key=lambda name: (self._read_at.get(name, -math.inf), name))
        self._read_at[target] = now
        self.release_read_at = now + (LEAVE_READ_INTERVAL if leaving else RELEASE_READ_INTERVAL) / len(successors)
        return target

    def refreshed(self, began: float, ended: float) -> None:
        """Record a read of the group. It also takes the place of the next idle round."""
        if self.verify_at > ended:
            self.verify_at += self._idle
        self._refreshed_at, self.refresh_at = began, ended + REFRESH_INTERVAL

    def refresh_failed(self, now: float) -> None:
        """Try again soon, because the group could not be read."""
        self.refresh_at = now + EARLY_REFRESH_INTERVAL

    def refresh_early(self, now: float) -> bool:
        """Read the group early, because it may have grown; return whether it is read sooner now."""
        at = max(now, self._refreshed_at + EARLY_REFRESH_INTERVAL)
        sooner = at < self.refresh_at < math.inf
        self.refresh_at = at if sooner else self.refresh_at
        return sooner
