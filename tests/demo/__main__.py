"""The command: `python -m tests.demo`, which `script/demo` runs.

Exit codes: 0 the Elastic IP was always where it belongs; 1 it was not, or the demo cannot run here;
2 usage; 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.demo import report
from tests.demo.cluster import EIP, PREFIX, Cluster
from tests.demo.display import Display
from tests.demo.instance import InstanceError
from tests.demo.runner import Failed
from tests.demo.scenario import Scenario
from tests.demo.timing import Timing

TAIL = 40  # lines of each log, shown on failure
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # so that everything is cleaned up then too
    try:
        return _run(PREFIX if options.ipv6 else EIP, options.keep_logs, Display(sys.stdout))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # our reader left; let the exit flush in peace
        return 1
    except OSError as error:
        sys.stderr.write(f"the demo cannot run here: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; all processes have ended\n")
        return INTERRUPTED


def _run(eip: str, logs: Path | None, display: Display) -> int:
    timing, started = Timing(), time.monotonic()
    with Cluster(timing, eip) as cluster:
        scenario = Scenario(cluster, display)
        display.block = cluster.lines
        entered = f"; its traffic enters at {cluster.traffic}" if eip == PREFIX else ""
        display.say(
            f"{eip} stands for the Elastic IP{entered}. Heartbeats every {timing.interval:g} s, dead after "
            f"{timing.dead_time:g} s without one; a call to the API takes {timing.call * 1000:g} ms, an operation "
            f"{timing.operation * 1000:g} ms. Flap damping is off: it would prevent moving the address so often."
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
            _keep(cluster, logs)
    _report(scenario, display)
    took = f"{time.monotonic() - started:.0f} s"
    if scenario.problems:
        display.say(f"\nFAIL after {took}:")
        for problem in scenario.problems:
            display.say(f"- {problem}")
        return 1
    display.say(f"\nok: after every event the Elastic IP was where it belongs, within its bound ({took}).")
    return 0


def _keep(cluster: Cluster, logs: Path | None) -> None:
    """Write each node's log to that directory, if there is one."""
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        for instance in cluster.instances:
            (logs / f"{instance.name}.log").write_text("".join(f"{line}\n" for line in instance.daemon.lines))


def _report(scenario: Scenario, display: Display) -> None:
    if scenario.problems:
        for instance in scenario.cluster.instances:
            display.say(f"\nthe last {TAIL} lines of the log of {instance.name}:")
            for line in instance.daemon.lines[-TAIL:]:
                display.say(f"    {line}")
    display.say()
    for line in [*report.table(scenario.rows), *report.NOTES, *scenario.remarks]:
        display.say(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="script/demo",
        description="Three real nodes keep an address alive through all kinds of failures, in under a minute.",
        epilog="Exit code 0: the address was always where it belongs; 1: it was not.",
    )
    parser.add_argument("--ipv6", action="store_true", help="keep an IPv6 prefix alive instead of an IPv4 address")
    parser.add_argument("--keep-logs", metavar="DIR", type=Path, help="write the nodes' logs to this directory")
    return parser


if __name__ == "__main__":
    sys.exit(main())
