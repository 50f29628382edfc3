"""When which kind of look is due. Pure; `now` in seconds.

Verify   at once after something moved, again after 1, 2, 4 s… up to the verify interval, then at that interval.
Keep     a backup that holds: the master every second; a leaver: every heard peer every 0.25 s, the one looked at longest ago first.
Refresh  the group: every 5 minutes; early, but at most every 30 s.
"""

from __future__ import annotations

import math
from collections import deque

from exoip.core.calls import Call

RELEASE_READ_INTERVAL, LEAVE_READ_INTERVAL = 1.0, 0.25
FIRST_VERIFY = 1.0
REFRESH_INTERVAL, EARLY_REFRESH_INTERVAL = 300.0, 30.0


class ReadSchedule:
    """`queue`: the rest of the round of verification that is under way."""

    def __init__(self, now: float, refresh_in: float) -> None:
        self.verify_at = now
        self.verify_step = FIRST_VERIFY
        self.release_read_at = -math.inf
        self.refresh_at = now + refresh_in
        self.queue: deque[Call] = deque()
        self._refreshed_at = now
        self._looked: dict[str, float] = {}

    def verify_again(self, now: float) -> None:
        """Something moved: verify at once, and often at first."""
        self.verify_at, self.verify_step = now, FIRST_VERIFY
        self.queue.clear()

    def round_begins(self, now: float, longest: float) -> bool:
        """A round of verification begins; return whether the rounds have reached the longest interval."""
        steady = self.verify_step >= longest
        self.verify_at = now + min(self.verify_step, longest)
        self.verify_step = min(2 * self.verify_step, longest)
        return steady

    def idle_round_begins(self, now: float, every: float) -> bool:
        """A round of a node that is no master begins; return whether it is the first since something moved."""
        first = self.verify_step == FIRST_VERIFY
        self.verify_step, self.verify_at = 2 * FIRST_VERIFY, now + every
        return first

    def next_release_read(self, targets: list[str], leaving: bool, now: float) -> str:
        """Return whom to look at now."""
        target = min(targets, key=lambda target: (self._looked.get(target, -math.inf), target))
        self._looked[target] = now
        self.release_read_at = now + (LEAVE_READ_INTERVAL if leaving else RELEASE_READ_INTERVAL) / len(targets)
        return target

    def refreshed(self, began: float, ended: float) -> None:
        """The group was read."""
        self._refreshed_at, self.refresh_at = began, ended + REFRESH_INTERVAL

    def refresh_failed(self, now: float) -> None:
        """The group could not be read."""
        self.refresh_at = now + EARLY_REFRESH_INTERVAL

    def refresh_early(self, now: float) -> bool:
        """The group may have grown. Return whether that changes when it is read."""
        at = max(now, self._refreshed_at + EARLY_REFRESH_INTERVAL)
        sooner = at < self.refresh_at < math.inf
        self.refresh_at = at if sooner else self.refresh_at
        return sooner
