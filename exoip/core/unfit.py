"""Collect the reasons why a node is unfit.

The reasons are its own failed jobs and causes from outside: a health check, an operator, a crash
loop. An unfit node advertises 253 (holding) or 254. So any fit node takes over from it, and it
still serves if no other node can. Shown by 20, 21c, 25, 33.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from exoip.core.backoff import CircuitBreaker
from exoip.core.events import Event, EventName

OPERATOR = "operator"  # the source of a drain
FAILOVER = "failover"  # the source of a failover on demand
_FAILED = {"attach": "could not attach", "detach": "could not detach another node yet"}


@dataclass(frozen=True, slots=True)
class UnfitReason:
    """One reason.

    `cause`: its source, or the job that failed (attach, detach). `why`: a sentence for people.
    `until`: when it ends, in seconds; inf if it must be withdrawn.
    """

    cause: str
    why: str
    until: float = math.inf


class UnfitReasons:
    """The reasons of one node. `jobs`: the breakers of attach and detach (of another node)."""

    def __init__(self, own_id: str, jobs: Mapping[str, CircuitBreaker]) -> None:
        self._own_id, self._jobs = own_id, jobs
        self._outside: dict[str, UnfitReason] = {}
        self._reported = False  # as unfit

    def set(self, source: str, why: str, until: float = math.inf) -> None:
        """Set the one reason of `source`, until then; withdraw it if `why` is empty."""
        self._outside[source] = UnfitReason(source, why, until if why else -math.inf)

    def reasons(self, now: float) -> tuple[UnfitReason, ...]:
        """Return the reasons in force."""
        jobs = (UnfitReason(job, _FAILED[job], breaker.until) for job, breaker in self._jobs.items())
        return tuple(reason for reason in (*self._outside.values(), *jobs) if now < reason.until)

    def unfit(self, now: float) -> bool:
        """Whether there is any reason."""
        return bool(self.reasons(now))

    def next_deadline(self, now: float) -> float:
        """Return when the next reason ends; inf for never."""
        return min((reason.until for reason in self.reasons(now)), default=math.inf)

    def report_change(self, now: float) -> list[Event]:
        """Return an event if the first reason has come or the last one has gone."""
        reasons = self.reasons(now)
        if bool(reasons) == self._reported:
            return []
        self._reported = bool(reasons)
        if not reasons:
            return [Event(EventName.FIT, now, self._own_id, "takes part again")]
        details = {"cause": reasons[0].cause, "for": max(reason.until for reason in reasons) - now}
        return [Event(EventName.UNFIT, now, self._own_id, reasons[0].why, details)]
