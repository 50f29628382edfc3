"""Who should hold the Elastic IP: the election, as every node runs it for itself.

Pure: no socket, no clock, no log. Every method that needs the time takes `now`, in seconds of any steady clock. Methods
return the events that they caused.

Theory of operation
-------------------
Every node beats its *advertised priority* to every other, at once when it changes and otherwise once an advertisement interval.
A node's *rank* is `(advertised priority, instance id)`; the lowest rank among oneself and the peers that are alive is the master.
Ids differ, so equal priorities never make two masters.

    advertised   means
    0            this node is known to hold the EIP, and the preemption delay protects it
    1..252       the configured priority: fit
    253          unfit, and last known to hold
    254          unfit, or letting go of the EIP right now
    255          leaving

So where all are unfit nothing moves, and an unfit node still relieves a leaving one.

A peer is *alive* while `now < last_seen + dead time`, the dead time being interval x dead ratio. One that is heard is alive at
once. Only `tick(now, socket_drained=True)` lets peers die: the caller states that no datagram which
came before `now` still waits in the socket.

A peer's new priority counts at once, but for one case: a rise from 0 to 1..252 counts after one dead time, because a holder that
is restarted advertises its configured priority until it has read from the API that it still holds.

Roles
-----
                   one dead time over, and a better peer is alive
      LISTENING ---------------------------------------------> BACKUP
       |  ^   ^                                                 |  ^
       |  |   | stalled                    no better peer alive |  | a better peer is alive, or
       |  |   +----------------------------------------+        |  | this node leaves or yields
       |  | stalled                                     |        v  |
       |  +-------------------------------------------- MASTER -+--+
       +--------------------------------------------------^
                   one dead time over, no better peer

LISTENING is the start: the node beats, hears for one dead time and does nothing else. A node that slept past its own schedule
by half a dead time or more (a suspended machine, SIGSTOP, an IO storm) has not been listening, and listens anew.

Preemption delay: kept by the holder, which advertises 0 until one and the same better, fit peer has been heard for that long without a
break. Then it has conceded to that peer: though that one, holding at last, advertises 0 itself, the holder is not protected again
until it has let go, or the peer is dead or unfit. A start of all, a death and a leave never wait for the delay.

Flap damping: a node whose role changed often lately keeps a preemption delay even where none is configured, see `damping`.
"""

from __future__ import annotations

import math

from exoip.core.events import Cause, Event, EventName
from exoip.core.flap_damping import WINDOW, Damping
from exoip.core.peers import (
    HOLDING_UNFIT,
    LEAVING,
    PROTECTED,
    UNFIT,
    ElectionConfig,
    LocalState,
    Peer,
    Role,
    priority_meaning,
)

__all__ = ["HOLDING_UNFIT", "LEAVING", "PROTECTED", "UNFIT", "Election", "ElectionConfig", "LocalState", "Peer", "Role"]


