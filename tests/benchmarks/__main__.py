"""How fast the Elastic IP moves, over TLS and as the unit runs the daemon: each figure as a
distribution, the machine's noise beside it.

Prints a table and keeps every sample in build/bench.json (with --short in build/bench-short.json),
where a part that is measured again replaces its older self: what was interrupted goes on with
--only. Exits 1 when something happened that must never happen; times are only printed beside their
targets. All parts take some 20 minutes; beside them deaths-idle and deaths-busy take ten each, and
are run only when asked for. What the parts are: tests/benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.beats import beats
from tests.benchmarks.cluster import LATENCY, OPERATION, RATIO
from tests.benchmarks.figures import Figure, table
from tests.benchmarks.hours import hours
from tests.benchmarks.moves import failover, hanging, slow_calls
from tests.benchmarks.noise import NOISE, Noise
from tests.benchmarks.page import write_page
from tests.benchmarks.rest import deaths, many, starts, three, unreachable
from tests.benchmarks.trouble import equal_starts, outages, restarts
from tests.support.paths import ROOT

Part = Callable[[], list[Figure]]
PARTS: dict[str, tuple[Part, Part]] = {  # in full, and --short
    "failover-1": (lambda: failover(12, 1.0, parallel=3), lambda: failover(1, 1.0)),
    "failover-0.2": (lambda: failover(40, 0.2), lambda: failover(2, 0.2)),
    "failover-0.05": (lambda: failover(100, 0.05, parallel=2), lambda: failover(3, 0.05)),
    "calls": (lambda: slow_calls(10), lambda: slow_calls(2)),
    "hanging": (lambda: hanging(20), lambda: hanging(2)),
    "start": (lambda: starts(20), lambda: starts(3)),
    "beats": (lambda: beats(5000), lambda: beats(500)),
    "hours": (hours, hours),
    "rest-3": (lambda: three(60), lambda: three(10)),
    "rest-100": (lambda: many(99, 30), lambda: many(99, 10)),
    "rest-1000": (lambda: many(999, 30), lambda: many(999, 10)),
    "unreachable": (lambda: unreachable(60), lambda: unreachable(10)),
    "equals": (lambda: equal_starts(50), lambda: equal_starts(5)),
    "outage": (lambda: outages(5), lambda: outages(1)),
    "restart": (lambda: restarts(5), lambda: restarts(1)),
}
LONG: dict[str, tuple[Part, Part]] = {  # ten minutes each, and only where they are asked for
    "deaths-idle": (lambda: deaths(600, busy=False), lambda: deaths(20, busy=False)),
    "deaths-busy": (lambda: deaths(600, busy=True), lambda: deaths(20, busy=True)),
}
ALL = PARTS | LONG
NOISE_EVERY = 0.1  # seconds that the idle timer waits beside a part that has none of its own


def machine() -> dict[str, str]:
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processor": next(
            iter(re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)), "?"
        ),
        "processors": str(os.cpu_count()),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "a call": f"{LATENCY:g} s",
        "an operation": f"{OPERATION:g} s",
        "dead ratio": f"{RATIO:g}",
    }


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="script/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="few runs of each")
    parser.add_argument("--only", nargs="+", choices=ALL, default=list(PARTS), metavar="PART", help=", ".join(ALL))
    parser.add_argument(
        "--page", action="store_true", help="measure nothing: write the table of docs/performance.md from what was kept"
    )
    parser.add_argument("--json", type=Path, help="where all samples go")
    chosen = parser.parse_args(arguments)
    chosen.json = chosen.json or ROOT / "build" / ("bench-short.json" if chosen.short else "bench.json")
    return chosen


def measured(part: Part, name: str) -> list[dict[str, Any]]:
    """The figures of a part, the machine's noise among them."""
    with Noise(name, NOISE_EVERY) as noise:
        figures = part()
    if not any(NOISE in figure.name for figure in figures):
        figures.append(noise.figure)
    return [figure.as_dict() for figure in figures]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; 1 when something happened that must never happen."""
    chosen = options(arguments)
    kept: dict[str, Any] = json.loads(chosen.json.read_text()) if chosen.json.exists() else {}
    if chosen.page:
        try:
            write_page(kept)
        except ValueError as error:
            sys.exit(f"bench: {error}")
        return 0
    violated = False
    for name in chosen.only:
        sys.stderr.write(f"bench: {name}\n")
        about = machine()
        figures = measured(ALL[name][chosen.short], name)
        violated |= any(figure["verdict"] == "VIOLATED" for figure in figures)
        kept[name] = {"machine": about, "figures": figures}
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(kept, indent=1) + "\n")
        print(", ".join(f"{word} {text}" for word, text in about.items()))
        print(table(figures), flush=True)
    print(f"samples: {chosen.json}")
    return int(violated)


if __name__ == "__main__":
    sys.exit(main())
