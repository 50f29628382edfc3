"""Runs many seeds of the harsh world and says what came of them: violations, each shrunk to the
shortest scenario that still fails, holes, convergence, which rules were exercised, and the speed.

script/simulate --seeds 10000 --start 0 --jobs 2
script/simulate --transcript 4711                  all that happened in one run
script/simulate --exhaustive --depth 6             every order of events in small scopes
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from exoip.core import node
from exoip.heartbeat.wire import Heartbeat
from tests.simulation import coverage, exhaustive
from tests.simulation.plan import Plan, plan
from tests.simulation.result import Result
from tests.simulation.run import WATCH, Run, shrink, still_fails
from tests.simulation.single import Single

HOUR = 3600.0
SHRINK_TIME = 60.0  # seconds of real time that shrinking one run may take
SHRUNK = 5  # so many runs that violate something are shrunk, the others only named


@dataclass(slots=True)
class Tally:
    """What all seeds showed."""

    seeds: int = 0
    violated: list[Result] = field(default_factory=list)
    own: list[tuple[float, int]] = field(default_factory=list)
    stop: list[tuple[float, int]] = field(default_factory=list)
    hole: tuple[float, int] = (0.0, 0)
    dead: tuple[float, int] = (0.0, 0)
    converged: list[float] = field(default_factory=list)
    node_hours: float = 0.0
    rules: Counter[str] = field(default_factory=Counter)  # runs that exercised each

    def add(self, result: Result) -> None:
        seed = result.plan.seed
        self.seeds += 1
        self.node_hours += result.nodes * result.virtual / HOUR
        self.hole = max(self.hole, (result.hole, seed))
        self.dead = max(self.dead, (result.dead, seed))
        self.rules.update(result.rules.keys())
        if result.plan.core == ("all",) and result.converged_after:
            self.converged.append(result.converged_after)
        if result.violations:
            self.violated.append(result)
        if result.own:
            self.own.append((result.own, seed))
        if result.stop:
            self.stop.append((result.stop, seed))


def one(seed: int, *, quiet: bool = True) -> Result:
    """Run one seed: every third has single faults, the others have them in heaps."""
    return (Single(seed, quiet=quiet) if seed % 3 == 0 else Run(plan(seed), quiet=quiet)).run()


def make_heartbeats_once() -> None:
    """Let the nodes of this process share equal heartbeats: checking each anew is a sixth of the time."""
    node.Heartbeat = functools.lru_cache(maxsize=4096)(Heartbeat)  # type: ignore[misc, assignment]


def many(run: Callable[[int], Result], seeds: Sequence[int], jobs: int) -> Iterable[Result]:
    """Run them in `jobs` processes, in no particular order."""
    if jobs <= 1:
        yield from map(run, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=8)


def kind(violation: str) -> str:
    """Return the words of a violation that tell its kind: what stands before any number or name."""
    told = violation.partition(": ")[2]
    for words in ("no live holder", "a dead holder", "stands back", "not converged", "moves", "came apart"):
        if words in told:
            return words
    return ""


def show(result: Result, *, shortest: bool) -> None:
    """Show a run that violates something, and perhaps the shortest scenario of it that still does so."""
    print(f"\nseed {result.plan.seed} violates, with faults of the kinds {', '.join(result.plan.kinds)}:")
    for violation in result.violations[:4]:
        print(f"  {violation}")
    if result.plan.seed % 3 == 0 or not shortest:
        print(f"all of it: script/simulate --transcript {result.plan.seed}", flush=True)
        return
    until, what = time.monotonic() + SHRINK_TIME, kind(result.violations[0])

    def fails(candidate: Plan) -> bool:
        return time.monotonic() < until and still_fails(candidate, what)

    print(shrink(result.plan, fails).scenario(WATCH, math.ceil(result.hole)), flush=True)


def _worst(holes: Sequence[tuple[float, int]], seeds: int) -> str:
    longest = ", ".join(f"{hole:.2f} s (seed {seed})" for hole, seed in sorted(holes, reverse=True)[:5]) or "none"
    return f"in {len(holes)} runs ({100 * len(holes) / max(1, seeds):.2f} %); longest: {longest}"


def summary(tally: Tally, seconds: float) -> str:
    """Return the tally in words."""
    converged = sorted(tally.converged)
    middle, most = (converged[len(converged) // 2], converged[-1]) if converged else (0.0, 0.0)
    return "\n".join(
        [
            coverage.table(tally.rules, tally.seeds),
            f"{tally.seeds} seeds: {len(tally.violated)} with a violation",
            f"without a live holder while an able node lived: {tally.hole[0]:.1f} s at most (seed {tally.hole[1]})",
            f"a dead holder beside a live one: {tally.dead[0]:.1f} s at most (seed {tally.dead[1]})",
            f"holes that a detach made: {_worst(tally.own, tally.seeds)}",
            f"… while somebody stopped a node: {_worst(tally.stop, tally.seeds)}",
            f"converged after all was healed: {middle:.0f} s in the middle, {most:.0f} s at most",
            f"{tally.node_hours:.0f} node-hours in {seconds:.0f} s: {tally.node_hours / max(seconds, 1e-9):.1f} a second",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 when a seed shows a violation."""
    parser = argparse.ArgumentParser(prog="script/simulate", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes")
    parser.add_argument("--transcript", type=int, metavar="SEED", help="show all of one run instead")
    parser.add_argument("--exhaustive", action="store_true", help="every order of events in small scopes instead")
    parser.add_argument("--depth", type=int, default=5, help="events in a row, with --exhaustive")
    options = parser.parse_args(arguments)
    if options.exhaustive:
        return exhaustive.main(options.depth)
    if options.transcript is not None:
        result = one(options.transcript, quiet=False)
        print("\n".join([*result.transcript, f"violations: {result.violations or 'none'}"]))
        return bool(result.violations)
    coverage.watch_constants()
    make_heartbeats_once()
    began, tally = time.monotonic(), Tally()
    for result in many(one, range(options.start, options.start + options.seeds), options.jobs):
        tally.add(result)
        if result.violations:
            show(result, shortest=len(tally.violated) <= SHRUNK)
        if tally.seeds % 1000 == 0:
            print(f"… {tally.seeds} seeds, {len(tally.violated)} with a violation", flush=True)
    print(summary(tally, time.monotonic() - began))
    return bool(tally.violated)


if __name__ == "__main__":
    sys.exit(main())
