"""Run exoip and record what it logs as data: `python -m tests.support.node ARGUMENT...`.

A filter on exoip's logger sees every entry with its journal fields, wherever the log itself goes.
It appends them as JSON lines to the file descriptor in $EXOIP_TEST_ENTRIES. So whoever watches the
daemon reads fields, never sentences, and needs neither root nor systemd nor a journal.
"""

from __future__ import annotations

import json
import logging
import os

from exoip.__main__ import main as exoip

ENTRIES = "EXOIP_TEST_ENTRIES"


class Recorder(logging.Filter):
    """Pass every log record on, and append its level, sentence and journal fields to a file."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def filter(self, record: logging.LogRecord) -> bool:
        entry = {name: text for name, text in vars(record).items() if name.startswith("EXOIP_")}
        entry |= {"MESSAGE": record.getMessage(), "LEVEL": record.levelname}
        os.write(self._descriptor, json.dumps(entry).encode() + b"\n")
        return True


def main() -> None:
    """Run exoip with the arguments of this process."""
    if descriptor := os.environ.pop(ENTRIES, None):
        logging.getLogger("exoip").addFilter(Recorder(int(descriptor)))
    exoip()


if __name__ == "__main__":
    main()
