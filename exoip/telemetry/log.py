"""Write log entries to the journal, or as lines to stderr or stdout, without making a caller wait.

Our own writer, and not systemd.journal.send: that function holds Python's global lock while
journald is stopped or slow, which would stop every heartbeat. `LogWriter` sends the journal's
datagrams itself, from a thread of its own with a bounded queue. When the queue is full, entries are
dropped and counted, and the number is logged later. Lines to a stream take the same way, below
Python's buffers: at its exit the interpreter takes their locks, and would wait for the stream's
reader.

python-systemd says which fields an entry of logging has. Without it, entries reach the journal as
lines with a priority (sd-daemon(3)).
Shown by tests/unit/telemetry/test_log.py.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from exoip.thread import Thread

JOURNAL_SOCKET = "/run/systemd/journal/socket"
QUEUE = 1000  # entries
CLOSE_TIME = 0.5  # seconds that the end waits for the log: a restart within the dead time has no more to spare
NO_FIELDS = "python-systemd is not installed: journal entries have no fields, so exoipctl history cannot use them"
_LINE = "%(asctime)s.%(msecs)03d exoip %(levelname)s %(message)s"
_DATE = "%Y-%m-%d %H:%M:%S"
# The least level of each syslog priority, see sd-daemon(3).
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))

_LOGGER = logging.getLogger("exoip")


class LogWriter(Thread):
    """Writes queued entries to the file `descriptor`, or to the journal if that is None.

    Starts at once. Raises OutOfThreads.
    """

    def __init__(self, descriptor: int | None, journal_socket: str = JOURNAL_SOCKET) -> None:
        super().__init__("log")
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUE)
        self._descriptor, self._journal_socket = descriptor, journal_socket
        self.dropped = 0
        self.start()

    def send(self, message: str, /, **fields: Any) -> None:
        """Queue an entry for the journal. Has the signature of systemd.journal.send."""
        self._put(_datagram({"MESSAGE": message, **fields}))

    def write(self, text: str) -> None:
        """Queue text for the stream, as logging.StreamHandler does."""
        self._put(text.encode("utf-8", "replace"))

    def run(self) -> None:
        """Write until closed."""
        while (entry := self._queue.get()) is not None:
            if not self._write(entry):
                self.dropped += 1
            elif (dropped := self.dropped) and self._queue.empty():
                text = f"{dropped} log entries were dropped while the log could not be written"
                fields = {"MESSAGE": text, "PRIORITY": "4", "SYSLOG_IDENTIFIER": "exoip"}
                self.dropped -= dropped
                if not self._write(_datagram(fields) if self._descriptor is None else f"{text}\n".encode()):
                    self.dropped += dropped

    def close(self, timeout: float = CLOSE_TIME) -> None:
        """Write what is queued, for `timeout` seconds at most."""
        until = time.monotonic() + timeout
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout)
            self.join(max(0.0, until - time.monotonic()))

    def _put(self, entry: bytes) -> None:
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self.dropped += 1

    def _write(self, entry: bytes) -> bool:
        """Write one entry; return whether it worked. A failing log must not end the daemon."""
        try:
            if self._descriptor is not None:
                _write_all(self._descriptor, entry)
            else:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
                    journal.sendto(entry, self._journal_socket)
        except OSError:
            return False
        return True


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however long that takes. Raises OSError."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # another program that shares the file made it so
            select.select((), (descriptor,), ())


def open_log(verbose: bool, log_stdout: bool, environ: Mapping[str, str]) -> LogWriter:
    """Send the "exoip" logger to the journal if stderr goes there, else to stderr or stdout."""
    to_journal = _stderr_is_journal(environ) and not log_stdout
    journal_handler = _journal_handler() if to_journal else None
    handler: logging.Handler
    if journal_handler is not None:
        writer = LogWriter(None)
        handler = journal_handler(sender_function=writer.send, SYSLOG_IDENTIFIER="exoip")
    else:
        writer = LogWriter((sys.stdout if log_stdout else sys.stderr).fileno())
        handler = logging.StreamHandler(writer)
        handler.setFormatter(_PriorityFormatter() if to_journal else logging.Formatter(_LINE, _DATE))
    _LOGGER.handlers[:] = [handler]
    _LOGGER.propagate = False
    set_verbose(verbose)
    if to_journal and journal_handler is None:
        log(logging.WARNING, NO_FIELDS)
    return writer


def _journal_handler() -> Callable[..., logging.Handler] | None:
    """Return python-systemd's handler, or None if it is not installed."""
    try:
        from systemd.journal import JournalHandler
    except ImportError:
        return None
    handler: Callable[..., logging.Handler] = JournalHandler
    return handler


class _PriorityFormatter(logging.Formatter):
    """Begins each line with its priority, as journald expects on stderr."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry's lines. The journal adds the time and the program."""
        prefix = f"<{next(priority for level, priority in _PRIORITIES if record.levelno >= level)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def set_verbose(verbose: bool) -> None:
    """Log debug entries too, or no longer."""
    _LOGGER.setLevel(logging.DEBUG if verbose else logging.INFO)


def log(level: int, text: str, *values: object) -> None:
    """Log a line that is not an event, at one of logging's levels."""
    _LOGGER.log(level, text, *values)


def _stderr_is_journal(environ: Mapping[str, str]) -> bool:
    """Return whether systemd connected stderr to the journal, see systemd.exec(5)."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def _datagram(fields: Mapping[str, Any]) -> bytes:
    """Encode fields for the journal's socket, without names that it would reject."""
    parts = []
    for name, value in fields.items():
        if not name.replace("_", "").isalnum() or name != name.upper() or name.startswith("_"):
            continue
        text = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
        if b"\n" in text:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(text)) + text + b"\n")
        else:
            parts.append(name.encode() + b"=" + text + b"\n")
    return b"".join(parts)
