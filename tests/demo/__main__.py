"""The command: `python -m tests.demo`, which `script/demo` runs.

Exit codes: 0 the Elastic IP was always where it belongs, 1 it was not, or the demo could not be played, 2 usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.demo import report
from tests.demo.cluster import EIP, Cluster
from tests.demo.display import Display
from tests.demo.instance import InstanceError
from tests.demo.pace import Pace
from tests.demo.scenario import Scenario
from tests.demo.stage import Failed

TAIL = 40  # lines of each log, shown on failure
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the demo; returns the exit code."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # so that everything is put away then too
    display = Display(sys.stdout)
    try:
        with contextlib.ExitStack() as stack:
            if options.keep_logs is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exoip-demo-")))
            else:
                folder = options.keep_logs
                folder.mkdir(parents=True, exist_ok=True)
            return _play(folder, display)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # our reader left; let the exit flush in peace
        return 1
    except OSError as error:
        sys.stderr.write(f"the demo can not be played here: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; everything is put away\n")
        return INTERRUPTED


def _play(folder: Path, display: Display) -> int:
    pace, started = Pace(), time.monotonic()
    with Cluster(pace, folder) as cluster:
        scenario = Scenario(cluster, display)
        display.block = cluster.state
        display.say(
            f"{EIP} stands for the Elastic IP. Heartbeats every {pace.interval:g} s, dead after {pace.dead_time:g} s without one; "
            f"a call to the API takes {pace.call * 1000:g} ms, an operation {pace.operation * 1000:g} ms. "
            "Flap damping is off: it would stop the demo from moving the address so often."
        )
        try:
            scenario.play()
        except (Failed, InstanceError) as error:
            scenario.problems.append(str(error))
        finally:
            display.end()
            # A second Ctrl-C must not leave children behind: what follows takes a moment at most
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
    _report(scenario, display)
    took = f"{time.monotonic() - started:.0f} s"
    if scenario.problems:
        display.say(f"\nWRONG, after {took}:")
        for problem in scenario.problems:
            display.say(f"- {problem}")
        return 1
    display.say(f"\nAll well: after every event the Elastic IP was where it belongs, within its bound ({took}).")
    return 0


def _report(scenario: Scenario, display: Display) -> None:
    if scenario.problems:
        for instance in scenario.cluster.instances:
            display.say(f"\nthe log of {instance.name}, its last {TAIL} lines:")
            for line in instance.log_path.read_text("utf-8", "replace").splitlines()[-TAIL:]:
                display.say(f"    {line}")
    display.say()
    for line in [*report.table(scenario.rows), *report.NOTES, *scenario.remarks]:
        display.say(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="script/demo",
        description="Three real nodes keep an address alive on this machine, through failures of every kind; takes under a minute.",
        epilog="Exit code 0: the address was always where it belongs; 1: it was not.",
    )
    parser.add_argument("--keep-logs", metavar="DIR", type=Path, help="put the nodes' logs there, and keep them")
    return parser


if __name__ == "__main__":
    sys.exit(main())
