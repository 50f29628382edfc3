"""When a health check counts as failing: after so many bad results in a row, and no longer after so many good ones. Pure.

Before its first result a check is pending, which counts as failing: a node that starts with a broken service must not take from
one that works. The first result decides alone, good or bad, so a start costs one result and not several. This is keepalived's rule
for its scripts. A check that takes over from an earlier one (a reload, a daemon that crashed) begins as passing or failing instead.
"""

from __future__ import annotations

from exoip.core.snapshot import Health


class Rise:
    """The counters of one check. `rise`: good results in a row that end a failure; `fall`: bad ones in a row that begin it."""

    def __init__(self, rise: int, fall: int, health: Health = Health.PENDING) -> None:
        self._rise, self._fall = rise, fall
        self.health = health
        self.against = 0  # results in a row that speak against `health`

    def take(self, good: bool) -> bool:
        """Count a result; return whether `health` is another than before."""
        says = Health.PASSING if good else Health.FAILING
        if says is self.health:
            self.against = 0
            return False
        self.against += 1
        if self.health is not Health.PENDING and self.against < (self._rise if good else self._fall):
            return False
        self.health, self.against = says, 0
        return True
