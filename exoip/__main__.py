"""The command `exoip`: catches signals first, then loads and runs `daemon.command`."""

from __future__ import annotations

import os
import signal
import sys

from exoip.daemon import signals


def main() -> None:
    """Run the console script."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # for `exoip --help | head`; `run` ignores it again
    mailbox = signals.catch_early(_end if os.getpid() == 1 else signal.SIG_DFL)
    try:
        from exoip.daemon.command import run  # only now: this takes a quarter of a second
    except FileNotFoundError:  # requests since 2.32 loads the certificates while it is imported
        sys.stderr.write("exoip: this host has no certificates: install the package ca-certificates\n")
        sys.exit(78)

    sys.exit(run(sys.argv[1:], os.environ, mailbox))


def _end(caught: int, _frame: object) -> None:
    """Do what the kernel does with a stop signal in any process but process 1 (a container)."""
    os._exit(128 + caught)


if __name__ == "__main__":
    main()
