"""The vocabulary between the decision and the API: which call is wanted, and what came of it.

A `Call` is one HTTP request (REFRESH alone takes several, all of them reads): what follows from its answer is decided anew. So a node
can be stopped between any two calls, and a test can do just that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

OPERATION_TIMEOUT = 10.0  # seconds after its call: an operation that is not seen done has timed out
POLL = 0.25  # seconds between two looks at an operation, at first
POLL_STEADY = 5.0  # seconds after the call the looks become rarer
LONGEST_POLL = 3.0  # seconds between two looks, at most


class Lane(StrEnum):
    """Calls of one lane go one after another; the two lanes do not wait for each other."""

    MUTATIONS = "mutations"  # attach, detach, and the look at their operations
    READS = "reads"  # everything else


class Kind(StrEnum):
    """What a call asks of the API."""

    ATTACH = "attach"  # the EIP to `instance_id`
    DETACH = "detach"  # the EIP from `instance_id`
    POLL = "poll"  # how far the operation of the last mutation is
    READ = "read"  # does `instance_id` hold the EIP, and does it run
    HOLDERS = "holders"  # which instances may hold the EIP
    REFRESH = "refresh"  # who is in the group


class Purpose(StrEnum):
    """The rule that wants a call, see `mutations` and `reads`."""

    ATTACH = "attach"  # a master that does not hold attaches the EIP to itself
    CLEAR = "clear"  # a master detaches the EIP from another holder
    RELEASE = "release"  # a backup or a leaver detaches the EIP from itself
    KNOW = "know"  # does this node hold? It is in doubt, or about to clear
    KEEP = "keep"  # does the successor hold yet?
    ASK = "ask"  # who holds, now that this node does not?
    VERIFY = "verify"  # routine, and the look at what has just changed
    REFRESH = "refresh"  # who is in the group?


class Failure(StrEnum):
    """Why a call gave nothing; the tree of `errors`, as data."""

    TIMEOUT = "timeout"  # it may still take effect
    UNREACHABLE = "unreachable"  # it may have taken effect
    UNAVAILABLE = "unavailable"  # 429, 5xx, garbage
    FORBIDDEN = "refused"  # 401 or 403; the value is in the journal and the metrics
    NOT_SO = "not-so"  # 404, 409, an operation failed as not-found or conflict: perhaps it is already as wished
    OPERATION = "operation"  # the operation failed
    INVALID = "invalid"  # anything else


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of call fails since that moment; how it did first, and in whose words."""

    failure: Failure
    since: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One wanted call. `why` is for people only; `details` are those of its events."""

    kind: Kind
    instance_id: str = ""
    operation_id: str = ""
    purpose: Purpose = Purpose.VERIFY
    why: str = ""
    details: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call that began and ended at these monotonic seconds.

    `failure` is None when the API answered what was asked. Then ATTACH, DETACH and POLL give `operation_id` while the
    operation is pending and "" when it is done; READ gives `holds` and `running` (both False for an instance that is gone) and its
    `name`; HOLDERS gives `candidates`, ids that a READ has to confirm.
    """

    began: float
    ended: float
    failure: Failure | None = None
    retry_after: float = 0.0
    detail: str = ""
    operation_id: str = ""
    holds: bool = False
    running: bool = False
    name: str = ""
    candidates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.began) and self.began <= self.ended):
            raise ValueError(f"a call can not begin at {self.began} and end at {self.ended}")


@dataclass(slots=True)
class Operation:
    """What `call`, which began at `called`, has set going."""

    call: Call
    called: float
    operation_id: str
    poll_at: float
    wait: float = POLL

    @property
    def deadline(self) -> float:
        """When it has timed out."""
        return self.called + OPERATION_TIMEOUT

    def looked(self, now: float, retry_after: float) -> None:
        """It is still pending, or could not be looked at."""
        self.wait = POLL if now - self.called < POLL_STEADY else min(1.5 * self.wait, LONGEST_POLL)
        self.poll_at = now + max(self.wait, min(retry_after, LONGEST_POLL))
