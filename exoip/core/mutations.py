"""The mutations: which attach or detach is wanted now, and what came of it. Pure; `now` in seconds.

One mutation at a time, its operation included. The rules, in the words of `ownership`:

Take    A master that does not hold attaches itself, with no read before it.
Clear   A master that is known to hold, by knowledge at most 2 s old, detaches the others that hold: at once a silent one that was
        known or presumed to hold when this node attached. A heard one lets go by itself and is detached only after 30 s.
        A silent one that came to hold later is alive and cut off: it will clear this node, or is cleared after 10 s by
        the lower instance id, after 60 s by the higher. (Never beside the attach: should that fail, nobody would hold.)
        One that was taking the EIP over from this node when it fell silent is cleared after an interval and 4 s: dead, it
        can not wait for long; cut off, it clears this node at once, and both at once would leave nobody.
Keep    A backup that holds lets go once a read, begun since it is a backup to this master, shows the master holding, and the
        master was heard after that read. (The holder lets go itself, because a taker that detaches a holder which is just
        taking back leaves nobody.) A leaver does the same with any heard peer, and with no heard peer below 255 lets go at once.
        To a backup a read within 6 s of the master's advertising 254 or 255 shows nothing: that one may have been letting go,
        have crashed and be back, with its detach about to take effect. Two live holders meanwhile do no harm.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

from exoip.core.backoff import LONGEST_ATTACH_RETRY, Backoff, CircuitBreaker
from exoip.core.calls import POLL, Call, Failure, Kind, Operation, Outcome, Purpose
from exoip.core.election import LEAVING, Election, Role
from exoip.core.events import Cause, Event, EventName
from exoip.core.observed import InstanceState, Observed

ATTACH_TRUSTED = 5.0  # an attach seen done later than this after its call is read back before it is believed
OWN_STATE_MAX_AGE = 2.0
HEARD_GRACE = 30.0
SUCCESSOR_GRACE = 4.0
DETACH_SETTLES = 6.0
RIVAL_GRACE_LOWER_ID, RIVAL_GRACE_HIGHER_ID = 10.0, 60.0


class Mutations:
    """The mutation lane of one node."""

    def __init__(self, election: Election, observed: Observed, rng: random.Random) -> None:
        self._election = election
        self._observed = observed
        self.attach_backoff, self.clear_backoff, self.release_backoff = (
            Backoff(rng, LONGEST_ATTACH_RETRY),
            Backoff(rng),
            Backoff(rng),
        )
        self.attached_at = -math.inf
        self.attach_outcome_unknown = (
            False  # an own attach timed out as an operation: a read will tell whether it failed
        )
        self.attach_breaker, self.clear_breaker = CircuitBreaker(), CircuitBreaker()
        self.attach_paused = False  # who holds is being asked: no attach before the answer
        self.leaving = False
        self.since = -math.inf  # master, or backup to this master, since then
        self.release_reads_since = -math.inf  # only reads begun since then let a backup let go
        self._in_flight: Call | None = None  # the HTTP call that is under way
        self._operation: Operation | None = None

    # -- what others may ask ------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """No mutation is under way."""
        return self._in_flight is None and self._operation is None

    def touching(self, instance_id: str) -> bool:
        """Whether a mutation of this instance is under way."""
        call = self._operation.call if self._operation else self._in_flight
        return call is not None and call.instance_id == instance_id

    @property
    def releasing(self) -> bool:
        """Whether the detach of this node itself is under way."""
        call = self._operation.call if self._operation else self._in_flight
        return call is not None and call.kind is Kind.DETACH and call.instance_id == self._observed.own_id

    @property
    def wants_release(self) -> bool:
        """A backup that holds: it lets go as soon as it may."""
        return self._election.role is Role.BACKUP and self._observed.own.held

    def attach_due(self, now: float) -> bool:
        """Whether the attach of this node itself is the next mutation, and is to go out now."""
        wanted = self._election.role is Role.MASTER and not self._observed.own.held and self.idle
        return wanted and not self.attach_paused and now >= self.attach_backoff.at

    def wants_fresh(self, now: float) -> bool:
        """Whether a clear waits for newer knowledge of this node itself."""
        if self._election.role is not Role.MASTER or not self._observed.own.holds or not self.idle:
            return False
        due = self.clear_at()
        return now >= due and self._stale(due, now)

    def _stale(self, due: float, now: float) -> bool:
        """Whether what is known of this node itself is too old for a clear, or from before that was due."""
        return self._observed.own.known_at < max(now - OWN_STATE_MAX_AGE, due)

    def clear_at(self) -> float:
        """When the next other holder is to be detached; inf when there is none."""
        return self._clear_due()[0]

    # -- the next call ------------------------------------------------------------------------------------------------

    def next(self, now: float) -> tuple[Call | None, float]:
        """Return the wanted call and mark the lane busy with it; or None and when to ask again (inf: when something changed)."""
        if self._in_flight is not None:
            return None, math.inf
        if self._operation is not None:
            if now < self._operation.poll_at:
                return None, self._operation.poll_at
            operation, at = self._operation, now
            call: Call | None = replace(operation.call, kind=Kind.POLL, operation_id=operation.operation_id)
        else:
            call, at = self._wanted(now)
        self._in_flight = call
        return call, at

    def _wanted(self, now: float) -> tuple[Call | None, float]:
        role, me, me_id = self._election.role, self._observed.own, self._observed.own_id
        if role is Role.MASTER and not me.held:
            at = math.inf if self.attach_paused else self.attach_backoff.at
            if now < at:
                return None, at
            return Call(Kind.ATTACH, me_id, purpose=Purpose.ATTACH, why=self._election.reason), now
        if role is Role.MASTER and not me.doubt:
            due, other = self._clear_due()
            if other is None or now < due or self._stale(due, now):
                return None, due if now < due else math.inf
            return Call(Kind.DETACH, other.instance_id, "", Purpose.CLEAR, *self._why_clear(other)), now
        if self.wants_release:
            if now < self.release_backoff.at:
                return None, self.release_backoff.at
            relief = self._release_reason()
            return (Call(Kind.DETACH, me_id, "", Purpose.RELEASE, *relief), now) if relief else (None, math.inf)
        return None, math.inf

    def _clear_due(self) -> tuple[float, InstanceState | None]:
        """When the next other holder is to be detached, and which."""
        due = [(self._grace(other), other.instance_id, other) for other in self._observed.holders()]
        if not due:
            return math.inf, None
        at, _, other = min(due)
        return max(at, self.clear_backoff.at), other

    def _grace(self, other: InstanceState) -> float:
        since = max(other.since, self.since)
        if self._election.alive(other.instance_id):
            return since + HEARD_GRACE if other.holds else math.inf  # what is only presumed is read first
        if other.instance_id in self._observed.holders_at_attach:
            return -math.inf
        if other.instance_id in self._observed.successors_while_holding:
            return max(since, other.silent_since) + self._election.config.interval + SUCCESSOR_GRACE
        lower = self._observed.own_id < other.instance_id
        return max(since, other.silent_since) + (RIVAL_GRACE_LOWER_ID if lower else RIVAL_GRACE_HIGHER_ID)

    def _why_clear(self, other: InstanceState) -> tuple[str, dict[str, object]]:
        if self._election.alive(other.instance_id):
            return f"it is alive and has not detached itself for {HEARD_GRACE:.0f} s", {"cause": Cause.HEARD}
        if other.instance_id in self._observed.holders_at_attach:
            return "it is silent and held the Elastic IP", {"cause": Cause.SILENT}
        return "it is silent and attached the Elastic IP later", {"cause": Cause.SILENT_RIVAL}

    def _release_reason(self) -> tuple[str, dict[str, object]] | None:
        """Return why this node may let go, and its successor ("" for none) as a detail; None when it may not."""
        if not self.leaving:
            heir = self._election.master
            return (f"{heir} holds and is heard", {"successor": heir}) if heir and self._holds_and_heard(heir) else None
        heard = [p.instance_id for p in self._election.peers.values() if p.alive and p.priority < LEAVING]
        if not heard:
            return "this node is stopping, and no peer can take over", {"successor": ""}
        heir = next((peer for peer in heard if self._holds_and_heard(peer)), None)
        return (f"this node is stopping; {heir} holds and is heard", {"successor": heir}) if heir else None

    def _holds_and_heard(self, instance_id: str) -> bool:
        other = self._observed.others.get(instance_id)
        if other is None or other.holds is not True or other.read_at < self.release_reads_since:
            return False
        if not self.leaving and other.read_at < self._election.last_unfit_advert(instance_id) + DETACH_SETTLES:
            return False
        return self._election.heard_after(instance_id, other.read_end)

    # -- what came of it ----------------------------------------------------------------------------------------------

    def began(self, call: Call, now: float) -> list[Event]:
        """Tell of a mutation that goes out."""
        if call.kind is Kind.POLL:
            return []
        if call.kind is Kind.ATTACH:
            return [Event(EventName.ATTACHING, now, call.instance_id, call.why)]
        own = call.instance_id == self._observed.own_id
        return [
            Event(EventName.LETTING_GO if own else EventName.CLEARING, now, call.instance_id, call.why, call.details)
        ]

    def done(self, call: Call, outcome: Outcome) -> list[Event]:
        """Take in what came of the call that `next` gave."""
        self._in_flight = None
        now, operation = outcome.ended, self._operation
        if call.kind is Kind.POLL:
            if operation is None:
                return []  # timed out meanwhile
            if outcome.failure in (Failure.OPERATION, Failure.NOT_SO):
                self._operation = None
                return self._failed(operation.call, outcome.failure, outcome, now)
            if outcome.failure is not None or outcome.operation_id:
                operation.polled(now, outcome.retry_after)
                return self.tick(now)
            self._operation = None
            return self._succeeded(operation.call, operation.called, outcome.began, now)
        if outcome.failure is not None:
            return self._failed(call, outcome.failure, outcome, now)
        if outcome.operation_id:
            self._operation = Operation(call, outcome.began, outcome.operation_id, now + POLL)
            return []
        return self._succeeded(call, outcome.began, outcome.began, now)

    def tick(self, now: float) -> list[Event]:
        """Let an operation that is not seen done in time fail."""
        operation = self._operation
        if operation is None or now < self.next_deadline():
            return []
        self._operation = None
        detail = f"operation {operation.operation_id} is not done {now - operation.called:.1f} s after its call"
        late = Outcome(operation.called, now, Failure.TIMEOUT, detail=detail, operation_id=operation.operation_id)
        return self._failed(operation.call, Failure.TIMEOUT, late, now)

    def next_deadline(self) -> float:
        """When `tick` is wanted."""
        waiting = self._operation is not None and self._in_flight is None
        return self._operation.deadline if self._operation and waiting else math.inf

    def _succeeded(self, call: Call, called: float, looked: float, now: float) -> list[Event]:
        details = {**call.details, "duration": now - called, "since": now - self.since}
        if call.kind is Kind.ATTACH:
            self._observed.own.attached(called, looked, now, ATTACH_TRUSTED)
            self.attached_at, self.attach_outcome_unknown = now, False
            self.attach_breaker.succeeded()
            return [Event(EventName.ATTACHED, now, call.instance_id, call.why, details)]
        if call.instance_id == self._observed.own_id:
            self._observed.own.detached(called, now)
            self.release_backoff.reset()
            return [Event(EventName.LET_GO, now, call.instance_id, call.why, details)]
        self.clear_backoff.reset()
        self.clear_breaker.succeeded()
        other = self._observed.others.get(call.instance_id)
        if other is not None:
            other.cleared(now)
            self._observed.not_holding(other.instance_id)
        return [Event(EventName.CLEARED, now, call.instance_id, call.why, details)]

    def _failed(self, call: Call, failure: Failure, outcome: Outcome, now: float) -> list[Event]:
        definite = failure in (Failure.FORBIDDEN, Failure.INVALID)
        if call.instance_id == self._observed.own_id:
            self._observed.own.changed_at = now
            if not definite:
                self._observed.own.doubted(now, attach_may_land=True)
            backoff = self.attach_backoff if call.kind is Kind.ATTACH else self.release_backoff
            if call.kind is Kind.ATTACH and outcome.operation_id:
                self.attach_outcome_unknown = True
            elif call.kind is Kind.ATTACH:
                self.attach_breaker.failed(failure, now)
        else:
            backoff = self.clear_backoff
            if other := self._observed.others.get(call.instance_id):
                other.changed_at = now
            if failure is not Failure.NOT_SO:
                self.clear_breaker.failed(failure, now)
        backoff.failed(failure, outcome.retry_after, now)
        details = {"call": call.kind, "failure": failure, "detail": outcome.detail, "again": backoff.at - now}
        return [Event(EventName.FAILED, now, call.instance_id, outcome.detail, details)]
