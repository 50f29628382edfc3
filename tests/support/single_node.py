"""One real `Node` in virtual time: its peers are priorities that beat, the test is its API.

    bench = SingleNode(peers="az")             # this node is m; ids sort as names do
    bench.heard("a", 5)                   # one heartbeat
    bench.beating["z"] = 20               # one every interval, from now on
    bench.holding.add("a")                # what the API would say
    bench.advance(3.0)
    bench.calls                           # [(when, Call), …] in the order of asking
    bench.manual.add(Kind.ATTACH)         # the test answers these: bench.answer(Lane.MUTATIONS, …)

Answers come after `latency`; an operation is done `operation` seconds after its call took effect
(0: with the answer). `failing` maps a kind of call to the failure that it ends in, with no effect.
"""

from __future__ import annotations

import functools
import heapq
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from exoip.core.calls import Call, Failure, Kind, Lane, Outcome
from exoip.core.events import Event, EventName
from exoip.core.node import Node
from exoip.core.peers import ElectionConfig, Role
from exoip.core.snapshot import Snapshot
from exoip.heartbeat.wire import Heartbeat
from exoip.telemetry.api_health import ApiHealth
from tests.simulation.world import EIP, instance_id

INTERVAL, PERIOD, DEAD = 1.0, 0.9, 3.0
MUTATIONS = (Kind.ATTACH, Kind.DETACH)


@functools.cache
def _heartbeat(priority: int, name: str) -> Heartbeat:
    return Heartbeat(priority, EIP, instance_id(name))


