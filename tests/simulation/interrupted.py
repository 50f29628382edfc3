"""Every sequence of calls, interrupted midway: the daemon that makes them crashes between any two.

A call is one HTTP request and everything is decided anew from what the API says, so wherever a
daemon dies, the others, or its own successor, must bring the address to one right holder; and no
daemon's crash may ever leave the address with nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from exoip.core.calls import Call, Lane
from tests.simulation.meter import Meter, unsettled
from tests.simulation.world import Host, World

WINDOW = 16.0  # seconds after the trigger in which calls count
SETTLED_WITHIN = 170.0  # its turn (100 s), an unfit time, a stand-back
STAYS_SETTLED = 120.0
RESTARTS = (0.4, 5.0, None)  # seconds from the crash to the next start; None: never


@dataclass(frozen=True, slots=True)
class Sequence:
    """What makes a daemon move: `prepare` and, once that has settled, `trigger`; `movers` are those
    whose calls are interrupted.
    """

    name: str
    movers: str
    trigger: Callable[[World], None]
    prepare: Callable[[World], None] = lambda world: None
    hole: bool = False  # the trigger itself kills the holder


def _in(seconds: float, act: Callable[[World], None], world: World) -> None:
    world.after(seconds, lambda: act(world))


def _split_and_heal(world: World) -> None:
    world.split("a", "bc")
    _in(8.0, lambda world: world.cut.clear(), world)


def _sick(world: World) -> None:
    world.hosts["a"].set_health("the health check fails")
    _in(9.0, lambda world: world.hosts["a"].set_health(""), world)


def _first_call_fails(world: World) -> None:
    world.hosts["b"].api.once["attach"] = "fail"
    world.hosts["a"].kill()


def _outsider(world: World) -> None:
    for name in "bc":
        world.zone.force(world.hosts[name].id, True, world.now)


SEQUENCES = (
    Sequence("the holder's host dies", "bc", lambda world: world.hosts["a"].kill(), hole=True),
    Sequence("the holder's daemon dies", "b", lambda world: world.hosts["a"].crash()),
    Sequence("the holder dies, and the first attach fails", "b", _first_call_fails, hole=True),
    Sequence("the holder leaves", "ab", lambda world: world.hosts["a"].leave()),
    Sequence("the holder is unfit for 9 s", "ab", _sick),
    Sequence(
        "a better node starts", "ab", lambda world: world.hosts["a"].start(), lambda world: world.hosts["a"].crash()
    ),
    Sequence("a cut heals", "ab", _split_and_heal),
    # So much later than the others that both backups soon read themselves
    Sequence("someone attaches the address to the backups", "bc", _outsider, lambda world: world.advance(315.0)),
)


@dataclass(frozen=True, slots=True)
class Case:
    """The crash of `mover` at its `number`th call: when that has just gone out, or just before."""

    sequence: Sequence
    mover: str
    number: int
    sent: bool
    restart: float | None

    def __str__(self) -> str:
        then = "for good" if self.restart is None else f"for {self.restart} s"
        when = "after" if self.sent else "before"
        return f"{self.sequence.name}, {self.mover} crashes {when} its call {self.number} {then}"


def cases(sequence: Sequence) -> Iterator[Case]:
    """Every case of a sequence."""
    for mover in sequence.movers:
        for number in range(1, _calls(sequence, mover) + 1):
            for sent in (False, True):
                yield from (Case(sequence, mover, number, sent, restart) for restart in RESTARTS)


def check(case: Case, *, quiet: bool = True) -> str:
    """Run a case; return what is wrong in the end, or nothing."""
    world = _world(case.sequence, quiet=quiet)
    meter = Meter(world)
    world.look()
    _crash_at(world, case)
    case.sequence.trigger(world)
    world.look()
    world.advance(WINDOW + max(wait for wait in RESTARTS if wait) + 5.0)
    end = world.now + SETTLED_WITHIN
    while (why := unsettled(world) or _unwanted(world)) and world.now < end:
        world.advance(0.5)
    if why:
        return f"not settled after {SETTLED_WITHIN:.0f} s: {why}"
    if meter.holes[1 if case.sequence.hole else 0 :]:
        return f"holes of {meter.holes} s"
    before = len(world.mutations)
    world.advance(STAYS_SETTLED)
    return f"moves when settled: {world.mutations[before:]}" if len(world.mutations) > before else unsettled(world)


def _unwanted(world: World) -> str:
    """A leaver that is still there."""
    return ", ".join(f"{host.name} still leaves" for host in world.hosts.values() if host.node and host.leaving)


def _world(sequence: Sequence, *, quiet: bool = True) -> World:
    world = World(1, quiet=quiet)
    for number, name in enumerate("abc"):
        host = world.add(name, 10 * (number + 1))
        world.at(0.31 * number, host.start)
    world.advance(20.0)
    sequence.prepare(world)
    world.advance(20.0)
    assert len(world.holders) == 1, world.holders
    return world


def _calls(sequence: Sequence, mover: str) -> int:
    world, calls = _world(sequence), []
    world.callers.append(lambda host, lane, call: host.name == mover and calls.append(call))
    sequence.trigger(world)
    world.advance(WINDOW)
    return len(calls)


def _crash_at(world: World, case: Case) -> None:
    seen: list[Call] = []
    generation = world.hosts[case.mover].generation + (world.hosts[case.mover].node is None)  # the trigger starts it

    def crash(host: Host) -> None:
        world.note(f"{host.name}  CRASHES")
        host.crash()
        if case.restart is not None:
            world.after(case.restart, lambda: host.node is None and host.up and host.start())

    def called(host: Host, lane: Lane, call: Call) -> bool:
        if host.name != case.mover or host.generation != generation:
            return False
        seen.append(call)
        if len(seen) == case.number:
            world.at(world.now, lambda: crash(host))
            return not case.sent
        return len(seen) > case.number  # of the same moment: it no longer goes out

    world.callers.append(called)
