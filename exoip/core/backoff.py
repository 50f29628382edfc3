"""Decide when to try a failed job again, and when this node is unfit for it.

Backoff         After a failure wait 0.5 s, doubling to 30 s, with up to 20 % of jitter (within the
                30 s), or as long as Retry-After says, within the same 30 s: a read may be all that
                a takeover waits for (58z). An attach or detach is tried again within 5 s, whatever
                the failure and whatever the API asks for, because nobody may hold meanwhile; only
                one that somebody undoes, or that has no effect, waits up to 30 s. Shown by 02b,
                19b, 19f, 19g, 34a, 47a, 56.
CircuitBreaker  Three failures in a row at one job make the node unfit for 10 s, or, if that is
                longer, for as long as all others but one may need for that job, one after another,
                and a little more: so the last of them has a turn before this node has its next
                (02f, 02g). This doubles to 10 min: others may need longer than this node (02h).
                One success closes the breaker; an attach has succeeded when a read shows it (57),
                whatever its answer was (28b, 47e). But if the answer was none, the next unfit time
                is longer all the same, and from the second one on a read does not end it (57k),
                unless this node held before it became unfit (57l, 57m). A time-out or a forbidden
                call counts as three failures. So does a job that is owed for longer than its time
                and counts (`ownership`), whatever it waits for. Shown by 02a, 02b, 02c, 17, 47b,
                48a, TestDeadline.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sized

from exoip.core.calls import Failure, Pace

FIRST_RETRY = 0.5  # seconds
LONGEST_RETRY = 30.0  # seconds; a longer Retry-After is cut to this
LONGEST_MOVE_RETRY = 5.0  # seconds; of an attach or a detach
JITTER = 0.2  # of the wait
FIRST_UNFIT = 10.0  # seconds
LONGEST_UNFIT = 600.0  # seconds
TRIES = 3  # failures in a row that make unfit


class Backoff:
    """When one job may be tried again.

    `at`: not before this second. `most`: the longest wait after a failure, in seconds.
    """

    def __init__(self, rng: random.Random, most: float = LONGEST_RETRY) -> None:
        self._rng, self._most = rng, most
        self.reset()

    def reset(self) -> None:
        """Start again: the job is done, or it is a new one."""
        self._wait, self.at = FIRST_RETRY, -math.inf

    def failed(self, retry_after: float, now: float) -> None:
        """Record a failure; wait longer than last time. `retry_after`: seconds, from the API."""
        self.wait_longer(now, self._most)
        self.at = max(self.at, now + min(retry_after, self._most))

    def wait_longer(self, now: float, most: float = LONGEST_RETRY) -> None:
        """Wait longer than the last time, although no call failed."""
        jitter = JITTER * self._rng.random()
        self.at = now + min(self._wait * (1 + jitter), most * (1 - jitter))
        self._wait = min(2 * self._wait, LONGEST_RETRY)


class CircuitBreaker:
    """Decides whether this node is unfit for one job: from `failed_at` until `until`, in seconds.

    `time`: seconds within which the job, once owed, must be done; more, if the API is slow.
    `others`: the other members.
    """

    def __init__(self, time: float, pace: Pace, others: Sized = ()) -> None:
        self._time, self._pace, self._others = time, pace, others
        self.until = self.failed_at = -math.inf
        self._owed_at, self._tries, self._factor = math.inf, 0, 1

    def succeeded(self, *, again: bool = False) -> None:
        """Close the breaker: the job is done. The next unfit time is short again, or as it was."""
        self._owed_at, self._tries = math.inf, 0
        self._factor = self._factor if again else 1
        self.until = self.until if self._factor > 2 else -math.inf

    @property
    def _job_time(self) -> float:
        return self._time + 1.5 * self._pace.slack

    @property
    def deadline(self) -> float:
        """When the job that is owed must be done, in seconds."""
        return self._owed_at + self._job_time

    def owe(self, owed: bool, now: float) -> None:
        """Start the time of the job when it is first owed, and stop it when it no longer is."""
        self._owed_at = min(self._owed_at, max(now, self.until)) if owed else math.inf

    def expire(self, now: float) -> None:
        """Count a time-out if the job is still owed at its deadline."""
        if now >= self.deadline:
            self._owed_at = math.inf
            self.failed(Failure.TIMEOUT, now)

    def failed(self, failure: Failure, now: float) -> None:
        """Count a failure, or three for a time-out or a forbidden call. Count none while unfit."""
        if now < self.until:
            return
        self._tries += TRIES if failure in (Failure.TIMEOUT, Failure.FORBIDDEN) else 1
        if self._tries >= TRIES:
            first = max(FIRST_UNFIT, (len(self._others) - 1) * (self._job_time + FIRST_RETRY))
            self.until = now + min(first * self._factor, LONGEST_UNFIT)
            self.failed_at, self._tries, self._factor = now, 0, min(2 * self._factor, 64)  # of 10 s
