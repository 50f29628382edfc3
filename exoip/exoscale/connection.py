"""Keep one connection to an HTTP server, and bound each exchange on it in time and size.

Why not urllib3 or http.client alone: they bound the time of each single `recv`, so a server that
drips a byte a second holds its caller for hours. Here one deadline covers the whole exchange (name
lookup, connect, TLS, request, head and body) without a thread, and one limit covers all that is
received. If the name server is down, the addresses of the last good lookup serve, so that a
failover still reaches the API. A lookup may take longer than an exchange: the next one joins it.

A failover cannot wait for a path that is dead, either. Addresses are tried NEXT_ADDRESS apart,
beside each other. One that does not connect in time, does not answer, or answers 5xx, is tried last
from then on. A kept connection on which the server's kernel does not acknowledge a request within
SILENCE and two retransmissions (a NAT forgot it) has failed. A slow server acknowledges at once.

Raises OSError (TimeoutError if the deadline has passed), ValueError and http.client.HTTPException;
the caller must then close the connection. Shown by tests/unit/exoscale/test_transport.py, TestTime,
TestSize, TestNames and TestDeadPaths.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import lru_cache
from itertools import takewhile
from typing import Any

from exoip.errors import OutOfThreads
from exoip.thread import Thread

HEAD_LIMIT = 64 * 2**10  # bytes of the status line and the headers
NEXT_ADDRESS = 0.25  # seconds after which the next address is tried too
SILENCE = 1.25  # seconds without an acknowledgement; the kernel adds the time to two retransmissions, 0.4 s or more
_PIECE = 64 * 2**10  # bytes to read at a time
_Addresses = list[tuple[int, int, int, str, Any]]  # as socket.getaddrinfo() returns them


class NameTimeout(TimeoutError):
    """Report a host name that was not resolved in time."""


class ResponseTooLong(OSError):
    """Report a response of more bytes than allowed."""


class Budget:
    """What one exchange may still use: seconds, and bytes to receive.

    `received`: bytes so far; `limit`: how many there may be; `ended`: the server has hung up;
    `sent`: the request may have reached the server.
    """

    __slots__ = ("deadline", "ended", "limit", "received", "sent")

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.ended = self.sent = False
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
    """Resolve the name of one host, and remember its addresses and their failures. Thread-safe."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port, self._lock = host, port, threading.Lock()
        self.several = False  # whether the host has more than one address
        self._failed: dict[Any, float] = {}  # when each address failed last; -inf if it has answered since
        self._lookup: Future[_Addresses] | None = None
        self._known: _Addresses = []

    def addresses(self, budget: Budget) -> _Addresses:
        """Return the addresses: those from before if a new lookup fails or takes too long."""
        with contextlib.suppress(OSError, ValueError):  # an address needs no name server
            return self._getaddrinfo(socket.AI_NUMERICHOST)
        with self._lock:  # one may still hang since an earlier exchange: never run two
            lookup = self._lookup = self._lookup or self._begun()
        try:
            error = lookup.exception(budget.remaining() / (4 if self._known else 1))
        except TimeoutError:
            if not self._known:
                raise NameTimeout(f"the name {self._host} was not resolved in time") from None
            return self._known
        with self._lock:
            self._lookup = None if self._lookup is lookup else self._lookup
            self._known = lookup.result() if error is None else self._known
        if not self._known and error is not None:
            raise OSError(f"{self._host} cannot be resolved: {error}") from error
        return self._known

    def in_order(self, budget: Budget) -> _Addresses:
        """Return the addresses in the order in which to try them."""
        addresses = self.addresses(budget)
        with self._lock:
            self.several = len(addresses) > 1
            self._failed = {one[4]: self._failed[one[4]] for one in addresses if one[4] in self._failed}
            return sorted(addresses, key=lambda one: self._failed.get(one[4], -math.inf))

    def note(self, *places: Any, works: bool) -> None:
        """Note whether these addresses work."""
        with self._lock:
            self._failed.update(dict.fromkeys(places, -math.inf if works else time.monotonic()))

    def _begun(self) -> Future[_Addresses]:
        lookup: Future[_Addresses] = Future()
        try:  # getaddrinfo has no time-out and may take half a minute: leave it to a thread
            Thread("name-lookup", lambda: self._look_up(lookup)).start()
        except OutOfThreads as error:
            lookup.set_exception(error)
        return lookup

    def _look_up(self, lookup: Future[_Addresses]) -> None:
        try:
            lookup.set_result(self._getaddrinfo())
        except Exception as error:  # whatever it is: a lookup without an end would block all later ones
            lookup.set_exception(error)

    def _getaddrinfo(self, flags: int = 0) -> _Addresses:
        return list(socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=flags))


