"""The reads: what is to be looked at next, and what was seen. Pure; `now` in seconds.

Know     In doubt, in every role: read oneself. LISTENING: then every other member, once.
Verify   A master that holds reads itself and all others after each move and each peer's appearing or death, again after 1, 2, 4 s…
         up to the verify interval, then at that interval, and then asks who else holds. A node that is no master reads itself twice in a
         verify interval: it finds an EIP that came to it unseen, and both its connections to the API stay open.
Keep     A backup that holds looks at the master every second; a leaver at every heard peer every 0.25 s.
Ask      Who holds? By the list of the API, each of it confirmed by a read of its own, and every silent member too.
Refresh  The group, every 5 minutes; early, but at most every 30 s, when an unknown node beats for our EIP.

The order above is the order of urgency. One call at a time. A failed read makes all reads wait, a failed list only lists: a key that
may not list instances can still hand over.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from exoip.core.backoff import Backoff, CircuitBreaker
from exoip.core.calls import Call, Failure, Kind, Outcome, Purpose
from exoip.core.election import LEAVING, Election, Role
from exoip.core.events import Event, EventName
from exoip.core.mutations import Mutations
from exoip.core.observed import Observed
from exoip.core.read_schedule import ReadSchedule

ASK_TRIES = 3
MOST_CANDIDATES = 100  # an old API ignores the filter and lists every instance of the organisation …
MOST_OUTSIDERS = 8  # … which is not worth a read of each at every verification


@dataclass(slots=True)
class _Question:
    """Who holds the EIP beside this node: `found` is a silent, running holder."""

    answered: Callable[[str | None, bool, float], list[Event]]
    candidates: deque[str] | None = None
    failures: int = 0


class Reads:
    """The read lane of one node."""

    def __init__(
        self,
        election: Election,
        observed: Observed,
        mutations: Mutations,
        rng: random.Random,
        now: float,
        verify_interval: float,
        refresh_in: float,
    ) -> None:
        self._election = election
        self._observed = observed
        self._mutations = mutations
        self.verify_interval = verify_interval
        self.backoff = Backoff(rng)  # of the reads of one instance
        self.list_backoff = Backoff(rng)  # of the questions who holds and who is in the group
        self.breaker = CircuitBreaker()  # of a master in doubt, at reading itself
        self.schedule = ReadSchedule(now, refresh_in)
        self._busy = False
        self._question: _Question | None = None
        self._warned: set[str] = set()  # outsiders that were seen holding

    # -- wishes of others ---------------------------------------------------------------------------------------------

    def ask(self, answered: Callable[[str | None, bool, float], list[Event]]) -> None:
        """Ask who holds; `answered` is told the id of a silent, running holder or None, whether that is certain, and when."""
        if self._question is None:
            self._question = _Question(answered)

    @property
    def outsiders(self) -> tuple[str, ...]:
        """The instances that are no members and were seen holding."""
        return tuple(sorted(self._warned))

    def drop_question(self) -> None:
        """Nobody wants to know any more."""
        self._question = None

    # -- the next call ------------------------------------------------------------------------------------------------

    def next(self, now: float) -> tuple[Call | None, float]:
        """Return the wanted call and mark the lane busy with it; or None and when to ask again (inf: when something changed)."""
        if self._busy or self._mutations.attach_due(now):  # nothing goes before an attach, nor beside it on its way out
            return None, math.inf
        call = self._urgent(now) or self._routine(now)
        self._busy = call is not None
        return call, now if call else self._next_time(now)

    def _backoff(self, kind: Kind) -> Backoff:
        return self.backoff if kind is Kind.READ else self.list_backoff

    def _may(self, kind: Kind, now: float) -> bool:
        return now >= self._backoff(kind).at

    def _urgent(self, now: float) -> Call | None:
        me, own_id, question = self._observed.own, self._observed.own_id, self._question
        if question is not None and question.candidates is None and self._may(Kind.HOLDERS, now):
            return Call(Kind.HOLDERS, purpose=Purpose.HOLDER)
        if not self._may(Kind.READ, now):
            return None
        if (me.doubt or self._mutations.wants_fresh(now)) and not self._mutations.touching(own_id):
            return Call(Kind.READ, own_id, purpose=Purpose.OWN_STATE)
        targets = self._successors() if self._mutations.wants_release and now >= self.schedule.release_read_at else []
        if targets:
            target = self.schedule.next_release_read(targets, self._mutations.leaving, now)
            return Call(Kind.READ, target, purpose=Purpose.SUCCESSOR)
        if question is not None and question.candidates:
            return Call(Kind.READ, question.candidates[0], purpose=Purpose.HOLDER)
        return None

    def _successors(self) -> list[str]:
        if self._mutations.leaving:
            return sorted(p.instance_id for p in self._election.peers.values() if p.alive and p.priority < LEAVING)
        return [master] if (master := self._election.master) else []

    def _routine(self, now: float) -> Call | None:
        if now >= self.schedule.verify_at and not self.schedule.queue:
            self._plan(now)
        may_read = self._may(Kind.READ, now)
        for other in self._observed.holders() if may_read else []:
            if other.changed_at > other.read_at and not self._mutations.touching(other.instance_id):
                return Call(Kind.READ, other.instance_id)
        while self.schedule.queue and (may_read or self.schedule.queue[0].kind is not Kind.READ):
            call = self.schedule.queue.popleft()
            if self._may(call.kind, now) and not self._mutations.touching(call.instance_id):
                return call
        if now >= self.schedule.refresh_at and self._may(Kind.REFRESH, now):
            return Call(Kind.REFRESH, purpose=Purpose.REFRESH)
        return None

    def _plan(self, now: float) -> None:
        """Fill the queue with a round of verification, and set when the next one is due."""
        role, own = self._election.role, Call(Kind.READ, self._observed.own_id)
        others = [Call(Kind.READ, other) for other in sorted(self._observed.others)]
        if role is Role.MASTER and self._observed.own.held:
            lists = [Call(Kind.HOLDERS)] if self.schedule.round_begins(now, self.verify_interval) else []
            self.schedule.queue.extend([own, *others, *lists])
        elif self.schedule.idle_round_begins(now, self.verify_interval / 2) and role is Role.LISTENING:
            self.schedule.queue.extend(others)
        else:
            self.schedule.queue.append(own)

    def _next_time(self, now: float) -> float:
        times = [self.schedule.verify_at, self.schedule.refresh_at, self.backoff.at, self.list_backoff.at]
        if self._mutations.wants_release and self._successors():
            times.append(self.schedule.release_read_at)
        if self._election.role is Role.MASTER and self._observed.own.holds and self._mutations.idle:
            times.append(self._mutations.clear_at())
        return min((at for at in times if at > now), default=math.inf)

    # -- what came of it ----------------------------------------------------------------------------------------------

    def done(self, call: Call, outcome: Outcome) -> list[Event]:
        """Take in what came of the call that `next` gave."""
        self._busy = False
        if outcome.failure is not None:
            return self._failed(call, outcome.failure, outcome)
        self._backoff(call.kind).reset()
        if call.kind is Kind.REFRESH:
            self.schedule.refreshed(outcome.began, outcome.ended)
            return []
        if call.kind is Kind.HOLDERS:
            return self._list(outcome)
        own = call.instance_id == self._observed.own_id
        return self._saw_myself(outcome) if own else self._saw_other(call, outcome)

    def _list(self, outcome: Outcome) -> list[Event]:
        named = [c for c in outcome.candidates if c != self._observed.own_id][:MOST_CANDIDATES]
        if self._question is not None and self._question.candidates is None:
            silent = [other for other in sorted(self._observed.others) if not self._election.alive(other)]
            self._question.candidates = deque(dict.fromkeys([c for c in silent if c in named] + silent + named))
            return [] if self._question.candidates else self._answer(None, outcome.ended)
        outsiders = [c for c in named if c not in self._observed.others]
        if len(outsiders) > MOST_OUTSIDERS:
            return []
        self.schedule.queue.extend(Call(Kind.READ, outsider) for outsider in outsiders)
        return []

    def _saw_myself(self, outcome: Outcome) -> list[Event]:
        me, now = self._observed.own, outcome.ended
        held, doubted = me.held, me.doubt
        if self._mutations.touching(self._observed.own_id) or not me.seen(outcome.holds, outcome.began):
            return []
        if doubted and not me.doubt:
            self.breaker.succeeded()
        if held == me.held:
            return []
        state = "running" if outcome.running else "not running"
        what = EventName.HOLDS if me.held else EventName.LOST
        return [Event(what, now, self._observed.own_id, f"as the API shows (instance {state})")]

    def _saw_other(self, call: Call, outcome: Outcome) -> list[Event]:
        instance_id, now, events = call.instance_id, outcome.ended, []
        if (other := self._observed.others.get(instance_id)) is not None:
            fresh = not self._mutations.touching(instance_id) and other.seen(
                outcome.holds, outcome.running, outcome.began, now
            )
            if fresh and not outcome.holds:
                self._observed.not_holding(instance_id)
        elif outcome.holds and instance_id not in self._warned:
            self._warned.add(instance_id)
            events.append(Event(EventName.OUTSIDER_HOLDS, now, instance_id, outcome.name, {"name": outcome.name}))
        elif not outcome.holds:
            self._warned.discard(instance_id)
        question = self._question
        if question is not None and question.candidates and question.candidates[0] == instance_id:
            question.candidates.popleft()
            if outcome.holds and outcome.running and not self._election.alive(instance_id):
                events += self._answer(instance_id, now)
            elif not question.candidates:
                events += self._answer(None, now)
        return events

    def _failed(self, call: Call, failure: Failure, outcome: Outcome) -> list[Event]:
        now, me, question = outcome.ended, self._observed.own, self._question
        self._backoff(call.kind).failed(failure, outcome.retry_after, now)
        if call.instance_id == self._observed.own_id and self._election.role is Role.MASTER and me.held and me.doubt:
            self.breaker.failed(failure, now)
        if call.kind is Kind.REFRESH:
            self.schedule.refresh_failed(now)
        if question is None or call.purpose is not Purpose.HOLDER:
            return []
        question.failures += 1
        if question.failures < ASK_TRIES and failure not in (Failure.FORBIDDEN, Failure.INVALID, Failure.NOT_SO):
            return []
        if question.candidates is not None:
            return self._answer(None, now, certain=False)
        question.failures = 0
        return self._list(Outcome(outcome.began, now))  # no list: the silent members are asked all the same

    def _answer(self, found: str | None, now: float, *, certain: bool = True) -> list[Event]:
        question, self._question = self._question, None
        return question.answered(found, certain, now) if question is not None else []
