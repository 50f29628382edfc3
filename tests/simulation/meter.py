"""What is measured while a world runs: time without a live holder, moves, calls, events, and two
masters that hear each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from exoip.core.events import Event
from exoip.core.peers import Role
from tests.simulation.world import World


class Meter:
    """Measures since it was made, or since the last `reset`.

    A *hole* is a time in which no instance that runs holds; none begins before the first holder. A
    *move* is an instance that comes to hold.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.holes: list[float] = []
        self.moves = 0
        self.events: list[tuple[str, Event]] = []
        self._since: float | None = None
        self._served = False
        self._holders: frozenset[str] = frozenset()
        self._first_call = 0
        world.watchers.append(self.look)
        world.listeners.append(lambda host, event: self.events.append((host.name, event)))

    def reset(self) -> None:
        """Measure from now on; a hole that is open goes on from now."""
        self.look()
        self.holes.clear()
        self.events.clear()
        self.moves, self._first_call = 0, len(self.world.mutations)
        if self._since is not None:
            self._since = self.world.now

    def look(self) -> None:
        """Take note of who holds; wanted whenever that, or which host serves, changes."""
        world, holders = self.world, self.world.holders
        self.moves += len(holders - self._holders)
        self._holders = holders
        serving = any(world.hosts[name].serves for name in holders if name in world.hosts)
        if serving and self._since is not None:
            self.holes.append(world.now - self._since)
            world.note(f"HOLE of {self.holes[-1]:.3f} s")
            self._since = None
        elif not serving and self._served and self._since is None:
            self._since = world.now
        self._served = self._served or serving

    @property
    def hole(self) -> float:
        """The longest hole in seconds, one that is still open included."""
        return max([*self.holes, *([self.world.now - self._since] if self._since is not None else [])], default=0.0)

    @property
    def mutations(self) -> int:
        """How many attaches and detaches went out."""
        return len(self.world.mutations) - self._first_call

    def calls(self, by: str, kind: str, of: str) -> int:
        """How many such mutations went out; "*" is any."""
        found = [(name, str(call), self.world.by_id[target].name) for _, name, call, target in self._mutations()]
        return sum(all(p in ("*", q) for p, q in zip((by, kind, of), one, strict=True)) for one in found)

    def _mutations(self) -> Sequence[tuple[float, str, str, str]]:
        return self.world.mutations[self._first_call :]

    def count(self, by: str, what: str) -> int:
        """How many events of this name a host told; "*" is any host."""
        return sum(by in ("*", name) and event.name == what for name, event in self.events)


def masters(world: World) -> list[str]:
    """The hosts whose daemon takes itself for the master."""
    return [host.name for host in world.hosts.values() if host.node and host.node._election.role is Role.MASTER]


def unsettled(world: World) -> str:
    """What is not as it should be in quiet times; nothing when all is well.

    Well: exactly one holder, it is the one master, all know of each other, nobody is unfit or
    stands back, and where a holder is not protected for ever it is the best of the nodes whose
    daemon runs.
    """
    found = masters(world)
    if len(found) != 1:
        return f"masters are {found or 'none'}"
    if world.holders != frozenset(found):
        return f"the master is {found[0]}, but held by {sorted(world.holders) or 'nobody'}"
    running = [host for host in world.hosts.values() if host.node is not None]
    for host in running:
        known = host.node.admission.members if host.node else {}
        unknown = [one.name for one in running if one.id not in (host.id, *known) and world.in_group(host, one)]
        if unknown:  # a stranger that is heard has the group read, ever more rarely
            return f"{host.name} does not know {unknown[0]}"
        ownership = host.node._ownership  # a snapshot would take a tenth of the time of all runs
        states = {
            "unfit": ownership.unfit_reasons.unfit(host.now),
            "yielded": ownership.stand_back.active,
            "in_doubt": ownership.observed.own.doubt,
        }
        if words := [word for word, is_so in states.items() if is_so]:
            return f"{host.name}: {', '.join(words)}"
    best = min(running, key=lambda host: (host.config.priority, host.id))
    if all(host.config.preempt_delay < math.inf for host in running) and best.name != found[0]:
        return f"the master is {found[0]}, but {best.name} is better"
    return ""
