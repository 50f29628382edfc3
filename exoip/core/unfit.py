"""Why a node steps aside: its own failed jobs, and what comes from outside (a health check, an operator, a crash loop). Pure.

A node that steps aside is unfit: it advertises 253 or 254, so any fit node goes before it, and it still serves when no other can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from exoip.core.backoff import Fitness
from exoip.core.events import Event, What

OPERATOR, FAILOVER = "operator", "failover"  # sources of their own: a drain, and a hand-over on demand


class Aside:
    """The reasons of one node. `jobs`: by what its failure is called, the fitness for each job that the node does itself."""

    def __init__(self, own_id: str, jobs: Mapping[str, Fitness]) -> None:
        self._own_id, self._jobs = own_id, jobs
        self._outside: dict[str, tuple[str, float]] = {}
        self._told = False

    def set(self, source: str, why: str, until: float = math.inf) -> None:
        """Step aside until then for a reason of `source`, which has one at a time; with "" as the reason, no longer."""
        if why:
            self._outside[source] = why, until
        else:
            self._outside.pop(source, None)

    def reasons(self, now: float) -> tuple[tuple[str, float], ...]:
        """Return each reason at `now`, and until when it lasts if nothing changes (inf: until it is taken back)."""
        jobs = ((why, fitness.until) for why, fitness in self._jobs.items())
        return tuple((why, until) for why, until in (*self._outside.values(), *jobs) if now < until)

    def unfit(self, now: float) -> bool:
        """Whether there is any reason."""
        return bool(self.reasons(now))

    def next_deadline(self, now: float) -> float:
        """When the next reason ends; inf for never."""
        return min((until for _, until in self.reasons(now)), default=math.inf)

    def edge(self, now: float) -> list[Event]:
        """Tell when the first reason came or the last one went."""
        reasons = self.reasons(now)
        if bool(reasons) == self._told:
            return []
        self._told = bool(reasons)
        if not reasons:
            return [Event(What.FIT, now, self._own_id, "takes part again")]
        why, longest = reasons[0][0], max(until for _, until in reasons)
        return [Event(What.UNFIT, now, self._own_id, why, {"for": longest - now})]
