"""The simulated world: real `Node`s, a virtual clock, a network that loses and delays, the
sandbox's zone as the API.

Nothing here sleeps and nothing is random but by the seed. A `World` is a calendar of callbacks;
`advance` runs it. Each host has a node (the daemon), which may crash, stall, restart or leave while
the host lives on and serves, and which dies with its host.

What the API does to a host's calls is its `Api`, changed at will: latency, refusals, hangs, lost
replies, failing or slow operations.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from exoip.core.calls import Call, Failure, Kind, Lane, Outcome
from exoip.core.events import Event, EventName
from exoip.core.node import Node
from exoip.core.peers import ElectionConfig
from exoip.heartbeat.wire import Heartbeat, decode, encode
from exoip.sandbox.model import ZoneError
from exoip.sandbox.zone import Zone

EIP = "198.51.100.50"
READ_TIMEOUT, MUTATION_TIMEOUT = 2.0, 10.0
CRASHES, CRASH_WINDOW = 3, 60.0  # as in the daemon
SHOWN = (  # event details that transcripts show, in this order: values, never sentences
    "master", "cause", "peer", "successor", "old", "priority", "call", "failure", "silent", "slept", "changes", "for",
    "address",
)  # fmt: skip


def instance_id(name: str) -> str:
    """The instance id of the host `name`: ids sort as names do."""
    return str(UUID(bytes=name.encode().ljust(16, b"\0")[:16]))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API makes of one call.

    `effect`: it reaches the zone. `failure`: what the caller gets instead of the zone's answer,
    with `retry_after` seconds if the API names any. `takes`: seconds to the answer; None: the
    host's latency; inf: none comes within the time-out. `operation_fails`: a mutation is accepted,
    its operation fails. `lag`: a read or list shows the zone as it was so many seconds ago.
    `lists`: the share of the members and holders that a list names.
    """

    effect: bool = True
    failure: Failure | None = None
    retry_after: float = 0.0
    takes: float | None = None
    operation_fails: bool = False
    lag: float = 0.0
    lists: float = 1.0


MODES = {
    "ok": Reply(),
    "fail": Reply(effect=False, failure=Failure.UNAVAILABLE),  # 503
    "refuse": Reply(effect=False, failure=Failure.FORBIDDEN),  # 403
    "unreachable": Reply(effect=False, failure=Failure.UNREACHABLE, takes=0.001),
    "hang": Reply(effect=False, takes=math.inf),
    "lost": Reply(failure=Failure.UNREACHABLE),  # it takes effect, the connection drops before the answer
    "late": Reply(takes=math.inf),  # it takes effect, the answer does not come in time
    "operation": Reply(operation_fails=True),
}


@dataclass(slots=True)
class Api:
    """How the API treats one host: by kind of call (or "all") a `Reply`, or the name of one in
    MODES.

    One in `once` is for the next call of its kind only, and goes before. `rate`: how often a site
    that misbehaves does so; otherwise the call works.
    """

    modes: dict[str, Reply | str] = field(default_factory=dict)
    once: dict[str, Reply | str] = field(default_factory=dict)
    rate: dict[str, float] = field(default_factory=dict)
    latency: tuple[float, float] = (0.1, 0.1)
    operation: tuple[float, float] = (0.2, 0.2)

    def reply(self, kind: Kind, rng: random.Random) -> Reply:
        """Return what happens to a call."""
        found: Reply | str = "ok"
        key = next((key for key in (kind, "all") if key in self.once), None)
        if key is not None:
            found = self.once.pop(key)
        elif (key := next((key for key in (kind, "all") if key in self.modes), None)) is not None:
            rate = self.rate.get(key, 1.0)
            found = self.modes[key] if rate >= 1.0 or rng.random() < rate else "ok"
        return MODES[found] if isinstance(found, str) else found


