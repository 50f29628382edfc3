"""Why a node steps aside: its own failed jobs, and what comes from outside (a health check, an operator, a crash loop). Pure.

A node that steps aside is unfit: it advertises 253 or 254, so any fit node goes before it, and it still serves when no other can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from exoip.core.backoff import CircuitBreaker
from exoip.core.events import Event, EventName

OPERATOR, FAILOVER = "operator", "failover"  # sources of their own: a drain, and a hand-over on demand
_FAILED = {"attach": "attach failed", "detach": "detach of another node failed", "read": "cannot read its own state"}


@dataclass(frozen=True, slots=True)
class UnfitReason:
    """One reason. `cause` is its source, or the node's own job that failed; `why` is for people; `until` inf: until taken back."""

    cause: str
    why: str
    until: float = math.inf


class UnfitReasons:
    """The reasons of one node. `jobs`: the fitness for each job that the node does itself: attach, detach (of another), read (itself)."""

    def __init__(self, own_id: str, jobs: Mapping[str, CircuitBreaker]) -> None:
        self._own_id, self._jobs = own_id, jobs
        self._outside: dict[str, UnfitReason] = {}
        self._told = False

    def set(self, source: str, why: str, until: float = math.inf) -> None:
        """Step aside until then for a reason of `source`, which has one at a time; with "" as the reason, no longer."""
        if why:
            self._outside[source] = UnfitReason(source, why, until)
        else:
            self._outside.pop(source, None)

    def reasons(self, now: float) -> tuple[UnfitReason, ...]:
        """Return each reason at `now`."""
        jobs = (UnfitReason(job, _FAILED[job], breaker.until) for job, breaker in self._jobs.items())
        return tuple(reason for reason in (*self._outside.values(), *jobs) if now < reason.until)

    def unfit(self, now: float) -> bool:
        """Whether there is any reason."""
        return bool(self.reasons(now))

    def next_deadline(self, now: float) -> float:
        """When the next reason ends; inf for never."""
        return min((reason.until for reason in self.reasons(now)), default=math.inf)

    def report_change(self, now: float) -> list[Event]:
        """Tell when the first reason came or the last one went."""
        reasons = self.reasons(now)
        if bool(reasons) == self._told:
            return []
        self._told = bool(reasons)
        if not reasons:
            return [Event(EventName.FIT, now, self._own_id, "takes part again")]
        details = {"cause": reasons[0].cause, "for": max(reason.until for reason in reasons) - now}
        return [Event(EventName.UNFIT, now, self._own_id, reasons[0].why, details)]
