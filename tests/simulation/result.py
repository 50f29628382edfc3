"""What one seed showed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.plan import Plan


@dataclass(slots=True)
class Result:
    """What one seed showed; times in seconds.

    `hole`: the longest time without a live holder while a node was able; `own`: the same, begun by
    a detach; `stop`: the same, while a node was being stopped. `dead`: the longest time with a dead
    holder beside a live one. `rules`: how often each rule was exercised.
    """

    plan: Plan
    violations: list[str] = field(default_factory=list)
    hole: float = 0.0
    own: float = 0.0
    stop: float = 0.0
    dead: float = 0.0
    moves: int = 0
    converged_after: float = 0.0
    virtual: float = 0.0
    nodes: int = 0
    transcript: list[str] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)
