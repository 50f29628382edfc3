"""Time the reads: own state and others, successors, and the group.

Verify      At once after a change, again after 1, 2, 4 s… up to the verify interval, then at that
            interval. Shown by 32a, 45, TestVerify.
Successors  A backup that holds reads the master every second. A leaver reads every peer that may
            take over every 0.25 s, the one read longest ago first. Shown by 21a, 22a, 37b.
Refresh     Read the group every 7 minutes, and at once if that is wanted, see `node`. Shown by
            29b, TestRefresh.
"""

from __future__ import annotations

import math
from collections import deque

from exoip.core.calls import Call

RELEASE_READ_INTERVAL = 1.0  # seconds between two reads of the master by a backup that holds
LEAVE_READ_INTERVAL = 0.25  # seconds between two reads of one peer by a leaver
FIRST_VERIFY = 1.0  # seconds from the first round of verification to the second
REFRESH_INTERVAL = 420.0  # seconds between two reads of the group


class ReadSchedule:
    """When the next read of each kind is due, in seconds.

    `queue`: the remaining reads of the round of verification that is under way.
    """

    def __init__(self, now: float) -> None:
        self.verify_at = now
        self.release_read_at, self.refresh_at = -math.inf, math.inf
        self.queue: deque[Call] = deque()
        self.rounds = 0  # of verification since a change
        self._read_at: dict[str, float] = {}  # when each successor was last read

    def verify_again(self, now: float) -> None:
        """Verify now, and often at first, because something changed."""
        self.verify_at, self.rounds = now, 0
        self.queue.clear()

    def begin_round(self, now: float, longest: float, *, soon: bool) -> int:
        """Begin a round; return how many there were since a change. `soon`: the next ones are."""
        before, self.rounds = self.rounds, self.rounds + 1
        self.verify_at = now + (min(FIRST_VERIFY * (1 << min(before, 20)), longest) if soon else longest)
        return before

    def next_release_read(self, successors: list[str], leaving: bool, now: float) -> str:
        """Return which successor to read now, and set when the next one is due."""
        target = min(successors, key=lambda name: (self._read_at.get(name, -math.inf), name))
        self._read_at[target] = now
        self.release_read_at = now + (LEAVE_READ_INTERVAL if leaving else RELEASE_READ_INTERVAL) / len(successors)
        return target

    def refresh_by(self, at: float) -> None:
        """Read the group at this time at the latest.

        A read that is under way does not count. A group that never changes is not read.
        """
        if self.refresh_at < math.inf:
            self.refresh_at = min(self.refresh_at, at)
