"""Forward the traffic of an Elastic IP (EIP) on loopback to the instance that holds it.

    with Traffic(server.holders, ("127.0.0.100", 8000), {instance_id: ("127.0.0.11", 8000), …}):
        …# connections to 127.0.0.100:8000 reach the holder

As in the real network, several holders get the connections in turn, alive or not; a connection to a
dead one is lost. Without a holder, or if the instance rejects it, the client's connection is reset
at once. An open connection stays where it is when the EIP moves.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

Address = tuple[str, int]
CHUNK = 65536
CONNECT_SECONDS = 2.0
RETRY_SECONDS = 0.05
IDLE_SECONDS = 60.0  # after which a silent connection is closed
DRAIN_SECONDS = 2.0  # for one side to finish after the other
REFUSED = ""  # the key in `counts` of rejected connections


def entrance(ip: str) -> str:
    """Return the address at which an Elastic IP's traffic arrives on this machine: its own.

    Loopback has a single IPv6 address, so a prefix that this machine does not have enters at ::1.
    """
    if ":" not in ip:
        return ip
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((ip, 0))
        except OSError:
            return "::1"
    return ip


class Traffic:
    """Listens on `listen` (port 0: a free one) and forwards to `targets` (instance id -> address)
    of the holders.

    `holders` is called for each connection, possibly from several threads. At most `limit`
    connections are open at once, others are reset. `counts` says how many each instance got. Raises
    OSError if the address cannot be bound.
    """

    def __init__(
        self,
        holders: Callable[[], Iterable[str]],
        listen: Address,
        targets: Mapping[str, Address],
        *,
        limit: int = 256,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self._holders = holders
        self._listen = listen
        self._targets = targets
        self._limit = limit
        self._drain_seconds = drain_seconds
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._turn = 0
        self._counts: Counter[str] = Counter()
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and forward connections in threads."""
        family = socket.AF_INET6 if ":" in self._listen[0] else socket.AF_INET
        self._listener = socket.create_server(self._listen, family=family, backlog=128)
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), name="traffic-accept")
        self._acceptor.start()

    def close(self) -> None:
        """End every connection and join every thread. Closing it again does nothing."""
        with self._lock:
            self._closing.set()
            sockets = [*self._open] if self._listener is None else [*self._open, self._listener]
            for one in sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it, which then closes it
        if self._acceptor is not None:
            self._acceptor.join()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> Address:
        """Where it listens."""
        if self._listener is None:
            raise RuntimeError("the traffic is not started: start it, or use it as a context")
        host, port = self._listener.getsockname()[:2]
        return host, port

    def __str__(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of connections by instance id; rejected ones are under `REFUSED`."""
        with self._lock:
            return dict(self._counts)

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    if self._closing.wait(RETRY_SECONDS):
                        return
                    continue  # the client has gone, or there are too many open files
                if not self._carry_in_thread(client):
                    _reset(client)

    def _carry_in_thread(self, client: socket.socket) -> bool:
        """Start a thread for the connection; return False if there are too many or when closing."""
        thread = threading.Thread(target=self._carry, args=(client,), name="traffic-carry")
        with self._lock:
            self._threads = {one for one in self._threads if one.is_alive()}
            if self._closing.is_set() or len(self._threads) >= self._limit:
                self._counts[REFUSED] += 1
                return False
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads
                self._counts[REFUSED] += 1
                return False
            self._open.add(client)
            self._threads.add(thread)
        return True

    def _carry(self, client: socket.socket) -> None:
        """Connect to the holder and forward the connection until it ends."""
        target = None
        try:
            target = self._connect()
            if target is not None and _pump(client, target, self._drain_seconds):
                client.close()
        finally:
            with self._lock:
                self._open -= {client, target}
            _reset(client)
            if target is not None:
                _reset(target)

    def _connect(self) -> socket.socket | None:
        """Return a connection to the holder whose turn it is, or None."""
        holders = sorted(self._holders())
        with self._lock:
            turn, self._turn = self._turn, self._turn + 1
        holder = holders[turn % len(holders)] if holders else REFUSED
        try:
            if holder not in self._targets:
                raise ConnectionRefusedError(f"no target for {holder or 'nobody'}")
            target = socket.create_connection(self._targets[holder], CONNECT_SECONDS)
        except OSError:
            holder, target = REFUSED, None
        with self._lock:
            self._counts[holder] += 1
            if target is not None:
                self._open.add(target)
                if self._closing.is_set():  # `close` has not seen this one
                    with contextlib.suppress(OSError):
                        target.shutdown(socket.SHUT_RDWR)
        return target


def _pump(client: socket.socket, target: socket.socket, drain_seconds: float) -> bool:
    """Forward bytes both ways until both sides have finished; return False if a side broke off or
    fell silent.
    """
    sides = {client.fileno(): (client, target), target.fileno(): (target, client)}
    with selectors.DefaultSelector() as selector:
        for one in (client, target):
            one.settimeout(IDLE_SECONDS)
            selector.register(one, selectors.EVENT_READ)
        try:
            while selector.get_map():
                ready = selector.select(IDLE_SECONDS if len(selector.get_map()) == len(sides) else drain_seconds)
                if not ready:
                    return target.fileno() not in selector.get_map()
                for key, _ in ready:
                    one, other = sides[key.fd]
                    data = one.recv(CHUNK)
                    if data:
                        other.sendall(data)
                    else:
                        selector.unregister(one)
                        other.shutdown(socket.SHUT_WR)
        except OSError:
            return False
    return True


def _reset(connection: socket.socket) -> None:
    """Close so that the other side gets a reset, unless it is closed already."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
