"""Damp flapping: after many role changes a better node has to wait before it takes over.

A flapping node (a health check at its limit, a machine that restarts again and again, a bad cable)
would move the Elastic IP each time. From the sixth change to or from MASTER within ten minutes, the
holder keeps a preemption delay of 60 s, doubled by each further change, to 10 min. The delay never
shrinks; it ends when the role has not changed for ten minutes. Deaths, leaves and unfit holders
never wait, just as they never wait for the configured preemption delay.

Shown by 13c, 07b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CHANGES = 6  # role changes within WINDOW from which on a better node has to wait
WINDOW = 600.0  # seconds
FIRST_DELAY = 60.0  # seconds that a better node waits, at first
LONGEST_DELAY = 600.0  # seconds that a better node waits, at most
KEPT = CHANGES + 4  # changes; more do not lengthen the delay


@dataclass(slots=True)
class Damping:
    """The role changes of one node.

    `changes`: their times, within the window before the last one, ten at most. `delay`: seconds
    that a better node has to wait at present. `until`: when that ends, in seconds.
    """

    changes: tuple[float, ...] = ()
    delay: float = 0.0
    until: float = math.inf

    def changed(self, now: float) -> bool:
        """Record a change to or from MASTER; return whether the delay began or grew."""
        self.changes = (*(at for at in self.changes if at > now - WINDOW), now)[-KEPT:]
        excess, before = len(self.changes) - CHANGES, self.delay
        self.delay = max(before, min(FIRST_DELAY * 2**excess, LONGEST_DELAY) if excess >= 0 else 0.0)
        self.until = now + WINDOW if self.delay else math.inf
        return self.delay > before

    def ended(self, now: float) -> bool:
        """End the delay if the role has not changed for a whole window; return whether it ended."""
        if now < self.until:
            return False
        self.changes, self.delay, self.until = (), 0.0, math.inf
        return True
