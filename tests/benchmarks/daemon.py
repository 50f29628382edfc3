"""Run exoip as `node` does, trusting the certificates in FOLDER: `python -m tests.benchmarks.daemon
FOLDER WORD...`.
"""

from __future__ import annotations

from tests.support.node import main  # first, as the daemon loads it

# isort: split
import sys

from exoip.exoscale.transport import CA_FOLDERS, DEFAULT_CA_BUNDLE_PATH

if __name__ == "__main__":
    CA_FOLDERS[DEFAULT_CA_BUNDLE_PATH] = sys.argv.pop(1)
    main()
