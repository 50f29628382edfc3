"""The control socket: a Unix stream socket on which root and the daemon's group ask and give orders. One line, one answer.

Nobody who connects can delay anything: it is served by a thread of its own, which nothing else waits for and which the watchdog does
not watch; nothing in it blocks on a client; a client has seconds, a request a size, and of each there are few. Who may connect is
decided by the mode of the socket, 0660, and by that of its folder. What is asked, `steering` answers.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exoip.errors import ConfigError
from exoip.operator.control_protocol import refusal
from exoip.telemetry.log import log

MODE = 0o660
LONGEST_REQUEST = 1 << 16  # bytes, its line break included
MOST_CLIENTS, MOST_WAITING = 8, 64  # at a time; others wait in the kernel's queue
CLIENT_TIME = 10.0  # seconds that a client has, from its connection to the last byte of its answer
PAUSE = (
    0.005  # seconds after an answer: a client that asks without end gets no more of the interpreter than this leaves
)
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def default_path(environ: Mapping[str, str]) -> str:
    """Where the socket is without an option, "" without a runtime directory."""
    folder = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return str(Path(folder, "control")) if folder else ""


def start(wanted: str | None, environ: Mapping[str, str], answer: Callable[[bytes, int], bytes]) -> Control | None:
    """Start to serve at the wanted path, or else at the default one; None without any.

    Raises ConfigError when that can not be, but for the default: the Elastic IP is worth more than its control.
    """
    path = wanted or default_path(environ)
    if not path:
        return None
    try:
        control = Control(path, answer)
    except ConfigError as error:
        if wanted:
            raise
        log(logging.WARNING, "no control socket, exoipctl can not be used: %s", error)
        return None
    control.start()
    return control


def bind(path: str) -> socket.socket:
    """Return a listening socket at `path`, in the place of one that a crash left there. Raises ConfigError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        os.fchmod(listener.fileno(), MODE)  # so that it is never open to more than that, whatever the umask
        try:
            listener.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _remove_stale(path)
            listener.bind(path)
        os.chmod(path, MODE)  # the umask took the group's part away
        listener.listen(MOST_WAITING)
    except OSError as error:
        listener.close()
        raise ConfigError(f"--control-socket {path}: {error.strerror or error}") from error
    except ConfigError:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise ConfigError(f"--control-socket {path} is there and no socket: name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        if probe.connect_ex(path) in (0, errno.EAGAIN):  # somebody accepts there, or has a full queue
            raise ConfigError(f"--control-socket {path} is in use: each daemon needs one of its own")
    Path(path).unlink(missing_ok=True)


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    uid: int
    ends: float
    came: bytearray = field(default_factory=bytearray)
    goes: bytes = b""
    last: bool = False  # nothing is read any more, and it ends with what goes now


class Control(threading.Thread):
    """Serves the socket at `path`. `answer` gives the line that answers a line of a user; it raises nothing."""

    def __init__(self, path: str, answer: Callable[[bytes, int], bytes]) -> None:
        super().__init__(name="exoip-control", daemon=True)
        self._path, self._answer = path, answer
        self._listener = bind(path)
        self._inode = os.lstat(path).st_ino
        self._clients: dict[socket.socket, _Client] = {}
        self._wake, self._waker = socket.socketpair()
        self._stopping = False

    def close(self) -> None:
        """Serve no more, and remove the file if it is still ours."""
        self._stopping = True
        with contextlib.suppress(OSError):  # it has ended by itself
            self._waker.send(b".")
        with contextlib.suppress(OSError):
            if os.lstat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        if self.is_alive():
            self.join(1.0)

    def run(self) -> None:
        """Serve until closed. Nothing that goes wrong here ends the daemon."""
        try:
            while not self._stopping:
                self._turn()
        except Exception as error:
            log(logging.ERROR, "the control socket is closed until the next start, exoipctl can not be used: %r", error)
        finally:
            for one in (*self._clients, self._listener, self._wake, self._waker):
                one.close()  # the file stays: who connects is refused, which tells it from a daemon that never was

    def _turn(self) -> None:
        """Wait until something can be done without waiting, and do it."""
        room = len(self._clients) < MOST_CLIENTS
        reading = [self._wake, *([self._listener] if room else [])]
        reading += [client.socket for client in self._clients.values() if not client.goes]
        writing = [client.socket for client in self._clients.values() if client.goes]
        ends = min((client.ends for client in self._clients.values()), default=None)
        left = None if ends is None else max(0.0, ends - time.monotonic())
        readable, writable, _ = select.select(reading, writing, (), left)
        if self._listener in readable:
            self._accept()
        for each in (*readable, *writable):
            if each in self._clients:
                self._serve(self._clients[each])
        for client in [one for one in self._clients.values() if time.monotonic() >= one.ends]:
            self._drop(client)

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.accept()
        except OSError:  # it has gone again, or there are no more descriptors: the next one may do
            time.sleep(PAUSE)
            return
        connected.setblocking(False)
        _, uid, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        self._clients[connected] = _Client(connected, uid, time.monotonic() + CLIENT_TIME)

    def _serve(self, client: _Client) -> None:
        """Go on with a client: it can be read from, or written to."""
        try:
            if client.goes:
                client.goes = client.goes[client.socket.send(client.goes) :]
                self._take(client)
            else:
                got = client.socket.recv(LONGEST_REQUEST)
                client.came += got
                client.last = not got
                self._take(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if client.last and not client.goes:
            self._drop(client)

    def _take(self, client: _Client) -> None:
        """Answer the next line that came, if nothing is still to be sent."""
        if client.goes or client.last:
            return
        line, ended, rest = client.came.partition(b"\n")
        if ended and len(line) < LONGEST_REQUEST:
            client.came = rest
            client.goes = self._answer(bytes(line), client.uid)
            time.sleep(PAUSE)
        elif len(client.came) >= LONGEST_REQUEST:
            client.last = True
            client.goes = refusal(f"a request has less than {LONGEST_REQUEST} bytes, and ends with a line break")

    def _drop(self, client: _Client) -> None:
        del self._clients[client.socket]
        client.socket.close()
