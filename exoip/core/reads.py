"""Decide which read is next, and record what it shows.

The rules, in the order of urgency:

Own state   A node in doubt reads itself, in every role. So does a master whose knowledge of itself
            is too old for a clear. Shown by 11a, 43, 45, TestOwnState.
Successors  A holder that should not hold reads who may take over from it, see `mutations`.
Holder      A list and a read of each candidate answer the question who holds, see `holder_query`.
Verify      A master that holds reads itself and all others after each change; in the steady state
            it then also lists who else holds. Another node reads itself twice in a verify interval:
            so it finds an EIP that was attached to it unseen, and keeps its connections to the API
            open. While LISTENING it also reads the others, once. Shown by 27a, 27d, 32a,
            TestVerify.
Refresh     Read the group, see `read_schedule`.

One read at a time, and none while an attach is due. After a failed read all reads wait; after a
failed list only lists do, so a key that may not list instances can still hand over. Shown by 36,
TestAFailingApi.
"""

from __future__ import annotations

import math
import random

from exoip.core.backoff import Backoff
from exoip.core.calls import Call, Failure, Kind, Outcome, Purpose
from exoip.core.election import Election
from exoip.core.events import Event, EventName
from exoip.core.holder_query import HolderQuery
from exoip.core.mutations import Mutations
from exoip.core.observed import Observed
from exoip.core.peers import Role
from exoip.core.read_schedule import ReadSchedule

MOST_CANDIDATES = 100  # read of one list: an old API ignores the filter and lists every instance
MOST_OUTSIDERS = 8  # read at a verification; if a list has more, none is read


