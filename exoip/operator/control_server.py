"""Serve the control socket: a Unix stream socket for the requests of root and the daemon's group.

Nobody who connects can delay anything. The socket has threads of its own; nothing waits for them
and the watchdog does not watch them. At most MOST_CLIENTS are served at a time; others wait in the
kernel's queue. Each has CLIENT_TIME seconds, a request has a maximum size, and requests are
answered one at a time with a pause after each. The mode of the socket, 0660, and that of its folder
decide who may connect. Shown by tests/unit/operator/test_control_server.py.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import socketserver
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exoip.errors import AddressInUse, ConfigError, OutOfThreads
from exoip.operator.control_protocol import rejection
from exoip.telemetry.log import log
from exoip.thread import Thread

MODE = 0o660
REMEDY = "give it a writable directory, RUNTIME_DIRECTORY=/run/exoip/NAME"
LONGEST_REQUEST = 1 << 16  # bytes, with its line break
MOST_CLIENTS = 8  # served at a time
MOST_WAITING = 64  # connections in the kernel's queue
CLIENT_TIME = 10.0  # seconds that a client has, from its connection to the last byte of its answer
PAUSE = 0.005  # seconds after an answer, for the rest of the daemon: a client may ask without end
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_POLL = 3600.0  # seconds between two checks whether to end; `close` does not wait for them


def start(wanted: str | None, default: Path | None, answer: Callable[[bytes, int], bytes]) -> ControlServer | None:
    """Serve at `wanted`, or else at `default`; return None without any.

    Raises ConfigError if `wanted` cannot be bound. If the default cannot, that is only logged: the
    Elastic IP is worth more than its control.
    """
    path = wanted or default
    if not path:
        log(logging.WARNING, "no control socket, exoipctl cannot reach this daemon: %s", REMEDY)
        return None
    try:
        return ControlServer(str(path), answer)
    except ConfigError as error:
        if wanted:
            raise
        log(logging.WARNING, "no control socket, exoipctl cannot reach this daemon: %s", error)
        return None


class _Connection(socketserver.BaseRequestHandler):
    """One client, in a thread of its own."""

    server: ControlServer
    request: socket.socket

    def handle(self) -> None:
        """Answer line by line, until the client is done or its time is over."""
        self._ends = time.monotonic() + self.server.client_time
        credentials = self.request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        uid = _CREDENTIALS.unpack(credentials)[1]
        received = b""
        with contextlib.suppress(OSError):  # the client is gone, or its time is over
            while len(received) < LONGEST_REQUEST:
                self._limit_time()
                piece = self.request.recv(LONGEST_REQUEST - len(received))
                if not piece:
                    return
                *lines, received = (received + piece).split(b"\n")
                for line in lines:
                    answer = self.server.answer(line, uid)
                    self._limit_time()
                    self.request.sendall(answer)
            self.request.sendall(
                rejection(f"a request has less than {LONGEST_REQUEST} bytes and ends with a line break")
            )

    def _limit_time(self) -> None:
        """Let the next operation last no longer than the client's time."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.request.settimeout(left)


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Serves the socket at `path` from now on.

    `answer` returns the line that answers a line of a user; it raises nothing. `client_time`:
    seconds that a client has. Raises ConfigError if the socket cannot be bound.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_WAITING

    def __init__(self, path: str, answer: Callable[[bytes, int], bytes], client_time: float = CLIENT_TIME) -> None:
        self._path, self._answer, self.client_time = path, answer, client_time
        self._answering = threading.Lock()
        self._room = threading.Semaphore(MOST_CLIENTS)
        super().__init__(path, _Connection)
        self._inode = os.lstat(path).st_ino
        self.thread = Thread("control", lambda: self.serve_forever(_POLL))
        try:
            self.thread.start()
        except OutOfThreads as error:
            self.server_close()
            raise ConfigError(f"--control-socket {path}: {error}") from error

    def close(self) -> None:
        """Serve no more, and remove the file if it is still ours."""
        with contextlib.suppress(OSError):
            if os.lstat(self._path).st_ino == self._inode:
                os.unlink(self._path)
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self._room.release()  # this too
        self.shutdown()
        self.server_close()

    def answer(self, line: bytes, uid: int) -> bytes:
        """Answer one client's line after the other's."""
        with self._answering:
            answer = self._answer(line, uid)
            time.sleep(PAUSE)
            return answer

    def server_bind(self) -> None:
        """Bind the socket, in the place of one that a crash left there."""
        try:
            os.fchmod(self.fileno(), MODE)  # so that it is never open to others, whatever the umask
            if is_stale(self._path):
                os.unlink(self._path)
            self.socket.bind(self._path)
            os.chmod(self._path, MODE)  # the umask took the group's part away
        except OSError as error:
            raise ConfigError(f"--control-socket {self._path}: {error.strerror or error}") from error

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept the next client once there is room."""
        self._room.acquire()
        try:
            return super().get_request()
        except OSError:  # it is gone again, or there are no more descriptors: the next one may do
            self._room.release()
            time.sleep(PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client in a thread of its own, or in this one if no other can be started."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            self.process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a client's connection."""
        super().shutdown_request(request)
        self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log what must not happen; it costs the client its connection and the daemon nothing."""
        log(logging.ERROR, "a client of the control socket was dropped: %r", sys.exception())


def is_stale(path: str) -> bool:
    """Return whether a crash left a socket there. Raises ConfigError if no new one can be there."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise ConfigError(f"--control-socket {path}: there is no directory {folder}")
    if not os.path.lexists(path):
        return False
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise ConfigError(f"--control-socket {path} exists and is no socket: name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        if probe.connect_ex(path) in (0, errno.EAGAIN):  # it has a process, maybe a busy one
            raise AddressInUse(f"--control-socket {path} is in use: each daemon needs one of its own")
    return True
