"""The metrics' port: what it answers, and that no client can hold it up or take the processor."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from exoip.errors import ConfigError
from exoip.telemetry.exporter import LONGEST_REQUEST, REQUEST_TIME, MetricsServer, listen
from tests.support.waiting import PATIENCE, until

Start = Callable[..., MetricsServer]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[MetricsServer] = []

    def make(page: Callable[[], str] = lambda: "a_metric 1\n") -> MetricsServer:
        made.append(MetricsServer(listen("127.0.0.1", 0), page, "text/plain; version=0.0.4"))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stopping.set()
        one.join(PATIENCE)
        assert not one.is_alive()


def port(one: MetricsServer) -> int:
    return int(one._listener.getsockname()[1])


def ask(one: MetricsServer, method: str = "GET", path: str = "/metrics") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port(one), timeout=PATIENCE)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers.get("Content-Type", "")
    finally:
        connection.close()


def test_the_page(start):
    one = start()
    assert ask(one) == (200, "a_metric 1\n", "text/plain; version=0.0.4")
    assert ask(one, path="/metrics?name[]=x")[:2] == (200, "a_metric 1\n")
    assert ask(one, "HEAD")[:2] == (200, "")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/metricsx", 404), ("POST", "/metrics", 405)]
)
def test_nothing_else(start, method, path, status):
    assert ask(start(), method, path)[0] == status


def test_a_page_that_fails_is_told_and_harms_nothing(start, caplog):
    def page() -> str:
        raise RuntimeError("a bug")

    one = start(page)
    assert ask(one)[0] == 500
    assert ask(one)[0] == 500
    assert one.is_alive()


@pytest.mark.parametrize(
    "said", [b"", b"\r\n\r\n", b"GET", b"GET /metrics\r\n\r\n", b"\xff\x00 \x01\r\n\r\n", b"x" * (3 * LONGEST_REQUEST)]
)
def test_nonsense_harms_nothing(start, said):
    one = start()
    with socket.create_connection(("127.0.0.1", port(one)), timeout=PATIENCE) as client:
        try:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
        except OSError:
            pass  # it hung up before all was said
    assert ask(one)[0] == 200


def test_a_client_that_drips_or_does_not_read_has_its_time_and_no_more(start):
    one = start(lambda: "x" * 50_000_000)
    slow = socket.create_connection(("127.0.0.1", port(one)), timeout=PATIENCE)
    deaf = socket.create_connection(("127.0.0.1", port(one)), timeout=PATIENCE)
    stopping = threading.Event()

    def drip() -> None:
        while not stopping.wait(0.1):
            try:
                slow.sendall(b"G")
            except OSError:
                return

    dripping = threading.Thread(target=drip)
    dripping.start()
    deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    try:
        began = time.monotonic()
        assert ask(one, path="/")[0] == 404
        assert time.monotonic() - began < 5 * REQUEST_TIME
    finally:
        stopping.set()
        dripping.join()
        slow.close()
        deaf.close()


def test_a_flood_takes_little_of_the_processor(start):
    """Asked without end by four clients: what its thread uses is a small part of the time."""
    used: list[float] = []

    def page() -> str:
        used.append(time.thread_time())
        return "a_metric 1\n" * 200

    one = start(page)
    until_ = time.monotonic() + 2.0

    def flood() -> None:
        while time.monotonic() < until_:
            try:
                ask(one)
            except OSError:
                time.sleep(0.01)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(used) > 5
    assert (used[-1] - used[0]) / 2.0 < 0.25
    assert len(used) <= 60


def test_connections_that_end_at_once_do_not_end_it(start):
    one = start()
    for _ in range(30):
        socket.create_connection(("127.0.0.1", port(one)), timeout=PATIENCE).close()
    until(lambda: ask(one)[0] == 200, "it still answers")


class TestListen:
    def test_on_every_address(self):
        with listen("", 0) as listener:
            number = listener.getsockname()[1]
            socket.create_connection(("127.0.0.1", number), timeout=PATIENCE).close()

    def test_a_port_in_use_and_an_address_of_another_machine(self):
        with listen("127.0.0.1", 0) as listener:
            number = listener.getsockname()[1]
            with pytest.raises(ConfigError, match=f"--metrics-listen 127.0.0.1:{number} is in use"):
                listen("127.0.0.1", number)
        with pytest.raises(ConfigError, match="is no address of this machine"):
            listen("192.0.2.1", 9479)
