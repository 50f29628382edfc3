"""Run the plan of one seed, and say what came of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.simulation.coverage import Coverage
from tests.simulation.judge import MOVES, Judge
from tests.simulation.language import Commands
from tests.simulation.meter import unsettled
from tests.simulation.plan import HARMLESS, Plan
from tests.simulation.result import Result
from tests.simulation.witness import Witness
from tests.simulation.words import CommandError

WATCH = 200.0  # seconds for which each part of the second phase is watched
SETTLED = 40.0  # seconds without a move and with one right holder: converged
LONGEST = 2000.0  # seconds to converge at most: an unfit time, then the longest damping, and what leads there
QUIET = 200.0  # seconds in which nothing may move after that
MOVES_IN_A_CUT = 12  # in QUIET seconds, if a cut remains, or reads show what is not so
LOOKS = 5.0  # seconds between two looks of the judge, at most
LIES = ("lag", "lands", "effect=no", "effect=yes,no", "effect=no,yes", "detach-by-hand", "detach-holders", "freeze")
SKIPPED = (
    "wait",
    "advance",
    "group",
    "verify",
    "delay",
    "node",
    "latency",
    "operation",
    "date",
    "start",
    "able",
    "measure",
)


class Run:
    """One run of a plan."""

    def __init__(self, plan: Plan, *, quiet: bool = True) -> None:
        self.result = Result(plan)
        self.plan = plan
        self.commands = Commands(plan.seed)
        self.world = self.commands.world
        if quiet:
            self.world.transcript = None
        self.judge = Judge(self.world)
        self.witness = Witness(self.world)
        self.coverage = Coverage(self.world)
        self.faults = 0

    def run(self) -> Result:
        """Run it; a run that raises is a violation too."""
        result, world = self.result, self.world
        try:
            self._both_phases()
        except Exception:
            result.violations.append(traceback.format_exc())
        result.violations += self.judge.violations + self.witness.violations
        result.violations += [
            f"{at:.1f}: {name} wants to {kind} a stranger {target}"
            for at, name, kind, target in world.mutations
            if target not in world.by_id
        ]
        result.hole, result.dead = self.judge.hole, self.judge.dead
        result.own, result.stop = self.judge.own, self.judge.stop
        result.virtual, result.nodes, result.moves = world.now, len(world.hosts), self.commands.meter.moves
        result.transcript, result.rules = world.transcript or [], self.coverage.counts()
        return result

    def _both_phases(self) -> None:
        for command in self.plan.commands:
            self._do(command)
        harmless = set(self.plan.kinds) <= set(HARMLESS)
        if harmless and self.commands.meter.moves > (formed := self._formed()):
            self._violated(
                f"{self.commands.meter.moves} moves, {formed} expected, but nothing that may move the address"
            )
        self._do(f"able {' '.join(self.plan.core)}")
        if self.plan.core == ("all",):
            self._converge()
        else:
            self._watch(WATCH)
            for command in self.plan.finale:
                self._do(command)
                self._watch(WATCH)
            before = self.commands.meter.moves
            self._watch(QUIET)
            most = MOVES_IN_A_CUT if self.world.cut or self.judge.bounds.lies else MOVES
            if (moved := self.commands.meter.moves - before) > most:
                self._violated(f"{moved} moves in {QUIET:.0f} s, long after the last fault")
        lossy = "loss" in self.plan.kinds  # each lost heartbeat may be a fault of its own
        if self.commands.meter.moves > (most := MOVES * (self.faults + 2)) and not lossy:
            self._violated(f"{self.commands.meter.moves} moves for {self.faults} faults (at most {most})")
        self.judge.finish()

    def _formed(self) -> int:
        """Return how many moves the start may take: each node that starts may be better than those
        before. With a preemption delay the best one may have to take it twice: another that attaches
        while it releases to a worse one is protected.
        """
        delayed = any(command.startswith("node ") and " delay=" in command for command in self.plan.commands)
        return sum(command.startswith("start ") for command in self.plan.commands) + delayed

    def _do(self, command: str) -> None:
        word = command.split()[0]
        if word not in SKIPPED:
            self.faults += 1
            self.judge.faulted(ends_service=word.startswith(("kill", "suspend", "freeze")))
            cut = word in ("drop", "split", "member", "remove", "loss", "suspend", "freeze", "stall", "crash")
            if cut or "lists=" in command:  # whom a list of the group lacks is not heard
                self.judge.bounds.cut_since = min(self.judge.bounds.cut_since, self.world.now)
            if any(lie in command for lie in LIES):
                self.judge.bounds.lies = True
        self.world.note(f"> {command}")
        if word == "advance":
            self._watch(float(command.split()[1].removesuffix("s")))
            return
        try:
            self.commands.run(command)
        except CommandError:
            if word in ("api", "node"):
                raise  # else it says nothing now: a daemon to be started runs already

    def _watch(self, seconds: float) -> None:
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.advance_to(min(end, self.world.now + LOOKS))
            self.judge.look()

    def _converge(self) -> None:
        """Wait until one right node holds and nothing moves; nothing may move after that."""
        world, healed = self.world, self.world.now
        world.cut.clear()
        limit = settled_at = world.now
        limit += LONGEST
        why = unsettled(world)
        while world.now < limit and (why or world.now < settled_at + SETTLED):
            moved = len(world.mutations)
            self._watch(1.0 if world.now < healed + 100 else LOOKS)
            why = unsettled(world)
            if why or moved != len(world.mutations):
                settled_at = world.now
        self.result.converged_after = settled_at - healed
        if why:
            self._violated(f"not converged {LONGEST:.0f} s after all was healed: {why}")
            return
        count = len(world.mutations)
        self._watch(QUIET)
        if len(world.mutations) != count:
            self._violated(f"moves in quiet: {world.mutations[count:][:4]}")
        elif after := unsettled(world):
            self._violated(f"came apart in quiet: {after}")

    def _violated(self, what: str) -> None:
        self.result.violations.append(f"{self.world.now:.1f}: {what}")
        self.world.note(f"VIOLATION: {what}")


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Leave out commands, ever fewer at a time, and then parts of the finale, while the run still fails."""
    commands = _shorter(plan.commands, lambda fewer: fails(replace(plan, commands=fewer)))
    plan = replace(plan, commands=commands)
    finale = _shorter(plan.finale, lambda fewer: fails(replace(plan, finale=fewer)))
    return replace(plan, finale=finale)


def _shorter(lines: Sequence[str], fails: Callable[[tuple[str, ...]], bool]) -> tuple[str, ...]:
    kept, size = tuple(lines), max(1, len(lines) // 2)
    while kept:
        for start in range(0, len(kept), size):
            if fails(fewer := (*kept[:start], *kept[start + size :])):
                kept = fewer
                break
        else:
            if size == 1:
                break
            size //= 2
    return kept


def still_fails(candidate: Plan, of_kind: str = "") -> bool:
    """Whether a plan that was cut short still violates something of a kind (words of a violation);
    one that says nothing does not.
    """
    try:
        return any(of_kind in violation for violation in Run(candidate).run().violations)
    except (CommandError, ValueError, KeyError):
        return False
