"""Turn "who should hold" into "who holds": decide which API call is wanted next.

Inputs are the role and the peers (from `election`), and the outcomes of earlier calls. Output is
the next call of each lane. Nothing is queued: each call is decided from what is known at that
moment, so a newer decision replaces an older one, and a move that is interrupted anywhere continues
from what the API shows.

`observed` records what is known, `mutations` and `reads` decide the next call of their lane,
`split_brain` decides when to stand back, `relief` when to take a master's place, `backoff` and
`unfit` when to retry and when this node is unfit. This module ties them to the role. The rules that
need more than one of them:

Make before break  While a live node can serve, the EIP is never without a holder: the new holder
                   attaches before the old one detaches itself. Shown by 04, 07a, 20, 21a,
                   TestRelease.
Predecessor        When a node becomes master, the master before it is assumed to hold, without a
                   read, if it is dead, leaving, or unfit and holding (253). What is known of a node
                   does not count once it has advertised 254 or is heard again, or once another one
                   than this node is its successor, which may have cleared it (58r). An earlier
                   master does not count if it was heard beside the next one and is not leaving, or
                   if it was the master more than 45 s ago: it may have attached since (16h). Nor
                   does what was assumed before a stand-back (09i). The best that a listening node
                   hears was no master. Shown by 01, 16f, 22e, 51, 51b, 52g, 52h, 52k, 52l, 52m,
                   52o, 69d, TestPredecessor.
Successor          What the daemon before this one did is forgotten, and a paused one saw nothing.
                   So any member that holds may have taken over meanwhile, until this node has read
                   that it does not hold, and attaches, or reads that the member does not hold: this
                   node does not stand back from it, and a detach may be under way (see
                   `mutations`). Shown by 66d, 66f, 69, 69c, 73d, 73e.
Lost               A master that reads itself detached asks who holds before it attaches again. If
                   the attach lasted less than 60 s, each further attach waits longer. Shown by 07a,
                   32b.
Leave              A leaver advertises 255, a peer takes over at once, and the leaver releases the
                   EIP as `mutations` says. Then it has finished. Shown by 21a, 21g, 22a,
                   TestFinished.
New decision       After a change of role, master or leaving, each job is tried at once. Shown by
17, 34a.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

from exoip.core.calls import Call, Failure, Kind, Lane, Outcome, Pace
from exoip.core.election import Election
from exoip.core.events import Cause, Event, EventName
from exoip.core.mutations import Mutations
from exoip.core.observed import NEWCOMER_TIME, UNSEEN, InstanceState, Observed
from exoip.core.peers import HOLDING_UNFIT, LEAVING, UNFIT, LocalState, Role
from exoip.core.reads import Reads
from exoip.core.split_brain import StandBack
from exoip.core.unfit import UnfitReasons

LEARN_TIME = 10.0  # seconds, and an interval, in which the others learn of a node that starts
ATTACH_LASTS = 60.0  # seconds; an attach that somebody undoes sooner counts as a failure


class Ownership:
    """The reconciliation of one node. Not thread-safe: `node` holds the lock."""

    def __init__(
        self, election: Election, rng: random.Random, now: float, verify_interval: float, *, known: bool = False
    ) -> None:
        self._election = election
        self.observed = Observed(election.config.instance_id, now)
        self.pace = Pace()
        self.stand_back = StandBack(election, self.observed, self.pace)
        self.mutations = Mutations(election, self.observed, rng, self.stand_back, self.pace)
        self.reads = Reads(election, self.observed, self.mutations, self.stand_back, rng)
        self.reads.relief.verify_interval = verify_interval
        self._breakers = {"attach": self.mutations.attach_breaker, "detach": self.mutations.clear_breaker}
        self.unfit_reasons = UnfitReasons(self.observed.own_id, self._breakers)
        self._started = -math.inf if known else now
        self._decision: tuple[Role, str | None, bool] = (election.role, election.master, False)
        self._master: str | None = None  # as of the last decision; the best that is heard may be none
        self._resumed = False  # it goes on to hold after a restart that no peer noticed, and still listens

    # -- inputs -------------------------------------------------------------------------------------------------------

    def resume(self, known_at: float, now: float, *, in_doubt: bool) -> list[Event]:
        """Go on to hold, as known before a restart that no peer noticed, with the same doubt."""
        self.observed.own.attached(known_at, known_at, known_at)
        if in_doubt:  # only because a peer was heard, which may have detached this node
            self.observed.own.doubted(now, heard=True)
        self._resumed = True
        return [Event(EventName.HOLDS, now, self.observed.own_id, "as known before a restart", {"cause": Cause.BLIND})]

    def leave(self) -> None:
        """Begin to leave; `finished` says when this node may exit."""
        self.mutations.leaving = True
        self.stand_back.stop()

    def on_peer_event(self, event: Event) -> list[Event]:
        """Record that a peer is alive, dead, or no longer a member."""
        self.reads.verify_again(event.at)
        if event.name is not EventName.PEER_ALIVE:
            return []
        if not self._resumed:
            self.observed.own.doubted(event.at, heard=True)
        return self.stand_back.heard(event.instance_id, event.at)

    def stalled(self, now: float) -> None:
        """Doubt what is known, because this node did not run for a while."""
        self.observed.own.doubted(now)
        self._resumed, self.pace.woke_at = False, now
        for other in self.observed.others.values():
            other.successor = True
        self.reads.verify_again(now)

    def on_election_change(self, now: float) -> list[Event]:
        """Take note of the election's decision and of its jobs; cheap if it is the same."""
        decision = (self._election.role, self._election.master, self.mutations.leaving)
        if decision != self._decision:
            self._decided(decision, now)
        listening = self._election.role is Role.LISTENING
        self._resumed = self._resumed and listening
        self._master = None if listening or self._election.local_state.yielded else self._election.master
        owes = self._election.role is Role.MASTER and bool(self.observed.others)  # who is not heard may hear it
        self.mutations.attach_breaker.owe(owes and not (self.observed.own.holds or self.stand_back.asking), now)
        self.mutations.clear_breaker.owe(owes and self.mutations.clear_owed(now), now)
        if self._election.fit_peer_alive() or self._election.next_death == math.inf or not self.observed.own.may_hold:
            for breaker in self._breakers.values():
                breaker.expire(now)
        self.reads.relief.decide(now, unfit=self.observed.own.held and self.unfit_reasons.unfit(now))
        return self.unfit_reasons.report_change(now)

    def _decided(self, decision: tuple[Role, str | None, bool], now: float) -> None:
        self._decision = decision
        if new := self.observed.others.get(self._election.master or ""):
            new.lacks_since = math.inf
        if master := self.observed.others.get(self._master or ""):
            master.master_until = now
            if self._election.role is not Role.MASTER:
                master.holds, master.since = None, math.inf  # the new one may have cleared it (58r)
        self.mutations.since = now
        self.reads.release_read_at = now
        self.mutations.attach_backoff.reset()
        self.mutations.detach_backoff.reset()
        if self._election.role is Role.MASTER:
            self._became_master(now)
        elif not self.stand_back.active:
            self.stand_back.drop_question()

    def _became_master(self, now: float) -> None:
        own, others = self.observed.own, self.observed.others.values()
        masters = [o for o in others if o.master_until > now - UNSEEN - self.pace.slack and not self._survived(o)]
        for master in masters:
            peer, unread = self._election.peer(master.instance_id), master.read_at < master.master_until
            if (not peer.alive or peer.priority in (HOLDING_UNFIT, LEAVING)) and unread:
                master.holds, master.since = None, master.master_until  # it is assumed to hold until it is read
        for other in others:
            other.predecessor &= own.may_hold or self.mutations.touching(self.observed.own_id)
            other.successor = (other.successor or other in masters) and own.may_hold
            other.master_until = -math.inf
        if self.stand_back.mute and not own.held:
            self.stand_back.ask(now)  # before any attach
        self.reads.verify_again(now)

    def _survived(self, other: InstanceState) -> bool:
        """Return whether a former master was heard beside the next one, or did not hold."""
        peer = self._election.peer(other.instance_id)
        return peer.priority == UNFIT or (other.master_until < peer.last_seen and peer.priority < LEAVING)

    # -- outputs ------------------------------------------------------------------------------------------------------

    def local_state(self, now: float) -> LocalState:
        """Return this node's own state, from which the election derives the advertised priority."""
        return LocalState(
            holds=self.observed.own.protected,
            last_held=self.observed.own.held,
            unfit=self.unfit_reasons.unfit(now),
            releasing=self.mutations.releasing,
            yielded=self.stand_back.active,
            leaving=self.mutations.leaving,
            relieved=self.reads.relief.relieved,
            may_be_able={reason.cause for reason in self.unfit_reasons.reasons(now)} <= self._breakers.keys(),
            waits_to_be_known=now < self._known_at() and not self.observed.own.held and self._holder_unheard(),
        )

    def _known_at(self) -> float:
        """Return by when the others know of this node."""
        return self._started + LEARN_TIME + self._election.config.interval + 1.5 * self.pace.slack

    def _holder_unheard(self) -> bool:
        peers, others = self._election.peers.values(), self.observed.others
        heard = any(peer.alive and others[peer.instance_id].holds for peer in peers)  # then nobody unread counts
        unheard = [others[peer.instance_id].holds for peer in peers if peer.last_seen == -math.inf]
        return True in unheard or (None in unheard and not heard)

    def finished(self) -> bool:
        """Whether a leaver may exit: it does not hold, and nothing is under way."""
        return self.mutations.leaving and self.mutations.idle and not self.observed.own.may_hold

    def next_call(self, lane: Lane, now: float) -> tuple[Call | None, float, list[Event]]:
        """Return the wanted call, which marks the lane busy, or None; when to ask again; events."""
        mutates = lane is Lane.MUTATIONS
        call, at = self.mutations.next(now) if mutates else self.reads.next(now)
        if call is None:
            return None, at, []
        if call.kind is Kind.ATTACH and not (own := self.observed.own).holds:
            for other in self.observed.others.values():
                peer = self._election.peer(other.instance_id)
                known = other.holding and (other.holds is None or now - other.read_at <= UNSEEN)
                known = known and not peer.released_since(max(other.read_at, other.since))
                again = own.wants_proof or (own.attach_called > -math.inf and (peer.alive or own.may_hold))
                new = other.holds and now - other.since < NEWCOMER_TIME and again  # it may clear this node
                other.predecessor = other.predecessor or (known and not new)
            self.stand_back.attaching()
        events = self.mutations.began(call, now) if mutates else []
        return replace(call, timeout=min(call.timeout, self.pace.timeout(call.kind))), at, events

    def done(self, lane: Lane, call: Call, outcome: Outcome) -> list[Event]:
        """Record the outcome of a call of `next_call`."""
        self.pace.note(call.kind, outcome)
        self.observed.note_time(outcome)
        exists = call.instance_id == self.observed.own_id or self._election.alive(call.instance_id)
        if call.kind is Kind.READ and outcome.failure is Failure.NOT_SO and not exists:
            outcome = replace(outcome, failure=None)  # one that is gone holds nothing; one that is heard is not gone
        events = (self.mutations if lane is Lane.MUTATIONS else self.reads).done(call, outcome)
        self._apply_effects(events, outcome.ended)
        return events

    def next_deadline(self, now: float) -> float:
        """Return when something is due."""
        times = [self._known_at(), *(breaker.deadline for breaker in self._breakers.values())]
        due = [self.stand_back.next_deadline(), self.unfit_reasons.next_deadline(now)]
        return min(*due, *(at for at in times if at > now))

    # -- inside -------------------------------------------------------------------------------------------------------

    def _apply_effects(self, events: list[Event], now: float) -> None:
        """Do what follows from the events of a call."""
        for event in events:
            if event.name in (EventName.ATTACHED, EventName.CLEARED, EventName.HOLDS):
                self.reads.verify_again(now)
            if event.name is EventName.ATTACHED:
                for other in self.observed.others.values():
                    other.successor &= self.observed.own.attach_called == -math.inf
                for backoff in (self.reads.backoff, self.reads.list_backoff):
                    backoff.reset()  # the API works
            if event.name is EventName.LOST and self._election.role is Role.MASTER:
                self._lost(now)

    def _lost(self, now: float) -> None:
        if now - self.observed.own.since < ATTACH_LASTS:
            self.mutations.attach_backoff.wait_longer(now)
            self.mutations.attach_breaker.failed(Failure.OPERATION, now)
        else:
            self.mutations.attach_backoff.reset()
        self.stand_back.ask(now)  # before any attach
