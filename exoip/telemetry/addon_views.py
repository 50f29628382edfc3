"""Define what metrics and status show of health checks and of the hook; `operator` returns it.

Shown by tests/unit/operator/test_health.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """The health of the service, by one check."""

    PENDING = "pending"  # no result yet
    PASSING = "passing"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class CheckView:
    """A health check at one moment.

    `since`: when its health last changed. `why`: the reason of the last bad result. `runs` and
    `bad`: the number of results and bad results so far. `took`: seconds that the last one took.
    `proven`: False until the first good result, if it began as passing though it never passed.
    """

    name: str
    health: Health
    since: float
    why: str = ""
    runs: int = 0
    bad: int = 0
    took: float = 0.0
    proven: bool = True


@dataclass(frozen=True, slots=True)
class HookView:
    """The numbers of calls of the operator's hook so far, and of waiting states."""

    done: int
    failed: int
    skipped: int
    waiting: int
