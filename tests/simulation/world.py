"""The simulated world: real `Node`s, a virtual clock, a network that loses and delays, the
sandbox's zone as the API.

Nothing here sleeps and nothing is random but by the seed. A `World` is a calendar of callbacks;
`advance` runs it. A `Host` has a node (the daemon); what the API does to its calls is its `Api`.
"""

from __future__ import annotations

import functools
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from exoip.core.advert_timer import Advert
from exoip.core.calls import NO_ANSWER, NO_EFFECT, Call, Failure, Kind, Lane, Outcome
from exoip.core.events import Event, EventName
from exoip.heartbeat.wire import Heartbeat, decode, encode
from exoip.sandbox.zone import Zone
from tests.simulation import group, service
from tests.simulation.api import MODES, Api, Choices, Mode, Reply
from tests.simulation.host import EIP, Host, instance_id

__all__ = ["EIP", "MODES", "Api", "Choices", "Host", "Mode", "Reply", "World", "instance_id"]

SHOWN = (  # event details that transcripts show, in this order: values, never sentences
    "master", "cause", "peer", "successor", "old", "priority", "call", "failure", "silent", "slept", "changes", "for",
    "address",
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def over_the_wire(heartbeat: Heartbeat) -> Heartbeat:
    """Return what the receiver makes of the bytes of a heartbeat."""
    return decode(encode(heartbeat))


class World:
    """The calendar, the network and the zone."""

    def __init__(self, seed: int = 0, *, quiet: bool = True) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 0.0
        self.use(EIP)
        self.hosts: dict[str, Host] = {}
        self.by_id: dict[str, Host] = {}
        self.cut: set[tuple[str, str]] = set()  # (from, to), by name
        self.mute: set[str] = set()  # hosts without their own address: nothing can be sent, and nothing arrives
        self.delay: tuple[float, float] = (0.001, 0.001)
        self.loss = 0.0
        self.duplicates = 0.0
        self.refresh = False  # whether daemons that start from now on read their group from the API
        self.verify_interval = 30.0
        self.transcript: list[str] | None = None if quiet else []
        self.mutations: list[tuple[float, str, Kind, str]] = []  # when asked, by whom, what, of whom
        self.calls = 0
        self.watchers: list[Callable[[], None]] = []  # called when holders, hosts or daemons changed
        self.holders: frozenset[str] = frozenset()
        self._held: list[tuple[float, frozenset[str]]] = []  # since when these ids hold
        self._calendar: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self.listeners: list[Callable[[Host, Event], None]] = []
        self.callers: list[Callable[[Host, Lane, Call], object]] = []  # told of each call; True swallows it
        self.answers: list[Callable[[Host, Call, Outcome], object]] = []  # told of what a daemon was answered
        self.senders: list[Callable[[Host, Advert], object]] = []  # told of each heartbeat that is sent
        self.unknown: set[tuple[str, str]] = set()  # (whose list of the group lacks, whom), by name
        self.gone: set[str] = set()  # hosts that are in nobody's group any more

    def use(self, eip: str) -> None:
        """Have this Elastic IP, an address or an IPv6 prefix; before the first host."""
        self.zone = Zone("sim", eip)
        self.eip, self.eip_id = self.zone.eip.ip, self.zone.eip.id

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
        self.advance_until(None, end)

    def advance_until(self, condition: Callable[[], bool] | None, end: float) -> bool:
        """Run what is due until the condition holds, up to `end`; return whether it does. It is
        looked at after each callback.
        """
        calendar = self._calendar
        while condition is None or not condition():
            if not calendar or calendar[0][0] > end:
                self.now = end
                return condition is not None and condition()
            self.now, _, action = heapq.heappop(calendar)
            action()
        return True

    def reseed(self, seed: int) -> None:
        """Draw everything by another seed from now on; there must be no hosts yet."""
        assert not self.hosts
        self.seed, self.rng = seed, random.Random(seed)

    # -- hosts ------------------------------------------------------------------------------------------------------

    def add(self, name: str, priority: int = 10, *, start: bool = False, claims: str = "", **config: float) -> Host:
        host = Host(self, name, priority, claims, **config)
        self.hosts[name] = self.by_id[host.id] = host
        self.zone.add_instance(name, id=host.id, ipv6=f"2001:db8::{len(self.hosts)}", now=self.now)
        if start:
            host.start()
        return host

    def exists(self, host: Host) -> bool:
        """Whether the instance has not been destroyed."""
        return any(instance.id == host.id for instance in self.zone.instances(self.now))

    def in_group(self, host: Host, other: Host) -> bool:
        """Whether the group, as `host` learns of it, has the other one in it."""
        return other.name not in self.gone and (host.name, other.name) not in self.unknown

    def members(self, host: Host) -> dict[str, tuple[str, int]]:
        """The group as `host` learns of it when it starts, and where the API has the instance itself."""
        own = {one.id: (one.address, 0) for one in self.hosts.values() if one.id == host.config.instance_id}
        if self.refresh and (found := group.found(self, host, Reply())) is not None:
            return found | own
        others = [one for one in self.hosts.values() if one.id != host.config.instance_id and self.in_group(host, one)]
        return {one.id: (one.address, group.PORT) for one in others} | own

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

    def broadcast(self, sender: Host, advert: Advert) -> None:
        """Send a heartbeat to the addresses that the sender knows, and to no other."""
        sender.node.set_mute("no address" if sender.name in self.mute else "", sender.now)
        for told in self.senders:
            told(sender, advert)
        if sender.name in self.mute:
            return
        received, targets = over_the_wire(advert.heartbeat), {address for address, _ in advert.targets}
        arrivals: dict[float, list[Host]] = {}
        for host in self.hosts.values():
            if host.up and host.address in targets and (sender.name, host.name) not in self.cut:
                for _ in range(self._copies() if host.name not in self.mute else 0):
                    arrivals.setdefault(self.rng.uniform(*self.delay), []).append(host)
        for delay, hosts in arrivals.items():
            self.after(delay, functools.partial(_arrive, received, sender.address, hosts))

    def _copies(self) -> int:
        """Return how often a heartbeat arrives."""
        if self.loss and self.rng.random() < self.loss:
            return 0
        return 2 if self.duplicates and self.rng.random() < self.duplicates else 1

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
        about = self.by_id[call.instance_id].name if call.instance_id in self.by_id else ""
        reply, latency = host.api.reply(call.kind, about), self.rng.uniform(*host.api.latency)
        timeout, takes = call.timeout, latency if reply.takes is None else reply.takes
        lands = min(latency, takes) / 2 if reply.lands is None else reply.lands
        if call.kind in (Kind.ATTACH, Kind.DETACH):
            self.mutations.append((self.now, host.name, call.kind, call.instance_id))
        result = [service.untouched(call, began)]

        def made(failure: Failure | None) -> Outcome:
            at = None if failure in NO_ANSWER else host.api.date(call.kind, self.now)
            if failure is not None:
                text = f"{call.kind}: {failure}"
                return Outcome(began, host.now, failure, reply.retry_after, text, answered_at=at)
            return replace(result[0], ended=host.now, answered_at=at)

        def serve() -> None:
            result[0] = service.serve(self, host, call, began, reply)

        if reply.effect:
            self.after(lands, serve)
        late = takes > timeout
        host.slowest = max(host.slowest, 0.0 if late else takes)
        host.hangs_until = self.now + timeout if late and lane is Lane.MUTATIONS else host.hangs_until
        untrue = reply.effect and reply.failure in NO_EFFECT and call.kind in (Kind.ATTACH, Kind.DETACH)
        failure = Failure.TIMEOUT if late else Failure.UNAVAILABLE if untrue else reply.failure
        gone = failure is Failure.NOT_SO and call.kind is Kind.READ  # a 404 for one that there is
        if gone or (failure is None and reply.untrue(lands > takes)):
            host.deceived_at = began
        self.after(timeout if late else takes, lambda: host.answer(lane, call, generation, lambda: made(failure)))

    def holders_at(self, when: float) -> frozenset[str]:
        """Return the ids of the instances that held the EIP at that moment."""
        if when >= self.now:
            return frozenset(self.zone.holders(self.now))
        return next((ids for at, ids in reversed(self._held) if at <= when), frozenset())

    def held(self, instance_id: str, since: float) -> tuple[bool, bool]:
        """Return whether an instance has held at any time since then, and whether all the time."""
        found = [self.holders_at(since)] + [ids for at, ids in self._held if at > since]
        return any(instance_id in ids for ids in found), all(instance_id in ids for ids in found)

    def complete_operations(self) -> None:
        self.zone.advance(self.now)
        self.look()

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


def _arrive(heartbeat: Heartbeat, address: str, hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.hear(heartbeat, address)
