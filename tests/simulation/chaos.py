"""Random faults from a seed: a few nodes, one to eight faults over some minutes, then quiet; and
what must hold of it all.
"""

from __future__ import annotations

import random
import traceback
from dataclasses import dataclass, field

from tests.simulation.meter import unsettled
from tests.simulation.world import Host, World

MODES = ("fail", "refuse", "unreachable", "hang", "lost", "late", "operation")
SETTLED = 40.0  # seconds without a move and with one right holder: converged
LONGEST = 2000.0  # seconds to converge at most: an unfit time, then the longest flap damping, each ten minutes, and what leads to them
QUIET, QUIET_HOUR = 600.0, 3600.0  # seconds in which nothing may move after that; every fiftieth seed has an hour
KINDS = ("all", "all", "attach", "detach", "read")


@dataclass
class Report:
    """What a run showed."""

    seed: int
    violations: list[str] = field(default_factory=list)
    hole: float = 0.0  # seconds without a live holder, caused by a detach
    longest_hole: float = 0.0
    faults: list[str] = field(default_factory=list)
    converged_after: float = 0.0  # seconds after the last fault ended
    virtual: float = 0.0
    transcript: list[str] = field(default_factory=list)


class Chaos:
    """One run."""

    def __init__(self, seed: int, *, quiet: bool = True) -> None:
        self.rng = random.Random(seed)
        self.world = World(seed, quiet=quiet)
        self.report = Report(seed)
        self.last_fault = 0.0
        self._served = False
        self._hole_since: float | None = None
        self._excused = False
        self.world.watchers.append(self._watch)

    # -- set-up -----------------------------------------------------------------------------------------------------

    def build(self) -> None:
        rng, world = self.rng, self.world
        count = rng.choice((2, 2, 3, 3, 3, 4, 5))
        interval = rng.choice((1.0, 1.0, 0.5))
        delay = rng.choice((0.0, 0.0, 0.0, 5.0, float("inf")))
        damping = rng.random() < 0.7
        priorities = rng.sample(range(10, 60, 10), count) if rng.random() < 0.7 else [10] * count
        for name, priority in zip("abcde", priorities, strict=False):
            host = world.add(name, priority, interval=interval, preempt_delay=delay, flap_damping=damping)
            latency, operation = rng.uniform(0.02, 0.5), rng.uniform(0.1, 1.0)
            host.api.latency, host.api.operation = (latency / 2, latency), (operation / 2, operation)
        world.delay = rng.choice(((0.001, 0.001), (0.001, 0.05), (0.001, interval / 2)))
        for host in world.hosts.values():
            world.at(rng.choice((0.0, rng.uniform(0, 5))), host.start)

    # -- faults -----------------------------------------------------------------------------------------------------

    def schedule(self) -> None:
        at = self.rng.uniform(8, 15)
        for _ in range(self.rng.randint(1, 8)):
            self._fault(at)
            at += self.rng.choice((self.rng.uniform(0, 3), self.rng.uniform(0, 20), self.rng.uniform(0, 90)))

    def _fault(self, at: float) -> None:
        rng = self.rng
        name = rng.choice(list(self.world.hosts))
        host = self.world.hosts[name]
        lasts = rng.choice((rng.uniform(0.2, 4), rng.uniform(1, 15), rng.uniform(5, 100)))
        kind = rng.choice(
            ("kill", "crash", "stall", "suspend", "leave", "split", "cut", "api", "api", "detach", "loss")
        )
        self.report.faults.append(f"{at:.1f} {kind} {name} {lasts:.1f}")
        self._during(at, lasts, *getattr(self, f"_{kind}")(host, lasts))

    def _during(self, at: float, lasts: float, begin, end) -> None:
        def started() -> None:
            self.world.note(f"FAULT {begin.__qualname__.split('.')[1]}")
            begin()
            self._excuse()
            self.world.look()

        def ended() -> None:
            self.world.note(f"END {begin.__qualname__.split('.')[1]}")
            end()
            self.world.look()

        self.world.at(at, started)
        self.world.at(at + lasts, ended)
        self.last_fault = max(self.last_fault, at + lasts)

    def _revive(self, host: Host) -> None:
        host.up = True
        if host.node is None:
            host.start()

    def _kill(self, host: Host, lasts: float):
        return host.kill, lambda: self._revive(host)

    def _crash(self, host: Host, lasts: float):
        return host.crash, lambda: self._revive(host) if host.up else None

    def _leave(self, host: Host, lasts: float):
        def back() -> None:
            if host.up:
                if host.node is not None:
                    host.crash()
                host.start()

        return host.leave, back

    def _stall(self, host: Host, lasts: float):
        return lambda: host.stall(lasts), lambda: None

    def _suspend(self, host: Host, lasts: float):
        return lambda: host.stall(lasts, deaf=True), lambda: None

    def _split(self, host: Host, lasts: float):
        names = list(self.world.hosts)
        self.rng.shuffle(names)
        edge = self.rng.randint(1, len(names) - 1)
        groups = ["".join(names[:edge]), "".join(names[edge:])]
        return lambda: self.world.split(*groups), lambda: self.world.cut.clear()

    def _cut(self, host: Host, lasts: float):
        other = self.rng.choice([name for name in self.world.hosts if name != host.name])
        links = {(host.name, other)} | ({(other, host.name)} if self.rng.random() < 0.5 else set())
        return lambda: self.world.cut.update(links), lambda: self.world.cut.difference_update(links)

    def _api(self, host: Host, lasts: float):
        hosts = list(self.world.hosts.values()) if self.rng.random() < 0.3 else [host]
        kind, mode = self.rng.choice(KINDS), self.rng.choice(MODES)
        self.report.faults[-1] += f" {kind} {mode} x{len(hosts)}"

        def begin() -> None:
            for each in hosts:
                each.api.modes = {kind: mode}

        def end() -> None:
            for each in hosts:
                each.api.modes = {}

        return begin, end

    def _detach(self, host: Host, lasts: float):
        def outsider() -> None:
            for holder in list(self.world.zone.holders(self.world.now)):
                self.world.zone.force(holder, False, self.world.now)
            self._excused = True

        return outsider, lambda: None

    def _loss(self, host: Host, lasts: float):
        def begin() -> None:
            self.world.loss = 0.1

        def end() -> None:
            self.world.loss = 0.0

        return begin, end

    # -- what must hold ---------------------------------------------------------------------------------------------

    def _excuse(self) -> None:
        """A hole that a fault itself makes (the holder's host died, an outsider detached) is not
        ours.
        """
        if not self._serving():
            self._excused = True

    def _serving(self) -> bool:
        return any(self.world.hosts[name].up for name in self.world.holders if name in self.world.hosts)

    def _watch(self) -> None:
        world, serving = self.world, self._serving()
        if self._served and not serving and not self._excused and any(h.up for h in world.hosts.values()):
            alone = sum(h.node is not None for h in world.hosts.values()) == 0 or any(
                h.leaving for h in world.hosts.values()
            )
            if not alone:
                self._hole_since = world.now
        if serving:
            if self._hole_since is not None:
                hole = world.now - self._hole_since
                self.report.hole += hole
                self.report.longest_hole = max(self.report.longest_hole, hole)
                world.note(f"HOLE of {hole:.2f} s")
            self._hole_since, self._excused = None, False
        self._served = serving

    def run(self) -> Report:
        world, report = self.world, self.report
        self.build()
        self.schedule()
        world.advance_to(self.last_fault)
        for host in world.hosts.values():  # an api fault that ended earlier than one it replaced
            host.api.modes = {}
        limit, settled_at = world.now + LONGEST, world.now
        why = unsettled(world)
        while world.now < limit and (why or world.now < settled_at + SETTLED):
            moved = len(world.mutations)
            world.advance(1.0)
            why = unsettled(world)
            if why or moved != len(world.mutations):
                settled_at = world.now
        report.converged_after = settled_at - self.last_fault
        if why:
            report.violations.append(f"not converged {LONGEST:.0f} s after the last fault: {why}")
        count = len(world.mutations)
        world.advance(QUIET if self.report.seed % 50 else QUIET_HOUR)
        if not why and len(world.mutations) != count:
            report.violations.append(f"moves in quiet: {world.mutations[count:][:4]}")
        if not why and (after := unsettled(world)):
            report.violations.append(f"came apart in quiet: {after}")
        for at, name, kind, target in world.mutations:
            if target not in world.by_id:
                report.violations.append(f"{at:.1f} {name} {kind} of a stranger {target}")
        report.virtual = world.now
        report.transcript = world.transcript or []
        return report


def run(seed: int, *, quiet: bool = True) -> Report:
    chaos = Chaos(seed, quiet=quiet)
    try:
        return chaos.run()
    except Exception as error:
        chaos.report.violations.append(f"{type(error).__name__}: {error}")
        chaos.report.transcript = chaos.world.transcript or []
        if not quiet:
            chaos.report.transcript.append(traceback.format_exc())
        return chaos.report
