"""The daemon as it is, but that it also trusts the certificate of the bench's zone: `python -m tests.benchmarks.daemon FOLDER WORD...`"""

from __future__ import annotations

import sys

import exoip.__main__
import exoip.exoscale.transport

if __name__ == "__main__":
    exoip.exoscale.transport.CA_FOLDER = sys.argv.pop(1)
    exoip.__main__.main()
