"""Two phases from a seed: first faults everywhere, then an able core is healed for good, all else
broken for good.

Faults that come and go hide livelocks, because each heals before it hurts. So the second phase
makes every fault permanent, except in the *core*: nodes that are up and healthy, whose calls work
and who hear each other. While such a node lives, no time without a live holder may be longer than
HOLE seconds, no dead holder may stay beside a live one for longer than DEAD seconds, and moves must
end. Then all holders outside the core die too, and the same must hold again.

What a seed decides is a scenario: a list of commands of `language`. Each run switches a random
subset of fault kinds on; a site (host and kind of call) either misbehaves often, always in the same
way, or never. A failing run is shrunk: lines are left out while it still fails, and what is left is
printed as a scenario file.

    script/simulate --liveness --seeds 1000
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from exoip.core.calls import Failure
from tests.simulation.language import CommandError, Commands

HOLE = 35.0  # seconds without a live holder
DEAD = 70.0  # seconds with a dead holder beside a live one: the longer grace for a rival, and the clear
STAGE = 1200.0  # seconds that each stage of the second phase is watched
SETTLES = 600.0  # seconds of a stage, after which …
MOVES = 4  # … the EIP moves at most so often
STEP = 0.25  # seconds between two looks

KINDS = ("attach", "detach", "poll", "read", "holders")
FAULTS = ("api", "api", "kill", "crash", "leave", "stall", "suspend", "cut", "split", "health", "hand", "loss", "lists")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed decided: the commands of the first phase, and the core of the second."""

    seed: int
    commands: tuple[str, ...]
    core: tuple[str, ...]

    def scenario(self) -> str:
        """Return it as a scenario file."""
        lines = [f"Seed {self.seed}: {', '.join(self.core)} can hold for good, all other faults stay.", ""]
        lines += [f"> {command}" for command in (*self.commands, f"able {' '.join(self.core)}", "measure")]
        return "\n".join([*lines, f"> advance {STAGE:.0f}s", f"> expect hole <= {HOLE:.0f}", ""])


@dataclass(slots=True)
class Report:
    """What a run showed: violations, and the longest times in seconds."""

    plan: Plan
    violations: list[str] = field(default_factory=list)
    hole: float = 0.0
    dead: float = 0.0
    moves: int = 0
    transcript: list[str] = field(default_factory=list)


def plan(seed: int, *, cuts: bool = True) -> Plan:
    """Decide a run."""
    rng = random.Random(seed)
    names = "abcde"[: rng.choice((2, 2, 3, 3, 3, 4, 5))]
    commands = list(_nodes(names, rng))
    kinds = [kind for kind in dict.fromkeys(FAULTS) if rng.random() < 0.5 and (cuts or kind not in ("cut", "split"))]
    for _ in range(rng.randint(1, 10) if kinds else 0):
        commands.append(f"advance {rng.choice((rng.uniform(0, 3), rng.uniform(0, 20), rng.uniform(0, 90))):.2f}s")
        commands += _fault(rng.choice(kinds), names, rng)
    commands.append(f"advance {rng.uniform(0, 15):.2f}s")
    core = rng.sample(names, rng.choice((1, 1, 2)) if len(names) > 2 else 1)
    return Plan(seed, tuple(commands), tuple(sorted(core)))


def _nodes(names: str, rng: random.Random) -> Iterator[str]:
    interval, ratio = rng.choice(("1s", "1s", "0.5s", "0.2s")), rng.choice((3, 3, 2, 5))
    delay, damping = rng.choice(("0", "0", "0", "5s", "never")), rng.choice(("yes", "yes", "no"))
    equal = rng.random() < 0.2
    for name, priority in zip(names, rng.sample(range(10, 60, 10), len(names)), strict=True):
        prio = 10 if equal else priority
        yield f"node {name} prio={prio} interval={interval} ratio={ratio} delay={delay} damping={damping}"
        yield f"latency {name} {rng.uniform(0.02, 0.5):.3f}s"
        yield f"operation {name} {rng.choice((rng.uniform(0.1, 1), rng.uniform(0.1, 1), 6)):.2f}s"
    for name in names:
        yield f"start {name}"
        yield f"advance {rng.choice((0.0, rng.uniform(0, 5))):.2f}s"
    yield "advance 20s"


