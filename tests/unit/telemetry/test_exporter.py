"""The metrics' port: what it answers, and that no client can hold it up or take the processor."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from exoip.errors import ConfigError
from exoip.telemetry.exporter import CONNECTIONS, REQUEST_TIME, REST, MetricsServer
from exoip.telemetry.metrics import CONTENT_TYPE
from tests.support.waiting import PATIENCE, until

PAGE = "a_metric 1\n"
Start = Callable[..., MetricsServer]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[MetricsServer] = []

    def make(page: Callable[[], str] = lambda: PAGE, host: str = "127.0.0.1") -> MetricsServer:
        servers.append(MetricsServer(host, 0, page))
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.stopping.set()
        server.join(PATIENCE)
        assert not server.is_alive()


def connect(server: MetricsServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def ask(server: MetricsServer, method: str = "GET", path: str = "/metrics") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers.get("Content-Type", "")
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_the_page(start, host):
    server = start(host=host)
    assert ask(server) == (200, PAGE, CONTENT_TYPE)
    assert ask(server, path="/metrics?name[]=x")[:2] == (200, PAGE)
    assert ask(server, "HEAD")[:2] == (200, "")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/metricsx", 404), ("POST", "/metrics", 501)]
)
def test_nothing_else(start, method, path, status):
    assert ask(start(), method, path)[0] == status


def test_a_page_that_fails_is_logged_and_harms_nothing(start):
    def page() -> str:
        raise RuntimeError("a bug")

    server = start(page)
    assert [ask(server)[0] for _ in range(2)] == [500, 500]


@pytest.mark.parametrize(
    "said", [None, b"", b"\r\n\r\n", b"GET", b"GET /metrics\r\n\r\n", b"\xff\x00 \x01\r\n\r\n", b"x" * 300_000]
)
def test_nonsense_and_connections_that_end_harm_nothing(start, said, capfd):
    server = start()
    for _ in range(CONNECTIONS + 1):
        with connect(server) as client:
            try:
                client.sendall(said or b"")
                client.shutdown(socket.SHUT_WR)
                while said is not None and client.recv(4096):
                    pass
            except OSError:
                pass  # it hung up before everything was sent
    until(lambda: status(server) == 200, "it still answers")
    assert capfd.readouterr() == ("", ""), "nothing is printed past the log"


def status(server: MetricsServer, path: str = "/metrics") -> int:
    """Return the status of an answer, 0 if the connection is closed instead."""
    try:
        return ask(server, path=path)[0]
    except (OSError, http.client.HTTPException):
        return 0


@pytest.mark.slow
def test_clients_that_do_not_send_or_read_have_their_time_and_no_more(start):
    """They take every thread; further clients are turned away until they have had their time."""
    server = start(lambda: "x" * 50_000_000)
    before = threading.active_count()
    clients = [connect(server) for _ in range(CONNECTIONS)]
    try:
        clients[0].sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        until(lambda: threading.active_count() == before + CONNECTIONS, "each has a thread")
        began = time.monotonic()
        with connect(server) as rejected:
            assert rejected.recv(1) == b""
        assert threading.active_count() <= before + CONNECTIONS
        until(lambda: status(server, "/") == 404, "it answers again")
        assert time.monotonic() - began < 3 * REQUEST_TIME
    finally:
        for client in clients:
            client.close()


@pytest.mark.slow
def test_a_flood_takes_little_of_the_processor(start):
    """Four clients ask without end: no more than one request per REST is answered."""
    asked: list[float] = []

    def page() -> str:
        asked.append(time.monotonic())
        return PAGE * 200

    server = start(page)
    end = time.monotonic() + 2.0

    def flood() -> None:
        while time.monotonic() < end:
            if not status(server):
                time.sleep(0.01)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 5 < len(asked) <= 1.5 * 2.0 / REST


@pytest.mark.parametrize(
    ("host", "problem"), [("127.0.0.1", "is in use"), ("192.0.2.1", "is not an address of this machine")]
)
def test_a_port_that_cannot_be_bound(start, host, problem):
    port = start().port
    with pytest.raises(ConfigError, match=f"--metrics-listen {host}:{port} {problem}"):
        MetricsServer(host, port, lambda: PAGE)
