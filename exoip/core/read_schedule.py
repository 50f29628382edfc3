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

REFRESH_INTERVAL = 420.0  # seconds between two reads of the group


class ReadSchedule:
    """When the next read of each kind is due, in seconds.

    `queue`: the remaining reads of the round of verification that is under way.
    """

    def __init__(self) -> None:
        self.verify_at, self.release_read_at, self.refresh_at = -math.inf, -math.inf, math.inf
        self.queue: deque[Call] = deque()
        self.rounds = 0  # of verification since a change

    def verify_again(self, now: float) -> None:
        """Verify now, and often at first, because something changed."""
        self.verify_at, self.rounds = now, 0
        self.queue.clear()

    def refresh_by(self, at: float) -> None:
        """Read the group at this time at the latest.

        A read that is under way does not count. A group that never changes is not read.
        """
        if self.refresh_at < math.inf:
            self.refresh_at = min(self.refresh_at, at)
