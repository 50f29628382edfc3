"""Flap damping: a node whose role changed often lately makes a better node wait before it takes the Elastic IP back. Pure.

A node that comes and goes (a health check on the edge, a machine that restarts again and again, a bad cable) would take the Elastic IP
with it each time. So from the sixth change to or from MASTER within ten minutes on, the holder keeps a preemption delay of its own: 60 s,
doubled by each further change, to 10 min. It ends, and never shrinks before, when the role did not change for ten minutes. Deaths,
leaves and unfit holders never wait for it, as they never wait for the preemption delay: only a move that nobody needs is put off.
"""

from __future__ import annotations

import math
from collections import deque

CHANGES, WINDOW = 6, 600.0  # so many changes of the role within so many seconds are too many
FIRST_DELAY, LONGEST_DELAY = 60.0, 600.0


class Damping:
    """The changes of one node's role. `delay`: seconds that a better node has to wait at present, `until`: the end of that."""

    def __init__(self) -> None:
        self._changes: deque[float] = deque(maxlen=CHANGES + 4)  # more do not lengthen the delay
        self.delay = 0.0
        self.until = math.inf

    @property
    def changes(self) -> int:
        """How often the role changed within the window before the last change; counted up to ten."""
        return len(self._changes)

    def changed(self, now: float) -> bool:
        """The node became master, or ceased to be. Return whether the delay began, or grew."""
        while self._changes and self._changes[0] <= now - WINDOW:
            self._changes.popleft()
        self._changes.append(now)
        excess, before = len(self._changes) - CHANGES, self.delay
        self.delay = max(before, min(FIRST_DELAY * 2**excess, LONGEST_DELAY) if excess >= 0 else 0.0)
        self.until = now + WINDOW if self.delay else math.inf
        return self.delay > before

    def ended(self, now: float) -> bool:
        """Whether the delay ends now, because the role did not change for a whole window."""
        if now < self.until:
            return False
        self._changes.clear()
        self.delay, self.until = 0.0, math.inf
        return True
