"""One node: the only lock of the daemon, around the election and the ownership.

The threads of the daemon meet here and nowhere else. The receiver calls `heard` and `tick`, the sender `advert`, the two workers
`next_call` and `done`, the main thread `leave`, `set_config`, `set_members` and `snapshot`. Nothing inside the lock waits for
anything: no socket, no HTTP, no file, no log. Events go to `emit` in the order in which they came about; `emit` must not block.

All times are seconds of one steady clock and are passed in, so a test can run any number of nodes in virtual time.
Only the `wait_…` methods block; they name the clock that they were given.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from exoip.core.admission import Admission, DroppedDatagrams, Endpoint
from exoip.core.advert_timer import Advert, AdvertTimer
from exoip.core.calls import Call, Lane, Outcome
from exoip.core.election import Election, ElectionConfig
from exoip.core.events import Event, EventName
from exoip.core.ownership import Ownership
from exoip.core.snapshot import Snapshot, take
from exoip.core.unfit import OPERATOR
from exoip.heartbeat.authentication import UNPROVEN, Proof
from exoip.heartbeat.wire import Heartbeat

_Answer = TypeVar("_Answer")

_PEER_EVENTS = (EventName.PEER_ALIVE, EventName.PEER_DEAD, EventName.PEER_REMOVED)


class Node:
    """The state of one node. Every public method takes the lock and may be called by any thread."""

    def __init__(
        self,
        config: ElectionConfig,
        eip: str,
        members: Mapping[str, Endpoint],
        now: float,
        *,
        emit: Callable[[Event], None],
        rng: random.Random | None = None,
        verify_interval: float = 30.0,
        refresh_in: float = math.inf,
        quarantined_until: float = -math.inf,
        drained: str = "",
    ) -> None:
        self._eip = eip
        self._emit = emit
        self._wake = threading.Condition(threading.Lock())
        self._election = Election(config, now)
        self._ownership = Ownership(self._election, rng or random.Random(), now, verify_interval, refresh_in)
        self._ownership.unfit_reasons.set("starts", "started too often", quarantined_until)
        self._ownership.unfit_reasons.set(OPERATOR, drained)
        self.admission = Admission(eip)
        self._dropped = DroppedDatagrams()
        self._advert_timer = AdvertTimer(now)
        self._deadline = -math.inf
        self.set_members(members, now)

    # -- heartbeats ---------------------------------------------------------------------------------------------------

    def heard(self, heartbeat: Heartbeat, address: str, now: float, proof: Proof = UNPROVEN) -> bool:
        """Take a well-formed heartbeat in that came from `address`; False if it is refused: not from a member, or without the proof."""
        with self._wake:
            if cause := self.admission.judge(heartbeat, address, proof, self._election.config.dead_time, now):
                self._count(address, cause, now)
                if cause == "unknown" and not proof.cause and self._ownership.reads.schedule.refresh_early(now):
                    self._wake.notify_all()
                return False
            self._look_for_stall(now)
            events = self._election.heard(heartbeat.instance_id, heartbeat.priority, now)
            if events:
                self._run_to_fixpoint(events, now)
            elif self._ownership.mutations.wants_release:
                self._wake.notify_all()  # it may be the heartbeat that lets this node let go
            return True

    def drop(self, address: str, cause: str, now: float) -> None:
        """Count a datagram that is no heartbeat at all."""
        with self._wake:
            self._count(address, cause, now)

    def advert(self, now: float) -> Advert:
        """Return what to send now: a heartbeat when one is due or when the advertised priority changed."""
        with self._wake:
            return self._advert(now)

    def wait_advert(self, clock: Callable[[], float], most: float) -> Advert | None:
        """Like `advert`, but wait until there is something to send, `most` seconds at most; None when there is nothing then."""

        def ask(now: float) -> tuple[Advert | None, float]:
            advert = self._advert(now)
            return (advert if advert.heartbeat is not None else None), advert.again

        return self._wait(clock, most, ask)

    def tick(self, now: float) -> None:
        """Let what is due happen, deaths too: no datagram that came before `now` may still wait in the socket."""
        with self._wake:
            self._advance(now, socket_drained=True)

    @property
    def attentive(self) -> bool:
        """Whether even a heartbeat that changes nothing may let this node act: a holder that is about to let go."""
        return self._ownership.mutations.wants_release

    def next_death(self) -> float:
        """When `tick` is wanted; inf when no peer is alive."""
        with self._wake:
            return self._election.next_death

    # -- calls --------------------------------------------------------------------------------------------------------

    def next_call(self, lane: Lane, now: float) -> tuple[Call | None, float]:
        """Return the next call of the lane, for `done` to answer; or None and when to ask again."""
        with self._wake:
            return self._next_call(lane, now)

    def wait_call(self, lane: Lane, clock: Callable[[], float], most: float) -> Call | None:
        """Like `next_call`, but wait until a call is wanted, `most` seconds at most."""
        return self._wait(clock, most, lambda now: self._next_call(lane, now))

    def done(self, lane: Lane, call: Call, outcome: Outcome) -> None:
        """Take in what came of a call of `next_call`."""
        with self._wake:
            self._look_for_stall(outcome.ended)
            self._run_to_fixpoint(self._ownership.done(lane, call, outcome), outcome.ended)

    def set_members(self, members: Mapping[str, Endpoint], now: float) -> None:
        """Go by this group from now on: the other nodes' instance ids, with the address and port that each beats from and is beaten to."""
        with self._wake:
            self.admission.set_members({i: p for i, p in members.items() if i != self._election.config.instance_id})
            ids = frozenset(self.admission.members)
            self._ownership.observed.set_members(ids, now)
            self._run_to_fixpoint(self._election.set_members(ids, now), now)

    def config(self) -> ElectionConfig:
        """What the election goes by."""
        return self._election.config  # frozen, and replaced as a whole

    def set_config(self, config: ElectionConfig, verify_interval: float, now: float) -> None:
        """Go by these terms from now on (a reload)."""
        with self._wake:
            self._ownership.reads.verify_interval = verify_interval
            self._advert_timer.sooner(config.interval, now)
            self._run_to_fixpoint(self._election.set_config(config, now), now)

    def set_priority(self, priority: int, now: float) -> int:
        """Go by this configured priority from now on; return the one before."""
        with self._wake:
            config = self._election.config
            self._run_to_fixpoint(self._election.set_config(replace(config, priority=priority), now), now)
            return config.priority

    def refresh_in(self, seconds: float, now: float) -> None:
        """Read the group in so many seconds (inf: never)."""
        with self._wake:
            self._ownership.reads.schedule.refresh_at = now + seconds

    def leave(self, now: float) -> None:
        """Hand over and be gone: `finished` tells when."""
        with self._wake:
            self._ownership.leave()
            self._run_to_fixpoint(
                [Event(EventName.LEAVING, now, self._election.config.instance_id, "a stop was requested")], now
            )

    def set_unfit(self, source: str, why: str, now: float, until: float = math.inf) -> None:
        """Step aside for a reason of `source` (a health check, an operator) until then; with "" as the reason, no longer."""
        with self._wake:
            self._ownership.unfit_reasons.set(source, why, until)
            self._run_to_fixpoint(self._ownership.tick(now), now)

    def finished(self) -> bool:
        """Whether a leaver may go: it does not hold, nothing is under way, and its farewells are sent."""
        with self._wake:
            return self._ownership.finished() and self._advert_timer.farewells_sent

    def snapshot(self, now: float) -> Snapshot:
        """Return the state at `now`."""
        with self._wake:
            return take(self._election, self._ownership, self.admission, self._dropped.counts, now)

    def _wait(
        self, clock: Callable[[], float], most: float, ask: Callable[[float], tuple[_Answer | None, float]]
    ) -> _Answer | None:
        """Ask, with the lock held, until there is an answer: again whenever something changed, and at the time that it gave."""
        with self._wake:
            now = clock()
            end = now + most
            while True:
                answer, at = ask(now)
                if answer is not None or now >= end:
                    return answer
                self._wake.wait(min(at, end) - now)
                now = clock()

    # -- inside; the lock is held -------------------------------------------------------------------------------------

    def _advert(self, now: float) -> Advert:
        self._advance(now, socket_drained=False)
        election, timer = self._election, self._advert_timer
        if not timer.due(election.advertised, election.config.interval, now):
            return Advert(None, (), min(timer.next_at, self._deadline))
        heartbeat = Heartbeat(election.advertised, self._eip, election.config.instance_id)
        return Advert(heartbeat, tuple(self.admission.members.values()), min(timer.next_at, self._deadline))

    def _next_call(self, lane: Lane, now: float) -> tuple[Call | None, float]:
        self._advance(now, socket_drained=False)
        call, at, events = self._ownership.next_call(lane, now)
        if call is not None or events:
            self._run_to_fixpoint(events, now)
        return call, max(now, min(at, self._deadline))

    def _advance(self, now: float, *, socket_drained: bool) -> None:
        self._look_for_stall(now)
        if (past_due := now >= self._deadline) or (socket_drained and now >= self._election.next_death):
            events = self._election.tick(now, socket_drained=socket_drained)
            if events or past_due:  # a look at the peers that finds nobody dead wakes nobody
                self._run_to_fixpoint(events + self._ownership.tick(now), now)

    def _look_for_stall(self, now: float) -> None:
        if slept := self._advert_timer.slept(self._election.config, now):
            self._advert_timer.restart(now)
            self._ownership.stalled(now)
            self._run_to_fixpoint(self._election.stalled(now, slept), now)

    def _run_to_fixpoint(self, events: list[Event], now: float) -> None:
        """Carry the consequences of `events` to and fro between ownership and election until none is left, and tell of them all."""
        for _ in range(16):
            for event in events:
                self._emit(event)
            follow_up = [
                more for event in events if event.name in _PEER_EVENTS for more in self._ownership.on_peer_event(event)
            ]
            self._ownership.on_election_change(now)
            if not (events := follow_up + self._election.set_local_state(self._ownership.local_state(now), now)):
                break
        else:
            raise AssertionError(f"election and ownership do not agree: {events}")
        self._deadline = min(self._election.next_deadline(), self._ownership.next_deadline(now))
        self._wake.notify_all()

    def _count(self, address: str, cause: str, now: float) -> None:
        if (event := self._dropped.count(address, cause, now, member=address in self.admission.addresses)) is not None:
            self._emit(event)
