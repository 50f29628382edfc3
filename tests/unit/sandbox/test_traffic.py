"""The simulated Elastic IP's traffic: real connections on loopback reach whoever holds the address,
or are reset.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from exoip.sandbox.server import SandboxServer
from exoip.sandbox.traffic import REFUSED, Traffic, entrance
from exoip.sandbox.zone import Zone
from tests.support.waiting import PATIENCE, until

FREE = ("127.0.0.1", 0)


class Named(socketserver.ThreadingTCPServer):
    """A server that says its name, then echoes until its client has finished, then says goodbye."""

    request_queue_size = 64

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(FREE, _Handler)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.server_address[:2]
        return str(host), port


class _Handler(socketserver.StreamRequestHandler):
    server: Named

    def handle(self) -> None:
        self.wfile.write(self.server.name.encode())
        while data := self.request.recv(65536):
            self.wfile.write(data)
        self.wfile.write(b"bye")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_prefix_that_this_machine_has_not_enters_at_ipv6_loopback() -> None:
    assert [entrance(ip) for ip in ("127.0.0.100", "203.0.113.9", "::1", "2001:db8:0:1::1")] == [
        *("127.0.0.100", "203.0.113.9", "::1", "::1")
    ]
    with serving("a") as a, Traffic(lambda: ["a"], (entrance("2001:db8:0:1::1"), 0), {"a": a.address}) as traffic:
        host, port = traffic.address
        assert str(traffic) == f"[::1]:{port}"
        with socket.create_connection((host, port), timeout=PATIENCE) as client:
            assert client.recv(10) == b"a"


@contextlib.contextmanager
def serving(name: str) -> Iterator[Named]:
    with Named(name) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def a() -> Iterator[Named]:
    with serving("a") as server:
        yield server


@pytest.fixture
def b() -> Iterator[Named]:
    with serving("b") as server:
        yield server


@pytest.fixture
def dead() -> Iterator[tuple[str, int]]:
    """An address where nobody listens, and nobody else will while the test lasts."""
    with socket.socket() as held:
        held.bind(FREE)
        yield held.getsockname()


def ask(address: tuple[str, int], say: bytes = b"") -> bytes:
    """Everything that one connection to `address` brings, after `say` and an end of our own."""
    with socket.create_connection(address, PATIENCE) as connection:
        if say:
            connection.sendall(say)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def is_reset(address: tuple[str, int]) -> bool:
    try:
        ask(address)
    except OSError:  # at its connect, its shutdown or its first read, as the reset happens to come
        return True
    return False


def test_bytes_reach_the_holder_and_come_back_both_ends_finishing_apart(a: Named) -> None:
    big = bytes(range(256)) * 4096
    with Traffic(lambda: ["i-a"], FREE, {"i-a": a.address}) as traffic:
        received = bytearray()
        with socket.create_connection(traffic.address, PATIENCE) as connection:
            reader = threading.Thread(
                target=lambda: [received.extend(chunk) for chunk in iter(lambda: connection.recv(65536), b"")]
            )
            reader.start()
            connection.sendall(big)
            connection.shutdown(socket.SHUT_WR)
            reader.join(PATIENCE)
        assert bytes(received) == b"a" + big + b"bye"


def test_holders_share_the_connections_in_turn_the_dead_included(a: Named, b: Named, dead: tuple[str, int]) -> None:
    targets = {"i-a": a.address, "i-b": b.address, "i-dead": dead}
    with Traffic(lambda: {"i-b", "i-a", "i-dead"}, FREE, targets) as traffic:
        seen = Counter("lost" if is_reset(traffic.address) else "served" for _ in range(9))
        assert seen == {"served": 6, "lost": 3}
        assert traffic.counts == {"i-a": 3, "i-b": 3, REFUSED: 3}


def test_traffic_follows_the_holder(a: Named, b: Named) -> None:
    holders = ["i-a"]
    with Traffic(lambda: holders, FREE, {"i-a": a.address, "i-b": b.address}) as traffic:
        assert ask(traffic.address) == b"abye"
        holders[:] = ["i-b"]
        assert ask(traffic.address) == b"bbye"
        holders[:] = []
        assert is_reset(traffic.address)
        holders[:] = ["i-elsewhere"]  # holds, but no target of ours: dead to the world
        assert is_reset(traffic.address)
        holders[:] = ["i-a"]
        assert ask(traffic.address) == b"abye"


def test_it_carries_the_traffic_of_a_zone(a: Named, b: Named) -> None:
    zone = Zone(eip="127.0.0.100", operation_seconds=0.0)
    ids = {name: zone.add_instance(name).id for name in "ab"}
    with (
        SandboxServer(zone) as server,
        Traffic(server.holders, ("127.0.0.100", 0), {ids["a"]: a.address, ids["b"]: b.address}) as traffic,
    ):
        assert traffic.address[0] == "127.0.0.100"
        assert is_reset(traffic.address)
        for name in "ab":
            with server.lock:
                zone.attach(zone.eip.id, ids[name], server.now())
        assert {ask(traffic.address)[:1] for _ in range(4)} == {b"a", b"b"}
        with server.lock:
            zone.detach(zone.eip.id, ids["a"], server.now())
        assert {ask(traffic.address) for _ in range(4)} == {b"bbye"}


def test_a_target_that_breaks_off_is_passed_on_as_a_reset() -> None:
    with socket.create_server(FREE) as listener, Traffic(lambda: ["i"], FREE, {"i": listener.getsockname()}) as traffic:
        client = socket.create_connection(traffic.address, PATIENCE)
        target, _ = listener.accept()
        target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        target.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        client.close()


def test_a_client_that_finishes_does_not_keep_a_frozen_target_forever() -> None:
    before = threading.active_count()
    with (
        socket.create_server(FREE) as frozen,
        Traffic(lambda: ["i"], FREE, {"i": frozen.getsockname()}, drain_seconds=0.05) as traffic,
    ):
        client = socket.create_connection(traffic.address, PATIENCE)
        until(lambda: threading.active_count() == before + 2, "the end of a connection")
        client.close()
        until(lambda: threading.active_count() == before + 1, "the end of a connection")


def test_one_connection_too_many_is_reset_and_the_others_stay(a: Named) -> None:
    with Traffic(lambda: ["i"], FREE, {"i": a.address}, limit=2) as traffic:
        with contextlib.ExitStack() as stack:
            kept = [stack.enter_context(socket.create_connection(traffic.address, PATIENCE)) for _ in range(2)]
            assert [one.recv(1) for one in kept] == [b"a", b"a"]
            assert is_reset(traffic.address)
            for one in kept:
                one.sendall(b"x")
                assert one.recv(1) == b"x"
        until(lambda: not is_reset(traffic.address), "the end of a connection")


def test_closing_ends_every_connection_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with socket.create_server(FREE) as silent:
        with Traffic(lambda: ["i"], FREE, {"i": silent.getsockname()}) as traffic:
            clients = [socket.create_connection(traffic.address, PATIENCE) for _ in range(5)]
            targets = [silent.accept()[0] for _ in range(5)]
            address = traffic.address
        traffic.close()  # a second time is no error
        assert set(threading.enumerate()) == before
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        for one in clients + targets:
            one.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, PATIENCE)


def test_an_address_that_cannot_be_bound_is_an_error(a: Named) -> None:
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="use"):
        Traffic(list, a.address, {}).start()
    unused = Traffic(list, FREE, {})
    with pytest.raises(RuntimeError):
        _ = unused.address
    unused.close()
    assert set(threading.enumerate()) == before


def test_connections_in_a_storm_of_moves_are_served_or_reset_but_never_stuck(a: Named, b: Named) -> None:
    holders = ["i-a"]
    answers: list[bytes] = []

    def storm(address: tuple[str, int]) -> None:
        for _ in range(20):
            with contextlib.suppress(OSError):
                answers.append(ask(address, b"hello"))

    with Traffic(lambda: holders, FREE, {"i-a": a.address, "i-b": b.address}) as traffic:
        threads = [threading.Thread(target=storm, args=(traffic.address,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        turn = 0
        while any(thread.is_alive() for thread in threads):
            turn += 1
            holders[:] = [["i-a"], ["i-a", "i-b"], ["i-b"], []][turn % 4]
            time.sleep(0.001)
        for thread in threads:
            thread.join(PATIENCE)
        assert sum(traffic.counts.values()) == 120
        assert len(answers) == 120 - traffic.counts.get(REFUSED, 0)
    assert set(answers) <= {b"ahellobye", b"bhellobye"}
    assert answers
