"""Keep one connection to an HTTP server, and bound each exchange on it in time and size.

Why not urllib3 or http.client alone: they bound the time of each single `recv`, so a server that
drips a byte a second holds its caller for hours. Here one deadline covers the whole exchange (name
lookup, connect, TLS, request, head and body) without a thread, and one limit covers all that is
received. If the name server is down, the addresses of the last good lookup serve, so that a
failover still reaches the API.

Raises OSError (TimeoutError if the deadline has passed), ValueError and http.client.HTTPException;
the caller must then close the connection. Shown by tests/unit/exoscale/test_transport.py, TestTime,
TestSize and TestNames.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import ssl
import threading
import time
from concurrent.futures import Future
from typing import Any

HEAD_LIMIT = 64 * 2**10  # bytes of the status line and the headers
_PIECE = 64 * 2**10  # bytes to read at a time
_Addresses = list[tuple[int, int, int, str, Any]]  # as socket.getaddrinfo() returns them


class ResponseTooLong(OSError):
    """Report a response of more bytes than allowed."""


class Budget:
    """What one exchange may still use: seconds, and bytes to receive.

    `received`: bytes so far; `limit`: how many there may be; `ended`: the server has hung up.
    """

    __slots__ = ("deadline", "ended", "limit", "received")

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.ended = False
        self.received = 0
        self.limit = HEAD_LIMIT

    def remaining(self) -> float:
        """Return the seconds left, more than 0. Raises TimeoutError if there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the whole exchange is over")
        return left

    def count(self, size: int) -> None:
        """Count `size` received bytes; 0 means the end. Raises ResponseTooLong above the limit."""
        self.ended = not size
        self.received += size
        if self.received > self.limit:
            raise ResponseTooLong(f"more than {self.limit} bytes")


class _BudgetedSocket(io.RawIOBase):
    """A socket for http.client to read from: the time left is set before each `recv`."""

    def __init__(self, sock: socket.socket, budget: Budget) -> None:
        super().__init__()
        self._sock, self._budget = sock, budget

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what HTTPResponse reads from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return True, as BufferedReader requires."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive into `buffer` within the budget and return the number of bytes."""
        self._sock.settimeout(self._budget.remaining())
        size = self._sock.recv_into(buffer)
        self._budget.count(size)
        return size


class _Resolver:
    """Resolve the name of one host, and remember its addresses."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._lookup: Future[_Addresses] | None = None
        self._known: _Addresses = []

    def addresses(self, budget: Budget) -> _Addresses:
        """Return the addresses: those from before if a new lookup fails or takes too long."""
        with contextlib.suppress(OSError, ValueError):  # an address needs no name server
            return self._getaddrinfo(socket.AI_NUMERICHOST)
        if self._lookup is None:  # else one still hangs since an earlier exchange: never run two
            self._lookup = Future()
            # getaddrinfo has no time-out and may take half a minute: leave it to a thread
            threading.Thread(target=self._look_up, args=(self._lookup,), name="exoip-name-lookup", daemon=True).start()
        try:
            error = self._lookup.exception(budget.remaining() / (4 if self._known else 1))
        except TimeoutError:
            if not self._known:
                raise TimeoutError(f"{self._host} is not resolved in time") from None
            return self._known
        if error is None:
            self._known = self._lookup.result()
        self._lookup = None
        if not self._known and error is not None:
            raise OSError(f"{self._host} cannot be resolved: {error}") from error
        return self._known

    def _look_up(self, lookup: Future[_Addresses]) -> None:
        try:
            lookup.set_result(self._getaddrinfo())
        except Exception as error:  # whatever it is: a lookup without an end would block all later ones
            lookup.set_exception(error)

    def _getaddrinfo(self, flags: int = 0) -> _Addresses:
        return list(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=flags))


class Connection:
    """The one connection to a server: opened when needed, kept, closed at the first doubt."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._host, self._tls = host, tls
        self._resolver = _Resolver(host, port)
        self._sock: socket.socket | None = None

    def reusable(self) -> bool:
        """Return whether a connection is open; close one that has ended or has unasked bytes."""
        if self._sock is None:
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if poll.poll(0) or (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()):
            self.close()
        return self._sock is not None

    def exchange(
        self, method: str, request: bytes, limit: int, budget: Budget
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Send the serialized `request`; return the response and its body, up to `limit` bytes."""
        sock = self._sock = self._sock or self._open(budget)
        sock.settimeout(budget.remaining())
        sock.sendall(request)  # head and body in one segment: nothing for Nagle to hold back
        response = http.client.HTTPResponse(_BudgetedSocket(sock, budget), method=method)  # type: ignore[arg-type]
        try:
            response.begin()
            if budget.ended:  # http.client takes the end of the connection for the end of the head ...
                raise http.client.IncompleteRead(b"")
            budget.limit = budget.received + limit
            body = b"".join(iter(lambda: response.read(_PIECE), b""))
            if len(body) > limit:  # its first piece came with the head
                raise ResponseTooLong(f"more than {limit} bytes")
            if response.length:  # ... and for the end of the body, however long that was to be
                raise http.client.IncompleteRead(body, response.length)
        finally:
            response.close()
        if response.will_close or response.status < http.client.OK:  # after an interim response comes another
            self.close()
        return response, body

    def _open(self, budget: Budget) -> socket.socket:
        error: Exception = OSError(f"{self._host} has no address")
        addresses = self._resolver.addresses(budget)
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(budget.remaining() / (len(addresses) - index))  # leave time for the other addresses
                sock.connect(address)
                sock.settimeout(budget.remaining())  # OpenSSL applies it to the whole handshake
                return self._tls.wrap_socket(sock, server_hostname=self._host) if self._tls else sock
            except (OSError, ValueError) as failure:
                sock.close()
                error = failure
        raise error

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
