"""The command `exoipctl`: which command, and the exit code. The only place here that exits.

status and check   0 healthy    1 degraded    2 critical    3 unknown
the others         0 done       1 not done                  3 nobody answers, or the command line is wrong
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from exoip.ctl import commands, told
from exoip.ctl.client import Unanswered
from exoip.ctl.levels import CODES
from exoip.ctl.options import build_parser
from exoip.errors import ExoipError, UsageError

Command = Callable[[Namespace, Mapping[str, str], TextIO], int]


def _check(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    from exoip.ctl import examine  # and with it the HTTP library: only this command needs the 0.2 s that this takes

    return examine.check(options, environ, out)


COMMANDS: dict[str, Command] = {
    "status": commands.show,
    "history": told.tell,
    "check": _check,
    "wait": commands.wait,
    "metrics": commands.metrics,
    "drain": commands.order,
    "undrain": commands.order,
    "failover": commands.order,
    "priority": commands.order,
}


def run(argv: Sequence[str], environ: Mapping[str, str], out: TextIO, errors: TextIO) -> int:
    """Do what the command line asks for and return the exit code."""
    parser = build_parser()
    try:
        options = parser.parse_args(argv)
        if options.command is None:
            options = parser.parse_args([*argv, "status"])
        return COMMANDS[options.command](options, environ, out)
    except UsageError as error:
        errors.write(f"exoipctl: {error}\n")
        return commands.NOBODY
    except Unanswered as error:
        errors.write(f"exoipctl: {error}\n")
        return CODES[error.level] if options.command == "status" else commands.NOBODY
    except ExoipError as error:
        errors.write(f"exoipctl: {error}\n")
        return commands.NOT_DONE


def main() -> None:
    """The console script."""
    try:
        code = run(sys.argv[1:], os.environ, sys.stdout, sys.stderr)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # our reader left; let the exit flush in peace
        code = commands.NOT_DONE
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
