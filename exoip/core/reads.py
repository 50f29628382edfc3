"""Decide which read is next, and record what it shows.

The rules, in the order of urgency:

Own state   A node in doubt reads itself, in every role; if it has to release the EIP, it reads a
            successor in between, in case it cannot read itself (43c). So does a master whose
            knowledge of itself is too old for a clear; before that, it reads a heard holder again.
            If a slow API makes a holder read its successors without a pause, it reads itself every
            1.2 verify intervals (58d). One that does not hold reads itself 6 s after a mutation of
            itself (47f) or its start (66e). Shown by 11a, 43, 45, TestOwnState.
Successors  A holder that should not hold reads who may take over from it, see `mutations`.
Holder      A list and a read of each candidate answer the question who holds, see `split_brain`.
Verify      A master that holds reads itself, lists who holds, and reads those that the list names,
            and silent members. If the list fails or lacks this node, somebody may have detached it:
            it reads itself again (32e), and all members count as named. In a round at most 8 are
            read, longest ago first. A node that starts does the same, once. Any other node reads
            itself, to find an EIP that was attached to it unseen. The two next best ones keep their
            connections to the API open: the next best one reads the master, and itself in every
            tenth round; the other reads itself, and the master in every other round (15). The rest
            read themselves every tenth interval. A new place has its pace at once (58h). A node
            that does not hold repeats a round, once, if a read in it fails (74a, 74f). What
            `relief` wants comes first. Who was cleared is read before the round: later, it may have
            attached again, as if the clear had had no effect (52j); 2 s later, that shows nothing
            (59c). So is who left the group. If such a read fails, the next round begins with it
            (29e). A holder that was read 17 s ago, or less if the API is slow, is read before the
            rest of a round, which may take longer (70g). So one read of it may fail before its last
            good one is 45 s old (70i). The calls of an hour do not grow with the cluster. Shown by
            27a, 27d, 32a, TestVerify, TestCallsOfAnHour.
Refresh     Read the group every 7 minutes, and at once if that is wanted, see `node`; before any
            routine read: a slow API leaves no time. Shown by 29b, TestRefresh.

One read at a time, none while an attach is due, and no round while a holder detaches itself: its
list may hang (11a). After a failed read all reads wait, after a failed list only lists: a key that
may not list can hand over. An attach ends both waits (19f). Shown by 11b, 36, TestAFailingApi.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random

from exoip.core.backoff import Backoff
from exoip.core.calls import LONGEST_TIMEOUT, Call, Failure, Kind, Outcome, Purpose
from exoip.core.election import Election
from exoip.core.events import Event, EventName
from exoip.core.mutations import BLIND_TIME, CALL_SETTLES, Mutations
from exoip.core.observed import UNSEEN, InstanceState, Observed
from exoip.core.peers import UNFIT, Role
from exoip.core.relief import NEXT_BEST, Relief
from exoip.core.split_brain import ANSWER_TIME, StandBack

MOST_MEMBERS = 8  # read in a round of verification
ATTACH_SHOWS = 2.0  # seconds after an attach is done; a read that does not show it sooner may be older
CLEAR_SHOWS = 2.0  # seconds after a clear is done; one that a later read shows holding may have attached again
MOST_OUTSIDERS = 8  # read in a round; if a list has more, none is read
IDLE_INTERVALS = 10  # verify intervals between two reads of itself by a node after those, and rounds of the next best
NEXT_BEST_INTERVALS = 1.2  # verify intervals between two rounds of each of these: 130 and 180 calls an hour
RELEASE_READ_INTERVAL = 1.0  # seconds between two reads of the master by a backup that holds
LEAVE_READ_INTERVAL = 0.25  # seconds between two reads of one peer by a leaver
REFRESH_INTERVAL = 420.0  # seconds between two reads of the group
FIRST_VERIFY = 1.0  # seconds from the first round of verification to the second
RIVAL_READ_INTERVAL = 30.0  # seconds between two rounds of a master beside which another holds, or may: it is silent


class Reads:
    """The read lane of one node."""

    def __init__(
        self, election: Election, observed: Observed, mutations: Mutations, stand_back: StandBack, rng: Random
    ) -> None:
        self._election, self._observed, self._mutations, self._stand_back = election, observed, mutations, stand_back
        self.relief = Relief(election, observed, mutations)
        self.backoff = Backoff(rng)  # of reads of one instance
        self.list_backoff = Backoff(rng)  # of lists of holders, and of the group
        self.verify_at, self.release_read_at, self.refresh_at = -math.inf, -math.inf, math.inf
        # Since a change: the rounds, and the last one made again; the remaining reads of this one
        self._rounds, self._repeated, self._queue = 0, 0, deque[Call]()
        self._busy, self._last, self._turn_at = False, Purpose.VERIFY, -math.inf  # of the last read; of the last round
        self.outsiders: set[str] = set()  # the instances that are not members and held when last read

    # -- when ---------------------------------------------------------------------------------------------------------

    def verify_again(self, now: float) -> None:
        """Verify now, and often at first, because something changed."""
        self.verify_at, self._rounds, self._repeated = now, 0, 0
        self._queue.clear()

    def refresh_by(self, at: float) -> None:
        """Read the group at this time at the latest.

        A read that is under way does not count. A group that never changes is not read.
        """
        if self.refresh_at < math.inf:
            self.refresh_at = min(self.refresh_at, at)

    # -- the next call ------------------------------------------------------------------------------------------------

    def next(self, now: float) -> tuple[Call | None, float]:
        """Return the wanted call and mark the lane busy, or None and when to ask again.

        inf means: when something changes.
        """
        if self._busy or (self._mutations.idle and now >= self._mutations.attach_at()):
            return None, math.inf
        call = self._urgent(now) or self._routine(now)
        self._busy, self._last = call is not None, call.purpose if call else self._last
        return call, now if call else self._next_time(now)

    def _backoff(self, kind: Kind) -> Backoff:
        return self.backoff if kind is Kind.READ else self.list_backoff

    def _may(self, kind: Kind, now: float) -> bool:
        return now >= self._backoff(kind).at

    def _urgent(self, now: float) -> Call | None:
        own, own_id, mutations = self._observed.own, self._observed.own_id, self._mutations
        if self._stand_back.wants_list and (self._election.role is Role.MASTER or self._may(Kind.HOLDERS, now)):
            return Call(Kind.HOLDERS, purpose=Purpose.HOLDER, timeout=(ANSWER_TIME + self._mutations.pace.slack) / 2)
        if not self._may(Kind.READ, now):
            return None
        turn_at = own.known_at + NEXT_BEST_INTERVALS * self.relief.verify_interval
        in_turn = self._last is Purpose.SUCCESSOR and now >= turn_at
        doubt = own.doubt and not (mutations.wants_release and self._last is Purpose.OWN_STATE)
        wanted = own_id if doubt or (in_turn and own.held) else mutations.wants_fresh(now)
        if wanted and not mutations.touching(wanted):
            return Call(Kind.READ, wanted, purpose=Purpose.OWN_STATE if wanted == own_id else Purpose.VERIFY)
        if mutations.wants_release and now >= self.release_read_at and (names := mutations.successors()):
            successor = min(names, key=lambda name: (self._observed.others[name].tried_at, name))
            interval = LEAVE_READ_INTERVAL if mutations.leaving else RELEASE_READ_INTERVAL
            self.release_read_at = now + interval / len(names)
            return Call(Kind.READ, successor, purpose=Purpose.SUCCESSOR)
        if self._stand_back.candidates:
            return Call(Kind.READ, self._stand_back.candidates[0], purpose=Purpose.HOLDER)
        return None

    def _routine(self, now: float) -> Call | None:
        queue, may_read, own = self._queue, self._may(Kind.READ, now), self._observed.own
        if now >= self.refresh_at and self._may(Kind.REFRESH, now):
            self.refresh_at = now + REFRESH_INTERVAL
            return Call(Kind.REFRESH)
        at, instance_id = self.relief.next_read(now)
        if may_read and -math.inf < at <= now and not self._mutations.touching(instance_id):
            return Call(Kind.READ, instance_id)
        self.verify_at = min(self.verify_at, now + self._longest())
        touched = self._mutations.touching(self._observed.own_id)
        if now >= self.verify_at and not queue and not (own.held and touched):
            self._plan_round(now)
        clears = self._election.role is Role.MASTER and own.held
        for other in self._observed.others.values() if may_read else ():
            wanted = other.changed_at > other.tried_at or (clears and self._is_stale(other, now))
            if wanted and not self._mutations.touching(other.instance_id):
                return Call(Kind.READ, other.instance_id)
        while queue and (may_read or queue[0].kind is not Kind.READ):
            call = queue.popleft()
            if self._may(call.kind, now) and not self._mutations.touching(call.instance_id):
                self._turn_at = now
                return call
        again = may_read and not own.held and not touched and own.known_at < own.changed_at + CALL_SETTLES <= now
        return Call(Kind.READ, self._observed.own_id) if again else None

    def _is_stale(self, other: InstanceState, now: float) -> bool:
        """Return whether a holder is to be read again: its last read no longer counts, or soon."""
        peer = self._election.peer(other.instance_id)
        counts = (UNSEEN - LONGEST_TIMEOUT - self._mutations.pace.slack) / 2
        stale = now >= other.tried_at + counts or (peer.released_since(other.tried_at) and peer.priority < UNFIT)
        return other.holds is True and stale and not (self._queue and other.tried_at >= self._turn_at)

    def _plan_round(self, now: float) -> None:
        """Queue a round of verification, and set when the next one is due."""
        holder, rounds = self._election.role is Role.MASTER and self._observed.own.held, self._rounds
        soon = FIRST_VERIFY * (1 << min(rounds, 20)) if holder else math.inf
        self.verify_at, self._rounds = now + min(soon, self._longest()), rounds + 1
        for other in self._observed.others.values():
            other.tried_at = other.read_at  # what failed is tried again
        starts = self._election.role is Role.LISTENING and not rounds
        master = self.relief.watched(NEXT_BEST - rounds % NEXT_BEST)
        if not (starts or (self.relief.watched(1) and rounds % IDLE_INTERVALS)):
            self._queue.append(Call(Kind.READ, self._observed.own_id))
        if master:
            self._queue.append(Call(Kind.READ, master.instance_id))
        elif (holder or starts) and self._may(Kind.HOLDERS, now):
            self._queue.append(Call(Kind.HOLDERS))
        elif holder or starts:
            self._queue_members(())

    def _longest(self) -> float:
        """Return the most seconds between two rounds, by what this node is at present."""
        if self._election.role is Role.MASTER and self._observed.own.held:
            others = self._observed.others.values()
            rival = any(o.holding or (o.running and not self._election.alive(o.instance_id)) for o in others)
            return min(self.relief.verify_interval, RIVAL_READ_INTERVAL if rival else math.inf)
        intervals = NEXT_BEST_INTERVALS if self._election.place() <= NEXT_BEST else IDLE_INTERVALS
        return intervals * self.relief.verify_interval

    def _queue_members(self, listed: tuple[str, ...]) -> None:
        """Queue the members to read in this round, given who holds according to a list."""

        def suspect(o: InstanceState) -> bool:
            return o.holding or o.predecessor or not self._election.alive(o.instance_id)

        own_id, others = self._observed.own_id, self._observed.others.values()
        wanted = [o for o in others if suspect(o) or o.instance_id in listed or own_id not in listed]
        wanted.sort(key=lambda o: (not suspect(o), o.instance_id not in listed, o.read_at, o.instance_id))
        most = MOST_MEMBERS * (4 if self._election.role is Role.LISTENING else 1)  # it waits for what is unread
        first = (own_id,) if self._observed.own.held and own_id not in listed else ()  # it may have been detached
        self._queue.extend(Call(Kind.READ, name) for name in (*first, *(o.instance_id for o in wanted[:most])))

    def _next_time(self, now: float) -> float:
        times = [self.verify_at, self.refresh_at, self.release_read_at, self.backoff.at, self.list_backoff.at]
        times += [self.relief.next_read(now)[0], self._mutations.next_clear(now)[0]]
        times += [self._observed.own.changed_at + CALL_SETTLES]
        return min((at for at in times if at > now), default=math.inf)

    # -- outcomes -----------------------------------------------------------------------------------------------------

    def done(self, call: Call, outcome: Outcome) -> list[Event]:
        """Record the outcome of a call of `next`."""
        self._busy = False
        if outcome.failure is not None:
            self._failed(call, outcome)
        else:
            self._backoff(call.kind).reset()
        if other := self._observed.others.get(call.instance_id):
            other.tried_at = outcome.began
        if call.kind is Kind.HOLDERS:
            return self._listed(outcome)  # nobody, if it failed
        if call.kind is Kind.REFRESH or outcome.failure is not None:
            return []
        return self._saw_own(outcome) if call.instance_id == self._observed.own_id else self._saw_other(call, outcome)

    def _listed(self, outcome: Outcome) -> list[Event]:
        listed = [c for c in outcome.candidates if c != self._observed.own_id]
        if self._stand_back.wants_list:
            return self._stand_back.listed(listed, outcome.ended)
        if self._observed.own_id in outcome.candidates:
            for other in self._observed.others.values():
                if other.instance_id not in listed and not other.holding and other.read_at >= other.changed_at:
                    other.seen(False, other.running, outcome.began, outcome.ended)
        self._queue_members(outcome.candidates)
        outsiders = {*listed, *self.outsiders} - self._observed.others.keys()
        if len(outsiders) <= MOST_OUTSIDERS:
            self._queue.extend(Call(Kind.READ, outsider) for outsider in sorted(outsiders))
        return []

    def _saw_own(self, outcome: Outcome) -> list[Event]:
        own = self._observed.own
        held, old = own.held, own.holds and outcome.began < own.since + ATTACH_SHOWS
        # It held before it became unfit, or an attach is done, says the API, and no read showed it.
        held_before = held and own.since < self._mutations.attach_breaker.failed_at
        done = held_before or (own.known_at < own.changed_at and not own.attach_may_land)
        too_old = self._mutations.touching(self._observed.own_id) or (old and not outcome.holds)
        if too_old or not own.seen(outcome.holds, outcome.began):
            return []
        self._mutations.again_at = math.inf
        if own.held:
            self._mutations.attach_breaker.succeeded(again=not done)
        if held == own.held:
            return []
        state = "running" if outcome.running else "not running"
        name = EventName.HOLDS if own.held else EventName.LOST
        return [Event(name, outcome.ended, self._observed.own_id, f"as the API shows (instance {state})")]

    def _saw_other(self, call: Call, outcome: Outcome) -> list[Event]:
        instance_id, now, holds, events = call.instance_id, outcome.ended, outcome.holds, []
        if (other := self._observed.others.get(instance_id)) is not None:
            fresh = outcome.began >= other.changed_at and not self._mutations.touching(instance_id)
            if fresh and other.read_at < other.changed_at and other.holds is False:
                self._confirm_clear(other, outcome)
            if fresh and other.holding and not holds:  # the next one has its time, and is tried at once
                self._mutations.clear_breaker.owe(False, now)
                self._mutations.detach_backoff.reset()
            if fresh and other.seen(holds, outcome.running, outcome.began, now) and not holds:
                self._observed.forget_departed()
        elif not holds:
            self.outsiders.discard(instance_id)
        elif instance_id not in self.outsiders:
            self.outsiders.add(instance_id)
            events = [Event(EventName.OUTSIDER_HOLDS, now, instance_id, outcome.name, {"name": outcome.name})]
        return events + self._stand_back.seen(instance_id, outcome)

    def _confirm_clear(self, other: InstanceState, outcome: Outcome) -> None:
        """Count a clear as failed if the read after it shows that it had no effect."""
        if not outcome.holds:
            self._mutations.clear_breaker.succeeded()
        elif outcome.began <= other.changed_at + CLEAR_SHOWS + self._mutations.pace.slack:
            other.predecessor, other.clear_failed_at = True, outcome.ended
            self._mutations.clear_failed(other.instance_id, Failure.OPERATION, outcome.ended)
            self._mutations.detach_backoff.wait_longer(outcome.ended)

    def _failed(self, call: Call, outcome: Outcome) -> None:
        now, mutations = outcome.ended, self._mutations
        if call.kind is Kind.READ and mutations.again_at == math.inf:
            mutations.again_at = max(now, self._observed.own.known_at + BLIND_TIME + mutations.pace.slack)
        self._backoff(call.kind).failed(outcome.retry_after, now)
        if call.kind is Kind.REFRESH:
            self.refresh_by(now)
        elif call.kind is Kind.READ and not self._observed.own.held and self._rounds > self._repeated:
            self._rounds, self._repeated = self._rounds - 1, self._rounds
            self.verify_at = min(self.verify_at, self.backoff.at)
