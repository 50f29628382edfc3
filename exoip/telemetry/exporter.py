"""Serve the metrics over HTTP at /metrics, without taking time from the heartbeats.

`http.server` does the work. What is bounded: at most CONNECTIONS threads, each of which waits
REQUEST_TIME for a client to send or receive, and one new connection per REST. A client that sends
its request byte by byte keeps its thread longer; the others go on. Nothing else waits for this.
Shown by tests/unit/telemetry/test_exporter.py.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from exoip.heartbeat.socket_address import SocketAddress, bind_error
from exoip.telemetry.log import log
from exoip.telemetry.metrics import CONTENT_TYPE
from exoip.thread import ROUND_TIME, SupervisedThread

CONNECTIONS = 4  # clients that are served at the same time; further ones are closed
REQUEST_TIME = 2.0  # seconds that a client may take to send or receive something
REST = 0.05  # seconds between two connections: a flood must not take the processor
WAITING = 16  # connections in the kernel's queue
_IP_FREEBIND = 15  # Linux: bind an address that is not there yet


class MetricsServer(SupervisedThread):
    """Serves the text of `page` on a port. `host` "" is every address, `port` 0 any free port.

    `early`: the address may come later, as at boot. Raises ConfigError if the port cannot be bound.
    """

    def __init__(self, host: str, port: int, page: Callable[[], str], *, early: bool = False) -> None:
        super().__init__("metrics", time.monotonic)
        self._server = _Server(listen(host, port, early=early), page)
        self.port = int(self._server.socket.getsockname()[1])

    def run(self) -> None:
        """Serve until asked to stop."""
        with self._server:
            super().run()

    def turn(self) -> None:
        """Wait for a connection and hand it to a thread of its own."""
        self._server.handle_request()
        self.stopping.wait(REST)


def listen(host: str, port: int, *, early: bool = False) -> socket.socket:
    """Return a socket that listens there, see `MetricsServer`. Raises ConfigError."""
    every = not host and socket.has_dualstack_ipv6()
    listener = socket.socket(socket.AF_INET6 if every or ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, early)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not every)
        listener.bind((host, port))
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        raise bind_error("metrics-listen", SocketAddress(host, port), error) from error
    listener.setblocking(False)
    return listener


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_TIME
    server_version, sys_version = "exoip", ""

    def do_GET(self) -> None:
        """Answer with the metrics, or with an error."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "the metrics are at /metrics")
            return
        try:
            body = self.server.page().encode()
        except Exception as error:  # our bug, but no reason to end a daemon that works
            log(logging.ERROR, "cannot render the metrics: %r", error)
            self.send_error(500)
            return
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Log no requests."""


class _Server(ThreadingHTTPServer):
    timeout = ROUND_TIME  # of handle_request

    def __init__(self, listener: socket.socket, page: Callable[[], str]) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.page = listener, page
        self._free = threading.BoundedSemaphore(CONNECTIONS)

    def verify_request(self, *_: Any) -> bool:
        """Accept a connection if a thread is free."""
        return self._free.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for one connection."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in a thread of its own."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, *_: Any) -> None:
        """Ignore a client that hangs up or is too slow; say if there is no thread for one."""
        if isinstance(error := sys.exception(), RuntimeError):
            log(logging.ERROR, "the metrics cannot be served: %s", error)
