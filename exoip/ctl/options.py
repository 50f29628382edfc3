"""The command line of `exoipctl`. `build_parser` gives the parser; `command` names the command chosen."""

from __future__ import annotations

import argparse
from typing import NoReturn

from exoip import __version__
from exoip.config.model import HIGHEST_PRIORITY, LOWEST_PRIORITY
from exoip.ctl.client import RUNTIME
from exoip.errors import UsageError
from exoip.operator.control_protocol import FAILOVER_TIME, LONGEST_FAILOVER, LONGEST_TEXT, SHORTEST_FAILOVER

ROLES = ("listening", "backup", "master")
LONGEST_WAIT = 86400.0
CREDENTIALS = "/etc/credstore"

_NOTES = """\
Without a command, the status of all. NAME is the instance of the unit: web for exoip@web.service and /etc/exoip/web.conf.
exit status: of status and check 0 healthy, 1 degraded, 2 critical, 3 unknown; of the others 0 done, 1 not done, 3 nobody answers
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A monitoring system must not take a misspelt command for a broken service: 2 means that."""
        raise UsageError(f"{message}\n{self.format_usage()}".rstrip())


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; it raises UsageError."""
    parser = _Parser(
        prog="exoipctl",
        description="See and steer the exoip daemons of this host.",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"exoipctl {__version__}")
    parser.add_argument(
        "--runtime-dir", default=RUNTIME, metavar="DIR", help="where the daemons are (default: %(default)s)"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, add, about in (
        ("status", _add_status, "how it is, and why"),
        ("history", _add_history, "the failovers that the journal tells of"),
        ("check", _add_check, "look at all that it needs: file, address, metadata, API, key, port, peers"),
        ("wait", _add_wait, "wait until it is so"),
        ("metrics", _add_name, "its metrics, as Prometheus would read them"),
        ("drain", _add_drain, "step aside and stay aside, across restarts, until undrained"),
        ("undrain", _add_name, "take part again"),
        ("failover", _add_failover, "hand over now, and stand aside for a while"),
        ("priority", _add_priority, "another priority, until the next reload or restart"),
    ):
        command = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        add(command)
    return parser


def _add_name(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="the instance")


def _add_status(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", nargs="?", help="the instance (default: all)")
    command.add_argument("--json", action="store_true", help="as JSON, by packaging/examples/status.schema.json")


def _add_history(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", nargs="?", help="the instance (default: all)")
    command.add_argument("--since", metavar="TIME", help="as journalctl takes it: yesterday, -2h, '2026-11-24 02:00'")
    command.add_argument("--until", metavar="TIME")
    command.add_argument("--input", metavar="FILE", nargs="+", action="extend", default=[],
                         help="read what journalctl -t exoip -o json printed, here or on all nodes; - is the standard input")  # fmt: skip
    command.add_argument("--json", action="store_true", help="as JSON")


def _add_check(command: argparse.ArgumentParser) -> None:
    _add_name(command)
    command.add_argument("--config", metavar="FILE", help="default: /etc/exoip/NAME.conf")
    command.add_argument("--credentials-dir", default=CREDENTIALS, metavar="DIR",
                         help="where exoip.NAME.api-secret and the like are (default: %(default)s)")  # fmt: skip
    command.add_argument("--json", action="store_true", help="as JSON")


def _add_wait(command: argparse.ArgumentParser) -> None:
    _add_name(command)
    command.add_argument("--role", choices=ROLES, help="it has this role")
    command.add_argument("--holds", choices=("yes", "no"), help="it holds the Elastic IP, or does not")
    command.add_argument(
        "--timeout", type=_Seconds(0, LONGEST_WAIT), default=30.0, metavar="SECONDS", help="default: 30"
    )


def _add_drain(command: argparse.ArgumentParser) -> None:
    _add_name(command)
    command.add_argument("--why", type=_text, default="", metavar="TEXT", help="the reason, for the others")


def _add_failover(command: argparse.ArgumentParser) -> None:
    _add_name(command)
    command.add_argument("--force", action="store_true", help="though nobody could take it, as far as is known")
    command.add_argument("--for", dest="seconds", type=_Seconds(SHORTEST_FAILOVER, LONGEST_FAILOVER), default=FAILOVER_TIME,
                         metavar="SECONDS", help=f"how long it stands aside (default: {FAILOVER_TIME:g})")  # fmt: skip


def _add_priority(command: argparse.ArgumentParser) -> None:
    _add_name(command)
    command.add_argument("priority", type=_priority, metavar="N", help="1 to 252, the lowest wins")


class _Seconds:
    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def __call__(self, text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not self._low <= seconds <= self._high:
            raise argparse.ArgumentTypeError(f"{text!r} must be seconds from {self._low:g} to {self._high:g}")
        return seconds


def _priority(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not LOWEST_PRIORITY <= int(text[:9]) <= HIGHEST_PRIORITY:
        raise argparse.ArgumentTypeError(f"{text!r} must be {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}, the lowest wins")
    return int(text)


def _text(text: str) -> str:
    if len(text) > LONGEST_TEXT or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be one line of at most {LONGEST_TEXT} characters")
    return text
