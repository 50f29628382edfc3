"""Runs many seeds of random faults and tells what came of them: violations with their transcript,
holes, convergence, speed.

script/simulate --seeds 10000 --start 0 --jobs 2 script/simulate --transcript 4711          all that
happened in one run script/simulate --liveness --seeds 1000    the harsher world of `liveness`; a
run that fails is shrunk to a scenario
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tests.simulation import liveness
from tests.simulation.chaos import Chaos
from tests.simulation.chaos import run as run_chaos

HOUR = 3600.0
QUIET_HOUR_EVERY = 50  # seeds
SHOWN = 60  # lines of a transcript that are shown with a violation
NOTICED = 0.01  # seconds: a shorter hole is rounding


@dataclass(frozen=True, slots=True)
class Result:
    """What one seed showed; times in seconds."""

    seed: int
    violations: tuple[str, ...]
    faults: tuple[str, ...]
    longest_hole: float
    converged_after: float
    virtual: float
    nodes: int


@dataclass(slots=True)
class Tally:
    """What all seeds showed."""

    seeds: int = 0
    violated: list[Result] = field(default_factory=list)
    holes: list[tuple[float, int]] = field(default_factory=list)
    converged: list[float] = field(default_factory=list)
    node_hours: float = 0.0

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.converged.append(result.converged_after)
        self.node_hours += result.nodes * result.virtual / HOUR
        if result.violations:
            self.violated.append(result)
        if result.longest_hole > NOTICED:
            self.holes.append((result.longest_hole, result.seed))


def one(seed: int) -> Result:
    """Run one seed; every fiftieth with a quiet hour after it."""
    chaos = Chaos(seed)
    violations: list[str] = []
    try:
        chaos.run()
        if seed % QUIET_HOUR_EVERY == 0 and not chaos.report.violations:
            before = len(chaos.world.mutations)
            chaos.world.advance(HOUR)
            violations += [f"moves in a quiet hour: {move}" for move in chaos.world.mutations[before:][:4]]
    except Exception:
        violations.append(traceback.format_exc())
    report = chaos.report
    return Result(
        seed,
        (*report.violations, *violations),
        tuple(report.faults),
        report.longest_hole,
        report.converged_after,
        chaos.world.now,
        len(chaos.world.hosts),
    )


def one_live(seed: int) -> Result:
    """Run one seed of the harsher world; every second one without cuts, which hide much else."""
    run = liveness.Liveness(liveness.plan(seed, cuts=seed % 2 == 0))
    report = run.run()
    return Result(
        seed, tuple(report.violations), run.plan.commands, report.hole, 0.0, run.world.now, len(run.world.hosts)
    )


def many(run: Callable[[int], Result], seeds: Sequence[int], jobs: int) -> Iterable[Result]:
    """Run them in `jobs` processes, in no particular order."""
    if jobs <= 1:
        yield from map(run, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=8)


def show_shrunk(result: Result) -> None:
    """Show a failing run of the harsher world as the shortest scenario that still fails."""
    found = liveness.shrink(liveness.plan(result.seed, cuts=result.seed % 2 == 0), liveness.still_fails)
    print(f"\nseed {result.seed}: {'; '.join(result.violations)}\n{found.scenario()}", flush=True)


def tell(result: Result) -> None:
    """Show a run that violates something."""
    print(f"\nseed {result.seed} violates, with {result.nodes} nodes and the faults {'; '.join(result.faults)}:")
    for violation in result.violations:
        print(f"  {violation}")
    transcript = run_chaos(result.seed, quiet=False).transcript
    print(f"the last of its {len(transcript)} lines (all: script/simulate --transcript {result.seed}):")
    print("\n".join(transcript[-SHOWN:]), flush=True)


def summary(tally: Tally, seconds: float) -> str:
    """The tally in words."""
    converged, holes = sorted(tally.converged), sorted(tally.holes, reverse=True)
    worst = ", ".join(f"{hole:.2f} s (seed {seed})" for hole, seed in holes[:5]) or "none"
    middle, most = (converged[len(converged) // 2], converged[-1]) if converged else (0.0, 0.0)
    return "\n".join(
        [
            f"{tally.seeds} seeds: {len(tally.violated)} with a violation",
            f"holes that no fault explains: in {len(holes)} runs; longest: {worst}",
            f"converged after the last fault: {middle:.0f} s in the middle, {most:.0f} s at most",
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
    parser.add_argument(
        "--liveness", action="store_true", help="an able core is healed for good, all else stays broken"
    )
    options = parser.parse_args(arguments)
    if options.transcript is not None:
        report = run_chaos(options.transcript, quiet=False)
        print(
            "\n".join(
                [
                    *report.transcript,
                    f"faults: {'; '.join(report.faults)}",
                    f"violations: {report.violations or 'none'}",
                ]
            )
        )
        return bool(report.violations)
    began, tally = time.monotonic(), Tally()
    run, show = (one_live, show_shrunk) if options.liveness else (one, tell)
    for result in many(run, range(options.start, options.start + options.seeds), options.jobs):
        tally.add(result)
        if result.violations:
            show(result)
        if tally.seeds % 1000 == 0:
            print(f"… {tally.seeds} seeds, {len(tally.violated)} with a violation", flush=True)
    print(summary(tally, time.monotonic() - began))
    return bool(tally.violated)


if __name__ == "__main__":
    sys.exit(main())