class SingleNode:
    """A node `own` beside `peers`, which starts at 0."""

    def __init__(
        self,
        own: str = "m",
        priority: int = 10,
        peers: str = "az",
        *,
        preempt_delay: float = 0.0,
        seed: int = 0,
        refresh_in: float = math.inf,
        **options: Any,
    ) -> None:
        self.own, self.now = own, 0.0
        self.config = ElectionConfig(instance_id(own), priority, INTERVAL, DEAD / INTERVAL, preempt_delay)
        self.events: list[Event] = []
        self.calls: list[tuple[float, Call]] = []
        self.beats: list[tuple[float, int]] = []
        self.open: dict[Lane, tuple[float, Call]] = {}
        self.beating: dict[str, int] = {}
        self.holding: set[str] = set()
        self.stopped: set[str] = set()
        self.manual: set[Kind] = set()
        self.failing: dict[Kind, Failure] = {}
        self.latency, self.operation = 0.1, 0.0
        self.candidates: list[str] | None = None  # what HOLDERS lists; None: who holds
        self.retry_after = 0.0
        self._calendar: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._operations: dict[str, float] = {}
        members = {instance_id(name): (f"host-{name}", 12345) for name in [*peers, own]}
        self.api = ApiHealth(instance_id(own), self.events.append)
        self.node = Node(self.config, EIP, members, 0.0, emit=self._tell, rng=random.Random(seed), **options)
        self.node.refresh_in(refresh_in, 0.0)
        self._beat_peers()

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.api.on_event(event)

    # -- time ---------------------------------------------------------------------------------------------------------

    def at(self, when: float, action: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._calendar, (max(when, self.now), self._number, action))

    def advance(self, seconds: float) -> None:
        self.advance_to(self.now + seconds)

    def advance_to(self, end: float) -> None:
        """Let everything happen that is due up to `end`, that moment included."""
        for _ in range(200_000):
            wake = self.pump()
            following = self._calendar[0][0] if self._calendar else math.inf
            if min(wake, following) > end:
                self.now = end
                return
            if following <= wake:
                self.now, _, action = heapq.heappop(self._calendar)
                action()
            else:
                self.now = wake
        raise AssertionError(f"the node does not come to rest at {self.now}")

    def until(self, condition: Callable[[], bool], most: float = 200.0, step: float = 0.05) -> None:
        """Advance in small steps until `condition` holds."""
        end = self.now + most
        while not condition():
            assert self.now < end, f"not so within {most} s"
            self.advance(step)

    def pump(self) -> float:
        """Do what the daemon's threads would do now; return when they would next."""
        self.node.tick(self.now)
        for _ in range(100):
            before = len(self.events)
            wake, busy = self.node.next_death(), False
            advert, again = self.node.next_advert(self.now)
            if advert is not None:
                self.beats.append((self.now, advert.heartbeat.priority))
                busy = True
            wake = min(wake, again)
            for lane in Lane:
                call, at = self.node.next_call(lane, self.now)
                if call is not None:
                    self._asked(lane, call)
                    busy = True
                wake = min(wake, at)
            if not busy and len(self.events) == before:
                assert wake > self.now, "the node asks to be woken at once, for nothing"
                return wake
        raise AssertionError(f"the node never has enough at {self.now}")

    # -- peers --------------------------------------------------------------------------------------------------------

    def heard(self, name: str, priority: int) -> None:
        """One heartbeat of a peer."""
        self.node.heard(_heartbeat(priority, name), f"host-{name}", self.now)

    def _beat_peers(self) -> None:
        for name, priority in sorted(self.beating.items()):
            self.heard(name, priority)
        self.at(self.now + INTERVAL, self._beat_peers)

    # -- the API ------------------------------------------------------------------------------------------------------

    def answer(self, lane: Lane, failure: Failure | None = None, **outcome: Any) -> None:
        """Answer the call that is under way in this lane, now."""
        began, call = self.open.pop(lane)
        answer = Outcome(began, self.now, failure, answered_at=math.floor(self.now), **outcome)
        self.api.note(call, answer)
        self.node.done(lane, call, answer)

    def _asked(self, lane: Lane, call: Call) -> None:
        assert lane not in self.open, "two calls at once in one lane"
        asked = (self.now, call)
        self.calls.append(asked)
        self.open[lane] = asked
        if call.kind in self.manual:
            return

        def answer(failure: Failure | None = None, **outcome: Any) -> None:
            if self.open.get(lane) is asked:  # else the test was faster
                self.answer(lane, failure, **outcome)

        failure = self.failing.get(call.kind)
        if failure is not None:
            late = {Failure.TIMEOUT: 10.0 if call.kind in MUTATIONS else 2.0}.get(failure, self.latency)
            self.at(self.now + late, lambda: answer(failure, retry_after=self.retry_after, detail="as told"))
        elif call.kind is Kind.POLL:
            self.at(self.now + self.latency, lambda: answer(**self._serve(call)))
        else:
            truth = self._serve(call)
            self.at(self.now + self.latency, lambda: answer(**truth))

    def _serve(self, call: Call) -> dict[str, Any]:
        name = name_of(call.instance_id) if call.instance_id else ""
        match call.kind:
            case Kind.ATTACH | Kind.DETACH:
                change = self.holding.add if call.kind is Kind.ATTACH else self.holding.discard
                if not self.operation:
                    change(name)
                    return {}
                self._number += 1
                number = f"operation-{self._number}"
                self._operations[number] = self.now + self.operation
                self.at(self._operations[number], lambda: change(name))
                return {"operation_id": number}
            case Kind.POLL:
                if done := self.now >= self._operations[call.operation_id]:
                    del self._operations[call.operation_id]
                return {"operation_id": "" if done else call.operation_id}
            case Kind.READ:
                return {"holds": name in self.holding, "running": name not in self.stopped, "name": name}
            case Kind.HOLDERS:
                names = sorted(self.holding) if self.candidates is None else self.candidates
                return {"candidates": tuple(instance_id(one) for one in names)}
        return {}

    # -- looking ------------------------------------------------------------------------------------------------------

    @property
    def view(self) -> Snapshot:
        return self.node.snapshot(self.now)

    @property
    def role(self) -> Role:
        return self.view.role

    def said(self, what: EventName) -> list[Event]:
        return [event for event in self.events if event.name is what]

    def asked(self, kind: Kind, name: str = "", since: float = -math.inf) -> list[float]:
        """When calls of this kind (of this instance) were asked for."""
        return [
            at
            for at, call in self.calls
            if call.kind is kind and at >= since and name in ("", name_of(call.instance_id))
        ]

    def moves(self, since: float = -math.inf) -> list[tuple[str, str]]:
        """The mutations asked for: ("attach", "m"), …"""
        return [
            (str(call.kind), name_of(call.instance_id))
            for at, call in self.calls
            if call.kind in MUTATIONS and at >= since
        ]

    def kinds(self, since: float = -math.inf) -> Counter[str]:
        return Counter(str(call.kind) for at, call in self.calls if at >= since)


def among(size: int, place: int) -> SingleNode:
    """A node of a cluster of `size`, settled, with `place` better peers that are alive."""
    names = [f"{number:03}" for number in range(size - 1)]
    bench = SingleNode(peers=names, refresh_in=7.0)
    bench.beating = {name: 5 if number < place else 20 for number, name in enumerate(names)}
    if place:
        bench.holding.add(names[0])
    bench.advance(400)
    assert (bench.role is Role.MASTER) == (place == 0)
    return bench


def requests(bench: SingleNode, since: float) -> int:
    """Count its HTTP requests from that moment on: a refresh asks for groups and for instances."""
    made = bench.kinds(since)
    return made.total() + made[Kind.REFRESH]


def name_of(one: str) -> str:
    """The name behind an id of `instance_id`."""
    return bytes.fromhex(one.replace("-", "")).rstrip(b"\0").decode()


def master(**options: Any) -> SingleNode:
    """A node alone in its group that has taken the EIP; its first verifications are over."""
    bench = SingleNode(**options)
    bench.advance(DEAD + 60.0)
    assert bench.view.holds
    assert bench.holding == {bench.own}
    return bench


def backup(under: str = "a", **options: Any) -> SingleNode:
    """A node under the master `under`, which holds and beats."""
    bench = SingleNode(**options)
    bench.beating[under] = 5
    bench.holding.add(under)
    bench.advance(DEAD + 60.0)
    assert bench.role is Role.BACKUP
    return bench
