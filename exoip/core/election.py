"""Decide who should hold the Elastic IP. Every node runs this election for itself.

Pure: no socket, clock or log. Methods take `now`, in seconds of any steady clock, if they need it,
and return the events that they caused.

Every node sends its *advertised priority* to every other: at once when it changes, and otherwise
every 0.9 advertisement intervals. A node's *rank* is `(advertised priority, id)`. The lowest rank
among this node and the peers that are alive is the master. Ids differ, so there is only one.

    advertised   means
    0            this node is known to hold the EIP, and the preemption delay protects it
    1..252       the configured priority: fit
    253          unfit, and last known to hold
    254          unfit, or releasing the EIP at this moment
    255          leaving

So if all nodes are unfit nothing moves, and an unfit node still relieves a leaving one. A node that
is unfit by its own failures is the *last resort* once it has heard nobody below 254 for 6 s, and 2
s more for each further better one: then 254 counts as leaving. Shown by 20, 21c, 25, 31, 58l-58x.

A peer is *alive* while `now < last_seen + dead time`; the dead time is interval x dead ratio. A
peer that is heard is alive at once. Only `tick(now, socket_drained=True)` lets peers die: then no
earlier datagram waits in the socket. Shown by 01, 26f, TestLifeAndDeath.

A peer's new priority takes effect at once, except a rise from 0 to 1..252. That takes effect after
a dead time: a holder that is restarted advertises its configured priority until it has read that it
still holds. Shown by 05a, 05b, TestRiseFromZero.

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

LISTENING is the start: the node sends heartbeats, listens for one dead time and does nothing else.
If it would become master, and has never heard a member that holds or could not be read, it listens
for 10 s and an interval, at 254: that member may be alive and not know it. A node half a dead time
or more late (a suspended machine, SIGSTOP, an I/O storm) listens again. Shown by 04, 18a, 26c, 26d,
62a, 62b, TestStall, TestUnheard.

Preemption delay: the holder keeps it, by advertising 0 until one and the same better, fit peer has
been heard for that long without a break. Then preemption is granted to that peer. Although that
peer advertises 0 itself once it holds, the old holder is not protected again until it has released
the EIP, or the peer is dead, unfit, or no longer better (30d). A node that comes to hold while its
master advertises 0 grants it at once (57j). A cold start, a death and a leave never wait for it; a
node whose role changed often lately keeps one in any case (`flap_damping`). Shown by 13b, 30a-30c.
"""

from __future__ import annotations

import math

from exoip.core.events import Cause, Event, EventName
from exoip.core.flap_damping import WINDOW, Damping
from exoip.core.peers import HOLDING_UNFIT, LEAVING, PROTECTED, UNFIT, ElectionConfig, LocalState, Peer, Role, describe

LAST_RESORT = 2.0  # seconds: two of these, and one for each better node, until an unfit node attaches


