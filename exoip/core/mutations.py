"""Decide which attach or detach is wanted now, and record its outcome.

One mutation at a time, its operation included; with more time if the API is slow, see `calls`:

Attach   A master that does not hold attaches itself, with no read before it. A master that held,
         and cannot find out within 2.5 s whether it still does, attaches again, which is harmless;
         it has these 2.5 s after its own mutation, beside which it cannot read itself (07f). So
         does one that has not read itself for 30 s, every 30 s. It never attaches beside its own
         detach, which could take effect after it (50, 66). A master that does not come to hold
         within 12 s, or 12 s after it asked who holds (64f), steps aside for a fit peer, and for an
         unfit one if it knows that it does not hold; at once, if the API asks it to wait
         (Retry-After) and a fit peer is heard. Shown by 01, 19e, 36, 47a-47d, 54a, 54c, TestAttach.
Clear    A master known to hold detaches the others that hold: of those that are due, first the one
         that it has not detached for longest (70h), then who came to hold last (16e). Its knowledge
         of itself must be at most 2 s old and newer than the time of the clear. An attach that is
         done is knowledge of 3 s after its call at most (57g), and none if no read showed the last
         one (57d), or after a stand-back (57e), until a read shows it. It never clears beside its
         attach, which may yet fail. A silent one may be alive, cut off, and about to clear this
         node, so their times are apart by more than a clear takes (10 s):
         - A node that did not hold (52p) and has attached clears at once who held before, if it is
           silent (01) and has neither advertised 254 since (52f) nor been heard again, until 17 s
           after the first attach call that may have had an effect (70b, 70c). One that has come to
           hold less than 17 s ago is spared if this node attaches again and hears it (09h) or may
           hold (09j), or has stood back (09d, 09e): it may be about to clear this node.
         - Later, if it is heard, and if it attached later, once this node has seen for 30 s that
           both hold, and that a silent one is dead (09g), and in its turn: by the clock of the API,
           which all nodes share, the lower instance id has the first 30 s of each 100 s, the higher
           one the 30 s that begin 50 s later. So two that could not clear for minutes, or learn
           late of each other, do not both do so once they can (09, 12b, 28a, 34a, 52a-52e, 52n,
           52q, 52s). A node that has not read the other for 45 s counts anew, for it may have
           attached meanwhile.
         One that is heard must be read to hold after that. A master that has not cleared a silent
         one 12 s after it was due, or could not read it that long, steps aside for a fit peer;
         that it is read meanwhile to hold still changes nothing (48i, 48j). Shown by 10, 45b, 48a,
         48b, 48c, 48f, 59d.
Release  A backup that holds detaches itself after a read, begun since it is a backup to this
         master, shows that the master holds, and the master is heard after that read. (A master
         that detached a holder which is just attaching again would leave nobody.) A leaver does the
         same with any heard peer; if no heard peer is below 255 it detaches itself, once it has
         listened for one dead time. If it is in doubt whether it holds, it first waits up to 2.5 s
         for a read of itself (43b). To a backup, a read within 6 s of the master's advertising 254
         or 255, of its own failed clear of the master (66b), or of its start, before which it may
         have called such a clear (66c), shows nothing: a detach may yet take effect. It waits until
         the rise of a master that concedes, from 0, counts (13d). Shown by 16b, 16c, 21a, 21c, 22a,
         27b, 43, 46, 46b, 51, TestRelease.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from exoip.core.backoff import FIRST_RETRY, LONGEST_MOVE_RETRY, Backoff, CircuitBreaker
from exoip.core.calls import NO_EFFECT, Call, Failure, Kind, Outcome, Pace
from exoip.core.election import Election
from exoip.core.events import Cause, Event, EventName
from exoip.core.observed import NEWCOMER_TIME, InstanceState, Observed
from exoip.core.peers import LEAVING, UNFIT, Role
from exoip.core.split_brain import StandBack

OPERATION_TIMEOUT = 10.0  # seconds after its call; an operation that a poll then shows pending has failed
POLL = 0.25  # seconds between two polls of an operation
LONGEST_POLL = 3.0  # seconds between two polls, if the API asks for more
ATTACH_KEPT = 3.0  # seconds after its call in which nobody detaches again what an attach has attached
OWN_STATE_MAX_AGE = 2.0  # seconds: how old knowledge of itself a clear may rely on
JOB_TIME = 12.0  # seconds in which a master comes to hold, or detaches a holder that is due, or steps aside
BLIND_TIME = 30.0  # seconds without a read of itself after which a holder attaches again, and again
DOUBT_TIME = 2.5  # seconds that one in doubt waits for a read of itself before it attaches again, or releases
CALL_SETTLES = 6.0  # seconds after a call failed, or 254 or 255 was advertised, in which it may yet take effect


@dataclass(slots=True)
class _Operation:
    """A pending operation of `call`, which began at `called`. Times in seconds."""

    call: Call
    called: float
    operation_id: str
    deadline: float  # when the last poll is due
    poll_at: float = math.inf  # when the next poll is due


class Mutations:
    """The mutation lane of one node. Times in seconds."""

    def __init__(
        self, election: Election, observed: Observed, rng: random.Random, stand_back: StandBack, pace: Pace
    ) -> None:
        self._election, self._observed, self._stand_back, self.pace = election, observed, stand_back, pace
        self.attach_backoff, self.detach_backoff = (Backoff(rng, LONGEST_MOVE_RETRY) for _ in range(2))
        self.attach_breaker, self.clear_breaker = (CircuitBreaker(JOB_TIME, pace, election.peers) for _ in range(2))
        self.leaving, self.again_at = False, math.inf  # when a holder that cannot read itself attaches again
        self.since = -math.inf  # since when this node is master, or backup to this master
        self._in_flight: Call | None = None  # the HTTP call under way
        self._operation: _Operation | None = None

    @property
    def _under_way(self) -> Call | None:
        return self._operation.call if self._operation else self._in_flight

    @property
    def idle(self) -> bool:
        """Whether no mutation is under way."""
        return self._under_way is None

    def touching(self, instance_id: str) -> bool:
        """Whether a mutation of this instance is under way."""
        return (call := self._under_way) is not None and call.instance_id == instance_id

    @property
    def releasing(self) -> bool:
        """Whether a detach of this node itself is under way."""
        call = self._under_way
        return call is not None and call.kind is Kind.DETACH and call.instance_id == self._observed.own_id

    @property
    def wants_release(self) -> bool:
        """Whether this node is a backup that holds, and has to release the EIP."""
        return self._election.role is Role.BACKUP and self._observed.own.held

    def attach_at(self) -> float:
        """Return when this node is to attach, perhaps again; inf if it is not."""
        if self._election.role is not Role.MASTER or self._stand_back.asking:
            return math.inf
        return self.again_at if self._observed.own.holds else max(self._doubt_ends(), self.attach_backoff.at)

    def _doubt_ends(self) -> float:
        """Return until when a holder in doubt waits for a read of itself; -inf: it is in none."""
        own = self._observed.own
        began = max(own.doubt_since, own.changed_at) if own.held and own.doubt else -math.inf
        return began + DOUBT_TIME + self.pace.slack

    def clear_owed(self, now: float) -> bool:
        """Whether this node holds, and has to detach or read a silent holder now, or failed to."""
        own = self._observed.own
        silent = [o for o in self._observed.holders() if not self._election.alive(o.instance_id)]
        failed = any(o.clear_failed_at >= max(own.since, -math.inf if o.predecessor else o.since) for o in silent)
        under_way = any(self.touching(o.instance_id) for o in silent)
        due = any(not now < self._clear_due(o, now) < math.inf for o in silent)  # one that is never due has to be read
        return own.holds and (failed or under_way or due)

    def wants_fresh(self, now: float) -> str:
        """Return the instance that is to be read before a due clear: another, this one, or ""."""
        own, (due, other) = self._observed.own, self.next_clear(now)
        if self._election.role is not Role.MASTER or not own.holds or not self.idle or other is None or now < due:
            return ""
        if self._election.alive(other.instance_id) and other.read_at < due:
            return other.instance_id
        oldest = max(due, now - OWN_STATE_MAX_AGE - self.pace.slack / 2)
        return self._observed.own_id if own.known_at < oldest else ""

    def successors(self) -> list[str]:
        """Return the peers that may take over from this holder."""
        if self.leaving:
            return [p.instance_id for p in self._election.peers.values() if p.alive and p.priority < LEAVING]
        return [master] if (master := self._election.master) else []

    # -- the next call ------------------------------------------------------------------------------------------------

    def next(self, now: float) -> tuple[Call | None, float]:
        """Return the wanted call, which marks the lane busy, or None; and when to ask again."""
        if self._in_flight is not None:
            return None, math.inf
        if (operation := self._operation) is None:
            self._in_flight, at = self._wanted(now)
            return self._in_flight, at
        if now < operation.poll_at:
            return None, operation.poll_at
        self._in_flight = replace(operation.call, kind=Kind.POLL, operation_id=operation.operation_id)
        return self._in_flight, now

    def _wanted(self, now: float) -> tuple[Call | None, float]:
        role, own, own_id = self._election.role, self._observed.own, self._observed.own_id
        if role is Role.MASTER and (not own.holds or now >= self.again_at):
            again = "it holds, but has not read itself for a while", {"cause": Cause.BLIND}
            call = Call(Kind.ATTACH, own_id, *(again if own.holds else (self._election.reason, {})))
            return call if now >= (at := self.attach_at()) else None, at
        if role is Role.MASTER:
            due, other = self.next_clear(now)
            if other is None or now < due or self.wants_fresh(now):
                return None, min(due if now < due else math.inf, self.again_at)
            why = self._observed.why_clear(other, heard=self._election.alive(other.instance_id))
            return Call(Kind.DETACH, other.instance_id, *why), now
        if self.wants_release:
            alone = self.leaving and not self.successors()  # which counts only after listening for one dead time
            rise_at = -math.inf if self.leaving else self._election.peer(self._election.master or "").rise_effective_at
            at = max(self.detach_backoff.at, self._election.listen_until if alone else rise_at, self._doubt_ends())
            if now < at:
                return None, at
            if reason := self._release_reason():
                return Call(Kind.DETACH, own_id, *reason), now
        return None, math.inf

    def next_clear(self, now: float) -> tuple[float, InstanceState | None]:
        """Return when the next holder is to be cleared, and which; inf if there is none."""
        due = [(self._clear_due(o, now), o.changed_at, -o.since, o.instance_id, o) for o in self._observed.holders()]
        at, *_, other = min(due, default=(math.inf, None))  # of those that are due
        return max(at, self.detach_backoff.at), other

    def _clear_due(self, other: InstanceState, now: float) -> float:
        """Return since when, or from when on, this holder may be cleared."""
        peer, attached = self._election.peer(other.instance_id), self._observed.own.attach_called
        newcomer = other.predecessor and now < attached + NEWCOMER_TIME
        at_once = newcomer and not peer.alive and not peer.released_since(attached)
        return -math.inf if at_once else self._observed.turn(other, now, -math.inf if peer.alive else peer.alive_until)

    def _release_reason(self) -> tuple[str, dict[str, object]] | None:
        """Return why this node may release the EIP, with its successor or "", or None."""
        successors = self.successors()
        if self.leaving and not successors:
            return "this node is stopping, and no peer can take over", {"successor": ""}
        successor = next((peer for peer in successors if self._holds_and_heard(peer)), "")
        stopping = "this node is stopping; " if self.leaving else ""
        return (f"{stopping}{successor} holds and is heard", {"successor": successor}) if successor else None

    def _holds_and_heard(self, instance_id: str) -> bool:
        other, peer = self._observed.others[instance_id], self._election.peer(instance_id)
        if other.holds is not True or other.read_at < max(self.since, self._observed.own.since):
            return False
        if not self.leaving and other.read_at < max(peer.last_unfit_advert, other.clear_failed_at) + CALL_SETTLES:
            return False
        return peer.alive and peer.last_seen > other.read_end and peer.priority < UNFIT

    # -- outcomes -----------------------------------------------------------------------------------------------------

    def clear_failed(self, instance_id: str, failure: Failure, now: float) -> None:
        """Count a clear that failed, unless the other is heard: it may release the EIP itself."""
        if failure is not Failure.NOT_SO and not self._election.alive(instance_id):
            self.clear_breaker.failed(failure, now)

    def began(self, call: Call, now: float) -> list[Event]:
        """Return the event of a mutation that is being sent."""
        if call.kind is Kind.POLL:
            return []
        if call.kind is Kind.ATTACH:
            self.again_at = now + BLIND_TIME + self.pace.slack
            self._observed.own.attaching(now)
        own = EventName.ATTACHING if call.kind is Kind.ATTACH else EventName.LETTING_GO
        name = own if call.instance_id == self._observed.own_id else EventName.CLEARING
        return [Event(name, now, call.instance_id, call.why, call.details)]

    def done(self, call: Call, outcome: Outcome) -> list[Event]:
        """Record the outcome of a call of `next`."""
        now, failure, polled = outcome.ended, outcome.failure, call.kind is Kind.POLL
        new = _Operation(call, outcome.began, outcome.operation_id, outcome.began + OPERATION_TIMEOUT + self.pace.slack)
        operation, self._operation, self._in_flight = self._operation or new, None, None
        if failure is None and not outcome.operation_id:
            return self._succeeded(operation.call, operation.called, outcome)
        if failure in (Failure.OPERATION, Failure.NOT_SO) or (failure and not polled):
            return self._failed(operation.call, failure, outcome)
        if polled and now >= operation.deadline:
            late = f"operation {operation.operation_id} is not done {now - operation.called:.1f} s after its call"
            outcome = Outcome(operation.called, now, operation_id=operation.operation_id, detail=late)
            return self._failed(operation.call, Failure.TIMEOUT, outcome)
        operation.poll_at = min(now + max(POLL, min(outcome.retry_after, LONGEST_POLL)), operation.deadline)
        self._operation = operation
        return []

    def _succeeded(self, call: Call, called: float, outcome: Outcome) -> list[Event]:
        now, own = outcome.ended, self._observed.own
        if call.kind is Kind.ATTACH:
            name = EventName.ATTACHED
            own.attached(called, min(called + ATTACH_KEPT + self.pace.slack, outcome.began), now)
        elif call.instance_id == self._observed.own_id:
            name = EventName.LET_GO
            own.detached(called, now)
        else:
            name = EventName.CLEARED
            if other := self._observed.others.get(call.instance_id):
                other.cleared(now)
                self._observed.forget_departed()
        details = {**call.details, "duration": now - called, "since": now - self.since}
        return [Event(name, now, call.instance_id, call.why, details)]

    def _failed(self, call: Call, failure: Failure, outcome: Outcome) -> list[Event]:
        now, own = outcome.ended, self._observed.own
        backoff = self.attach_backoff if call.kind is Kind.ATTACH else self.detach_backoff
        if call.instance_id != self._observed.own_id:
            if other := self._observed.others.get(call.instance_id):
                other.changed_at = other.clear_failed_at = now
            self.clear_failed(call.instance_id, failure, now)
        elif call.kind is not Kind.ATTACH or not own.holds:  # else it cannot read itself, and goes on to hold
            if failure not in NO_EFFECT:
                own.changed_at = now
                own.doubted(now, attach_may_land=True)
            if call.kind is Kind.ATTACH and not outcome.operation_id:  # else it may be done: JOB_TIME decides
                told_to_wait = outcome.retry_after > FIRST_RETRY and self._election.fit_peer_alive()
                self.attach_breaker.failed(Failure.TIMEOUT if told_to_wait else failure, now)
        backoff.failed(outcome.retry_after, now)
        details = {"call": call.kind, "failure": failure, "detail": outcome.detail, "again": backoff.at - now}
        return [Event(EventName.FAILED, now, call.instance_id, outcome.detail, details)]
