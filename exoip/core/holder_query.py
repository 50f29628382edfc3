"""Ask who holds: a list from the API names candidates, and a read confirms each.

The answer is a silent, running instance that holds, or none; one whose heartbeat is overdue counts
as silent (07c). Silent members are read even if the list does not name them, those that it names
first; if the list fails, only they are read. If there is no answer within 8 s, because reads fail,
it is "none", but not certain. Shown by 07a, 14d, 32a, 49, TestHolderQuery.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from exoip.core.calls import Outcome, Pace
from exoip.core.election import Election
from exoip.core.events import Event
from exoip.core.observed import Observed

TIME = 8.0  # seconds after which the question is given up

Answered = Callable[[str | None, bool, float], list[Event]]  # holder, certain, now


class HolderQuery:
    """The question who else holds. `reads` makes the calls; one question at a time.

    `answered` gets the answer and returns events. `candidates`: still to be read; None before the
    list.
    """

    def __init__(self, election: Election, observed: Observed, pace: Pace) -> None:
        self._election, self._observed, self._pace = election, observed, pace
        self.answered: Answered = lambda _holder, _certain, _now: []
        self.candidates: deque[str] | None = None
        self.deadline = math.inf  # when the open question is given up

    def ask(self, now: float) -> None:
        """Ask, unless the question is open."""
        if not self.open:
            self.deadline = now + TIME + self._pace.slack

    def tick(self, now: float) -> list[Event]:
        """Give up a question that is open for too long."""
        return self._answer(None, now, certain=False) if now >= self.deadline else []

    def drop(self) -> None:
        """Drop the question."""
        self.candidates, self.deadline = None, math.inf

    @property
    def open(self) -> bool:
        """Whether it is asked and not yet answered; a master does not attach meanwhile."""
        return self.deadline < math.inf

    @property
    def wants_list(self) -> bool:
        """Whether the next call lists the instances that may hold."""
        return self.open and self.candidates is None

    def listed(self, candidates: list[str], now: float) -> list[Event]:
        """Take the candidates from a list."""
        silent = [other for other in sorted(self._observed.others) if not self._election.alive(other)]
        self.candidates = deque(dict.fromkeys([c for c in silent if c in candidates] + silent + candidates))
        return [] if self.candidates else self._answer(None, now)

    def seen(self, instance_id: str, outcome: Outcome) -> list[Event]:
        """Take the read of an instance; answer if it shows the holder or was the last one."""
        if not self.candidates or instance_id != self.candidates[0]:
            return []
        self.candidates.popleft()
        due = self._election.peer(instance_id).last_seen + self._election.config.interval
        if outcome.holds and outcome.running and outcome.ended > due:
            return self._answer(instance_id, outcome.ended)
        return [] if self.candidates else self._answer(None, outcome.ended)

    def list_failed(self, now: float) -> list[Event]:
        """Do without the list."""
        return self.listed([], now) if self.wants_list else []

    def _answer(self, holder: str | None, now: float, *, certain: bool = True) -> list[Event]:
        self.drop()
        return self.answered(holder, certain, now)
