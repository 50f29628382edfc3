"""The port on which the metrics are read: one thread, one request at a time, each with a short time and a small size.

Nothing waits for it, and a flood can not take the interpreter from the heartbeats: it rests after each answer. What else comes waits in
the kernel's queue or is refused there.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable

from exoip.heartbeat.socket_address import SocketAddress, bind_error
from exoip.telemetry.log import log

LONGEST_REQUEST = 8192  # bytes
REQUEST_TIME = 2.0  # seconds for a request and its answer
REST = 0.05  # seconds after an answer
WAITING = 16  # connections in the kernel's queue
_ROUND = 2.0


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; host "" is every address. Raises ConfigError, naming the option and the cure."""
    dual = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual or ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if dual:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, port))
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        raise bind_error("metrics-listen", SocketAddress(host, port), error) from error
    return listener


class MetricsServer(threading.Thread):
    """Serves GET /metrics from a listening socket, which is its own from now on. `page` gives the text."""

    def __init__(self, listener: socket.socket, page: Callable[[], str], content_type: str) -> None:
        super().__init__(name="exoip-metrics", daemon=True)
        self._listener, self._page, self._content_type = listener, page, content_type
        self.stopping = threading.Event()
        self.served = 0

    def run(self) -> None:
        """Serve until told to stop."""
        with self._listener:
            self._listener.setblocking(False)
            while not self.stopping.is_set():
                select.select([self._listener], (), (), _ROUND)
                with contextlib.suppress(OSError):
                    client, _ = self._listener.accept()
                    with client:
                        self._serve(client)
                        self.served += 1
                    self.stopping.wait(REST)

    def _serve(self, client: socket.socket) -> None:
        until = time.monotonic() + REQUEST_TIME
        request = b""
        while b"\r\n\r\n" not in request and b"\n\n" not in request:
            piece = self._receive(client, until)
            request += piece
            if not piece or len(request) > LONGEST_REQUEST:
                return
        words = request.split(b"\r\n", 1)[0].split(b" ")
        status, body, kind = self._answer(words[0], words[1].split(b"?")[0] if len(words) == 3 else b"")
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        client.settimeout(max(0.001, until - time.monotonic()))  # for all of it
        client.sendall(head.encode() + (b"" if words[0] == b"HEAD" else body))

    @staticmethod
    def _receive(client: socket.socket, until: float) -> bytes:
        left = until - time.monotonic()
        if left <= 0:
            return b""
        client.settimeout(left)
        return client.recv(LONGEST_REQUEST)

    def _answer(self, method: bytes, path: bytes) -> tuple[str, bytes, str]:
        if method not in (b"GET", b"HEAD"):
            return "405 Method Not Allowed", b"", "text/plain"
        if path != b"/metrics":
            return "404 Not Found", b"exoip: the metrics are at /metrics\n", "text/plain"
        try:
            return "200 OK", self._page().encode(), self._content_type
        except Exception as error:  # our bug, but no reason to end a daemon that works
            log(logging.ERROR, "the metrics can not be told: %r", error)
            return "500 Internal Server Error", b"", "text/plain"
