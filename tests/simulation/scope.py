"""A world so small that all of it can be tried: two or three production nodes, heartbeats that arrive
at once unless a link is cut, and calls whose effect and answer come when the search says so.

A `Scope` is plain data: `copy` returns one that goes its own way, and `key` is equal for states that
behave alike from here on. Times in seconds.
"""

from __future__ import annotations

import math
import pickle
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from exoip.core.calls import Call, Failure, Kind, Lane, Outcome
from exoip.core.node import Node
from exoip.core.observed import TURNS
from exoip.core.peers import ElectionConfig, Role
from exoip.heartbeat.wire import Heartbeat
from tests.simulation.host import EIP, Bell, instance_id

LATENCY = 0.1  # seconds of a call that the search leaves alone
GIVEN_UP = {Kind.ATTACH: 10.0, Kind.DETACH: 10.0}  # seconds after which a call is given up; else 2
FORGOTTEN = 100.0  # seconds; what is longer ago does not differ any more
PORT = 12345
MOVES = (Kind.ATTACH, Kind.DETACH)
# Attributes that hold no time, though they are floats, and those that decide nothing.
_LENGTHS = frozenset(("_wait", "_longest", "_time", "wait", "delay", "length", "_api_clock"))
_IGNORED = frozenset(
    ("_rng", "_wake", "_emit", "config", "reason", "why", "details", "admission", "_dropped",
     "_eip", "_reported", "_ownership_rng", "verify_interval", "changes")
)  # fmt: skip


class Steady:
    """In place of a random number generator: there is no jitter."""

    def random(self) -> float:
        return 0.0


def quiet(event: object) -> None:
    """Events are not looked at."""


@dataclass(slots=True)
class Pending:
    """A call under way at node `number`. `due`: when it is answered by itself, or given up.

    `free`: the search decides about it. `effect`: it has taken effect. `holds`: what it saw then.
    """

    number: int
    lane: Lane
    call: Call
    began: float
    due: float
    free: bool
    effect: bool = False
    holds: bool = False


