"""When to try again, and when to step aside: backoff and unfit times. Pure; `now` in seconds.

Backoff     after a failure 0.5 s, doubling to 30 s, with 20 % of jitter (on top, but never past 30 s); Retry-After is honoured.
            A master that has to attach waits 5 s at most for an API that is away: nobody may hold meanwhile.
            A refused key (401, 403) is tried again every 30 s.
CircuitBreaker  three failed tries at one job (a time-out or a refusal counts as three) make the node unfit for 10 s,
            doubling to 10 min, until the job is done once.
"""

from __future__ import annotations

import math
import random

from exoip.core.calls import Failure

FIRST_RETRY, LONGEST_RETRY, LONGEST_RETRY_AFTER = 0.5, 30.0, 300.0
LONGEST_ATTACH_RETRY = 5.0  # the longest wait of a master that has to attach, for an API that is away
API_AWAY = (Failure.TIMEOUT, Failure.UNREACHABLE, Failure.UNAVAILABLE)
JITTER = 0.2
FIRST_UNFIT, LONGEST_UNFIT = 10.0, 600.0
TRIES = 3


class Backoff:
    """When one job may be tried again. `soon`: never wait longer than that for an API that is away, in seconds."""

    def __init__(self, rng: random.Random, soon: float = LONGEST_RETRY) -> None:
        self._rng = rng
        self._soon = soon
        self._wait = FIRST_RETRY
        self.at = -math.inf  # not before

    def failed(self, failure: Failure, retry_after: float, now: float) -> None:
        """Wait longer than the last time."""
        wait = LONGEST_RETRY if failure is Failure.FORBIDDEN else self._wait
        self._wait = min(2 * self._wait, LONGEST_RETRY)
        jitter = JITTER * self._rng.random()
        longest = self._soon if failure in API_AWAY else LONGEST_RETRY
        wait = min(wait * (1 + jitter), longest * (1 - jitter))
        self.at = now + max(wait, min(retry_after, LONGEST_RETRY_AFTER))

    def wait_longer(self, now: float) -> None:
        """Wait longer than the last time, for no particular failure."""
        self.failed(Failure.OPERATION, 0.0, now)

    def reset(self) -> None:
        """The job is done, or it is a new one."""
        self._wait, self.at = FIRST_RETRY, -math.inf


class CircuitBreaker:
    """Whether one job can be done by this node. Unfit until `until`."""

    def __init__(self) -> None:
        self.until = -math.inf
        self._tries = 0
        self._length = FIRST_UNFIT

    def failed(self, failure: Failure, now: float) -> None:
        """Count a failed try; a time-out or a refusal counts as three. While unfit nothing is counted."""
        if now < self.until:
            return
        self._tries += TRIES if failure in (Failure.TIMEOUT, Failure.FORBIDDEN) else 1
        if self._tries >= TRIES:
            self.until = now + self._length
            self._length = min(2 * self._length, LONGEST_UNFIT)
            self._tries = 0

    def done(self) -> None:
        """The job is done: fit, and the next unfit time is short again."""
        self.until, self._tries, self._length = -math.inf, 0, FIRST_UNFIT

    def forget_tries(self) -> None:
        """A new decision: earlier tries do not count, earlier unfit times do."""
        self._tries = 0
