"""The command `exoip`: catches signals first, then loads and runs `daemon.command`.

Shown by tests/process/test_start.py and tests/unit/test_stacks.py.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys

from exoip import streams
from exoip.daemon import signals


def main() -> None:
    """Run the console script."""
    streams.prepare()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # for `exoip --help | head`; `run` ignores it again
    show_stacks()
    mailbox = signals.catch_early(_end if os.getpid() == 1 else signal.SIG_DFL)
    signals.disinherit()
    try:
        from exoip.daemon.command import run  # only now: this takes a quarter of a second
    except FileNotFoundError as error:  # requests since 2.32 loads the certificates while it is imported
        if error.filename is not None:  # OpenSSL, which reads them, names no file
            raise
        sys.stderr.write("exoip: this host has no certificates: install the package ca-certificates\n")
        sys.exit(78)

    sys.exit(run(sys.argv[1:], os.environ, mailbox))


def show_stacks() -> None:
    """Write stacks to stderr if the process crashes, and at SIGABRT.

    At SIGABRT no other thread runs meanwhile. faulthandler's own handler would let them run on, and
    follow stacks that change: it then takes any memory for a name, even a secret, or crashes. So
    after a crash it shows only the thread that crashed.
    """
    faulthandler.enable(all_threads=False)
    signal.signal(signal.SIGABRT, _abort)


def _abort(_caught: int, _frame: object) -> None:
    faulthandler.dump_traceback(file=2)
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.abort()


def _end(caught: int, _frame: object) -> None:
    """Do what the kernel does with a stop signal in any process but process 1 (a container)."""
    os._exit(128 + caught)


if __name__ == "__main__":
    main()