class Election:
    """The election of one node. Not thread-safe: `node` holds the lock."""

    def __init__(self, config: ElectionConfig, now: float) -> None:
        self.config = config
        self.local_state = LocalState()
        self.peers: dict[str, Peer] = {}
        self.role = Role.LISTENING
        self.master: str | None = None  # who should hold: the id of the best node alive, perhaps our own
        self.reason = "start"
        self.since = now
        self.advertised = config.priority
        self.damping = Damping()
        self._listen_until = now + config.dead_time
        self._next_death = math.inf
        self._conceded: str | None = None  # to this peer the preemption delay has run out

    # -- what comes in ------------------------------------------------------------------------------------------------

    def heard(self, instance_id: str, priority: int, now: float) -> list[Event]:
        """Take note that the member `instance_id` advertised `priority` (0..255). One that changes nothing costs O(1)."""
        peer = self.peers[instance_id]
        peer.last_seen = now
        if priority >= UNFIT:
            peer.last_unfit_advert = now
        if peer.alive and peer.priority == priority:
            return []
        old, was_alive = peer.priority, peer.alive
        if was_alive and old == PROTECTED and PROTECTED < priority < HOLDING_UNFIT:
            peer.rise_effective_at = now + self.config.dead_time
        elif not (peer.rise_effective_at is not None and PROTECTED < priority < HOLDING_UNFIT):
            peer.rise_effective_at = None
        peer.alive, peer.priority = True, priority
        self._compare(peer, now)
        if was_alive:
            change = f"{priority_meaning(priority)}, was {priority_meaning(old)}"
            event = Event(EventName.PEER_PRIORITY, now, instance_id, change, {"priority": priority, "old": old})
        else:
            event = Event(EventName.PEER_ALIVE, now, instance_id, priority_meaning(priority), {"priority": priority})
            self._next_death = min(self._next_death, now + self.config.dead_time)
        return [event, *self.decide(now, event.name, instance_id)]

    def tick(self, now: float, *, socket_drained: bool) -> list[Event]:
        """Let what is due happen: deaths (only when `socket_drained`), the end of LISTENING, rises that count, the preemption delay."""
        events = self._expire_peers(now) if socket_drained and now >= self._next_death else []
        for peer in self.peers.values():
            if peer.rise_effective_at is not None and now >= peer.rise_effective_at:
                peer.rise_effective_at = None
        cause = (events[0].name, events[0].instance_id) if events else (Cause.TIME, "")
        if self.damping.ended(now) and self.config.flap_damping:
            events.append(Event(EventName.CALM, now, self.config.instance_id, "the role has not changed for a while"))
        return events + self.decide(now, *cause)

    def stalled(self, now: float, slept: float) -> list[Event]:
        """This node was not running for `slept` seconds: it listens anew, and gives every peer a whole dead time to be heard."""
        self._listen_until = now + self.config.dead_time
        for peer in self.peers.values():
            if peer.alive:
                peer.last_seen = now
        self._next_death = now + self.config.dead_time if self.peers else math.inf
        event = Event(EventName.STALLED, now, self.config.instance_id, f"paused for {slept:.2f} s", {"slept": slept})
        return [event, *self.decide(now, EventName.STALLED)]

    def set_local_state(self, state: LocalState, now: float) -> list[Event]:
        """Take the node's own condition into account."""
        if state == self.local_state:
            return []
        before, self.local_state = self.local_state, state
        return self.decide(now, state.trigger(before))

    def set_config(self, config: ElectionConfig, now: float) -> list[Event]:
        """Go by other terms from now on (a reload). The own id stays."""
        if config.instance_id != self.config.instance_id:
            raise ValueError("a node's instance id does not change while it runs")
        listened = max(0.0, now - (self._listen_until - self.config.dead_time))
        shorter = max(0.0, self.config.dead_time - config.dead_time)
        for peer in self.peers.values():  # heard at the old pace so far: it has the whole new dead time to be heard
            peer.last_seen = max(peer.last_seen, min(now, peer.last_seen + shorter))
        self.config = config
        if self.role is Role.LISTENING:
            self._listen_until = now - listened + config.dead_time
        self._next_death = -math.inf  # look at every peer again
        for peer in self.peers.values():
            self._compare(peer, now)
        return self.decide(now, Cause.CONFIGURATION)

    def set_members(self, instance_ids: frozenset[str], now: float) -> list[Event]:
        """Hear exactly these members from now on, never oneself."""
        events = []
        for gone in sorted(self.peers.keys() - instance_ids):
            del self.peers[gone]
            events.append(Event(EventName.PEER_REMOVED, now, gone, "no longer a member"))
        for new in sorted(instance_ids - self.peers.keys() - {self.config.instance_id}):
            self.peers[new] = Peer(new)
            events.append(Event(EventName.PEER_ADDED, now, new, "a member"))
        return events + self.decide(now, Cause.MEMBERS)

    # -- what comes out -----------------------------------------------------------------------------------------------

    def decide(self, now: float, cause: EventName | Cause, peer: str = "") -> list[Event]:
        """Look at the advertised priority and the role again, because of `cause`, an event of `peer` if one is given."""
        events = []
        self._grant_preemption(now)
        advertised = self._advertise()
        if advertised != self.advertised:
            change = f"{priority_meaning(advertised)}, was {priority_meaning(self.advertised)}"
            events.append(Event(EventName.ADVERTISED, now, self.config.instance_id, change, {"priority": advertised}))
            self.advertised = advertised
        role, master, reason = self._elect(now)
        if (role, master) != (self.role, self.master):
            details = {"role": role, "old_role": self.role, "master": master or "", "old_master": self.master or ""}
            details |= {"cause": cause} | ({"peer": peer} if peer else {})
            events.append(Event(EventName.ROLE, now, master or "", reason, details))
            if role is not self.role:
                self.since = now
                events += self._dampen(role, now)
            self.role, self.master, self.reason = role, master, reason
        return events

    def _dampen(self, role: Role, now: float) -> list[Event]:
        if Role.MASTER not in (role, self.role) or not self.damping.changed(now) or not self.config.flap_damping:
            return []
        delay, changes = self.damping.delay, self.damping.changes
        why = f"the role changed {changes} times within {WINDOW / 60:.0f} min; a better node now waits {delay:.0f} s"
        return [Event(EventName.FLAPPING, now, self.config.instance_id, why, {"changes": changes, "for": delay})]

    @property
    def preempt_delay(self) -> float:
        """How long a better node must have been back before it takes the EIP from this one, in seconds; inf: never."""
        return max(self.config.preempt_delay, self.damping.delay if self.config.flap_damping else 0.0)

    @property
    def next_death(self) -> float:
        """When the next peer dies unless it is heard: `tick(…, socket_drained=True)` is wanted then; inf when no peer is alive."""
        return self._next_death

    def next_deadline(self) -> float:
        """When `tick` is wanted for anything but deaths; inf for never."""
        times = [self._listen_until] if self.role is Role.LISTENING else []
        times += [peer.rise_effective_at for peer in self.peers.values() if peer.rise_effective_at is not None]
        if self.advertised == PROTECTED:
            times += [since + self.preempt_delay for since in self._rivals().values()]
        times.append(self.damping.until)
        return min(times, default=math.inf)

    def alive(self, instance_id: str) -> bool:
        """Whether the instance is a peer that is alive."""
        peer = self.peers.get(instance_id)
        return peer is not None and peer.alive

    def heard_after(self, instance_id: str, moment: float) -> bool:
        """Whether the peer is alive, was heard after `moment`, and neither lets go nor leaves."""
        peer = self.peers.get(instance_id)
        return peer is not None and peer.alive and peer.last_seen > moment and peer.priority < UNFIT

    def last_unfit_advert(self, instance_id: str) -> float:
        """When the peer last advertised that it lets go, leaves, or is unfit; -inf for never."""
        peer = self.peers.get(instance_id)
        return peer.last_unfit_advert if peer is not None else -math.inf

    # -- inside -------------------------------------------------------------------------------------------------------

    def _expire_peers(self, now: float) -> list[Event]:
        events, self._next_death = [], math.inf
        for peer in self.peers.values():
            if not peer.alive:
                continue
            deadline = peer.last_seen + self.config.dead_time
            if now < deadline:
                self._next_death = min(self._next_death, deadline)
                continue
            peer.alive, peer.rise_effective_at, peer.better_since = False, None, None
            silent = now - peer.last_seen
            details = {"silent": silent, "priority": peer.priority}
            events.append(Event(EventName.PEER_DEAD, now, peer.instance_id, f"not heard for {silent:.2f} s", details))
        return events

    def _compare(self, peer: Peer, now: float) -> None:
        own = (self.config.priority, self.config.instance_id)
        fit = PROTECTED < peer.priority < HOLDING_UNFIT
        if not (peer.alive and fit and (peer.priority, peer.instance_id) < own):
            peer.better_since = None
        elif peer.better_since is None:
            peer.better_since = now

    def _rivals(self) -> dict[str, float]:
        return {p.instance_id: p.better_since for p in self.peers.values() if p.better_since is not None}

    def _grant_preemption(self, now: float) -> None:
        peer = self.peers.get(self._conceded or "")
        if not self.local_state.last_held or peer is None or not peer.alive or peer.priority >= HOLDING_UNFIT:
            self._conceded = None
        if self._conceded is None and self.local_state.holds:
            over = [rival for rival, since in self._rivals().items() if now >= since + self.preempt_delay]
            self._conceded = min(over, default=None)

    def _advertise(self) -> int:
        own, delay = self.local_state, self.preempt_delay
        if own.leaving:
            return LEAVING
        if own.releasing:
            return UNFIT
        if own.unfit:
            return HOLDING_UNFIT if own.last_held else UNFIT
        if own.holds and delay > 0 and self._conceded is None:
            return PROTECTED
        return self.config.priority

    def _elect(self, now: float) -> tuple[Role, str | None, str]:
        best = min((peer for peer in self.peers.values() if peer.alive), key=lambda peer: peer.rank, default=None)
        peer_id = best.instance_id if best else None
        if self.local_state.leaving or self.local_state.yielded:
            yielded = "a node that is not heard here holds the Elastic IP"
            return Role.BACKUP, peer_id, "this node is stopping" if self.local_state.leaving else yielded
        if now < self._listen_until:
            return Role.LISTENING, peer_id, "it listens for one dead time before it acts"
        own = (self.advertised, self.config.instance_id)
        own_is, best_is = priority_meaning(own[0]), priority_meaning(best.effective_priority) if best else ""
        if best is None:
            return Role.MASTER, self.config.instance_id, "no peer is alive"
        if own < best.rank:
            return Role.MASTER, self.config.instance_id, f"this node is {own_is}, the best peer {best_is}"
        return Role.BACKUP, peer_id, f"{peer_id} is {best_is}, this node {own_is}"
