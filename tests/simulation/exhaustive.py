"""Every order of events in small scopes: two or three nodes, each call that matters with every outcome,
deaths and cut links at every moment, up to a depth. Visited states are remembered.

Many faults of protocols need only three steps in the wrong order, which random runs seldom take. At
each state the search may let a call take effect, answer it (well, or with any failure that differs in
its consequences), let a host die, cut or mend a link, or let time pass until something happens by
itself. After that no more happens, and for each node that still lives: its own calls work, those of
the others get no answer any more. Then a live node must hold within HOLE seconds, and the live one
alone within SETTLED seconds. Links that are cut stay so in one try and heal in another.

    script/simulate --exhaustive --depth 6
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from exoip.core.calls import Failure, Kind
from tests.simulation.scope import MOVES, Scope

STEP = 4.0  # seconds that pass at most when the search lets time pass: more than a dead time
# From the last event: a dead time to notice, JOB_TIME (12) for each of two nodes that cannot attach, a
# second dead time, LONGEST_MOVE_RETRY with jitter, and a call.
HOLE = 2 * 3.0 + 2 * 12.5 + 6.0 + 1.0
# … and BOTH_HOLD_TIME and a turn (100), or FIRST_STAND_BACK (60), with JOB_TIME (12) for the other one
SETTLED = 150.0
CUT_SETTLED = 70.0  # seconds after which it is enough, while links are cut, that only live nodes hold
ANSWERS: tuple[tuple[Failure | None, float], ...] = (
    (None, 0.0),  # done
    (Failure.UNAVAILABLE, 300.0),  # 503 with Retry-After
    (Failure.UNREACHABLE, 0.0),  # no connection: it never takes effect
    (Failure.UNAVAILABLE, 0.0),  # the connection drops
)

Step = tuple[str, Callable[[Scope], None]]


@dataclass(frozen=True, slots=True)
class Small:
    """One scope: so many nodes; the calls of these kinds are free; so many deaths and cuts at most."""

    name: str
    nodes: int
    free: frozenset[Kind]
    deaths: int = 1
    cuts: int = 0


SCOPES = (
    Small("two nodes, attach and detach", 2, frozenset(MOVES)),
    Small("two nodes, attach, detach, links", 2, frozenset(MOVES), cuts=2),
    Small("two nodes, attach and reads", 2, frozenset({Kind.ATTACH, Kind.READ})),
    Small("three nodes, attach and detach", 3, frozenset(MOVES), deaths=2),
    Small("three nodes, detach, links", 3, frozenset({Kind.DETACH}), cuts=2),
)


@dataclass(slots=True)
class Found:
    """What a search found. `violations`: the steps, and what was wrong after them."""

    small: Small
    depth: int
    states: int = 0
    steps: int = 0
    tries: int = 0
    seconds: float = 0.0
    complete: bool = True
    violations: list[tuple[tuple[str, ...], str]] = field(default_factory=list)

    def __str__(self) -> str:
        how = "" if self.complete else ", not complete"
        return (
            f"{self.small.name}: depth {self.depth}, {self.states} states, {self.steps} steps, {self.tries} tries, "
            f"{self.seconds:.1f} s, {len(self.violations)} violations{how}"
        )


def formed(small: Small) -> Scope:
    """Return the scope after its start: the first node holds, and all is quiet."""
    scope = Scope(small.nodes, frozenset())
    for _ in range(600):
        scope.pass_time(0.1)
    assert scope.settled()
    scope.free = small.free
    return scope


def steps(scope: Scope, small: Small) -> Iterator[Step]:
    """Yield what may happen next."""
    for which, one in enumerate(scope.pending):
        if not one.free:
            continue
        told = f"{'abc'[one.number]}'s {one.call.kind} of {'abc'[scope.ids.index(one.call.instance_id)]}"
        if not one.effect:
            yield f"{told} takes effect", lambda scope, which=which: scope.take_effect(which)
        if one.number in scope.dead:
            continue
        for failure, retry in ANSWERS:
            if one.effect and failure is Failure.UNREACHABLE:
                continue
            if failure is not None or one.effect or one.call.kind is not Kind.READ:
                words = f"{told} is answered {failure or 'done'}"
                yield words, lambda scope, which=which, how=(failure, retry): scope.answer(which, *how)
    if len(scope.dead) < small.deaths:
        for number in scope.live:
            yield f"{'abc'[number]} dies", lambda scope, number=number: scope.kill(number)
    links = [(a, b) for a in scope.live for b in scope.live if a != b]
    for link in links if small.cuts else []:
        if link in scope.cut:
            yield f"{'abc'[link[0]]}->{'abc'[link[1]]} heals", lambda scope, link=link: scope.cut.discard(link)
        elif len(scope.cut) < small.cuts:
            yield f"{'abc'[link[0]]}->{'abc'[link[1]]} is cut", lambda scope, link=link: scope.cut.add(link)
    yield "time passes", lambda scope: scope.pass_time(STEP)


def search(small: Small, depth: int, seconds: float) -> Found:
    """Try everything up to a depth, breadth first, for so many seconds of real time at most."""
    found, began = Found(small, depth), time.monotonic()
    start = formed(small)
    visited = {start.key()}
    level: list[tuple[Scope, tuple[str, ...]]] = [(start, ())]
    for _ in range(depth):
        following: list[tuple[Scope, tuple[str, ...]]] = []
        for scope, path in level:
            if time.monotonic() - began > seconds:
                found.complete = False
                break
            for words, step in steps(scope, small):
                after = scope.copy()
                step(after)
                found.steps += 1
                if (key := after.key()) in visited:
                    continue
                visited.add(key)
                following.append((after, (*path, words)))
                found.violations += [((*path, words), wrong) for wrong in judge(after, found)]
        level = following
    found.states, found.seconds = len(visited), time.monotonic() - began
    return found


def judge(scope: Scope, found: Found) -> Iterator[str]:
    """Yield what is wrong when nothing more happens and only one node can do anything."""
    for able in scope.live:
        for healed in (True, False) if scope.cut else (True,):
            found.tries += 1
            if wrong := _alone(scope.copy(), able, healed=healed):
                yield f"{wrong}, though {'abc'[able]} is able{'' if healed else ' and the links stay cut'}"


def _alone(scope: Scope, able: int, *, healed: bool) -> str:
    """Let only one node's calls work from now on, and return what is wrong then."""
    if healed:
        scope.cut.clear()
    for one in scope.pending:
        if one.free and one.number == able:
            one.free, one.due = False, min(one.due, scope.now + 0.1)
    scope.able = able
    began, held = scope.now, scope.hole_since is None
    while scope.now < began + SETTLED:
        scope.pass_time(1.0)
        held = held or scope.hole_since is None
        if scope.hole_since is not None and scope.now - max(began, scope.hole_since) > HOLE:
            return f"no live holder for {scope.now - max(began, scope.hole_since):.0f} s"
        if scope.settled() or (scope.cut and scope.now > began + CUT_SETTLED and _served(scope)):
            return ""
    return "" if _served(scope) else f"dead holders {scope.holders & scope.dead} remain"


def _served(scope: Scope) -> bool:
    return bool(scope.holders - scope.dead) and not scope.holders & scope.dead


def main(depth: int, seconds: float = 600.0, scopes: Sequence[Small] = SCOPES) -> int:
    """Search all scopes, and say what came of it; return 1 if anything was wrong."""
    wrong = 0
    for small in scopes:
        found = search(small, depth, seconds)
        print(found, flush=True)
        for path, what in found.violations[:3]:
            print(f"  {what}, after: {'; '.join(path)}", flush=True)
        wrong += len(found.violations)
    return bool(wrong)