class Reads:
    """The read lane of one node. `verify_interval` and `refresh_in` in seconds."""

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
        self._election, self._observed, self._mutations = election, observed, mutations
        self.verify_interval = verify_interval
        self.backoff = Backoff(rng)  # of reads of one instance
        self.list_backoff = Backoff(rng)  # of lists of holders, and of the group
        self.schedule = ReadSchedule(now, refresh_in)
        self.query = HolderQuery(election, observed)
        self._busy = False
        self._outsiders: set[str] = set()

    @property
    def outsiders(self) -> tuple[str, ...]:
        """The instances that are not members and held when last read."""
        return tuple(sorted(self._outsiders))

    # -- the next call ------------------------------------------------------------------------------------------------

    def next(self, now: float) -> tuple[Call | None, float]:
        """Return the wanted call and mark the lane busy, or None and when to ask again.

        inf means: when something changes.
        """
        if self._busy or self._mutations.attach_due(now):
            return None, math.inf
        call = self._urgent(now) or self._routine(now)
        self._busy = call is not None
        return call, now if call else self._next_time(now)

    def _backoff(self, kind: Kind) -> Backoff:
        return self.backoff if kind is Kind.READ else self.list_backoff

    def _may(self, kind: Kind, now: float) -> bool:
        return now >= self._backoff(kind).at

    def _urgent(self, now: float) -> Call | None:
        own, own_id, mutations = self._observed.own, self._observed.own_id, self._mutations
        if self.query.wants_list:
            return Call(Kind.HOLDERS, purpose=Purpose.HOLDER)
        if not self._may(Kind.READ, now):
            return None
        if (own.doubt or mutations.wants_fresh(now)) and not mutations.touching(own_id):
            return Call(Kind.READ, own_id, purpose=Purpose.OWN_STATE)
        if mutations.wants_release and now >= self.schedule.release_read_at and (names := mutations.successors()):
            successor = self.schedule.next_release_read(names, mutations.leaving, now)
            return Call(Kind.READ, successor, purpose=Purpose.SUCCESSOR)
        if candidate := self.query.candidate:
            return Call(Kind.READ, candidate, purpose=Purpose.HOLDER)
        return None

    def _routine(self, now: float) -> Call | None:
        queue, may_read = self.schedule.queue, self._may(Kind.READ, now)
        if now >= self.schedule.verify_at and not queue:
            self._plan_round(now)
        for other in self._observed.holders() if may_read else []:
            if other.changed_at > other.read_at and not self._mutations.touching(other.instance_id):
                return Call(Kind.READ, other.instance_id)
        while queue and (may_read or queue[0].kind is not Kind.READ):
            call = queue.popleft()
            if self._may(call.kind, now) and not self._mutations.touching(call.instance_id):
                return call
        if now >= self.schedule.refresh_at and self._may(Kind.REFRESH, now):
            return Call(Kind.REFRESH, purpose=Purpose.REFRESH)
        return None

    def _plan_round(self, now: float) -> None:
        """Queue a round of verification, and set when the next one is due."""
        role, schedule, own = self._election.role, self.schedule, Call(Kind.READ, self._observed.own_id)
        others = [Call(Kind.READ, other) for other in sorted(self._observed.others)]
        if role is Role.MASTER and self._observed.own.held:
            lists = [Call(Kind.HOLDERS)] if schedule.round_begins(now, self.verify_interval) else []
            schedule.queue.extend([own, *others, *lists])
        elif schedule.idle_round_begins(now, self.verify_interval / 2) and role is Role.LISTENING:
            schedule.queue.extend(others)
        else:
            schedule.queue.append(own)

    def _next_time(self, now: float) -> float:
        mutations, schedule = self._mutations, self.schedule
        times = [schedule.verify_at, schedule.refresh_at, self.backoff.at, self.list_backoff.at]
        if mutations.wants_release and mutations.successors():
            times.append(schedule.release_read_at)
        if self._election.role is Role.MASTER and self._observed.own.holds and mutations.idle:
            times.append(mutations.clear_at())
        return min((at for at in times if at > now), default=math.inf)

    # -- outcomes -----------------------------------------------------------------------------------------------------

    def done(self, call: Call, outcome: Outcome) -> list[Event]:
        """Record the outcome of a call of `next`."""
        self._busy = False
        if outcome.failure is not None:
            return self._failed(call, outcome.failure, outcome)
        self._backoff(call.kind).reset()
        if call.kind is Kind.REFRESH:
            self.schedule.refreshed(outcome.began, outcome.ended)
            return []
        if call.kind is Kind.HOLDERS:
            return self._listed(outcome)
        own = call.instance_id == self._observed.own_id
        return self._saw_own(outcome) if own else self._saw_other(call.instance_id, outcome)

    def _listed(self, outcome: Outcome) -> list[Event]:
        listed = [c for c in outcome.candidates if c != self._observed.own_id][:MOST_CANDIDATES]
        if self.query.wants_list:
            return self.query.listed(listed, outcome.ended)
        outsiders = [c for c in listed if c not in self._observed.others]
        if len(outsiders) <= MOST_OUTSIDERS:
            self.schedule.queue.extend(Call(Kind.READ, outsider) for outsider in outsiders)
        return []

    def _saw_own(self, outcome: Outcome) -> list[Event]:
        own = self._observed.own
        held = own.held
        if self._mutations.touching(self._observed.own_id) or not own.seen(outcome.holds, outcome.began):
            return []
        if held == own.held:
            return []
        state = "running" if outcome.running else "not running"
        name = EventName.HOLDS if own.held else EventName.LOST
        return [Event(name, outcome.ended, self._observed.own_id, f"as the API shows (instance {state})")]

    def _saw_other(self, instance_id: str, outcome: Outcome) -> list[Event]:
        now, holds, events = outcome.ended, outcome.holds, []
        if (other := self._observed.others.get(instance_id)) is not None:
            fresh = not self._mutations.touching(instance_id)
            if fresh and other.seen(holds, outcome.running, outcome.began, now) and not holds:
                self._observed.not_holding(instance_id)
        elif not holds:
            self._outsiders.discard(instance_id)
        elif instance_id not in self._outsiders:
            self._outsiders.add(instance_id)
            events = [Event(EventName.OUTSIDER_HOLDS, now, instance_id, outcome.name, {"name": outcome.name})]
        return events + self.query.seen(instance_id, outcome)

    def _failed(self, call: Call, failure: Failure, outcome: Outcome) -> list[Event]:
        now = outcome.ended
        self._backoff(call.kind).failed(failure, outcome.retry_after, now)
        if call.kind is Kind.REFRESH:
            self.schedule.refresh_failed(now)
        return self.query.failed(failure, now) if call.purpose is Purpose.HOLDER else []
