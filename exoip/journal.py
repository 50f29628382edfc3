"""Every event as one log entry: to the journal with fields of its own, or as the same line to stderr or stdout.

An entry has a MESSAGE_ID that stands for its kind of event (table `MESSAGE_IDS`), a syslog priority, a sentence, and upper-case fields:

    EXOIP_EIP  EXOIP_INSTANCE (this node)  EXOIP_EVENT  EXOIP_REASON  EXOIP_ROLE  EXOIP_OLD_ROLE
    EXOIP_PEER_INSTANCE (whom it is about)  EXOIP_PEER (its name and address)  EXOIP_DURATION_MS  EXOIP_API_CALL  EXOIP_FAILURE  …

Logging never makes anything wait: the library's own way to journald holds Python's global lock while journald is stopped or slow,
which would stop every heartbeat. So `Outlet` speaks the journal's datagram protocol itself, from a thread of its own with a bounded
queue; when that is full, entries are dropped and counted, and the count is told later. stderr and stdout are written by the same thread.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from systemd.journal import JournalHandler

from exoip.events import Event, What

JOURNAL_SOCKET = "/run/systemd/journal/socket"
QUEUE = 1000  # entries
_LOGGER = logging.getLogger("exoip")
_QUIET = logging.DEBUG

MESSAGE_IDS: dict[What, str] = {
    What.ROLE: "fcef4b6e8d2347529562dd53b2d096e1",
    What.PEER_ALIVE: "38f1e347b0d1481f85ccb8baa499e746",
    What.PEER_DEAD: "0f981f5459614ca598a64b6c920956b8",
    What.PEER_PRIORITY: "e229a21246f44cfa969e6aebf26d2b94",
    What.PEER_ADDED: "1963b360c4034481bf12df7e4252f010",
    What.PEER_REMOVED: "3a912785d74749c09ce7647fb55be5ad",
    What.ADVERTISED: "80288b882e8e4d318ebed1b3c996a2c1",
    What.STALLED: "a83dae998aa44af483c79ed1ece95de1",
    What.LEAVING: "5101bfda180345ecac524f34eabf3dd5",
    What.ATTACHING: "0e6e6351aee341498fc87464676bb799",
    What.ATTACHED: "36efe12782af41a9be8b0f601b1782a7",
    What.CLEARING: "6f4f83b44f62469baf14c293fea4a881",
    What.CLEARED: "108a80bb638348b3a095f9391823dd27",
    What.LETTING_GO: "07a12ae07bee43cd91b3b9108f49c543",
    What.LET_GO: "c05eda05c9814cc6bf10a33922cb23d7",
    What.FAILED: "6969c28cde5f49328717dbcb24cbf459",
    What.API_DEGRADED: "6a8a77bc0eca44319fb32d7ec3261530",
    What.API_RECOVERED: "7dd2fb539abe422c901688bd5c1c9537",
    What.UNFIT: "aeeff18d298c4b28a30bb70503455d7f",
    What.FIT: "112cee0ef95a4daf883c1ccb4ab8d2ab",
    What.HOLDS: "66e471b7e99d419fb5aa94713c0764ed",
    What.LOST: "e74fb44f1b49440fa0f4b5b0ed17c4c6",
    What.YIELDED: "5ca529437bf44cab9c4e58a5ef6b1b40",
    What.STAND_BACK_OVER: "6d965522566a43e5a02ead4c6f214a6b",
    What.OUTSIDER_HOLDS: "5a899c08dfa9467ab77e84737873bd72",
    What.DATAGRAM_REFUSED: "e5108469e6e440a3a76ce24ff8e698f7",
    What.SEND_FAILED: "04da35a22e3142029c61793c0f25b7a2",
    What.SEND_RECOVERED: "b1d94c2048f347f6a57003b3c3accff2",
}

LEVELS: dict[What, int] = {
    What.ADVERTISED: _QUIET,
    What.PEER_DEAD: logging.WARNING,
    What.STALLED: logging.WARNING,
    What.LOST: logging.WARNING,
    What.API_DEGRADED: logging.WARNING,
    What.UNFIT: logging.WARNING,
    What.YIELDED: logging.WARNING,
    What.OUTSIDER_HOLDS: logging.WARNING,
    What.DATAGRAM_REFUSED: logging.WARNING,
    What.SEND_FAILED: logging.WARNING,
}  # the others: INFO

_SENTENCES: dict[What, str] = {
    What.ROLE: "{role} now, was {old_role}: {reason}",
    What.PEER_ALIVE: "{who} is alive, {reason}",
    What.PEER_DEAD: "{who} is dead: {reason}",
    What.PEER_PRIORITY: "{who} advertises another priority: {reason}",
    What.PEER_ADDED: "{who} is now a member",
    What.PEER_REMOVED: "{who} is no longer a member",
    What.ADVERTISED: "advertising another priority: {reason}",
    What.STALLED: "this node {reason}, listening anew",
    What.LEAVING: "leaving: {reason}",
    What.ATTACHING: "attaching {eip} to this instance: {reason}",
    What.ATTACHED: "attached {eip} to this instance in {duration:.2f} s",
    What.CLEARING: "detaching {eip} from {who}: {reason}",
    What.CLEARED: "detached {eip} from {who} in {duration:.2f} s",
    What.LETTING_GO: "detaching {eip} from this instance: {reason}",
    What.LET_GO: "detached {eip} from this instance in {duration:.2f} s",
    What.FAILED: "{call} of {who} failed ({failure}), again in {again:.1f} s: {detail}",
    What.API_DEGRADED: "the API fails at {call} ({failure}): {reason}",
    What.API_RECOVERED: "the API answers again: {reason}",
    What.UNFIT: "stepping aside if another can serve: {reason}",
    What.FIT: "no longer stepping aside: {reason}",
    What.HOLDS: "this instance holds {eip}, {reason}",
    What.LOST: "this instance no longer holds {eip}, {reason}",
    What.YIELDED: "yielding {eip} to {who}: {reason}",
    What.STAND_BACK_OVER: "no longer standing back: {reason}",
    What.OUTSIDER_HOLDS: "{eip} is attached to {who}, which is no member: exoip leaves it alone, detach it by hand",
    What.DATAGRAM_REFUSED: "refused a datagram of {address} ({reason}; {count} so far for this reason)",
    What.SEND_FAILED: "heartbeats to {address} can not be sent: {reason}",
    What.SEND_RECOVERED: "heartbeats to {address} can be sent again",
}

_OTHER_MASTER = "{role} still, the best other node alive is now {who}: {reason}"
_INSTANCE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_FIELDS = {"role": "ROLE", "old_role": "OLD_ROLE", "call": "API_CALL", "failure": "FAILURE", "address": "ADDRESS", "priority": "PRIORITY"}


class Outlet(threading.Thread):
    """Writes entries from a bounded queue: fields to the journal's socket, or lines to a stream. Starts when made."""

    def __init__(self, stream: IO[str] | None, journal_socket: str = JOURNAL_SOCKET) -> None:
        super().__init__(name="exoip-journal", daemon=True)
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUE)
        self._stream = stream
        self._path = journal_socket
        self.dropped = 0
        self.start()

    def send(self, message: str, **fields: Any) -> None:
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
            self._write(entry)
            if self.dropped and self._queue.empty():
                dropped, self.dropped = self.dropped, 0
                text = f"{dropped} log entries were dropped while the log was stopped"
                fields = {"MESSAGE": text, "PRIORITY": "4", "SYSLOG_IDENTIFIER": "exoip"}
                self._write(_datagram(fields) if self._stream is None else (text + "\n").encode())

    def close(self, most: float = 1.0) -> None:
        """Write what is queued, for `most` seconds at most."""
        try:
            self._queue.put(None, timeout=most)
        except queue.Full:
            return
        self.join(most)

    def _write(self, entry: bytes) -> None:
        try:
            if self._stream is not None:
                self._stream.write(entry.decode("utf-8", "replace"))
                self._stream.flush()
                return
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
                journal.sendto(entry, self._path)
        except OSError:
            self.dropped += 1