class Host:
    """One instance with its daemon, when that runs."""

    def __init__(self, world: World, name: str, priority: int, **config: float) -> None:
        self.world, self.name, self.id = world, name, instance_id(name)
        self.config = ElectionConfig(self.id, priority, **config)
        self.address = f"host-{name}"
        self.api = Api()
        self.up = True  # the instance runs
        self.unhealthy = ""  # why the health check fails; it outlives the daemon
        self.counts_starts = False  # whether a third start within a minute is taken for a crash loop
        self.starts: list[float] = []
        self.node: Node | None = None
        self.leaving = False
        self.generation = 0  # of the daemon: what was scheduled for an earlier one is void
        self.stalled_until = -math.inf
        self.deaf = False  # while stalled: what comes is lost (a suspended machine), not kept in the socket
        self.inbox: deque[Callable[[], None]] = deque()
        self.pump_at = math.inf
        self.poked = False
        self.quarantine = 0.0
        self.clock_behind = 0.0  # a clock that stood still while the machine was suspended

    @property
    def now(self) -> float:
        return self.world.now - self.clock_behind

    @property
    def serves(self) -> bool:
        """Whether traffic that reaches the instance is answered."""
        return self.up and not (self.deaf and self.world.now < self.stalled_until)

    def start(self) -> None:
        """Start the daemon."""
        self.generation += 1
        if self.counts_starts:
            self.starts = [at for at in self.starts if self.world.now - at < CRASH_WINDOW] + [self.world.now]
            self.quarantine = CRASH_WINDOW if len(self.starts) >= CRASHES else 0.0
        self.leaving, self.stalled_until = False, -math.inf
        self.inbox.clear()
        self.node = Node(
            self.config,
            EIP,
            self.world.members(self),
            self.now,
            emit=self._emit,
            rng=self.world.rng,
            refresh_in=300.0 if self.world.refresh else math.inf,
            quarantined_until=self.now + self.quarantine,
        )
        if self.unhealthy:
            self.node.set_unfit("health check", self.unhealthy, self.now)
        self.pump()

    def set_health(self, unhealthy: str) -> None:
        """Let the health check fail for this reason, or, with "", pass."""
        self.unhealthy = unhealthy
        self.run(lambda: self.node and self.node.set_unfit("health check", unhealthy, self.now))

    def crash(self) -> None:
        """The daemon is gone from one moment to the next; the host serves on."""
        self.generation += 1
        self.node = None

    def kill(self) -> None:
        """The host is gone."""
        self.crash()
        self.up = False
        self.world.note(f"{self.name} is dead")

    def leave(self) -> None:
        """Stop the daemon as SIGTERM does; after 10 s it exits whatever happened."""
        if self.node is None:
            return
        self.leaving = True
        generation = self.generation
        self.run(lambda: self.node and self.node.leave(self.now))
        self.world.after(10.0, lambda: generation == self.generation and self.exit())

    def exit(self) -> None:
        """The leaver's process ends."""
        self.world.note(f"{self.name} exits")
        self.starts.clear()
        self.crash()

    def stall(self, seconds: float, *, deaf: bool = False, frozen: bool = False) -> None:
        """The daemon does not run for a while (SIGSTOP); `deaf`: nor does the machine's network;
        `frozen`: nor its clock.
        """
        self.stalled_until, self.deaf = self.world.now + seconds, deaf
        generation = self.generation

        def resume() -> None:
            if generation != self.generation or self.world.now < self.stalled_until:
                return
            if frozen:
                self.clock_behind += seconds
            self.deaf = False
            waiting, self.inbox = list(self.inbox), deque()
            if self.world.rng.random() < 0.5 and self.node is not None:  # a thread that is not the receiver wakes first
                self.node.next_advert(self.now)
            for deliver in waiting:
                deliver()
            self.pump()

        self.world.after(seconds, resume)

    def run(self, action: Callable[[], object], *, packet: bool = False) -> None:
        """Let the daemon do something: now, or when its stall is over. A suspended machine misses
        packets.
        """
        if self.node is None:
            return
        if self.world.now < self.stalled_until:
            if not (packet and self.deaf):
                generation = self.generation
                self.inbox.append(lambda: generation == self.generation and self.node is not None and action())
            return
        self.poked = False
        action()
        if self.node is not None and (self.poked or self.node.attentive):
            self.pump()

    def pump(self) -> None:
        """What the threads of the daemon do: send, call, let die, until there is nothing left to do
        at this moment.
        """
        if self.node is None or self.world.now < self.stalled_until:
            return
        node = self.node
        node.tick(self.now)
        while True:
            self.poked = False
            advert, wake = node.next_advert(self.now)
            if advert is not None:
                self.world.broadcast(self, advert.heartbeat)
            for lane in Lane:
                call, at = node.next_call(lane, self.now)
                if call is not None:
                    self.world.call(self, lane, call)
                    self.poked = True
                wake = min(wake, at)
            if not self.poked:
                break
        if self.leaving and node.finished():
            self.exit()
            return
        wake = min(wake, node.next_death())
        self.pump_at = wake + self.clock_behind + (1e-9 if self.clock_behind else 0.0)  # or rounding never reaches it
        generation, pump_at = self.generation, self.pump_at
        if wake < math.inf:
            self.world.at(pump_at, lambda: generation == self.generation and pump_at == self.pump_at and self.pump())

    def _emit(self, event: Event) -> None:
        self.poked = True
        self.world.told(self, event)


