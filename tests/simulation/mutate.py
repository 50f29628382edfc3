"""Break one rule of the protocol at a time, and check that a scenario or a random run notices.

A mutant that survives is a missing test. Each mutant replaces an exact text of a production module,
in a copy of the tree. Then the scenarios that should notice run, all scenarios (what they expect,
not their transcripts), the interrupted sequences and random seeds, until one fails.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.simulation.mutants import MUTANTS, Mutant
from tests.support.paths import ROOT

LONGEST = 1200.0  # seconds for one mutant; what takes longer has killed nothing
KILLED = "KILLED BY "  # what `hunt` prints
SEEDS = 200  # random runs that a mutant has to survive
SEEDS_ALONE = 300  # … if nothing else is tried: each single fault has four turns
MOST_SURVIVORS = 10  # random runs alone have to kill all but one in this many


def broken(mutant: Mutant) -> str:
    """Return the text of the module with the rule broken. Raises LookupError unless the text to be
    replaced is there exactly once.
    """
    source = (ROOT / "exoip" / f"{mutant.module}.py").read_text()
    if source.count(mutant.old) != 1:
        raise LookupError(
            f"{mutant.name!r}: found {source.count(mutant.old)} times in {mutant.module}, not once: {mutant.old!r}"
        )
    return source.replace(mutant.old, mutant.new)


def kill(mutant: Mutant, seeds: int, *, at_random: bool = False, skipped: Sequence[int] = ()) -> str:
    """Return what killed the mutant, or "".

    `seeds`: random runs that it has to survive, without those `skipped`. `at_random`: nothing else
    is tried.
    """
    with tempfile.TemporaryDirectory(prefix="exoip-mutant-") as folder:
        tree = Path(folder)
        for part in ("exoip", "tests", "docs"):
            shutil.copytree(
                ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__", "hosts", "benchmarks")
            )
        (tree / "exoip" / f"{mutant.module}.py").write_text(broken(mutant))
        command = [sys.executable, "-m", "tests.simulation.hunt", "--seeds", str(seeds)]
        command += ["--skip", ",".join(map(str, skipped))]
        command += ["--random"] if at_random else mutant.noticed.split()
        try:
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            return ""
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.name!r}: the hunt itself broke\n{done.stdout}\n{done.stderr}")
    lines = [line for line in done.stdout.splitlines() if line.startswith(KILLED)]
    return lines[0].removeprefix(KILLED) if lines else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 when a mutant survives; with --random, when more than one of ten do."""
    parser = argparse.ArgumentParser(prog="script/mutants", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--seeds", type=int, help="random runs that a mutant has to survive: 200, or 300 with --random")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--random", action="store_true", help="try random runs alone")
    parser.add_argument("--every", type=int, default=1, help="one mutant of so many")
    parser.add_argument("words", nargs="*", help="only the mutants whose names contain one of these")
    options = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if not options.words or any(word in m.name for word in options.words)]
    chosen = chosen[:: options.every]
    seeds = options.seeds or (SEEDS_ALONE if options.random else SEEDS)
    began, skipped = time.monotonic(), _wrong_already(seeds) if options.random else []
    with ThreadPoolExecutor(options.jobs) as pool:
        killers = list(
            pool.map(
                lambda mutant: _told(mutant, kill(mutant, seeds, at_random=options.random, skipped=skipped)),
                chosen,
            )
        )
    survivors = [mutant.name for mutant, killer in zip(chosen, killers, strict=True) if not killer]
    print(
        f"{len(chosen)} mutants in {time.monotonic() - began:.0f} s, {len(survivors)} survived{':' * bool(survivors)}"
    )
    for name in survivors:
        print(f"  {name}")
    return len(survivors) > (len(chosen) // MOST_SURVIVORS if options.random else 0)


def _wrong_already(seeds: int) -> list[int]:
    """Return the seeds that show something wrong in the tree as it is: they prove nothing of a mutant."""
    from tests.simulation.simulate import one

    found = [seed for seed in range(seeds) if one(seed).violations]
    if found:
        print(f"seeds that show something wrong without any mutant do not count: {found}", flush=True)
    return found


def _told(mutant: Mutant, killer: str) -> str:
    named = mutant.noticed.split()
    in_vain = f" (not by {mutant.noticed}, which it names)" if named and not killer.startswith(tuple(named)) else ""
    print(f"{'killed  ' if killer else 'SURVIVED'}  {mutant.name:<55} {killer}{in_vain}", flush=True)
    return killer


if __name__ == "__main__":
    sys.exit(main())
