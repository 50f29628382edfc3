"""One fault at a time, out of quiet: the bounds of the protocol document, to the hundredth of a second.

Random faults in heaps can be judged by wide bounds only. So every third seed draws a world without
other troubles, and lets some rows of `faults` happen to it, one after another. In between everything
is healed and has to settle, without a hole. The rows take turns, so that a few seeds have them all.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
import re
import string
import traceback
from collections.abc import Iterator

from exoip.core.peers import PROTECTED
from tests.simulation.coverage import Coverage
from tests.simulation.expectations import Unmet
from tests.simulation.fault import Fault
from tests.simulation.faults import FAULTS
from tests.simulation.language import Commands
from tests.simulation.meter import masters, unsettled
from tests.simulation.plan import Plan
from tests.simulation.result import Result
from tests.simulation.witness import Witness

SETTLES = 2000.0  # seconds to settle at most once all is healed: an unfit time and the longest damping
MOST_NODES = 4  # at the start; more happens to them as to so many
STILL = 45.0  # seconds without a move and with one right holder: settled
MOST_FAULTS = 6  # of one run


@functools.cache
def one_round(number: int) -> tuple[tuple[Fault, ...], ...]:
    """Return all faults in random order, in runs of those that fit into the same world. What is slow
    is remembered, so it comes last; what takes so many nodes comes before another one joins.
    """
    waiting, runs = random.Random(number).sample(FAULTS, len(FAULTS)), []
    while waiting:
        chosen: list[Fault] = []
        for fault in waiting:
            if len(chosen) < MOST_FAULTS and all(fault.fits(other) for other in chosen):
                chosen.append(fault)
        waiting = [fault for fault in waiting if fault not in chosen]
        runs.append(tuple(sorted(chosen, key=lambda fault: (fault.slow, len(fault.nodes) > 1))))
    return tuple(runs)


def in_turn(number: int) -> tuple[Fault, ...]:
    """Return the faults of a run: each fault has had its turn before any has it again."""
    for runs in map(one_round, itertools.count()):
        if number < len(runs):
            return runs[number]
        number -= len(runs)
    raise AssertionError("there are endless rounds")


def commands_of_world(rng: random.Random, faults: tuple[Fault, ...]) -> Iterator[str]:
    """Yield what makes a world without troubles in which all these faults can happen."""
    needs = {name: value for fault in faults for name, value in fault.terms.items()}

    def pick(name: str, *values: str) -> str:
        return needs.get(name, rng.choice(values))

    names = "abcd"[: rng.choice([number for number in (2, 3, 3, 3, 4) if all(number in one.nodes for one in faults)])]
    yield f"group {pick('group', 'refreshed', 'fixed')}"
    delay = rng.choice((1, 20, 90))
    yield f"delay 0.2ms {delay}ms"
    interval, ratio = pick("interval", "500ms", "1s", "1s", "2s"), pick("ratio", "2", "3", "3", "5")
    preempt, damping = pick("delay", "0", "0", "0", "5s", "never"), pick("damping", "yes", "yes", "no")
    equal = pick("equal", "yes", "no", "no", "no") == "yes"
    for number, name in enumerate(rng.sample(names, len(names))):
        priority = 10 if equal else 10 * (number + 1)
        yield f"node {name} prio={priority} interval={interval} ratio={ratio} delay={preempt} damping={damping}"
    yield f"latency all {rng.uniform(0.02, 0.5):.3f}s"
    yield f"operation all {rng.uniform(0.05, 1):.3f}s"
    for name in names:
        yield f"start {name}"
        yield f"advance {rng.uniform(0, 1):.2f}s"


class Single:
    """One run: a world, and some faults out of quiet; `faults`: these instead of those whose turn it is."""

    def __init__(self, seed: int, *, quiet: bool = True, faults: tuple[Fault, ...] = ()) -> None:
        self.rng = random.Random(seed)
        self.faults = faults or in_turn(seed // 3)
        start = tuple(commands_of_world(self.rng, self.faults))
        self.commands = Commands(seed)
        self.world = self.commands.world
        if quiet:
            self.world.transcript = None
        self.result = Result(Plan(seed, start, ("all",), kinds=tuple(fault.name for fault in self.faults)))
        self.witness = Witness(self.world)
        self.coverage = Coverage(self.world)

    def run(self) -> Result:
        """Run it; a run that raises is a violation too."""
        result = self.result
        try:
            for command in result.plan.commands:
                self.commands.run(command)
            if self._settles("the start"):
                for fault in self.faults:
                    if min(len(self.world.hosts), MOST_NODES) not in fault.nodes:
                        continue  # another node has joined meanwhile
                    if not (self._happens(fault) and self._heals(fault)):
                        break
        except Exception:
            result.violations.append(traceback.format_exc())
        result.violations += self.witness.violations
        result.virtual, result.nodes = self.world.now, len(self.world.hosts)
        result.moves, result.transcript = self.commands.meter.moves, self.world.transcript or []
        result.rules = self.coverage.counts()
        return result

    def _happens(self, fault: Fault) -> bool:
        self.world.advance(self.rng.uniform(0, 3))
        self.commands.run("measure")
        for command in self._with_names(fault):
            try:
                for each in self._in_full(command):
                    self.commands.run(each)
            except Unmet as unmet:
                return self._violated(f"{fault.name}: {command}: {unmet}")
        return True

    def _with_names(self, fault: Fault) -> Iterator[str]:
        holder = masters(self.world)[0]
        others = sorted(
            (host for host in self.world.hosts.values() if host.name != holder),
            key=lambda host: (host.config.priority, host.id),
        )
        dead = self.world.hosts[holder].config.dead_time
        node = self.world.hosts[holder].node
        protected = node is not None and node.snapshot(self.world.now).advertised == PROTECTED
        rise = str(dead if protected else 0.0)  # seconds until others count its priority, when it no longer holds
        names = {
            "H": holder,
            "N": others[0].name,
            "M": others[min(1, len(others) - 1)].name,
            "W": others[-1].name,
            "RISE": rise,
        }
        times = {
            "SHORT": (0.1 * dead, 0.3 * dead),
            "MOST": (0.6 * dead, 0.95 * dead),
            "LONG": (1.6 * dead + 3, 4 * dead + 3),
        }
        drawn = {word: f"{self.rng.uniform(*least_most):.2f}" for word, least_most in times.items()}
        for command in fault.commands:
            text = re.sub("SHORT|MOST|LONG", lambda found: drawn[found[0]], command)
            text = re.sub(r"UPTO(\d+)", lambda found: f"{self.rng.uniform(0, float(found[1])):.2f}", text)
            yield re.sub(r"\b([HNMW]|RISE)\b", lambda found: names[found[0]], text)

    def _in_full(self, command: str) -> Iterator[str]:
        """Yield the commands that one word of a fault stands for."""
        if command == "flap":
            yield from self._flaps()
        elif command.startswith("join "):
            yield from self._joins(better=command == "join better")
        else:
            yield command

    def _joins(self, *, better: bool) -> Iterator[str]:
        priorities = [host.config.priority for host in self.world.hosts.values()]
        priority = min(priorities) - 1 if better else max(priorities) + 1
        like = next(iter(self.world.hosts.values())).config
        name = next(one for one in string.ascii_lowercase if one not in self.world.hosts)
        delay = "never" if like.preempt_delay == math.inf else f"{like.preempt_delay}s"
        damping = "yes" if like.flap_damping else "no"
        yield f"node {name} prio={priority} interval={like.interval}s ratio={like.dead_ratio} delay={delay} damping={damping}"
        yield f"start {name}"

    def _flaps(self) -> Iterator[str]:
        holder = masters(self.world)[0]
        for _ in range(12):
            yield from (f"health {holder} bad", "advance 8s", f"health {holder} ok", "advance 12s")

    def _heals(self, fault: Fault) -> bool:
        self.commands.run("heal")
        self.commands.run("able all")
        self.commands.run("measure")
        return self._settles(f"{fault.name}, healed")

    def _settles(self, what: str) -> bool:
        world = self.world
        began = still = world.now
        why = "not looked at"
        while world.now < began + SETTLES and (why or world.now < still + STILL):
            mutations = len(world.mutations)
            world.advance(1.0 if world.now < began + 60 else 10.0)
            why = unsettled(world)
            if why or mutations != len(world.mutations):
                still = world.now
        self.result.converged_after = max(self.result.converged_after, still - began)
        if why:
            return self._violated(f"{what}: not settled after {SETTLES:.0f} s: {why}")
        if what != "the start" and self.commands.meter.hole > 0.02 and self.commands.meter.holes:
            return self._violated(f"{what}: a hole of {self.commands.meter.hole:.2f} s") if self._ours() else True
        return True

    def _ours(self) -> bool:
        """Whether a live node held when all was healed, so that a hole after that is the nodes' own."""
        return len(self.commands.meter.holes) > 1

    def _violated(self, what: str) -> bool:
        self.result.violations.append(f"{self.world.now:.1f}: {what}")
        self.world.note(f"VIOLATION: {what}")
        return False