def _fault(kind: str, names: str, rng: random.Random) -> list[str]:
    """Return the commands of one fault. None ends by itself, apart from stalls."""
    name = rng.choice(names)
    other = rng.choice([one for one in names if one != name])
    match kind:
        case "api":
            return [f"api {rng.choice((name, name, 'all'))} {site} {_reply(rng)}" for site in _sites(rng)]
        case "lists":
            return [f"api {rng.choice((name, 'all'))} refresh lists={rng.choice((0, 50))}% rate=50%"]
        case "crash":
            return [f"restart {name} {rng.choice(('300ms', '5s'))}"]
        case "stall" | "suspend":
            return [f"{kind} {name} {rng.choice((0.5, 2, 4, 10, 40))}s"]
        case "cut":
            return [f"drop {name}{rng.choice(('->', '-'))}{other}"]
        case "split":
            edge = rng.randint(1, len(names) - 1)
            return [f"split {names[:edge]} {names[edge:]}"]
        case "health":
            return [f"health {name} {rng.choice(('bad', 'bad', 'ok'))}"]
        case "hand":
            return [f"{rng.choice(('attach', 'detach'))}-by-hand {name}"]
        case "loss":
            return [f"loss {rng.choice((5, 10))}%"]
        case _:
            return [f"{kind} {name}"]


def _sites(rng: random.Random) -> list[str]:
    return ["all"] if rng.random() < 0.2 else rng.sample(KINDS, rng.choice((1, 1, 2, 3)))


def _reply(rng: random.Random) -> str:
    """Return any answer that the API may give by contract: effect, visibility, outcome and time
    apart from each other.
    """
    words = [f"effect={rng.choice(('yes', 'no'))}"]
    if rng.random() < 0.7:
        failure = rng.choice(("timeout", "unreachable", "unavailable", "refused", "not-so", "operation", "invalid"))
        assert failure in set(Failure)
        words.append(f"failure={failure}")
        if failure == "unavailable" and rng.random() < 0.5:
            words.append(f"retry={rng.choice((5, 60, 120, 300))}s")
    else:
        words = ["effect=yes", f"lag={rng.choice((0, 2, 10, 60))}s"]
        words += ["operation=fails"] if rng.random() < 0.2 else []
    if rng.random() < 0.4:
        words.append(f"takes={rng.choice(('0.5s', '1.5s', '2.6s', '8s', 'never'))}")
    words.append(f"rate={rng.choice((100, 100, 50))}%")
    return " ".join(words)


class Liveness:
    """One run of a plan."""

    def __init__(self, plan: Plan, *, quiet: bool = True) -> None:
        self.plan = plan
        self.commands = Commands(plan.seed)
        self.world = self.commands.world
        if quiet:
            self.world.transcript = None
        self.report = Report(plan)

    def run(self) -> Report:
        """Run it; a run that raises is a violation too."""
        try:
            for command in self.plan.commands:
                self.commands.run(command)
            self.commands.run(f"able {' '.join(self.plan.core)}")
            self._stage("the core healed")
            outside = [name for name in self.world.hosts if name not in self.plan.core]
            for name in outside:
                if name in self.world.holders:
                    self.commands.run(f"kill {name}")
            self._stage("holders outside the core died")
        except CommandError:
            raise
        except Exception as error:
            self.report.violations.append(f"{type(error).__name__}: {error}")
        self.report.transcript = self.world.transcript or []
        return self.report

    def _stage(self, what: str) -> None:
        """Watch for a while what must hold."""
        world, began = self.world, self.world.now
        hole = _Span(lambda: not any(self._serves(name) for name in world.holders))
        dead = _Span(lambda: {self._serves(name) for name in world.holders} == {True, False})
        early = 0
        while world.now < began + STAGE:
            if world.now < began + SETTLES:
                early = self.commands.meter.moves
            world.advance(STEP)
            hole.look(world.now)
            dead.look(world.now)
        moved = self.commands.meter.moves - early
        self.report.hole, self.report.dead = max(self.report.hole, hole.longest), max(self.report.dead, dead.longest)
        self.report.moves = max(self.report.moves, moved)
        if hole.longest > HOLE:
            self.report.violations.append(f"{what}: no live holder for {hole.longest:.0f} s")
        if dead.longest > DEAD:
            self.report.violations.append(f"{what}: a dead holder beside a live one for {dead.longest:.0f} s")
        if moved > MOVES:
            self.report.violations.append(f"{what}: {moved} moves after {SETTLES:.0f} s")

    def _serves(self, name: str) -> bool:
        return name in self.world.hosts and self.world.hosts[name].serves


class _Span:
    """The longest time for which a condition held."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition
        self._since = math.inf
        self.longest = 0.0

    def look(self, now: float) -> None:
        self._since = min(self._since, now) if self._condition() else math.inf
        self.longest = max(self.longest, now - self._since)


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Leave out commands, ever fewer at a time, while the run still fails."""
    commands: Sequence[str] = plan.commands
    size = max(1, len(commands) // 2)
    while True:
        for start in range(0, len(commands), size):
            fewer = (*commands[:start], *commands[start + size :])
            if fails(Plan(plan.seed, fewer, plan.core)):
                commands = fewer
                break
        else:
            if size == 1:
                return Plan(plan.seed, tuple(commands), plan.core)
            size //= 2


def still_fails(candidate: Plan) -> bool:
    """Whether a plan that was cut short still violates something; one that says nothing does not."""
    try:
        return bool(Liveness(candidate).run().violations)
    except (CommandError, ValueError, KeyError):
        return False
