"""The command line of `exoipctl`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn

from exoip import __version__
from exoip.config.model import HIGHEST_PRIORITY, LOWEST_PRIORITY
from exoip.ctl.client import RUNTIME_DIR
from exoip.errors import UsageError
from exoip.operator.control_protocol import FAILOVER_TIME, LONGEST_FAILOVER, LONGEST_TEXT, SHORTEST_FAILOVER

ROLES = ("listening", "backup", "master")
OUTPUTS = ("table", "json", "tsv")
FAIL_ON = ("degraded", "critical")
WATCH_TIME = 2.0  # seconds
SHORTEST_WATCH = 0.1  # seconds
LONGEST_WAIT = 86400.0  # seconds
CREDENTIALS = "/etc/credstore"

_NOTES = """\
Without a command, exoipctl shows the status of all daemons. NAME is the instance
of the unit: web for exoip@web.service and /etc/exoip/web.conf.

exit status of status and check:
  0 healthy, 1 degraded, 2 critical, 3 unknown
exit status of all others:
  0 done, 1 not done, 3 no answer or a wrong command line
"""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._negative_number_matcher = re.compile(r"-\d")  # so that --since takes -2h

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Take the word behind `--watch` for the NAME if it is no number of seconds."""
        options, rest = super().parse_known_args(args, namespace)
        if name := options.__dict__.pop("watched", None):
            if options.name is not None:
                self.error(f"--watch: {name!r} must be seconds from {SHORTEST_WATCH:g} to {LONGEST_WAIT:g}")
            options.name = name
        return options, rest

    def error(self, message: str) -> NoReturn:
        """Raise UsageError. argparse would exit with 2, which a monitoring system takes for a
        broken service.
        """
        raise UsageError(f"{message}\n{self.format_usage()}".rstrip())


def build_parser() -> argparse.ArgumentParser:
    """Return the parser, which raises UsageError.

    Its result has the name of the command, or None, in `command`.
    """
    parser = _Parser(
        prog="exoipctl",
        description="Query and control the exoip daemons of this host.",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"exoipctl {__version__}")
    where = "where the daemons are (default: %(default)s)"
    parser.add_argument("--runtime-dir", default=RUNTIME_DIR, metavar="DIR", help=where)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, about: str, *, any_name: bool = False) -> Callable[..., object]:
        command = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        which = "the instance of the unit"
        if any_name:
            command.add_argument("name", metavar="NAME", nargs="?", help=f"{which} (default: all)")
        else:
            command.add_argument("name", metavar="NAME", help=which)
        command.add_argument("--json", action="store_true", help="print JSON, see exoipctl(8)")
        return command.add_argument

    _add_queries(add)
    _add_orders(add)
    return parser


def _add_queries(add: Callable[..., Callable[..., object]]) -> None:
    option = add("status", "show the state of a daemon and the reasons for it", any_name=True)
    option(
        "-n", "--lines", type=_count, default=5, metavar="LINES", help="show so many of the last events (default: 5)"
    )
    often = f"show it again every so many seconds, in place on a terminal (default: {WATCH_TIME:g})"
    watched = {"action": _Watch, "nargs": "?", "const": WATCH_TIME, "metavar": "SECONDS", "help": often}
    option("--watch", **watched)
    least = "exit with 0 below this level, for liveness checks (default: degraded)"
    option("--fail-on", choices=FAIL_ON, default="degraded", help=least)
    add("cluster", "show each node of the cluster, as this one sees it", any_name=True)("--watch", **watched)
    option = add("history", "show the failovers in the journal", any_name=True)
    option("--since", metavar="TIME", help="in any form of journalctl(1): yesterday, -2h, '2026-11-24 02:00'")
    option("--until", metavar="TIME", help="likewise")
    source = "read the output of journalctl -t exoip -o json from any number of nodes; - is standard input"
    option("--input", metavar="FILE", nargs="+", action="extend", default=[], help=source)
    option("--output", choices=OUTPUTS, default="table", help="how to print it (default: table); json is --json")
    option = add("check", "examine all that a daemon needs: file, address, metadata, API, key, port, peers")
    option("--config", metavar="FILE", help="default: /etc/exoip/NAME.conf")
    where = "where exoip.NAME.api-secret and the like are (default: %(default)s)"
    option("--credentials-dir", default=CREDENTIALS, metavar="DIR", help=where)
    option = add("wait", "wait until a daemon has a role, or holds the Elastic IP")
    option("--role", choices=ROLES, help="wait for this role")
    option("--holds", choices=("yes", "no"), help="wait until it holds the Elastic IP, or does not")
    limit = _seconds(0, LONGEST_WAIT)
    option("--timeout", type=limit, default=30.0, metavar="SECONDS", help="wait at most this long (default: 30)")
    add("metrics", "show a daemon's metrics in the format of Prometheus")


def _add_orders(add: Callable[..., Callable[..., object]]) -> None:
    option = add("drain", "stand aside until undrained, across restarts")
    option("--why", type=_line, default="", metavar="TEXT", help="the reason, shown to others")
    add("undrain", "end a drain or a failover")
    option = add("failover", "hand over now and stand aside for a while")
    option("--force", action="store_true", help="even if no other node is known to be able to take over")
    span, long = _seconds(SHORTEST_FAILOVER, LONGEST_FAILOVER), f"how long to stand aside (default: {FAILOVER_TIME:g})"
    option("--for", dest="seconds", type=span, default=FAILOVER_TIME, metavar="SECONDS", help=long)
    option = add("priority", "change the priority until the next reload or restart")
    option("priority", type=_priority, metavar="N", help="1 to 252, the lowest wins")


class _Watch(argparse.Action):
    """Takes seconds. What is no number is the NAME that may follow `--watch`."""

    def __call__(self, _: object, namespace: argparse.Namespace, value: Any, *__: object) -> None:
        text = str(value)
        if re.fullmatch(r"[-+]?[0-9.]+", text):
            try:
                namespace.watch = _seconds(SHORTEST_WATCH, LONGEST_WAIT)(text)
            except argparse.ArgumentTypeError as error:
                raise argparse.ArgumentError(self, str(error)) from None
        else:
            namespace.watch, namespace.watched = WATCH_TIME, text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0")
    return int(text[:9])


def _seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a reader of seconds within these bounds."""

    def read(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not low <= seconds <= high:
            raise argparse.ArgumentTypeError(f"{text!r} must be seconds from {low:g} to {high:g}")
        return seconds

    return read


def _priority(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not LOWEST_PRIORITY <= int(text[:9]) <= HIGHEST_PRIORITY:
        raise argparse.ArgumentTypeError(f"{text!r} must be {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}, the lowest wins")
    return int(text)


def _line(text: str) -> str:
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be one line of at most {LONGEST_TEXT} characters")
    return text
