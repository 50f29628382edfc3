"""Define API calls and their outcomes: the vocabulary between the decisions and the API.

A `Call` is one HTTP request (a REFRESH is several, all of them reads). The next call is decided
only after its answer, so a node can be stopped between any two calls.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

FIRST_TIMEOUT = 2.0  # seconds after which a read is given up, if no answer was slow
LONGEST_TIMEOUT = 10.0  # seconds after which any call is given up
PATIENCE = 3.0  # times as long as the slowest answer, a read may take
PACE_MEMORY = 600.0  # seconds for which the slowest answer counts
USUAL_ANSWER = 1.0  # seconds; if answers take longer, all that waits for them has more time


class Lane(StrEnum):
    """The calls of a lane run one after another; the lanes do not wait for each other."""

    MUTATIONS = "mutations"  # attach, detach, and polls of their operations
    READS = "reads"  # everything else


class Kind(StrEnum):
    """The kind of a call."""

    ATTACH = "attach"  # attach the EIP to `instance_id`
    DETACH = "detach"  # detach the EIP from `instance_id`
    POLL = "poll"  # read the operation of the last attach or detach
    READ = "read"  # read whether `instance_id` holds the EIP, and whether it runs
    HOLDERS = "holders"  # list the instances that may hold the EIP
    REFRESH = "refresh"  # read the members of the group


class Purpose(StrEnum):
    """The rule that wants a read or a list; see `reads`."""

    OWN_STATE = "own-state"  # a node in doubt, or about to clear, reads itself
    SUCCESSOR = "successor"  # a holder that should not hold reads whether its successor holds
    HOLDER = "holder"  # the question who holds, see `split_brain`
    VERIFY = "verify"  # routine, and reads of what has just changed


class Failure(StrEnum):
    """Why a call failed: the exceptions of `errors` as data."""

    TIMEOUT = "timeout"  # the call may still take effect
    UNREACHABLE = "unreachable"  # no connection: the call was not sent
    UNAVAILABLE = "unavailable"  # 429, 5xx, garbage, or a connection that broke: the call may have taken effect
    FORBIDDEN = "refused"  # 401 or 403; the value is in the journal and the metrics
    NOT_SO = "not-so"  # 404, 409, or an operation that failed so: it may already be as wished
    OPERATION = "operation"  # the operation failed
    INVALID = "invalid"  # anything else


NO_EFFECT = (Failure.UNREACHABLE, Failure.FORBIDDEN, Failure.INVALID)  # all others may have taken effect, or may yet


@dataclass(frozen=True, slots=True)
class Call:
    """One wanted call. `why`: a sentence for people. `details`: those of its events.

    `timeout`: seconds to its answer, of a REFRESH to each answer.
    """

    kind: Kind
    instance_id: str = ""
    why: str = ""
    details: Mapping[str, object] = field(default_factory=dict, hash=False)
    purpose: Purpose = Purpose.VERIFY
    operation_id: str = ""
    timeout: float = LONGEST_TIMEOUT


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a call. `began`, `ended` and `retry_after` are seconds.

    `answered_at`: Unix time in whole seconds, by the API's clock; None if its answer does not tell.
    `failure` is None if the API answered. Then ATTACH, DETACH and POLL set `operation_id` while the
    operation is pending, and "" when it is done. READ sets `holds`, `running` (both False for an
    instance that is gone) and `name`. HOLDERS sets `candidates`, ids that a READ has to confirm.
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
    answered_at: float | None = None


NO_ANSWER = (Failure.TIMEOUT, Failure.UNREACHABLE)


class Pace:
    """How long the API takes to answer, from which time-outs and deadlines follow.

    `slack`: seconds that what waits for two calls has in addition, because the slowest answer of
    the last ten minutes took longer than a second. `woke_at`: when this node last went on after a
    pause, in seconds; what a call took across that shows nothing.
    """

    def __init__(self) -> None:
        self._slowest, self._noted_at, self.woke_at = 0.0, -math.inf, -math.inf
        self._late: Counter[Kind] = Counter()  # time-outs in a row

    @property
    def slack(self) -> float:
        return 2 * max(0.0, self._slowest - USUAL_ANSWER)

    def timeout(self, kind: Kind) -> float:
        """Return how long a call may take; a time-out doubles that for the next read or list."""
        if kind in (Kind.ATTACH, Kind.DETACH, Kind.REFRESH):
            return LONGEST_TIMEOUT
        return min(max(FIRST_TIMEOUT, PATIENCE * self._slowest) * (1 << self._late[kind]), LONGEST_TIMEOUT)

    def note(self, kind: Kind, outcome: Outcome) -> None:
        """Note how long a call took, unless it was several or this node slept meanwhile."""
        took, awake_since = outcome.ended - outcome.began, max(self.woke_at, outcome.ended - LONGEST_TIMEOUT)
        if outcome.failure is Failure.TIMEOUT and kind is not Kind.POLL:  # which does not delay its operation's end
            self._late[kind] = min(self._late[kind] + 1, 3)
        elif kind is not Kind.REFRESH and outcome.failure not in NO_ANSWER and outcome.began >= awake_since:
            self._late[kind] = 0
            if took > self._slowest or outcome.ended > self._noted_at + PACE_MEMORY:
                self._slowest, self._noted_at = took, outcome.ended