class Scope:
    """Nodes, who holds, and what is under way.

    `free`: the kinds of calls about which the search decides; `able`: not those of this node.
    `hole_since`: since when no live node holds; None if one does.
    """

    def __init__(self, count: int, free: frozenset[Kind], interval: float = 1.0) -> None:
        self.now = 0.0
        self.free = free
        self.ids = [instance_id(name) for name in "abc"[:count]]
        self.holders: set[int] = set()
        self.dead: set[int] = set()
        self.able: int | None = None
        self.cut: set[tuple[int, int]] = set()
        self.pending: list[Pending] = []
        self.hole_since: float | None = 0.0
        self.wakes = [0.0] * count
        self.nodes = [self._node(number, interval) for number in range(count)]

    def _node(self, number: int, interval: float) -> Node:
        config = ElectionConfig(self.ids[number], 10 * (number + 1), interval)
        members = {one: (one, PORT) for one in self.ids}
        node = Node(config, EIP, members, self.now, emit=quiet, rng=Steady())  # type: ignore[arg-type]
        node._wake = Bell()  # type: ignore[assignment]
        return node

    def copy(self) -> Scope:
        """Return one that goes its own way."""
        found: Scope = pickle.loads(pickle.dumps(self, pickle.HIGHEST_PROTOCOL))  # noqa: S301
        return found

    @property
    def live(self) -> list[int]:
        return [number for number in range(len(self.nodes)) if number not in self.dead]

    def settled(self) -> bool:
        """Whether one live node holds alone, knows it, and is the one master."""
        if len(self.holders) != 1 or self.holders <= self.dead:
            return False
        holder = next(iter(self.holders))
        masters = [number for number in self.live if self.nodes[number]._election.role is Role.MASTER]
        own = self.nodes[holder]._ownership.observed.own
        return masters == [holder] and own.holds and not any(one.call.kind in MOVES for one in self.pending)

    def key(self) -> object:
        """Return what decides how it goes on; times count from now."""
        calls = sorted(
            (one.number, one.call.kind, one.call.instance_id, one.free, one.effect, one.holds, self._ago(one.began))
            for one in self.pending
        )
        nodes = tuple(_state(self.nodes[number], self.now, {}) for number in self.live)
        phase = int(self.now % TURNS // (TURNS / 4))  # in one of the turns, or between two of them
        return phase, nodes, tuple(calls), frozenset(self.holders), frozenset(self.dead), frozenset(self.cut)

    def _ago(self, at: float) -> float:
        return round(at - self.now, 3)

    # -- what may happen ----------------------------------------------------------------------------------------------

    def kill(self, number: int) -> None:
        """Let a host die. What it has sent may still take effect."""
        self.dead.add(number)
        self.pending = [one for one in self.pending if one.number != number or (one.free and not one.effect)]
        self._look()

    def take_effect(self, which: int) -> None:
        """Let a call reach the zone."""
        one = self.pending[which]
        one.effect = True
        if one.call.kind is Kind.ATTACH:
            self.holders.add(self.ids.index(one.call.instance_id))
        elif one.call.kind is Kind.DETACH:
            self.holders.discard(self.ids.index(one.call.instance_id))
        one.holds = one.call.instance_id in self.ids and self.ids.index(one.call.instance_id) in self.holders
        self._look()
        if one.number in self.dead:
            self.pending.pop(which)

    def answer(self, which: int, failure: Failure | None = None, retry_after: float = 0.0) -> None:
        """Answer a call, and let its node go on."""
        one = self.pending.pop(which)
        if one.number in self.dead:
            return
        listed = tuple(self.ids[holder] for holder in sorted(self.holders)) if one.call.kind is Kind.HOLDERS else ()
        running = one.call.instance_id in self.ids and self.ids.index(one.call.instance_id) not in self.dead
        outcome = Outcome(
            one.began,
            self.now,
            failure,
            retry_after,
            holds=one.holds,
            running=running,
            candidates=listed,
            answered_at=self.now,
        )
        self.nodes[one.number].done(one.lane, one.call, outcome)
        self.pump(one.number)

    def pass_time(self, most: float) -> None:
        """Let time go on, at most so long, until a call comes up about which the search decides."""
        end, before = self.now + most, self._waiting()
        while self.now < end and self._waiting() == before:
            self.now = min([end, *(one.due for one in self.pending), *(self.wakes[number] for number in self.live)])
            for number in self.live:
                if self.wakes[number] <= self.now:
                    self.pump(number)
            while late := [which for which, one in enumerate(self.pending) if one.due <= self.now]:
                one = self.pending[late[0]]
                if not one.free and not one.effect:
                    self.take_effect(late[0])
                self.answer(late[0], Failure.TIMEOUT if one.free else None)

    def _waiting(self) -> int:
        return sum(one.free for one in self.pending)

    def pump(self, number: int) -> None:
        """Let the threads of a node run until nothing is left to do at this moment."""
        node, bell = self.nodes[number], self.nodes[number]._wake
        assert isinstance(bell, Bell)
        node.tick(self.now)
        while True:
            bell.rung = False
            advert, wake = node.next_advert(self.now)
            if advert is not None:
                self._broadcast(number, advert.heartbeat)
            for lane in Lane:
                call, at = node.next_call(lane, self.now)
                wake = min(wake, at)
                if call is not None:
                    self._called(number, lane, call)
                    bell.rung = True
            if not bell.rung:
                break
        self.wakes[number] = min(wake, node.next_death())

    def _called(self, number: int, lane: Lane, call: Call) -> None:
        free = call.kind in self.free and number != self.able
        due = self.now + (GIVEN_UP.get(call.kind, 2.0) if free else LATENCY)
        self.pending.append(Pending(number, lane, call, self.now, due, free))

    def _broadcast(self, sender: int, heartbeat: Heartbeat) -> None:
        for number in self.live:
            if number != sender and (sender, number) not in self.cut:
                bell = self.nodes[number]._wake
                bell.rung = False  # type: ignore[attr-defined]
                self.nodes[number].heard(heartbeat, self.ids[sender], self.now)
                if bell.rung:  # type: ignore[attr-defined]
                    self.wakes[number] = self.now

    def _look(self) -> None:
        if self.holders - self.dead:
            self.hole_since = None
        elif self.hole_since is None:
            self.hole_since = self.now


def _state(value: object, now: float, seen: dict[int, int]) -> object:
    """Return a value as something that can be hashed, with times that count from `now`."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        ago = value - now
        return value if math.isinf(value) else -math.inf if ago < -FORGOTTEN else round(ago, 3)
    if id(value) in seen:
        return seen[id(value)]
    seen[id(value)] = len(seen)
    if isinstance(value, Mapping):
        return tuple((key, _state(one, now, seen)) for key, one in sorted(value.items()))
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(value))
    if isinstance(value, (list, tuple, deque)):
        return tuple(_state(one, now, seen) for one in value)
    if hasattr(value, "__func__"):
        return value.__func__.__name__
    if isinstance(value, Enum):
        return value.name
    return tuple(
        (name, one if name in _LENGTHS else _state(one, now, seen))
        for name, one in _attributes(value)
        if name not in _IGNORED
    )


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    if hasattr(value, "__dict__"):
        yield from vars(value).items()
    for name in getattr(type(value), "__slots__", ()):
        yield name, getattr(value, name)