class World:
    """The calendar, the network and the zone."""

    def __init__(self, seed: int = 0, *, quiet: bool = True) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.zone = Zone("sim", EIP)
        self.eip_id = self.zone.elastic_ips()[0].id
        self.hosts: dict[str, Host] = {}
        self.by_id: dict[str, Host] = {}
        self.cut: set[tuple[str, str]] = set()  # (from, to), by name
        self.delay: tuple[float, float] = (0.001, 0.001)
        self.loss = 0.0
        self.duplicates = 0.0
        self.refresh = False
        self.transcript: list[str] | None = None if quiet else []
        self.mutations: list[tuple[float, str, Kind, str]] = []  # when asked, by whom, what, of whom
        self.calls = 0
        self.watchers: list[Callable[[], None]] = []  # called when holders, hosts or daemons changed
        self.holders: frozenset[str] = frozenset()
        self._held: list[tuple[float, frozenset[str]]] = []  # since when these ids hold
        self._calendar: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self.listeners: list[Callable[[Host, Event], None]] = []
        self.callers: list[
            Callable[[Host, Lane, Call], object]
        ] = []  # told of each call; one that says True swallows it
        self.unknown: set[tuple[str, str]] = set()  # (whose list of the group lacks, whom), by name
        self.gone: set[str] = set()  # hosts that are in nobody's group any more

    # -- time -----------------------------------------------------------------------------------------------------

    def at(self, when: float, action: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._calendar, (max(when, self.now), self._number, action))

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        self.at(self.now + seconds, action)

    def advance(self, seconds: float) -> None:
        """Run everything that is due within `seconds`."""
        self.advance_to(self.now + seconds)

    def advance_to(self, end: float) -> None:
        self.advance_until(lambda: False, end)

    def advance_until(self, condition: Callable[[], bool], end: float) -> bool:
        """Run what is due until the condition holds, up to `end`; return whether it does. It is
        looked at after each callback.
        """
        while not condition():
            due = self.zone.next_due()
            following = self._calendar[0][0] if self._calendar else math.inf
            if min(due, following) > end:
                self.now = end
                return condition()
            if due <= following:
                self.now = max(self.now, due)
                self.zone.advance(due)
                self.look()
                continue
            self.now, _, action = heapq.heappop(self._calendar)
            action()
        return True

    # -- hosts ------------------------------------------------------------------------------------------------------

    def add(self, name: str, priority: int = 10, *, start: bool = False, **config: float) -> Host:
        host = Host(self, name, priority, **config)
        self.hosts[name] = self.by_id[host.id] = host
        self.zone.add_instance(name, id=host.id, now=self.now)
        if start:
            host.start()
        return host

    def members(self, host: Host) -> dict[str, tuple[str, int]]:
        """The group as `host` learns of it."""
        return {
            other.id: (other.address, 12345)
            for other in self.hosts.values()
            if other is not host and other.name not in self.gone and (host.name, other.name) not in self.unknown
        }

    def regroup(self) -> None:
        """Every daemon learns of the group anew."""
        for host in self.hosts.values():
            host.run(lambda host=host: host.node.set_members(self.members(host), host.now))

    def stop_instance(self, host: Host) -> None:
        """Stop the instance: it keeps the EIP and serves nobody."""
        host.kill()
        self.zone.set_state(host.id, "stopped", self.now)

    def destroy_instance(self, host: Host) -> None:
        """Destroy the instance: it holds nothing, and is in nobody's group once that is read again."""
        host.kill()
        self.zone.remove_instance(host.id, self.now)
        self.gone.add(host.name)
        self.look()

    # -- network ----------------------------------------------------------------------------------------------------

    def broadcast(self, sender: Host, heartbeat: Heartbeat) -> None:
        datagram = encode(heartbeat)
        for host in self.hosts.values():
            if host is not sender and host.up and (sender.name, host.name) not in self.cut:
                self._deliver(sender, host, datagram)

    def _deliver(self, sender: Host, host: Host, datagram: bytes) -> None:
        if self.loss and self.rng.random() < self.loss:
            return
        copies = 2 if self.duplicates and self.rng.random() < self.duplicates else 1
        heartbeat = decode(datagram)
        for _ in range(copies):
            delay = self.rng.uniform(*self.delay)
            self.after(
                delay, lambda: host.run(lambda: host.node.heard(heartbeat, sender.address, host.now), packet=True)
            )

    def split(self, *groups: str) -> None:
        """Cut every link between hosts of different groups; a group is a string of one-letter
        names.
        """
        side = {name: number for number, group in enumerate(groups) for name in group}
        self.cut = {(a, b) for a in self.hosts for b in self.hosts if side.get(a) != side.get(b)}

    # -- API --------------------------------------------------------------------------------------------------------

    def call(self, host: Host, lane: Lane, call: Call) -> None:
        """Send a call to the API; its outcome comes back to the daemon that asked, if that still
        runs.
        """
        self.calls += 1
        if any(caller(host, lane, call) for caller in self.callers):
            return
        began, generation = host.now, host.generation
        reply, latency = host.api.reply(call.kind, self.rng), self.rng.uniform(*host.api.latency)
        mutation = call.kind in (Kind.ATTACH, Kind.DETACH)
        timeout = MUTATION_TIMEOUT if mutation else READ_TIMEOUT
        takes = latency if reply.takes is None else reply.takes
        if mutation:
            self.mutations.append((self.now, host.name, call.kind, call.instance_id))

        def answer(make: Callable[[], Outcome]) -> None:
            if generation == host.generation:
                missed = self.now < host.stalled_until and host.deaf
                host.run(lambda: host.node.done(lane, call, (fail(Failure.TIMEOUT) if missed else make)()))
                host.pump()

        def fail(failure: Failure) -> Callable[[], Outcome]:
            return lambda: Outcome(began, host.now, failure, reply.retry_after, f"{call.kind}: {failure}")

        result: list[Outcome] = []
        if reply.effect:
            self.after(min(latency, takes) / 2, lambda: result.append(self._serve(host, call, began, reply)))
        if takes > timeout:
            self.after(timeout, lambda: answer(fail(Failure.TIMEOUT)))
        elif reply.failure is not None:
            self.after(takes, lambda: answer(fail(reply.failure)))
        else:
            self.after(takes, lambda: answer(lambda: replace(result[0], ended=host.now)))

    def _serve(self, host: Host, call: Call, began: float, reply: Reply) -> Outcome:
        """What the zone answers at this moment."""
        try:
            match call.kind:
                case Kind.ATTACH | Kind.DETACH:
                    move = self.zone.attach if call.kind is Kind.ATTACH else self.zone.detach
                    reason = "unknown" if reply.operation_fails else ""
                    seconds = self.rng.uniform(*host.api.operation)
                    operation = move(
                        self.eip_id, call.instance_id, self.now, key=host.name, seconds=seconds, reason=reason
                    )
                    self.look()
                    return Outcome(began, began, operation_id=operation.id)
                case Kind.POLL:
                    operation = self.zone.operation(call.operation_id, self.now)
                    if operation.state in ("failure", "timeout"):
                        known = operation.reason in ("not-found", "conflict")
                        failure = Failure.NOT_SO if known else Failure.OPERATION
                        return Outcome(began, began, failure, detail=operation.reason)
                    return Outcome(began, began, operation_id="" if operation.state == "success" else operation.id)
                case Kind.READ:
                    instance = self.zone.instance(call.instance_id, self.now)
                    holds = instance.id in self.holders_at(self.now - reply.lag)
                    return Outcome(began, began, holds=holds, running=instance.state == "running", name=instance.name)
                case Kind.HOLDERS:
                    holders = sorted(self.holders_at(self.now - reply.lag))
                    return Outcome(began, began, candidates=tuple(self._some(holders, reply.lists)))
                case Kind.REFRESH:
                    if host.node is not None:
                        members = self.members(host)
                        named = self._some(sorted(members), reply.lists)
                        host.node.set_members({name: members[name] for name in named}, host.now)
                    return Outcome(began, began)
        except ZoneError as error:
            if call.kind is Kind.READ:
                return Outcome(began, began)
            return Outcome(began, began, Failure.NOT_SO, detail=str(error))

    def _some(self, names: list[str], share: float) -> list[str]:
        return names if share >= 1.0 else [name for name in names if self.rng.random() < share]

    def holders_at(self, when: float) -> frozenset[str]:
        """Return the ids of the instances that held the EIP at that moment."""
        if when >= self.now:
            return frozenset(self.zone.holders(self.now))
        return next((ids for at, ids in reversed(self._held) if at <= when), frozenset())

    # -- looking ----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Note who holds now, and let the watchers look."""
        ids = frozenset(self.zone.holders(self.now))
        holders = frozenset(self.by_id[i].name if i in self.by_id else i for i in ids)
        if holders != self.holders:
            self.holders = holders
            self._held.append((self.now, ids))
            self.note(f"held by {', '.join(sorted(holders)) or 'nobody'}")
        for watcher in self.watchers:
            watcher()

    def told(self, host: Host, event: Event) -> None:
        for listener in self.listeners:
            listener(host, event)
        if self.transcript is not None:
            self.note(f"{host.name}  {self.words(host, event)}")

    def words(self, host: Host, event: Event) -> str:
        """Return the event's name, the role or other host it is about, and its details in SHOWN."""
        if event.name is EventName.ROLE:
            about = [self.plain(event.details["role"])]
        else:
            about = [] if event.instance_id in (host.id, "") else [self.plain(event.instance_id)]
        details = [f"{name}={self.plain(event.details[name])}" for name in SHOWN if name in event.details]
        return " ".join([event.name, *about, *details])

    def plain(self, value: object) -> str:
        """Return a detail as text: a host's name for its id, a float with two decimals, "-" if
        empty.
        """
        if isinstance(value, float):
            return f"{value:.2f}"
        return self.by_id[value].name if value in self.by_id else str(value) or "-"

    def note(self, text: str) -> None:
        if self.transcript is not None:
            self.transcript.append(f"{self.now:9.3f}  {text}")
