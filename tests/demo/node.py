"""Run exoip, and append its events to a file as JSON lines: `python -m tests.demo.node FILE ARGUMENT...`.

A filter on exoip's logger sees every entry with its journal fields, wherever the log itself goes. So
it needs neither root nor systemd nor a journal.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from exoip.__main__ import main


class Recorder(logging.Filter):
    """Pass every log record on, and append its journal fields to a file if it tells of an event."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def filter(self, record: logging.LogRecord) -> bool:
        fields = {name: text for name, text in vars(record).items() if name.startswith("EXOIP_")}
        if fields:
            os.write(self._file, json.dumps({"MESSAGE": record.getMessage(), **fields}).encode() + b"\n")
        return True


if __name__ == "__main__":
    logging.getLogger("exoip").addFilter(Recorder(sys.argv.pop(1)))
    main()