class Election:
    """The election of one node. Not thread-safe: `node` holds the lock."""

    def __init__(self, config: ElectionConfig, now: float) -> None:
        self.config = config
        self.local_state = LocalState()
        self.peers: dict[str, Peer] = {}
        self.role = Role.LISTENING
        self.master: str | None = None  # the id of the best node alive, perhaps our own
        self.reason = "start"
        self.since = self._decided_at = self._started = now
        self.advertised = config.priority
        self.damping = Damping()
        self.listen_until = now + config.dead_time  # before, silence says nothing of a peer
        # When the next peer dies (inf: none lives), and from when on this node is the last resort
        self.next_death = self._last_resort_at = math.inf
        self._preempted_by: str | None = None  # the peer to which preemption is granted

    # -- inputs -------------------------------------------------------------------------------------------------------

    def heard(self, instance_id: str, priority: int, now: float) -> list[Event]:
        """Record that a member advertised `priority` (0..255). O(1) if nothing changes."""
        peer = self.peers[instance_id]
        peer.last_seen, peer.alive_until = now, now + self.config.dead_time
        if priority >= UNFIT:
            peer.last_unfit_advert = now
        if peer.alive and peer.priority == priority:
            return []
        old, was_alive = peer.priority, peer.alive
        if not PROTECTED < priority < HOLDING_UNFIT:
            peer.rise_effective_at = -math.inf
        elif was_alive and old == PROTECTED:
            peer.rise_effective_at = now + self.config.dead_time
        peer.alive, peer.priority = True, priority
        self._compare(peer, now)
        if was_alive:
            change = f"{describe(priority)}, was {describe(old)}"
            event = Event(EventName.PEER_PRIORITY, now, instance_id, change, {"priority": priority, "old": old})
        else:
            peer.alive_since = now
            event = Event(EventName.PEER_ALIVE, now, instance_id, describe(priority), {"priority": priority})
            self.next_death = min(self.next_death, peer.alive_until)
        return [event, *self.decide(now, event.name, instance_id)]

    def tick(self, now: float, *, socket_drained: bool) -> list[Event]:
        """Do what is due: deaths (only if `socket_drained`), and other deadlines."""
        events = self._expire_peers(now) if socket_drained and now >= self.next_death else []
        cause = (events[0].name, events[0].instance_id) if events else (Cause.TIME, "")
        if self.damping.ended(now) and self.config.flap_damping:
            events.append(Event(EventName.CALM, now, self.config.instance_id, "the role has not changed for a while"))
        return events + self.decide(now, *cause)

    def stalled(self, now: float, slept: float) -> list[Event]:
        """Listen again after not running for `slept` seconds."""
        self._listen(now, again=True)
        event = Event(EventName.STALLED, now, self.config.instance_id, f"paused for {slept:.2f} s", {"slept": slept})
        return [event, *self.decide(now, EventName.STALLED)]

    def set_local_state(self, state: LocalState, now: float) -> list[Event]:
        """Replace this node's own state."""
        if state == self.local_state:
            return []
        before, self.local_state = self.local_state, state
        if state.last_held and not before.last_held and self.peer(self.master or "").priority == PROTECTED:
            self._preempted_by = self.master  # which claims it: this node is its backup
        return self.decide(now, state.trigger(before))

    def set_config(self, config: ElectionConfig, now: float) -> list[Event]:
        """Replace the configuration (a reload); the instance id stays."""
        before, self.config = self.config, config
        if config.dead_time != before.dead_time:  # a new one begins, also for a node that listens
            self._listen(now, again=self.role is Role.LISTENING)
        for peer in self.peers.values():
            self._compare(peer, now)
        return self.decide(now, Cause.CONFIGURATION)

    def set_members(self, instance_ids: frozenset[str], now: float) -> list[Event]:
        """Replace the members. This node itself is never one."""
        events = []
        for gone in sorted(self.peers.keys() - instance_ids):
            del self.peers[gone]
            events.append(Event(EventName.PEER_REMOVED, now, gone, "no longer a member"))
        for new in sorted(instance_ids - self.peers.keys() - {self.config.instance_id}):
            self.peers[new] = Peer(new, last_unfit_advert=self._started)  # as far as known, see `mutations`
            events.append(Event(EventName.PEER_ADDED, now, new, "a member"))
        return events + self.decide(now, Cause.MEMBERS)

    # -- outputs -------------------------------------------------------------------------------------------------------

    def decide(self, now: float, cause: EventName | Cause, peer: str = "") -> list[Event]:
        """Decide priority and role again. `cause`, perhaps of `peer`, goes into the events."""
        events, self._decided_at = [], max(now, self._decided_at)  # threads may be late by a moment
        self._grant_preemption(now)
        advertised = self._advertise(now)
        if advertised != self.advertised:
            change = f"{describe(advertised)}, was {describe(self.advertised)}"
            events.append(Event(EventName.ADVERTISED, now, self.config.instance_id, change, {"priority": advertised}))
            self.advertised = advertised
        self._last_resort_at = self._last_resort(self._elect(now)[0], now)
        role, master, reason = self._elect(now)
        if (role, master) != (self.role, self.master):
            details = {"role": role, "old_role": self.role, "master": master or "", "old_master": self.master or ""}
            details |= {"cause": cause} | ({"peer": peer} if peer else {})
            events.append(Event(EventName.ROLE, now, master or "", reason, details))
            if role is not self.role:
                self.since = now
                events += self._dampen(role, now) if now < self._last_resort_at or not self.local_state.unfit else []
        self.role, self.master, self.reason = role, master, reason
        return events

    def _dampen(self, role: Role, now: float) -> list[Event]:
        if Role.MASTER not in (role, self.role) or not self.damping.changed(now) or not self.config.flap_damping:
            return []
        delay, changes = self.damping.delay, len(self.damping.changes)
        why = f"the role changed {changes} times within {WINDOW / 60:.0f} min; a better node now waits {delay:.0f} s"
        return [Event(EventName.FLAPPING, now, self.config.instance_id, why, {"changes": changes, "for": delay})]

    @property
    def preempt_delay(self) -> float:
        """Seconds that a better node must have been back before it takes over; inf: never."""
        return max(self.config.preempt_delay, self.damping.delay if self.config.flap_damping else 0.0)

    def next_deadline(self) -> float:
        """Return when `tick` is wanted for anything but deaths; inf for never."""
        times = [self._last_resort_at, *(peer.rise_effective_at for peer in self.peers.values())]
        times += [self.listen_until] if self.role is Role.LISTENING else []
        if self.advertised == PROTECTED:
            times += [peer.better_since + self.preempt_delay for peer in self.peers.values()]
        return min([self.damping.until, *(at for at in times if at > self._decided_at)])

    def fit_peer_alive(self) -> bool:
        """Return whether a peer is alive that could hold the EIP instead of this node."""
        return any(peer.alive and peer.priority < HOLDING_UNFIT for peer in self.peers.values())

    def place(self) -> int:
        """Return how many peers that are alive have a better rank than this node."""
        own = (self.advertised, self.config.instance_id)
        return sum(peer.alive and self._rank(peer) < own for peer in self.peers.values())

    def peer(self, instance_id: str) -> Peer:
        """Return a peer; one that is no member was never heard."""
        return self.peers.get(instance_id) or Peer(instance_id)

    def alive(self, instance_id: str) -> bool:
        """Return whether the instance is a peer that is alive."""
        return self.peer(instance_id).alive

    # -- inside -------------------------------------------------------------------------------------------------------

    def _listen(self, now: float, *, again: bool) -> None:
        """Give every peer a whole dead time to be heard; do nothing meanwhile, if `again`."""
        deadline = now + self.config.dead_time
        self.listen_until = deadline if again else self.listen_until
        self.next_death = deadline if self.peers else math.inf
        for peer in self.peers.values():
            peer.alive_until = deadline if peer.alive else peer.alive_until

    def _expire_peers(self, now: float) -> list[Event]:
        events = []
        for peer in self.peers.values():
            if peer.alive and now >= peer.alive_until:
                peer.alive, peer.rise_effective_at, peer.better_since = False, -math.inf, math.inf
                silent = now - peer.last_seen
                why, details = f"not heard for {silent:.2f} s", {"silent": silent, "priority": peer.priority}
                events.append(Event(EventName.PEER_DEAD, now, peer.instance_id, why, details))
        self.next_death = min((peer.alive_until for peer in self.peers.values() if peer.alive), default=math.inf)
        return events

    def _compare(self, peer: Peer, now: float) -> None:
        own = (self.config.priority, self.config.instance_id)
        fit = PROTECTED < peer.priority < HOLDING_UNFIT
        better = peer.alive and fit and (peer.priority, peer.instance_id) < own
        peer.better_since = min(peer.better_since, now) if better else math.inf

    def _grant_preemption(self, now: float) -> None:
        peer = self.peer(self._preempted_by or "")
        takes_over = peer.better_since < math.inf or (peer.alive and peer.priority == PROTECTED)
        if not (self.local_state.last_held and takes_over):
            self._preempted_by = None
        if self._preempted_by is None and self.local_state.holds:
            over = [p.instance_id for p in self.peers.values() if now >= p.better_since + self.preempt_delay]
            self._preempted_by = min(over, default=None)

    def _advertise(self, now: float) -> int:
        own, delay = self.local_state, self.preempt_delay
        if own.leaving:
            return LEAVING
        if own.releasing or (now >= self.listen_until and self._waits_to_be_known()):
            return UNFIT
        if own.unfit:
            return HOLDING_UNFIT if own.last_held else UNFIT
        if own.holds and delay > 0 and self._preempted_by is None:
            return PROTECTED
        return self.config.priority

    def _rank(self, peer: Peer) -> tuple[int, str]:
        last_resort = self._last_resort_at <= self._decided_at and self.local_state.unfit and peer.priority == UNFIT
        relieved = last_resort or peer.instance_id == self.local_state.relieved
        return LEAVING if relieved else peer.effective_priority(self._decided_at), peer.instance_id

    def _last_resort(self, role: Role, now: float) -> float:
        """Return from when on it is: nobody that it hears claims to hold, or is fit."""
        heard = [peer.priority for peer in self.peers.values() if peer.alive]
        at = min(self._last_resort_at, math.inf if role is Role.MASTER else now + LAST_RESORT * (2 + self.place()))
        able = self.local_state.may_be_able and not (self.local_state.leaving or self.local_state.yielded)
        return at if able and min(heard, default=PROTECTED) >= UNFIT else math.inf

    def _best_peer(self) -> Peer | None:
        return min((peer for peer in self.peers.values() if peer.alive), key=self._rank, default=None)

    def _waits_to_be_known(self) -> bool:
        best, own = self._best_peer(), (self.config.priority, self.config.instance_id)
        waits = self.role is Role.LISTENING and self.local_state.waits_to_be_known
        return waits and (best is None or own < self._rank(best))

    def _elect(self, now: float) -> tuple[Role, str | None, str]:
        best = self._best_peer()
        peer_id = best.instance_id if best else None
        if self.local_state.leaving or self.local_state.yielded:
            yielded = "an instance that is not heard here holds the Elastic IP"
            return Role.BACKUP, peer_id, "this node is stopping" if self.local_state.leaving else yielded
        if now < self.listen_until:
            return Role.LISTENING, peer_id, "it listens for one dead time before it acts"
        if self._waits_to_be_known():
            return Role.LISTENING, peer_id, "a member that may hold has not been heard yet, and may not know this node"
        own = (self.advertised, self.config.instance_id)
        if best is None:
            return Role.MASTER, self.config.instance_id, "no peer is alive"
        rank = self._rank(best)
        own_is, best_is, relieved = describe(own[0]), describe(rank[0]), self.local_state.relieved
        if own < rank:
            others = "no peer is fit or claims to hold" if now >= self._last_resort_at else f"the best peer {best_is}"
            why = f"{relieved} does not hold the Elastic IP" if relieved else others
            return Role.MASTER, self.config.instance_id, f"this node is {own_is}, {why}"
        return Role.BACKUP, peer_id, f"{peer_id} is {best_is}, this node {own_is}"
