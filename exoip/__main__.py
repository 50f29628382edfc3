"""The command `exoip`: catches signals first, then loads and runs `daemon.command`."""

from __future__ import annotations

import os
import sys

from exoip.daemon import signals


def main() -> None:
    """Run the console script."""
    mailbox = signals.catch_early()
    from exoip.daemon.command import run  # only now: this takes a quarter of a second

    sys.exit(run(sys.argv[1:], os.environ, mailbox))


if __name__ == "__main__":
    main()
