"""Run exoip as `node` does, trusting the certificates in FOLDER: `python -m tests.benchmarks.daemon
FOLDER WORD...`.
"""

from __future__ import annotations

from tests.support.node import main  # first, as the daemon loads it

# isort: split
import sys

import exoip.exoscale.transport

if __name__ == "__main__":
    exoip.exoscale.transport.CA_FOLDER = sys.argv.pop(1)
    main()
