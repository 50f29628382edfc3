"""How fast the Elastic IP moves, over TLS and as the unit runs the daemon: each figure as a distribution, the machine's noise beside it.

Prints a table and keeps every sample in build/bench.json, where a part that is measured again replaces its older self. Exits 1 when
something happened that must never happen; times are only printed beside their targets.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.cluster import LATENCY, OPERATION, RATIO
from tests.bench.figures import Figure, table
from tests.bench.moves import failover, slow_calls
from tests.cluster import ROOT

PARTS: dict[str, tuple[Callable[[], list[Figure]], Callable[[], list[Figure]]]] = {  # in full, and --short
    "failover-1": (lambda: failover(12, 1.0, beside=3), lambda: failover(1, 1.0)),
    "failover-0.2": (lambda: failover(50, 0.2), lambda: failover(2, 0.2)),
    "failover-0.05": (lambda: failover(100, 0.05), lambda: failover(3, 0.05)),
    "calls": (lambda: slow_calls(10), lambda: slow_calls(2)),
}


def machine() -> dict[str, str]:
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "kernel": platform.release(),
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
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="where all samples go")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; 1 when something happened that must never happen."""
    chosen = options(arguments)
    kept: dict[str, Any] = json.loads(chosen.json.read_text()) if chosen.json.exists() else {}
    violated = False
    for name in chosen.only:
        sys.stderr.write(f"bench: {name}\n")
        about = machine()
        figures = [figure.as_dict() for figure in PARTS[name][chosen.short]()]
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
