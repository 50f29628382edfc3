"""Run real daemons through random faults from a seed, and fail if anything happens that must not.

script/chaos --seed 7                 200 faults; without a seed a new one, which is printed
script/chaos --in-turn cuts           every fault of one sort, one after the other
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.process.faults import partition, plan
from tests.process.faults.chaos import INTERVAL, RATIO, Report, Run
from tests.support.partition import PartitionError
from tests.support.paths import ROOT

PREFIX = "2001:db8:0:1::/96"  # the Elastic IP of --ipv6
UNAVAILABLE = 3  # the exit code if a requested fault is not available here


def summary(report: Report) -> str:
    """Return the report as text."""
    calm = sorted(report.calm_after) or [0.0]
    ours = [
        f"{seconds:.2f} s (spell {spell})" for seconds, spell, fault in sorted(report.holes, reverse=True) if not fault
    ]
    theirs = [
        f"{seconds:.2f} s (spell {spell})" for seconds, spell, fault in sorted(report.holes, reverse=True) if fault
    ]
    growth = max((life.growth for lives in report.lives.values() for life in lives), default=0)
    longest = {name: max(lives, key=lambda life: life.faults) for name, lives in report.lives.items() if lives}
    return "\n".join(
        [
            f"{report.plan.name}: {report.faults} faults in {report.spells} spells, {report.seconds:.0f} s",
            f"attaches and detaches: {report.moves}",
            f"quiet after {calm[len(calm) // 2]:.1f} s in the middle, {calm[-1]:.1f} s at most; begun and broken again"
            f" {report.broken} times; with a node that steps aside {report.aside} times",
            f"no live instance held, made so by a fault: {len(theirs)} times, longest {', '.join(theirs[:3]) or 'none'}",
            f"no live instance held, made so by a node's detach: {len(ours)} times, longest {', '.join(ours[:3]) or 'none'}",
            *(f"{name}: {len(report.lives[name])} starts; the longest: {life}" for name, life in longest.items()),
            f"growth of a daemon's memory: {growth} KiB at most",
        ]
    )


def failed(report: Report, log: Path, again: str) -> str:
    """Return what a person needs to find the cause."""
    faults = [text for _, text in report.told if text.startswith(("SPELL", "FAULT", "quiet"))]
    return "\n".join(
        [
            "== the faults so far",
            *faults,
            f"== the last two spells; all of them are in {log}",
            report.last,
            f"== {report.plan.name}, fault {report.faults}, spell {report.spells + 1}: {report.violation}",
            f"again: {again}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if all is well, 1 if not, 3 if the requested faults are not available here."""
    parser = argparse.ArgumentParser(prog="script/chaos", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--faults", type=int, default=200, help="how many (200)")
    parser.add_argument("--seed", type=int, help="of the faults (default: a new one, which is printed)")
    parser.add_argument("--in-turn", choices=plan.IN_TURN, help="instead: every fault of one sort, one after the other")
    parser.add_argument("--nodes", type=int, default=3, help="how many (3)")
    parser.add_argument(
        "--interval", type=float, default=INTERVAL, help=f"advertisement interval in seconds ({INTERVAL:g})"
    )
    parser.add_argument("--ratio", type=float, default=RATIO, help=f"dead ratio ({RATIO:g})")
    parser.add_argument("--no-cuts", action="store_true", help="do not cut the network, so that no namespace is needed")
    parser.add_argument("--ipv6", action="store_true", help="keep an IPv6 prefix")
    parser.add_argument("--log", type=Path, help="write the whole transcript to this file, even if nothing went wrong")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    words = sys.argv[1:] if arguments is None else list(arguments)
    if options.seed is None and not options.in_turn:
        words += ["--seed", str(seed)]
    may_cut = not options.no_cuts
    if may_cut:
        try:
            if not partition.inside():
                partition.enter([sys.executable, "-m", "tests.process.faults", *words])
            partition.loopback_up()
            partition.possible()
        except (PartitionError, OSError) as error:
            print(f"script/chaos: the network cannot be cut here: {error}", flush=True)
            if options.in_turn in plan.TAKE_CUTS:
                return UNAVAILABLE
            may_cut = False
    dead_time = options.interval * options.ratio
    if options.in_turn:
        chosen = plan.in_turn(options.in_turn, dead_time, nodes=options.nodes)
    else:
        chosen = plan.by_chance(seed, options.faults, dead_time, nodes=options.nodes, cuts=may_cut)
    run = Run(chosen, interval=options.interval, ratio=options.ratio, tell=_tell, eip=PREFIX if options.ipv6 else "")
    return _run(run, options.log, words, may_cut)


def _tell(text: str) -> None:
    print(text, flush=True)


def _run(run: Run, log: Path | None, words: list[str], may_cut: bool) -> int:
    damping = ", with flap damping" if run.plan.damping else ""
    _tell(
        f"{run.plan.name}: {run.plan.faults} faults in {len(run.plan.spells)} spells, priorities {run.plan.priorities}{damping}"
    )
    report = run.run()
    if log is None and report.violation:
        log = ROOT / "build" / "faults" / f"{run.plan.name.replace(' ', '-')}.log"
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(report.transcript + "\n")
    if report.violation and log is not None:
        no_cuts = [] if may_cut or "--no-cuts" in words else ["--no-cuts"]
        _tell(failed(report, log, " ".join(["script/chaos", *words, *no_cuts])))
    _tell(summary(report))
    return bool(report.violation)


if __name__ == "__main__":
    sys.exit(main())
