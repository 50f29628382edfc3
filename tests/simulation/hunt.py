"""Looks for something that the tree which it runs in does wrong: scenarios first, then interrupted
sequences, random seeds and the unit tests of the core; or random seeds alone.

Run inside a mutant's tree by `mutants`; says in one line what killed it, and exits with 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.simulation import interrupted, simulate
from tests.simulation.mutate import KILLED
from tests.simulation.scenario import files, run
from tests.support.paths import ROOT


def main() -> int:
    """Return 1 when something is wrong, which it says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--random", action="store_true", help="random seeds alone")
    parser.add_argument("--skip", default="", help="seeds that do not count, with commas")
    parser.add_argument("first", nargs="*")
    options = parser.parse_args()
    simulate.make_heartbeats_once()
    skipped = {int(seed) for seed in options.skip.split(",") if seed}
    seeds = sorted({*range(options.seeds)} - skipped, key=lambda seed: seed % 3 != 0)  # single faults kill most
    for found in at_random(seeds) if options.random else hunt(options.first, seeds):
        print(f"{KILLED}{found}")
        return 1
    return 0


def hunt(first: list[str], seeds: Sequence[int]) -> Iterator[str]:
    """Yield what is wrong, in the words of a line; the scenarios whose names begin with a word of
    `first` go first.
    """
    likely = [path for path in files() if any(path.name.startswith(word) for word in first)]
    for path in dict.fromkeys([*likely, *files()]):
        try:
            run(path)
        except Exception as error:
            yield f"{path.stem}: {_brief(error)}"
    for sequence in interrupted.SEQUENCES:
        for case in interrupted.cases(sequence):
            if wrong := interrupted.check(case):
                yield f"{case}: {wrong}"
    yield from at_random(seeds)
    yield from unit_tests()


def unit_tests() -> Iterator[str]:
    """Yield the unit test of the core that fails."""
    words = [
        "-q",
        "-x",
        "-c",
        "/dev/null",
        "--rootdir",
        str(ROOT),
        "-p",
        "no:cacheprovider",
        str(ROOT / "tests/unit/core"),
    ]
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 1:
        yield next(line for line in done.stdout.splitlines() if line.startswith("FAILED"))


def at_random(seeds: Sequence[int]) -> Iterator[str]:
    """Yield what random seeds show to be wrong."""
    for seed in seeds:
        if violations := simulate.one(seed).violations:
            yield f"seed {seed}: {violations[0].splitlines()[-1]}"


def _brief(error: Exception) -> str:
    """The line and the command at which a scenario failed, and why."""
    lines = str(error).splitlines() or [""]
    return f"{lines[0].split(':', 1)[-1]} {lines[1] if len(lines) > 1 else type(error).__name__}"[:120]


if __name__ == "__main__":
    sys.exit(main())
