"""The command `exoipctl`: run one command and exit with its code. Nothing else here exits.

status and check   0 healthy    1 degraded    2 critical    3 unknown
all others         0 done       1 not done                  3 no answer, or a wrong command line
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from exoip import streams
from exoip.ctl import commands, show_history
from exoip.ctl.client import NoAnswer
from exoip.ctl.options import build_parser
from exoip.ctl.terminal import CODES
from exoip.daemon import signals
from exoip.errors import ExoipError, UsageError

Command = Callable[[Namespace, Mapping[str, str], TextIO], int]


def _check(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    from exoip.ctl import check  # loads the HTTP library, which takes 0.2 s: only this command needs it

    return check.show(options, environ, out)


COMMANDS: dict[str, Command] = {
    "status": commands.show_status,
    "cluster": commands.show_cluster,
    "history": show_history.show,
    "check": _check,
    "wait": commands.wait,
    "metrics": commands.show_metrics,
    "drain": commands.send_order,
    "undrain": commands.send_order,
    "failover": commands.send_order,
    "priority": commands.send_order,
}


def run(argv: Sequence[str], environ: Mapping[str, str], out: TextIO, errors: TextIO) -> int:
    """Run the command of a command line and return the exit code."""
    command = ""
    try:
        parser = build_parser()
        options = parser.parse_args(argv)
        if options.command is None:
            options = parser.parse_args([*argv, "status"])
        command = options.command
        return COMMANDS[command](options, environ, out)
    except ExoipError as error:
        errors.write(f"exoipctl: {error}\n")
        if isinstance(error, NoAnswer) and command == "status":
            return CODES[error.level]
        return commands.NO_ANSWER if isinstance(error, NoAnswer | UsageError) else commands.NOT_DONE


def main() -> None:
    """Run the console script."""
    streams.prepare()
    signals.disinherit()
    try:
        try:
            code = run(sys.argv[1:], os.environ, sys.stdout, sys.stderr)
        finally:  # also after --help, which exits
            sys.stdout.flush()
    except OSError as error:  # the reader left, or the disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # let the exit flush
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"exoipctl: {error}\n")
        code = commands.NOT_DONE
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
