"""From "who should hold" to "who holds": which API call is wanted next, so that the two agree.

Pure: no socket, no HTTP, no clock, no log. Inputs are the role and the peers (from `election`), and what came of earlier calls.
Output is the next call of each lane. Nothing is queued: every call is decided from what is known at that moment, so a newer
decision replaces an older one, and a move that is cut off anywhere is taken up again from what the API then says.

The parts: `observed` (what is known, and since when), `mutations` (the mutations: Take, Clear, Keep), `reads` (Know, Verify, Ask),
`yielding` (what to do when the EIP is lost), `breaker` (backoff and unfit times); this module ties them to the role.

Make before break   While a live node can serve, the EIP is never without a holder: the new one attaches before the old one lets go.
Lost, and Yield     See `yielding`.
Unfit               See `breaker`. An unfit node advertises 253 or 254, so that any fit one goes before it; an unfit master goes on trying.
Leave               Advertise 255; a peer takes over at once; let go as Keep says; then be gone.
Predecessors        When a node becomes master, the master before it, if dead, leaving, or unfit and holding (253), is presumed to
                    hold, without a read.
"""

from __future__ import annotations

import math
import random

from exoip.core.calls import Call, Failure, Kind, Lane, Outcome, Trouble
from exoip.core.election import HOLDING_UNFIT, LEAVING, Election, LocalState, Role
from exoip.core.events import Event, EventName
from exoip.core.mutations import Mutations
from exoip.core.observed import Observed
from exoip.core.reads import Reads
from exoip.core.split_brain import StandBack
from exoip.core.unfit import UnfitReasons

ATTACH_LASTS = 60.0  # an attach that is undone sooner than that by somebody was none
MUTATIONS = (Kind.ATTACH, Kind.DETACH, Kind.POLL)


