"""One kept-alive connection to an HTTP server, whose exchanges keep within a total time and a total size.

http.client bounds the time of each single `recv`, so that a server which drips a byte a second holds its caller for
hours. Here one deadline covers a whole exchange (name, connection, TLS, request, head, body) with no thread for it, and
one limit covers all that is received. Raised are OSError (TimeoutError when the deadline has passed), ValueError and
http.client.HTTPException; the caller then closes the connection.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import threading
import time
from typing import Any

HEAD_LIMIT = 64 * 2**10  # bytes of the status line and the headers
_PIECE = 64 * 2**10
_Address = tuple[int, int, int, str, Any]  # as socket.getaddrinfo() gives it


class ResponseTooLong(OSError):
    """More bytes came than may."""


class Budget:
    """What one exchange may still use, seconds and bytes to receive, and whether the server has hung up."""

    __slots__ = ("deadline", "ended", "received", "room")

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.ended = False
        self.received = 0
        self.room = HEAD_LIMIT

    def remaining(self) -> float:
        """Return the seconds left, more than 0; raise TimeoutError when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the whole exchange is over")
        return left

    def spend(self, size: int) -> None:
        """Count `size` received bytes, of which 0 are the end; raise when they are more than may come."""
        self.ended = not size
        self.received += size
        if self.received > self.room:
            raise ResponseTooLong(f"more than {self.room} bytes")


class _Reader(io.RawIOBase):
    """Reads from a socket within a budget: the time that is left is set anew before each `recv`."""

    def __init__(self, sock: socket.socket, budget: Budget) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._budget.remaining())
        size = self._raw.readinto(buffer) or 0
        self._budget.spend(size)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class BoundedResponse(http.client.HTTPResponse):
    """An answer that is read within a budget."""

    def __init__(self, sock: socket.socket, method: str, budget: Budget) -> None:
        super().__init__(sock, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, budget))


class _Lookup(threading.Thread):
    """One `getaddrinfo`. It takes no time-out and may last half a minute: hence the thread, to be left behind."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name="exoip-name-lookup", daemon=True)
        self._host, self._port = host, port
        self.found: list[_Address] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.found = list(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:  # ValueError: not a host name (UnicodeError)
            self.error = error


class _Resolver:
    """The addresses of one host. Those of the last good look-up serve when the name server is away."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._lookup: _Lookup | None = None
        self._known: list[_Address] = []

    def addresses(self, budget: Budget) -> list[_Address]:
        try:  # an address needs no name server
            return list(
                socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            )
        except (OSError, ValueError):
            pass
        if self._lookup is None:  # else one still hangs from an earlier exchange: never more than one
            self._lookup = _Lookup(self._host, self._port)
            self._lookup.start()
        self._lookup.join(budget.remaining() / (4 if self._known else 1))
        if self._lookup.is_alive():
            if self._known:
                return self._known
            raise TimeoutError(f"{self._host} is not resolved in time")
        lookup, self._lookup = self._lookup, None
        if lookup.error is None:
            self._known = lookup.found
        elif not self._known:
            raise OSError(f"{self._host} can not be resolved: {lookup.error}") from lookup.error
        return self._known


class Connection:
    """The one connection to an origin: opened when needed, kept, closed on the first doubt."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._host, self._tls = host, tls
        self._resolver = _Resolver(host, port)
        self._sock: socket.socket | None = None

    def reusable(self) -> bool:
        """Return whether an open connection waits for a request; close one that has ended or has unasked bytes."""
        if self._sock is None:
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if poll.poll(0) or (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()):
            self.close()
        return self._sock is not None

    def exchange(self, method: str, request: bytes, limit: int, budget: Budget) -> tuple[BoundedResponse, bytes]:
        """Send the serialized `request`; return the answer and its whole body, of at most `limit` bytes."""
        sock = self._sock = self._sock or self._open(budget)
        sock.settimeout(budget.remaining())
        sock.sendall(request)  # head and body in one segment: nothing for Nagle to hold back
        response = BoundedResponse(sock, method, budget)
        try:
            response.begin()
            if budget.ended:  # http.client takes the end of the connection for the end of the head, ..
                raise http.client.IncompleteRead(b"")
            budget.room = budget.received + limit
            body = b"".join(iter(lambda: response.read(_PIECE), b""))
            if len(body) > limit:  # the first piece of it came with the head
                raise ResponseTooLong(f"more than {limit} bytes")
            if response.length:  # .. and for the end of the body, however long that was to be
                raise http.client.IncompleteRead(body, response.length)
        finally:
            response.close()
        if response.will_close or response.status < http.client.OK:  # after an interim answer comes another
            self.close()
        return response, body

    def _open(self, budget: Budget) -> socket.socket:
        error: Exception = OSError(f"{self._host} has no address")
        addresses = self._resolver.addresses(budget)
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(
                    budget.remaining() / (len(addresses) - index)
                )  # a dead address leaves time for the next
                sock.connect(address)
                sock.settimeout(budget.remaining())  # OpenSSL counts it for the whole handshake
                return self._tls.wrap_socket(sock, server_hostname=self._host) if self._tls else sock
            except (OSError, ValueError) as failure:
                sock.close()
                error = failure
        raise error

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
