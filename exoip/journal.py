"""Every event as one log entry: to the journal with fields of its own, or as the same line to stderr or stdout.

An entry has a MESSAGE_ID that stands for its kind of event (`messages.MESSAGE_IDS`), a syslog priority, a sentence, and upper-case fields:

    EXOIP_TIME (Unix seconds of the event itself, however late it is written)
    EXOIP_EIP  EXOIP_INSTANCE (this node)  EXOIP_EVENT  EXOIP_REASON  EXOIP_ROLE  EXOIP_OLD_ROLE
    EXOIP_PEER_INSTANCE (whom it is about)  EXOIP_PEER (its name and address)  EXOIP_DURATION_MS  EXOIP_API_CALL  EXOIP_FAILURE  …
    EXOIP_CAUSE  of role and stand-back-over: the event that triggered it, or one of `events.Cause`; of clearing and cleared: one of
        `events.Cause`; of unfit: see `aside.UnfitReason`; of datagram-refused: the cause by which it is counted
    EXOIP_CAUSE_INSTANCE  of role and stand-back-over: the peer whose event that was
    EXOIP_SILENT_MS  of peer-dead: how long nothing had been heard of it
    EXOIP_SUCCESSOR  of letting-go and let-go: the instance that holds in place of this one; empty if none does

MESSAGE and EXOIP_REASON are for people, and may be worded in another way by the next version. Programs go by the other fields;
`exoipctl history` does.

Logging never makes anything wait: the library's own way to journald holds Python's global lock while journald is stopped or slow,
which would stop every heartbeat. So `Outlet` speaks the journal's datagram protocol itself, from a thread of its own with a bounded
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
from collections.abc import Callable, Mapping
from typing import IO, Any

from systemd.journal import JournalHandler

from exoip.events import Cause, Event, What, named
from exoip.messages import CURES, LEVELS, MESSAGE_IDS, OTHER_MASTER, SENTENCES

JOURNAL_SOCKET = "/run/systemd/journal/socket"
QUEUE = 1000  # entries
_LOGGER = logging.getLogger("exoip")

_FIELDS = {
    "role": "ROLE",
    "old_role": "OLD_ROLE",
    "call": "API_CALL",
    "failure": "FAILURE",
    "address": "ADDRESS",
    "priority": "PRIORITY",
    "check": "CHECK",
    "cause": "CAUSE",
    "peer": "CAUSE_INSTANCE",
    "successor": "SUCCESSOR",
}
_MILLISECONDS = {"duration": "DURATION_MS", "silent": "SILENT_MS"}


class Outlet(threading.Thread):
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
    """Puts formatted lines into an outlet."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self._outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        self._outlet.put((self.format(record) + "\n").encode("utf-8", "replace"))


class Journal:
    """Tells events. `label` gives a person's words for an instance id, `wall` the Unix time of an event's moment."""

    def __init__(
        self, eip: str, own_id: str, label: Callable[[str], str], wall: Callable[[float], float] = float
    ) -> None:
        self._eip, self._own_id, self._label, self._wall = eip, own_id, label, wall

    def tell(self, event: Event) -> None:
        """Log one event."""
        if event.what is What.FAILED and event.details.get("failure") == "refused":
            return  # told once, as API_DEGRADED; it is tried again every 30 s
        level = LEVELS.get(event.what, logging.INFO)
        if event.what is What.API_DEGRADED and event.details.get("failure") == "refused":
            level = logging.ERROR
        _LOGGER.log(level, "%s", self.sentence(event), extra=self.fields(event))

    def sentence(self, event: Event) -> str:
        """Return the event as one sentence."""
        who = "this instance" if event.instance_id == self._own_id else self._label(event.instance_id) or "none"
        words = {"reason": event.reason, "cure": CURES.get(str(event.details.get("cause")), ""), **event.details}
        words["trigger"] = _trigger(event)
        words = {name: self.named(word) if isinstance(word, str) else word for name, word in words.items()}
        same_role = event.what is What.ROLE and event.details["role"] == event.details["old_role"]
        template = OTHER_MASTER if same_role else SENTENCES[event.what]
        return template.format_map({"eip": self._eip, "who": who, **words})

    def explain(self, event: Event) -> str:
        """Return why it came about, in a person's words; where it has no reason, the whole sentence."""
        return self.named(event.reason + _trigger(event)) or self.sentence(event)

    def named(self, text: str) -> str:
        """Put people's words in the place of instance ids."""
        return named(text, self._label)

    def fields(self, event: Event) -> dict[str, str]:
        """Return the event's journal fields."""
        fields = {
            "MESSAGE_ID": MESSAGE_IDS[event.what],
            "EXOIP_EVENT": str(event.what),
            "EXOIP_EIP": self._eip,
            "EXOIP_INSTANCE": self._own_id,
            "EXOIP_REASON": event.reason,
            "EXOIP_TIME": f"{self._wall(event.at):.6f}",
        }
        if event.instance_id:
            fields |= {"EXOIP_PEER_INSTANCE": event.instance_id, "EXOIP_PEER": self._label(event.instance_id)}
        for detail, name in _MILLISECONDS.items():
            if isinstance(seconds := event.details.get(detail), float):
                fields[f"EXOIP_{name}"] = f"{seconds * 1000:.0f}"
        return fields | {f"EXOIP_{_FIELDS[k]}": str(v) for k, v in event.details.items() if k in _FIELDS}


def _trigger(event: Event) -> str:
    """Return what triggered a change of role, in brackets; the mere passing of time goes without saying."""
    cause = event.details.get("cause", Cause.TIME)
    if event.what is not What.ROLE or cause == Cause.TIME:
        return ""
    peer = event.details.get("peer")
    return f" ({peer} {cause})" if peer else f" ({cause})"


def open_log(verbose: bool, log_stdout: bool, environ: Mapping[str, str]) -> Outlet:
    """Send what is logged under "exoip" to the journal when that is where stderr goes, else as lines to stderr (or stdout)."""
    to_journal = not log_stdout and _stderr_is_journal(environ)
    outlet = Outlet(None if to_journal else sys.stdout if log_stdout else sys.stderr)
    handler: logging.Handler
    if to_journal:
        handler = JournalHandler(sender_function=outlet.send, SYSLOG_IDENTIFIER="exoip")
    else:
        handler = _Lines(outlet)
        handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d exoip %(levelname)s %(message)s", "%H:%M:%S"))
    _LOGGER.handlers[:] = [handler]
    _LOGGER.propagate = False
    set_verbose(verbose)
    return outlet


def set_verbose(verbose: bool) -> None:
    """Log more, or less."""
    _LOGGER.setLevel(logging.DEBUG if verbose else logging.INFO)


def say(level: int, text: str, *values: object) -> None:
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