class Ownership:
    """The reconciliation of one node. Not thread-safe: `node` holds the lock."""

    def __init__(
        self,
        election: Election,
        rng: random.Random,
        now: float,
        *,
        verify_interval: float = 30.0,
        refresh_in: float = math.inf,
    ) -> None:
        self._election = election
        self.observed = Observed(election.config.instance_id)
        self.mutations = Mutations(election, self.observed, rng)
        self.reads = Reads(election, self.observed, self.mutations, rng, now, verify_interval, refresh_in)
        self.stand_back = StandBack(election, self.observed, self.mutations, self.reads)
        self.unfit_reasons = UnfitReasons(
            election.config.instance_id,
            {
                "attach": self.mutations.attach_breaker,
                "detach": self.mutations.clear_breaker,
                "read": self.reads.breaker,
            },
        )
        self._decision: tuple[Role, str | None, bool] = (election.role, election.master, False)
        self.trouble: dict[Kind, Trouble] = {}  # the calls that fail at present
        self.answered_at = -math.inf  # the last good answer of the API

    # -- what comes in ------------------------------------------------------------------------------------------------

    def set_members(self, instance_ids: frozenset[str], now: float) -> None:
        """Take over the group, as the API or the configuration says."""
        self.observed.set_members(instance_ids, now)

    def leave(self) -> None:
        """Hand over and be gone; `finished` tells when."""
        self.mutations.leaving = True
        self.stand_back.leave()

    def peer(self, event: Event) -> list[Event]:
        """A peer is alive, or dead, or no longer a member."""
        now, other = event.at, self.observed.others.get(event.instance_id)
        events: list[Event] = []
        if event.name is EventName.PEER_ALIVE:
            self.observed.own.doubted(now, heard=True)
            if event.instance_id in self.observed.masters and event.instance_id != self._election.master:
                self.observed.masters.remove(event.instance_id)
            events = self.stand_back.heard(event.instance_id, now)
        elif other is not None:
            other.silent_since = now
        self.reads.schedule.verify_again(now)
        return events

    def stalled(self, now: float) -> None:
        """This node was not running for a while: what it knows may be old."""
        self.observed.own.doubted(now)
        self.reads.schedule.verify_again(now)

    def on_election_change(self, now: float) -> None:
        """Take note of the election's decision; cheap when it is the same."""
        decision = (self._election.role, self._election.master, self.mutations.leaving)
        if decision == self._decision:
            return
        old_master, self._decision = self._decision[1], decision
        if old_master != self.observed.own_id:
            self._remember_master(old_master)
        self.mutations.since = self.mutations.release_reads_since = now
        self.reads.schedule.release_read_at = now
        for backoff in (self.mutations.attach_backoff, self.mutations.release_backoff, self.mutations.clear_backoff):
            backoff.reset()
        if self._election.role is Role.MASTER:
            self._became_master(now)
        elif not self.stand_back.active:
            self.reads.drop_question()
            self.mutations.attach_paused = False

    def _remember_master(self, master: str | None) -> None:
        if master is not None and master in self.observed.others:
            self.observed.masters = [*(m for m in self.observed.masters if m != master), master]

    def _became_master(self, now: float) -> None:
        masters, self.observed.masters = self.observed.masters, []
        self.stand_back.became_master()
        if masters:
            last = self.observed.others.get(masters[-1])
            peer = self._election.peers.get(masters[-1])
            lost = peer is None or not peer.alive or peer.priority in (HOLDING_UNFIT, LEAVING)
            if last is not None and lost:
                last.presume(now)
        there = {master for master in masters if master in self.observed.others}
        if self.observed.own.held:
            self.observed.successors_while_holding |= there
        else:
            self.observed.holders_at_attach, self.observed.successors_while_holding = there, set()
        self.mutations.attach_breaker.forget_tries()
        self.mutations.clear_breaker.forget_tries()
        self.reads.schedule.verify_again(now)

    # -- what comes out -----------------------------------------------------------------------------------------------

    def local_state(self, now: float) -> LocalState:
        """The state of this node, for its advertised priority."""
        me = self.observed.own
        return LocalState(
            holds=me.protected,
            last_held=me.held,
            unfit=self.unfit_reasons.unfit(now),
            releasing=self.mutations.releasing,
            yielded=self.stand_back.active,
            leaving=self.mutations.leaving,
        )

    def finished(self) -> bool:
        """A leaver may go: it does not hold, and nothing is under way."""
        return self.mutations.leaving and self.mutations.idle and not self.observed.own.may_hold

    def next_call(self, lane: Lane, now: float) -> tuple[Call | None, float, list[Event]]:
        """Return the wanted call, which marks the lane busy, or None and when to ask again; and the events of it."""
        call, at = self.mutations.next(now) if lane is Lane.MUTATIONS else self.reads.next(now)
        if lane is Lane.READS:
            return call, at, []
        if call is None:
            waits = self.mutations.wants_fresh(now) or self.mutations.wants_release
            content = at == math.inf and self.mutations.idle and not self.observed.own.doubt and not waits
            return None, at, self._recovered(MUTATIONS, "it is no longer wanted", now) if content else []
        events = self.mutations.began(call, now)
        if call.kind is Kind.ATTACH:
            self.observed.holders_at_attach |= {
                other.instance_id for other in self.observed.holders()
            } | self.observed.successors_while_holding
            self.observed.successors_while_holding = set()
            self.stand_back.taking()
            self.observed.own.attach_may_land = True
        return call, at, events

    def done(self, lane: Lane, call: Call, outcome: Outcome) -> list[Event]:
        """Take in what came of a call."""
        now, held = outcome.ended, self.observed.own.held
        part = self.mutations if lane is Lane.MUTATIONS else self.reads
        events = part.done(call, outcome)
        return self._note_api_edge(call, outcome) + events + self._apply_effects(events, held, now)

    def tick(self, now: float) -> list[Event]:
        """Let what is due happen: an operation's time-out, the end of a stand-back or of an unfit time."""
        held = self.observed.own.held
        events = self.mutations.tick(now)
        events += self._apply_effects(events, held, now)
        events += self.stand_back.tick(now)
        return events + self.unfit_reasons.report_change(now)

    def next_deadline(self, now: float) -> float:
        """When `tick` is wanted."""
        return min(
            self.mutations.next_deadline(), self.stand_back.next_deadline(), self.unfit_reasons.next_deadline(now)
        )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _apply_effects(self, events: list[Event], held: bool, now: float) -> list[Event]:
        """What follows from the events of a call."""
        for event in events:
            if event.name in (EventName.ATTACHED, EventName.CLEARED, EventName.HOLDS):
                self.reads.schedule.verify_again(now)
            if event.name in (EventName.ATTACHED, EventName.HOLDS):
                self.reads.breaker.succeeded()
            if event.name is EventName.LOST and self._election.role is Role.MASTER:
                self._lost(now)
        me = self.observed.own
        if me.held and not held:
            self.mutations.release_reads_since = now
        if (
            self.mutations.attach_outcome_unknown and not me.doubt
        ):  # a read has told what became of the operation that was not seen done
            self.mutations.attach_outcome_unknown = False
            if me.held:
                self.mutations.attach_breaker.succeeded()
            else:
                self.mutations.attach_breaker.failed(Failure.TIMEOUT, now)
        return self.unfit_reasons.report_change(now)

    def _lost(self, now: float) -> None:
        """Ask who holds; and where an attach does not last, wait ever longer before the next."""
        if now - self.mutations.attached_at < ATTACH_LASTS:
            self.mutations.attach_backoff.wait_longer(now)
        else:
            self.mutations.attach_backoff.reset()
        self.stand_back.lost()

    def _note_api_edge(self, call: Call, outcome: Outcome) -> list[Event]:
        """Tell of the first failure of a kind of call, and of the first good one after it: for a mutation, one that is done."""
        if outcome.failure is None:
            self.answered_at = outcome.ended
            kinds = MUTATIONS if call.kind in MUTATIONS else (call.kind,)
            return [] if outcome.operation_id else self._recovered(kinds, "it works again", outcome.ended)
        before = self.trouble.get(call.kind)
        if before is not None and before.failure is outcome.failure:
            return []
        since = outcome.ended if before is None else before.since
        self.trouble[call.kind] = Trouble(outcome.failure, since, outcome.detail)
        details = {"call": call.kind, "failure": outcome.failure}
        return [Event(EventName.API_DEGRADED, outcome.ended, call.instance_id, outcome.detail, details)]

    def _recovered(self, kinds: tuple[Kind, ...], why: str, now: float) -> list[Event]:
        over = [kind for kind in kinds if self.trouble.pop(kind, None) is not None]
        return [Event(EventName.API_RECOVERED, now, "", why, {"call": kind}) for kind in over]

    @property
    def degraded(self) -> str:
        """The call that fails at present, with its failure; "" when all is well."""
        return ", ".join(f"{kind} {trouble.failure}" for kind, trouble in self.trouble.items())