class _Lines(logging.Handler):
    """Puts formatted lines into an outlet."""

    def __init__(self, outlet: Outlet) -> None:
        super().__init__()
        self._outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        self._outlet.put((self.format(record) + "\n").encode("utf-8", "replace"))


class Journal:
    """Tells events. `label` gives a person's words for an instance id."""

    def __init__(self, eip: str, own_id: str, label: Callable[[str], str]) -> None:
        self._eip, self._own_id, self._label = eip, own_id, label

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
        words = {"eip": self._eip, "who": who, "reason": event.reason, **event.details}
        same_role = event.what is What.ROLE and event.details["role"] == event.details["old_role"]
        text = (_OTHER_MASTER if same_role else _SENTENCES[event.what]).format_map(words)
        return _INSTANCE_ID.sub(lambda found: self._label(found[0]), text)

    def fields(self, event: Event) -> dict[str, str]:
        """Return the event's journal fields."""
        fields = {
            "MESSAGE_ID": MESSAGE_IDS[event.what],
            "EXOIP_EVENT": str(event.what),
            "EXOIP_EIP": self._eip,
            "EXOIP_INSTANCE": self._own_id,
            "EXOIP_REASON": event.reason,
        }
        if event.instance_id:
            fields |= {"EXOIP_PEER_INSTANCE": event.instance_id, "EXOIP_PEER": self._label(event.instance_id)}
        duration = event.details.get("duration")
        if isinstance(duration, float):
            fields["EXOIP_DURATION_MS"] = f"{duration * 1000:.0f}"
        return fields | {f"EXOIP_{_FIELDS[k]}": str(v) for k, v in event.details.items() if k in _FIELDS}


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
    _LOGGER.setLevel(logging.DEBUG if verbose else logging.INFO)
    return outlet


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
