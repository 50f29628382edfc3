"""What must hold in every run, at every moment of both phases, and the bounds of it.

A node is *able* while its daemon runs and may be fit (healthy, not leaving, asleep or in a crash
loop), and its attach path works (attach and poll are not meddled with, and none of its mutations
hangs from before). While an able node lives, no time without a live holder is longer than
`Bounds.hole`, counted from when both are so; no dead holder stays beside a live one for longer than
`Bounds.dead`; and moves are bounded. Two limits are known. A live holder or master that cannot read
may not know of a dead holder. And one that was detached and cannot attach stays, if the next best
node cannot read and attach (bound 6).

The bounds follow from the protocol document (its names in capitals, D is the dead time):

    hole    D to notice, D for a node that starts meanwhile, for each other node JOB_TIME (twice, if
            it starts or pauses meanwhile) or an attach of its own, LONGEST_MOVE_RETRY with jitter,
            and an attach. If the other side of a cut has just detached a live node: the verify
            interval and a read more, and ANSWER_TIME for each silent member, if reads fail. Where
            reads may show what is not so, or an outsider detaches: that, and three tries of each;
            three as well if the API is slow for some that cannot attach, and not for all. For one
            that cannot read what is so, the time until the next best node takes its place.
            LEARN_TIME and an interval, if the able node has just started. A slow API gives each
            more time: two or three times what its slowest answer took beyond a second.
    dead    (the able node is fit as well) twice D; TURN, for a silent rival that died; JOB_TIME for each node that
            cannot do it, and for the next one, and TURNS for each further time that it tries in vain; a verify
            interval; a clear.
    moves   MOVES for each fault

While a node stands back from one that it cannot hear, nodes that hear it defer to it, so none counts
as able (bound 7 of the protocol document). That is bounded as well: by twice FIRST_STAND_BACK and
what the network has been cut for, or the daemon of a running instance has been down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from exoip.core.calls import Kind
from exoip.core.events import Event, EventName
from exoip.core.peers import Role
from tests.simulation.host import CRASH_WINDOW, Host
from tests.simulation.meter import masters
from tests.simulation.stated import stated
from tests.simulation.world import World

JITTER = stated("core.backoff.JITTER")
LONGEST_MOVE_RETRY = stated("core.backoff.LONGEST_MOVE_RETRY")
LEARN_TIME = stated("core.ownership.LEARN_TIME")
FIRST_STAND_BACK = stated("core.split_brain.FIRST_STAND_BACK")
LONGEST_STAND_BACK = stated("core.split_brain.LONGEST_STAND_BACK")
ANSWER_TIME = stated("core.split_brain.ANSWER_TIME")
COME_BACK = stated("core.relief.COME_BACK")
NEXT_BEST_INTERVALS = stated("core.reads.NEXT_BEST_INTERVALS")
JOB_TIME = stated("core.mutations.JOB_TIME")
TURNS = stated("core.observed.TURNS")
TURN = stated("core.observed.BOTH_HOLD_TIME") + TURNS - stated("core.observed.TURN_LASTS")
EQUALLY_SLOW = 0.3  # seconds by which the time of a job may differ; FIRST_RETRY makes up for it
ROUTINE = 30.0  # seconds that count for a shorter verify interval
MOVES = 4  # for each fault, a lasting cut and its heal included
OWN_HOLE = 0.01  # seconds; a shorter hole is rounding
PATH = ("attach", "poll", "all")  # kinds of call that an able node needs
CLEARS = ("attach", "poll", "detach", "read", "holders", "all")  # … and one that can clear others


@dataclass(slots=True)
class Bounds:
    """The bounds of one run so far; see above. `lies`: reads may show what is not so."""

    world: World
    lies: bool = False
    cut_since: float = math.inf

    def hole(self, able: Host, others: Iterable[tuple[Host, bool]]) -> float:
        """Seconds without a live holder at most while `able` is able; the others, and whether each is."""
        retry, others = LONGEST_MOVE_RETRY * (1 + JITTER), list(others)
        tries = sum(min(JOB_TIME, self._attach(host)) if so else self._turn(host) for host, so in others)
        slacks = [_slack(host) for host, so in others if not so]
        tries *= 1 if max(slacks, default=0.0) - min(slacks, default=0.0) < EQUALLY_SLOW else 3
        found = 2 * self._dead_time() + tries + retry + self._attach(able)
        if self.lies or self._cleared_alive():
            found += self.world.verify_interval + 2.5 * able.api.latency[1]
            if any(broken(host, "read") for host in (able, *(host for host, _ in others))):
                found += ANSWER_TIME * sum(not host.serves for host in self.world.hosts.values() if host is not able)
        if self.lies:
            found += 3 * 4 * sum(host.api.latency[1] for host in self.world.hosts.values())
            relieve = self._relieve(able)
            ago = (host.now - max(host.deceived_at, host.detached_at) for host, _ in others if broken(host, "read"))
            found += sum(seconds < relieve for seconds in ago) * relieve
        known = LEARN_TIME + able.config.interval + 1.5 * _slack(able)  # by then, the others know of a node that starts
        return found + (known if self.world.now < able.started + known + found else 0.0)

    def dead(self, able: Host, unable: int, again: int) -> float:
        """Seconds with a dead holder beside a live one at most, if so many nodes cannot detach it, and
        became fit and unfit `again` so many times.
        """
        found = 2 * self._dead_time() + TURN + unable * 2 * JOB_TIME + again * TURNS
        found += 3 * sum(_slack(host) for host in self.world.hosts.values())
        return found + max(self.world.verify_interval, ROUTINE) + 2 * self._attach(able)

    def stand_back(self) -> float:
        """Seconds that a node may stand back; any, if an attach may be lost again and again."""
        if self.lies:
            return LONGEST_STAND_BACK
        return 2 * FIRST_STAND_BACK + 2 * max(0.0, self.world.now - self.cut_since)

    def _dead_time(self) -> float:
        return max(host.config.dead_time for host in self.world.hosts.values()) + self.world.delay[1]

    def _cleared_alive(self) -> bool:
        """Return whether a live node was detached by another so lately that it may not know it yet."""
        since = self.world.now - 2 * self.world.verify_interval
        return any(
            kind is Kind.DETACH
            and at > since
            and (host := self.world.by_id.get(target))
            and host.serves
            and host.name != by
            for at, by, kind, target in self.world.mutations[-20:]
        )

    def _relieve(self, host: Host) -> float:
        """Seconds until it takes the place of a master that does not hold, without its attach."""
        steps = math.ceil((self.world.verify_interval + COME_BACK + _slack(host)) / JOB_TIME)
        return NEXT_BEST_INTERVALS * self.world.verify_interval + steps * JOB_TIME + 8 * host.api.latency[1]

    def _turn(self, host: Host) -> float:
        again = self.world.now - max(host.started, host.stalled_until) < 60.0  # its time began anew
        return (2 if again else 1) * (JOB_TIME + 0.5 + 1.5 * _slack(host))

    @staticmethod
    def _attach(host: Host) -> float:
        return 4 * host.api.latency[1] + host.api.operation[1] + 0.5 + _slack(host)


def misled(host: Host, dead: set[str]) -> bool:
    """Whether it cannot read, and may believe that a call took effect, or is a master that knows of no
    dead holder.
    """
    if host.node is None or not broken(host, "read"):
        return False
    others = host.node._ownership.observed.others.values()
    knows = any(other.holding for other in others if host.world.by_id[other.instance_id].name in dead)
    return host.deceived_at > -math.inf or (host.node._election.role is Role.MASTER and not knows)


def broken(host: Host, *kinds: str) -> bool:
    """Whether its calls of one of these kinds may fail, any number of them in a row."""
    return bool(host.api.kinds & {*kinds, "all"})


def _slack(host: Host) -> float:
    """Seconds that jobs have in addition, because the API answers this host slowly."""
    return 2 * max(0.0, max(host.slowest, host.api.latency[1]) - 1.0)


@dataclass(slots=True)
class _Since:
    """Since when each node is able to do something."""

    kinds: tuple[str, ...]
    at: dict[str, float] = field(default_factory=dict)


class Judge:
    """Watches a world. `hole`, `dead`: the longest times while a node was able, in seconds; `own`:
    the longest hole that began with a detach while an able node lived; `stop`: the same, while a
    node was being stopped.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.bounds = Bounds(world)
        self.violations: list[str] = []
        self.hole = self.dead = self.own = self.stop = 0.0
        self._holds, self._clears = _Since(PATH), _Since(CLEARS)
        self._hole_since, self._dead_since = world.now, math.inf
        self._own_hole = self._stopping = False
        self._standing_back: dict[str, float] = {}
        self._in_vain: list[tuple[float, str]] = []  # when a node became unfit because it could not detach another
        self._excuse = False
        self._died_at = -math.inf  # when a host was killed or suspended
        world.watchers.append(self.look)
        world.listeners.append(self._heard)

    def faulted(self, *, ends_service: bool) -> None:
        """Take note that a fault is being made: what it breaks by itself is not the nodes' fault, nor
        is a detach that was called before it killed or suspended the other holder.
        """
        self._excuse = True
        self._died_at = self.world.now if ends_service else self._died_at

    def look(self) -> None:
        """Take note of who holds, who serves and who is able; wanted whenever any of it changes."""
        world, now = self.world, self.world.now
        serving = {name for name in world.holders if name in world.hosts and world.hosts[name].serves}
        dead = {name for name in world.holders - serving if self._counts(name)}
        self._check(now)
        if serving:
            if self._own_hole and now - self._hole_since > OWN_HOLE:
                own, stop = (0.0, now - self._hole_since) if self._stopping else (now - self._hole_since, 0.0)
                self.own, self.stop = max(self.own, own), max(self.stop, stop)
            self._hole_since, self._own_hole = math.inf, False
        elif self._hole_since == math.inf:
            self._hole_since, self._stopping = now, any(host.leaving and host.node for host in world.hosts.values())
            detached = [at for at, _, kind, target in world.mutations[-20:] if kind is Kind.DETACH]
            self._own_hole = not self._excuse and bool(self._holds.at) and max(detached, default=now) >= self._died_at
        counts = serving and dead and not any(misled(world.hosts[name], dead) for name in {*serving, *masters(world)})
        self._dead_since = min(self._dead_since, now) if counts else math.inf
        self._excuse = False
        for since in (self._holds, self._clears):
            for name, host in world.hosts.items():
                if not self._able(host, since.kinds):
                    since.at.pop(name, None)
                else:
                    since.at.setdefault(name, now)

    def finish(self) -> None:
        """Judge what is still open."""
        self.look()

    def _nobody_relieves(self, able: Host) -> bool:
        """Whether the master that it hears believes that it holds and cannot attach, nor can the next
        best node read and attach (a known limit).
        """
        if able.node is None:
            return False
        election = able.node._election
        ranks = [
            (peer.effective_priority(able.now), peer.instance_id) for peer in election.peers.values() if peer.alive
        ]
        ranks = sorted([*ranks, (election.advertised, able.id)])[:2]
        if len(ranks) < 2:
            return False
        master, next_best = (self.world.by_id[instance_id] for _, instance_id in ranks)
        believes = master.node is not None and master.node._ownership.observed.own.held
        return believes and broken(master, "attach", "poll") and broken(next_best, "attach", "poll", "read")

    def _counts(self, name: str) -> bool:
        """Whether a dead holder is in the group of all others, so that they can know of it."""
        host = self.world.hosts.get(name)
        others = [one for one in self.world.hosts.values() if one is not host and one.node is not None]
        return host is not None and all(host.id in one.node.admission.members for one in others if one.node)

    def _check(self, now: float) -> None:
        gone = [name for name in self._standing_back if self.world.hosts[name].node is None]
        for name in gone:
            self._stands_no_more(name, now)
        hosts = self.world.hosts
        for name in [name for name in self._holds.at if self._nobody_relieves(hosts[name])]:
            self._holds.at[name] = now
        for name, since in self._holds.at.items():
            if not self._standing_back and now > self._hole_since:
                long = now - max(since, self._hole_since)
                self.hole = max(self.hole, long)
                others = [(host, other in self._holds.at) for other, host in hosts.items() if other != name and host.up]
                if long > (bound := self.bounds.hole(hosts[name], others)):
                    self._violated(f"no live holder for {long:.0f} s, {name} is able", bound)
                    self._hole_since = now
        unable = len(hosts) - len(self._clears.at)
        in_vain = [name for at, name in self._in_vain if at >= self._dead_since]
        for name, since in self._clears.at.items():
            if not self._standing_back:
                long = now - max(since, self._dead_since)
                self.dead = max(self.dead, long)
                if long > (bound := self.bounds.dead(hosts[name], unable, len(in_vain) - len({*in_vain}))):
                    self._violated(f"a dead holder beside a live one for {long:.0f} s, {name} is able", bound)
                    self._dead_since = now

    def _violated(self, what: str, bound: float) -> None:
        self.violations.append(f"{self.world.now:.1f}: {what} (at most {bound:.0f})")
        self.world.note(f"VIOLATION: {what}")

    def _able(self, host: Host, kinds: tuple[str, ...]) -> bool:
        if host.node is None or host.stalled or host.unhealthy or host.leaving or not host.serves:
            return False
        backup, reasons = host.node._election.role is not Role.MASTER, host.node._ownership.unfit_reasons
        if kinds is CLEARS and backup and reasons.unfit(host.now):
            return False
        if (host.quarantine and host.now < host.starts[-1] + CRASH_WINDOW) or self.world.now < host.hangs_until:
            return False
        return not host.api.kinds & set(kinds)

    def _heard(self, host: Host, event: Event) -> None:
        now = self.world.now  # the host's clock may have stood still
        if event.name is EventName.YIELDED:
            self.look()
            self._standing_back[host.name] = now
            length = float(str(event.details["for"]))
            if length > (bound := self.bounds.stand_back()):
                self._violated(f"{host.name} stands back for {length:.0f} s", bound)
        elif event.name is EventName.STAND_BACK_OVER and host.name in self._standing_back:
            self._stands_no_more(host.name, now)
        elif event.name is EventName.UNFIT and event.details["cause"] == "detach":
            self._in_vain.append((now, host.name))

    def _stands_no_more(self, name: str, now: float) -> None:
        """From now on the others count as able again: its stand-back is over, or its daemon is gone."""
        del self._standing_back[name]
        for since in (self._holds, self._clears):
            since.at.update(dict.fromkeys(since.at, now))
