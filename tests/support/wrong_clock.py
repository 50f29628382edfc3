"""Run exoip as `node` does, with a wall clock that is SECONDS ahead for its heartbeats.

    python -m tests.support.wrong_clock SECONDS WORD...

The API still sees the right time, because it would reject every signature otherwise.
"""

from __future__ import annotations

import functools
import sys
import time

import exoip.daemon.running_node
from tests.support.node import main

if __name__ == "__main__":
    wrong = float(sys.argv.pop(1))
    link = functools.partial(exoip.daemon.running_node.HeartbeatLink, wall=lambda: time.time() + wrong)
    exoip.daemon.running_node.HeartbeatLink = link  # type: ignore[assignment,misc]
    main()
