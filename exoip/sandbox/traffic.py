"""The traffic of an Elastic IP (EIP): a loopback address that stands for it and leads to whichever instance holds it.

    with Traffic(server.holders, ("127.0.0.100", 8000), {instance_id: ("127.0.0.11", 8000), …}):
        …connections to 127.0.0.100:8000 reach the holder…

As in the real network, several holders share the connections in turn, whether they live or not; a connection that
falls to a dead one is lost. With no holder, or when the instance refuses, the client's connection is reset at once.
A connection under way stays where it is when the EIP moves.
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
IDLE_SECONDS = 60.0  # a connection that is silent for so long is given up
DRAIN_SECONDS = 2.0  # how long one side may go on after the other has finished
REFUSED = ""  # the key in `counts` of connections that nobody took


class Traffic:
    """Listens on `listen` (port 0: a free one) and forwards to `targets` (instance id -> address) of the holders.

    `holders` is asked for each connection and may be called from several threads. At most `limit` connections are
    carried at once, a further one is reset. `counts` tells how many each instance has taken. Raises OSError when the
    address can not be had.
    """

    def __init__(
        self,
        holders: Callable[[], Iterable[str]],
        listen: Address,
        targets: Mapping[str, Address],
        *,
        limit: int = 256,
    ) -> None:
        self._holders = holders
        self._listen = listen
        self._targets = targets
        self._limit = limit
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._turn = 0
        self._counts: Counter[str] = Counter()
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and carry connections from threads of its own."""
        self._listener = socket.create_server(self._listen, backlog=128)
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), name="traffic-accept")
        self._acceptor.start()

    def close(self) -> None:
        """End every connection and join every thread. A second time is no error."""
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
            raise RuntimeError("the traffic does not flow yet: start it, or use it as a context")
        host, port = self._listener.getsockname()[:2]
        return host, port

    @property
    def counts(self) -> dict[str, int]:
        """Connections so far by instance id; those that nobody took under `REFUSED`."""
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
                    continue  # that client has gone again, or files are short
                if not self._carry_in_thread(client):
                    _reset(client)

    def _carry_in_thread(self, client: socket.socket) -> bool:
        """Start a thread for the connection; False if it is one too many, or the end."""
        thread = threading.Thread(target=self._carry, args=(client,), name="traffic-carry")
        with self._lock:
            self._threads = {one for one in self._threads if one.is_alive()}
            if self._closing.is_set() or len(self._threads) >= self._limit:
                self._counts[REFUSED] += 1
                return False
            try:
                thread.start()
            except RuntimeError:  # the system has no thread left
                self._counts[REFUSED] += 1
                return False
            self._open.add(client)
            self._threads.add(thread)
        return True

    def _carry(self, client: socket.socket) -> None:
        """The life of one connection."""
        target = None
        try:
            target = self._connect()
            if target is not None and _pump(client, target):
                client.close()
        finally:
            with self._lock:
                self._open -= {client, target}
            _reset(client)
            if target is not None:
                _reset(target)

    def _connect(self) -> socket.socket | None:
        """A connection to the holder whose turn it is, or None."""
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


def _pump(client: socket.socket, target: socket.socket) -> bool:
    """Carry bytes both ways until both sides have finished; False if a side broke off or fell silent."""
    sides = {client.fileno(): (client, target), target.fileno(): (target, client)}
    with selectors.DefaultSelector() as selector:
        for one in (client, target):
            one.settimeout(IDLE_SECONDS)
            selector.register(one, selectors.EVENT_READ)
        try:
            while selector.get_map():
                ready = selector.select(IDLE_SECONDS if len(selector.get_map()) == len(sides) else DRAIN_SECONDS)
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
    """Close so that the other side gets a reset; a connection closed already stays as it is."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