_resolver = lru_cache(64)(_Resolver)  # one for each host in a process: what is known or under way outlives a connection


def _connected(addresses: _Addresses, budget: Budget) -> Generator[socket.socket | OSError, None, None]:
    """Yield the sockets that connect, as they do, and the errors of the others.

    An address is tried NEXT_ADDRESS after the one before it, or at once if that has failed.
    """
    left, trying, poll, next_at = deque(addresses), dict[int, socket.socket](), select.poll(), 0.0
    try:
        while left or trying:
            now = time.monotonic()
            if left and (now >= next_at or not trying):
                next_at = now + NEXT_ADDRESS
                try:
                    sock = _connecting(*left.popleft())
                except OSError as error:
                    next_at = 0.0
                    yield error
                    continue
                trying[sock.fileno()] = sock
                poll.register(sock, select.POLLOUT)
            until_next = max(0.0, next_at - now) if left else math.inf
            for descriptor, _ in poll.poll(1000 * min(budget.remaining(), until_next)):
                sock = trying.pop(descriptor)
                poll.unregister(descriptor)
                if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    sock.close()
                    next_at = 0.0
                    yield OSError(code, os.strerror(code))
                else:
                    yield sock
    finally:
        for sock in trying.values():
            sock.close()


def _connecting(family: int, kind: int, protocol: int, _: str, address: Any) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


class Connection:
    """The one connection to a server: opened when needed, kept, closed at the first doubt.

    `tls` returns the context for a new connection; None: without TLS.
    """

    def __init__(self, host: str, port: int, tls: Callable[[], ssl.SSLContext] | None) -> None:
        self._host, self._tls = host, tls
        self._resolver = _resolver(host, port)
        self._peer: Any = None  # the address of the connection
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
        if self._sock is not None:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENCE * 1000))
        sock = self._sock = self._sock or self._open(budget)
        sock.settimeout(budget.remaining())
        budget.sent = True
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
        self._resolver.note(self._peer, works=True)
        if response.status >= 500 and self._resolver.several:  # perhaps only this address has lost its backends
            self.fail()
        return response, body

    def _open(self, budget: Budget) -> socket.socket:
        error: Exception = OSError(f"{self._host} has no address")
        tls = self._tls() if self._tls else None
        self._peer, addresses = None, self._resolver.in_order(budget)
        with contextlib.closing(_connected(addresses, budget)) as attempts:
            for attempt in attempts:
                if isinstance(attempt, OSError):
                    error = attempt
                    continue
                try:
                    self._peer = attempt.getpeername()
                    silent = takewhile(lambda place: place != self._peer, [each[4] for each in addresses])
                    self._resolver.note(*silent, works=False)
                    attempt.settimeout(budget.remaining())  # OpenSSL applies it to the whole handshake
                    return tls.wrap_socket(attempt, server_hostname=self._host) if tls else attempt
                except (OSError, ValueError) as failure:
                    attempt.close()
                    self._resolver.note(self._peer, works=False)
                    error = failure
        raise error

    def fail(self) -> None:
        """Close the connection after a failed exchange, and try its address last from now on."""
        self._resolver.note(self._peer, works=False)
        self.close()

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None
