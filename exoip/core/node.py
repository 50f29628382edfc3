"""Put the one lock of the daemon around the election and the ownership of a node.

The daemon's threads meet here and nowhere else. The receiver calls `heard` and `tick`, the sender
`wait_advert`, the two API workers `wait_call` and `done`, and the main thread the rest. Nothing
blocks inside the lock: no socket, no HTTP, no file, no log. Events go to `emit` in order; `emit`
must not block.

All times are seconds of one steady clock and are arguments, so tests run nodes in virtual time.
Only the `wait_…` methods block; they take the clock as an argument. Shown by
tests/unit/core/test_node.py.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from exoip.core.advert_timer import Advert, AdvertTimer
from exoip.core.calls import Call, Lane, Outcome
from exoip.core.election import Election
from exoip.core.events import Event, EventName
from exoip.core.ownership import Ownership
from exoip.core.peers import ElectionConfig, Role
from exoip.core.snapshot import Snapshot, take_snapshot
from exoip.heartbeat.admission import ADDRESS, CONFIRM_TIME, NEVER_HEARD, SAME_ID, Admission, DroppedDatagrams
from exoip.heartbeat.authentication import UNPROVEN, Proof
from exoip.heartbeat.socket_address import SocketAddress
from exoip.heartbeat.wire import Heartbeat

_Answer = TypeVar("_Answer")

UNKNOWN_SENDERS = ("unknown", "identity", ADDRESS)  # causes for which the group may have changed
_PEER_EVENTS = (EventName.PEER_ALIVE, EventName.PEER_DEAD, EventName.PEER_REMOVED)


class Node:
    """One node. Any thread may call its public methods; they take the lock.

    `members`: the addresses of the other nodes by instance id. `verify_interval`: seconds.
    `quarantined_until`: the node is unfit until then, after too many starts. `known`: its peers
    know it, because it ran before it crashed.
    """

    def __init__(
        self,
        config: ElectionConfig,
        eip: str,
        members: Mapping[str, SocketAddress],
        now: float,
        *,
        emit: Callable[[Event], None],
        rng: random.Random | None = None,
        verify_interval: float = 30.0,
        quarantined_until: float = -math.inf,
        known: bool = False,
    ) -> None:
        self._eip, self._emit = eip, emit
        self._wake = threading.Condition()
        self._election = Election(config, now)
        self._ownership = Ownership(self._election, rng or random.Random(), now, verify_interval, known=known)
        self._ownership.unfit_reasons.set("starts", "started too often", quarantined_until)
        self.admission = Admission(eip, config.instance_id)
        self._dropped = DroppedDatagrams()
        self._advert_timer = AdvertTimer(now)
        self._deadline = -math.inf
        self.set_members(members, now)

    # -- heartbeats ---------------------------------------------------------------------------------------------------

    def heard(self, heartbeat: Heartbeat, address: str, now: float, proof: Proof = UNPROVEN) -> bool:
        """Accept a well-formed heartbeat from `address`; return False if it is dropped."""
        with self._wake:
            if cause := self.admission.judge(heartbeat, address, proof, self._election.config.dead_time, now):
                self.drop(address, cause, now, heartbeat.instance_id if cause in (ADDRESS, SAME_ID) else "")
                if cause == SAME_ID and self.admission.two_hosts(address, proof):
                    self._listen_on(now)
                if cause in UNKNOWN_SENDERS and not proof.cause and self.admission.looks.passes(address, now):
                    self._ownership.reads.refresh_by(now)
                    self._wake.notify_all()
                return False
            self._look_for_stall(now)
            events = self._election.heard(heartbeat.instance_id, heartbeat.priority, now)
            if events:
                self._run_to_fixpoint(events, now)
            elif self._ownership.mutations.wants_release:
                self._wake.notify_all()  # it may let this node release the EIP
            return True

    def drop(self, address: str, cause: str, now: float, sender: str = "") -> None:
        """Count a datagram that is dropped, perhaps a heartbeat with the id of `sender`."""
        with self._wake:
            if self._dropped.count(address, cause, now, member=address in self.admission.addresses):
                details = {"address": address, "count": self._dropped.counts[cause], "cause": cause}
                name = EventName.SAME_ID if cause == SAME_ID else EventName.DATAGRAM_DROPPED
                self._emit(Event(name, now, sender, cause, details))

    def next_advert(self, now: float) -> tuple[Advert | None, float]:
        """Return the heartbeat to send now, or None, and when to ask again.

        One is due every 0.9 intervals, and when the advertised priority has changed.
        """
        with self._wake:
            self._advance(now, socket_drained=False)
            election, timer, advert = self._election, self._advert_timer, None
            if timer.due(election.advertised, election.config.spacing, now):
                heartbeat = Heartbeat(election.advertised, self._eip, election.config.instance_id)
                advert = Advert(heartbeat, tuple(self.admission.members.values()))
            return advert, min(timer.next_at, self._deadline)

    def wait_advert(self, clock: Callable[[], float], most: float) -> Advert | None:
        """Wait up to `most` seconds for a heartbeat to send; return None if there is none."""
        return self._wait(clock, most, self.next_advert)

    def tick(self, now: float) -> None:
        """Do what is due, deaths included. No earlier datagram may still wait in the socket."""
        with self._wake:
            self._advance(now, socket_drained=True)

    def next_death(self) -> float:
        """Return when `tick` is wanted; inf if no peer is alive."""
        with self._wake:
            return self._election.next_death

    # -- calls --------------------------------------------------------------------------------------------------------

    def next_call(self, lane: Lane, now: float) -> tuple[Call | None, float]:
        """Return the next call of the lane for `done`, or None, and when to ask again."""
        with self._wake:
            self._advance(now, socket_drained=False)
            call, at, events = self._ownership.next_call(lane, now)
            if call is not None:
                self._run_to_fixpoint(events, now)
            return call, max(now, min(at, self._deadline))

    def wait_call(self, lane: Lane, clock: Callable[[], float], most: float) -> Call | None:
        """Wait up to `most` seconds for the next call of the lane; return None if there is none."""
        return self._wait(clock, most, lambda now: self.next_call(lane, now))

    def done(self, lane: Lane, call: Call, outcome: Outcome) -> None:
        """Record the outcome of a call of `next_call` or `wait_call`."""
        with self._wake:
            self._look_for_stall(outcome.ended)
            self._run_to_fixpoint(self._ownership.done(lane, call, outcome), outcome.ended)

    def set_members(self, members: Mapping[str, SocketAddress], now: float, *, certain: bool = True) -> None:
        """Replace the members: the address of each by id; this node itself does not count.

        `certain`: those that are missing are gone; otherwise one that is heard stays for a while.
        """
        with self._wake:
            stay = {} if certain else self.admission.still_heard(members, self._election.alive, now)
            if stay:
                self._ownership.reads.refresh_by(now + CONFIRM_TIME)
            others = {**members, **stay}
            others.pop(self._election.config.instance_id, None)
            self.admission.set_members(others, now + NEVER_HEARD * self._election.config.dead_time)
            ids = frozenset(self.admission.members)
            self._ownership.observed.set_members(ids, now)
            self._run_to_fixpoint(self._election.set_members(ids, now), now)

    def config(self) -> ElectionConfig:
        """Return the configuration of the election."""
        return self._election.config  # frozen, and replaced as a whole

    def set_config(self, config: ElectionConfig, verify_interval: float, now: float) -> None:
        """Replace the configuration of the election (a reload)."""
        with self._wake:
            self._ownership.reads.relief.verify_interval = verify_interval
            self._advert_timer.next_at = min(self._advert_timer.next_at, now + config.spacing)
            self._run_to_fixpoint(self._election.set_config(config, now), now)

    def set_priority(self, priority: int, now: float) -> int:
        """Replace the configured priority; return the one before."""
        with self._wake:
            config = self._election.config
            self._run_to_fixpoint(self._election.set_config(replace(config, priority=priority), now), now)
            return config.priority

    def refresh_in(self, seconds: float, now: float) -> None:
        """Read the group in so many seconds; inf: never."""
        with self._wake:
            self._ownership.reads.refresh_at = now + seconds

    def resume(self, known_at: float, now: float, *, in_doubt: bool = False) -> None:
        """Go on to hold, as known before a restart shorter than the dead time; call it first."""
        with self._wake:
            self._run_to_fixpoint(self._ownership.resume(known_at, now, in_doubt=in_doubt), now)

    def leave(self, now: float) -> None:
        """Begin to leave; `finished` says when this node may exit."""
        with self._wake:
            self._ownership.leave()
            own_id = self._election.config.instance_id
            self._run_to_fixpoint([Event(EventName.LEAVING, now, own_id, "a stop was requested")], now)

    def set_unfit(self, source: str, why: str, now: float, until: float = math.inf) -> None:
        """Be unfit until then for a reason of `source`; no longer if `why` is ""."""
        with self._wake:
            self._ownership.unfit_reasons.set(source, why, until)
            self._run_to_fixpoint(self._ownership.stand_back.tick(now), now)

    def set_mute(self, why: str, now: float) -> None:
        """Note why none of the last heartbeats could be sent, or "" if one could."""
        with self._wake:
            if why != self._ownership.stand_back.mute:
                self._ownership.stand_back.set_mute(why, now)
                self._run_to_fixpoint([], now)

    def finished(self) -> bool:
        """Return whether a leaver may exit: it holds nothing, and has sent its farewells."""
        with self._wake:
            return self._ownership.finished() and self._advert_timer.farewells == 0

    def snapshot(self, now: float) -> Snapshot:
        """Return the state of this node."""
        with self._wake:
            return take_snapshot(self._election, self._ownership, self.admission, self._dropped.counts, now)

    def _wait(
        self, clock: Callable[[], float], most: float, ask: Callable[[float], tuple[_Answer | None, float]]
    ) -> _Answer | None:
        """Ask until there is an answer: at each change, and at the time that `ask` gives."""
        with self._wake:
            end = clock() + most
            while True:
                answer, at = ask(now := clock())
                if answer is not None or now >= end:
                    return answer
                self._wake.wait(min(at, end) - now)

    # -- inside; the lock is held -------------------------------------------------------------------------------------

    def _advance(self, now: float, *, socket_drained: bool) -> None:
        self._look_for_stall(now)
        if (past_due := now >= self._deadline) or (socket_drained and now >= self._election.next_death):
            events = self._election.tick(now, socket_drained=socket_drained)
            if events or past_due:  # if nobody turns out to be dead, wake nobody
                self._run_to_fixpoint(events + self._ownership.stand_back.tick(now) + self._report_unheard(now), now)

    def _report_unheard(self, now: float) -> list[Event]:
        others, time = self._ownership.observed.others, NEVER_HEARD * self._election.config.dead_time
        running = {name for name, other in others.items() if other.running and other.read_at > -math.inf}
        why = f"nothing arrived from it within {time:g} s"
        return [Event(EventName.NEVER_HEARD, now, name, why) for name in self.admission.due_unheard(running, time, now)]

    def _look_for_stall(self, now: float) -> None:
        """Listen again if late by half a dead time: this node did not run. Shown by 26c, 26d."""
        late = now - self._advert_timer.next_at
        if late >= self._election.config.dead_time / 2:
            self._advert_timer.next_at = now
            self._ownership.stalled(now)
            self._run_to_fixpoint(self._election.stalled(now, late), now)

    def _run_to_fixpoint(self, events: list[Event], now: float) -> None:
        """Pass events between ownership and election until they cause no more; emit all."""
        for _ in range(16):
            for event in events:
                self._emit(event)
            follow_up = [more for e in events if e.name in _PEER_EVENTS for more in self._ownership.on_peer_event(e)]
            follow_up += self._ownership.on_election_change(now)
            if not (events := follow_up + self._election.set_local_state(self._ownership.local_state(now), now)):
                break
        else:
            raise AssertionError(f"election and ownership do not agree: {events}")
        deadlines = self._election.next_deadline(), self._ownership.next_deadline(now)
        self._deadline = min(*deadlines, *self.admission.unheard.values())
        self._wake.notify_all()

    def _listen_on(self, now: float) -> None:
        """Listen for another dead time, unless this node takes part already."""
        election = self._election
        if election.role is Role.LISTENING or now < election.listen_until:
            election.listen_until = max(election.listen_until, now + election.config.dead_time)
