"""The log: entries to the journal, or the same lines to stderr or stdout, without ever making anything wait.

The library's own way to journald holds Python's global lock while journald is stopped or slow,
which would stop every heartbeat. So `LogWriter` speaks the journal's datagram protocol itself, from a thread of its own with a bounded
queue; when that is full, entries are dropped and counted, and the count is told later. stderr and stdout are written by the same thread.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any

from systemd.journal import JournalHandler

JOURNAL_SOCKET = "/run/systemd/journal/socket"


QUEUE = 1000  # entries


_LOGGER = logging.getLogger("exoip")


class LogWriter(threading.Thread):
    """Writes entries from a bounded queue: fields to the journal's socket, or lines to a stream. Starts when made."""

    def __init__(self, stream: IO[str] | None, journal_socket: str = JOURNAL_SOCKET) -> None:
        super().__init__(name="exoip-journal", daemon=True)
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUE)
        self._stream = stream
        self._path = journal_socket
        self.dropped = 0
        self.start()

    def send(self, message: str, /, **fields: Any) -> None:
        """Queue an entry for the journal; the signature is that of systemd.journal.send."""
        self.put(_datagram({"MESSAGE": message, **fields}))

    def put(self, entry: bytes) -> None:
        """Queue an entry, or count it as dropped."""
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self.dropped += 1

    def run(self) -> None:
        """Write until closed."""
        while (entry := self._queue.get()) is not None:
            if not self._write(entry):
                self.dropped += 1
            elif (dropped := self.dropped) and self._queue.empty():
                text = f"{dropped} log entries were dropped while the log was stopped"
                fields = {"MESSAGE": text, "PRIORITY": "4", "SYSLOG_IDENTIFIER": "exoip"}
                self.dropped -= dropped
                if not self._write(_datagram(fields) if self._stream is None else (text + "\n").encode()):
                    self.dropped += dropped

    def close(self, most: float = 1.0) -> None:
        """Write what is queued, for `most` seconds at most."""
        try:
            self._queue.put(None, timeout=most)
        except queue.Full:
            return
        self.join(most)

    def _write(self, entry: bytes) -> bool:
        """Write one entry; False when it can not be written: a log that fails must not end the daemon."""
        try:
            if self._stream is not None:
                encoding = getattr(self._stream, "encoding", None) or "utf-8"
                self._stream.write(entry.decode("utf-8", "replace").encode(encoding, "replace").decode(encoding))
                self._stream.flush()
            else:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
                    journal.sendto(entry, self._path)
        except (OSError, ValueError):
            return False
        return True


class _Lines(logging.Handler):
    """Puts formatted lines into a writer."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        self._writer.put((self.format(record) + "\n").encode("utf-8", "replace"))


def open_log(verbose: bool, log_stdout: bool, environ: Mapping[str, str]) -> LogWriter:
    """Send what is logged under "exoip" to the journal when that is where stderr goes, else as lines to stderr (or stdout)."""
    to_journal = not log_stdout and _stderr_is_journal(environ)
    writer = LogWriter(None if to_journal else sys.stdout if log_stdout else sys.stderr)
    handler: logging.Handler
    if to_journal:
        handler = JournalHandler(sender_function=writer.send, SYSLOG_IDENTIFIER="exoip")
    else:
        handler = _Lines(writer)
        handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d exoip %(levelname)s %(message)s", "%H:%M:%S"))
    _LOGGER.handlers[:] = [handler]
    _LOGGER.propagate = False
    set_verbose(verbose)
    return writer


def set_verbose(verbose: bool) -> None:
    """Log more, or less."""
    _LOGGER.setLevel(logging.DEBUG if verbose else logging.INFO)


def log(level: int, text: str, *values: object) -> None:
    """Log a line that is no event, at one of logging's levels."""
    _LOGGER.log(level, text, *values)


def _stderr_is_journal(environ: Mapping[str, str]) -> bool:
    """Whether stderr is the very stream that systemd connected to the journal ($JOURNAL_STREAM, see systemd.exec(5))."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def _datagram(fields: Mapping[str, Any]) -> bytes:
    """Encode fields for the journal's socket; names that it would refuse are left out."""
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
