"""One exchange is bounded in time and size, whatever the server does; and the connection is kept, but never trusted."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from exoip.exoscale import connection, transport
from exoip.exoscale.transport import LIMIT, MalformedResponse, Transport
from tests.support.raw_server import Peer, RawServer, answer

SECONDS = 0.4  # what an exchange may take here
BOUND = 12 * SECONDS  # what it is held to: far below PATIENCE, far above a busy machine's hiccups


@pytest.fixture
def client() -> Iterator[Transport]:
    with contextlib.closing(Transport()) as made:
        yield made


def get(client: Transport, url: str, seconds: float = SECONDS, **kwargs: object) -> requests.Response:
    request = requests.Request("GET", url, **kwargs).prepare()  # type: ignore[arg-type]
    return client.send(request, seconds)


def forever(data: bytes):
    """A handler that answers each request of a connection with `data`."""

    def handler(peer: Peer) -> None:
        while peer.request():
            peer.send(data)

    return handler


def test_answers_and_keeps_the_connection(client):
    with RawServer(forever(answer(b"hello", X_Test="yes"))) as server:
        for _ in range(3):
            response = get(client, server.url + "/a?b=c")
            assert (response.status_code, response.content, response.headers["x-test"]) == (200, b"hello", "yes")
        assert len(server.peers) == 1
        assert server.requests[0].startswith(f"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n".encode())


def test_head_and_body_leave_in_one_segment_without_nagle(client):
    """Nothing waits for an acknowledgement: the whole request is there at the server's first read."""
    firsts = []

    def handler(peer: Peer) -> None:
        for _ in range(5):
            firsts.append(peer.sock.recv(65536))
            peer.send(answer(b"{}"))

    with RawServer(handler) as server:
        for _ in range(5):
            request = requests.Request("PUT", server.url, data=b'{"a": 1}').prepare()
            client.send(request, SECONDS)
        sock = client._connection._sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert len(firsts) == 5
    assert all(first.endswith(b'\r\n\r\n{"a": 1}') for first in firsts)


def drip_head(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    peer.drip(b"X-Slow: yes\r\n", SECONDS / 50)


def drip_status(peer: Peer) -> None:
    peer.request()
    peer.drip(b"HTTP/1.1 ", SECONDS / 50)


def drip_body(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    peer.drip(b"x", SECONDS / 50)


def drip_chunks(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer.drip(b"1\r\nx\r\n", SECONDS / 50)


def drip_trailer(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    peer.drip(b"X-Slow: yes\r\n", SECONDS / 50)


def continue_forever(peer: Peer) -> None:
    peer.request()
    peer.drip(b"HTTP/1.1 100 Continue\r\n\r\n", SECONDS / 500)


def silent(peer: Peer) -> None:
    peer.request()
    peer.hold()


@pytest.mark.parametrize(
    "handler", [drip_head, drip_status, drip_body, drip_chunks, drip_trailer, continue_forever, silent, Peer.hold]
)
def test_the_deadline_covers_the_whole_exchange(client, handler):
    with RawServer(handler) as server:
        start = time.monotonic()
        with pytest.raises(requests.Timeout):
            get(client, server.url)
        assert time.monotonic() - start < BOUND
        assert len(server.peers) == 1, "a time-out is never retried"


def test_a_dripped_tls_handshake_is_bounded_too(client):
    def handler(peer: Peer) -> None:
        peer.drip(b"\x16\x03\x03\x40\x00" + b"\x02" * 1000, SECONDS / 50)

    with RawServer(handler) as server:
        start = time.monotonic()
        with pytest.raises(requests.Timeout):
            get(client, server.url.replace("http:", "https:"))
        assert time.monotonic() - start < BOUND


def test_a_listener_that_accepts_nothing_is_bounded(client):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):  # fill the backlog: further SYNs go unanswered
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        start = time.monotonic()
        with pytest.raises(requests.Timeout):
            get(client, f"http://127.0.0.1:{address[1]}")
        assert time.monotonic() - start < BOUND


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
    ],
)
def test_an_endless_body_costs_bounded_memory(client, start):
    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(start)
        while not peer.stopping.is_set():
            peer.send(b"x" * 2**20)

    with RawServer(handler) as server:
        tracemalloc.start()
        try:
            with pytest.raises(MalformedResponse, match="too long" if b"-5" not in start else "not HTTP"):
                get(client, server.url, 60)
            assert tracemalloc.get_traced_memory()[1] < 5 * LIMIT
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("unit", [b"X: y\r\n", b"x" * 100, b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_an_endless_head_is_refused(client, unit):
    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nA: ")
        while not peer.stopping.is_set():
            peer.send(unit * 1000)

    with RawServer(handler) as server, pytest.raises(MalformedResponse):
        get(client, server.url, 60)


@pytest.mark.parametrize("limit", [1, 1000, LIMIT])
def test_a_body_up_to_the_limit_passes_and_one_byte_more_does_not(limit):
    with contextlib.closing(Transport(limit=limit)) as client:
        with RawServer(forever(answer(b"x" * limit))) as server:
            assert len(get(client, server.url, 60).content) == limit
        with (
            RawServer(forever(answer(b"x" * (limit + 1)))) as server,
            pytest.raises(MalformedResponse, match="too long"),
        ):
            get(client, server.url, 60)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 404 Not Found\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Len",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n",
    ],
)
def test_what_is_no_whole_answer(client, data):
    def handler(peer: Peer) -> None:
        peer.request()
        peer.send(data)

    with RawServer(handler) as server:
        with pytest.raises(MalformedResponse):
            get(client, server.url)
        assert len(server.requests) == 1, "an answer that began is never asked for again"


def test_refused(client):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(requests.ConnectionError, match="refused"):
        get(client, f"http://127.0.0.1:{port}")


class TestReuse:
    """A kept connection may die at any moment."""

    @pytest.mark.parametrize("reset", [False, True])
    def test_closed_while_idle(self, client, reset):
        closed = threading.Event()

        def handler(peer: Peer) -> None:
            peer.request()
            peer.send(answer(b"once"))
            if reset:
                peer.reset()
            peer.sock.close()
            closed.set()

        with RawServer(handler) as server:
            for number in range(1, 4):
                assert get(client, server.url).content == b"once"
                assert closed.wait(BOUND)
                closed.clear()
                assert len(server.requests) == number

    @pytest.mark.parametrize("reset", [False, True])
    def test_dies_under_the_request_and_is_asked_once_more(self, client, reset):
        def handler(peer: Peer) -> None:
            peer.request()
            peer.send(answer(b"kept"))
            if len(server.peers) == 1:
                peer.request()
                if reset:
                    peer.reset()
            else:
                peer.hold()

        with RawServer(handler) as server:
            assert get(client, server.url).content == b"kept"
            assert get(client, server.url).content == b"kept"
            assert [len(peer.requests) for peer in server.peers] == [2, 1]

    def test_once_more_and_not_twice(self, client):
        def handler(peer: Peer) -> None:
            if len(server.peers) == 1:
                peer.request()
                peer.send(answer(b"kept"))
            peer.request()  # and hang up on it

        with RawServer(handler) as server:
            assert get(client, server.url).content == b"kept"
            with pytest.raises(requests.ConnectionError):
                get(client, server.url)
            assert [len(peer.requests) for peer in server.peers] == [2, 1]

    def test_a_fresh_connection_that_dies_is_not_retried(self, client):
        with RawServer(lambda peer: peer.request()) as server:
            with pytest.raises(requests.ConnectionError):
                get(client, server.url)
            assert len(server.requests) == 1

    def test_a_reused_one_that_times_out_is_not_retried(self, client):
        def handler(peer: Peer) -> None:
            peer.request()
            peer.send(answer(b"kept"))
            peer.request()
            peer.hold()

        with RawServer(handler) as server:
            assert get(client, server.url).content == b"kept"
            with pytest.raises(requests.Timeout):
                get(client, server.url)
            assert [len(peer.requests) for peer in server.peers] == [2]

    def test_a_reused_one_that_breaks_off_an_answer_is_not_retried(self, client):
        def handler(peer: Peer) -> None:
            peer.request()
            peer.send(answer(b"kept"))
            peer.request()
            peer.send(b"H")

        with RawServer(handler) as server:
            get(client, server.url)
            with pytest.raises(MalformedResponse):
                get(client, server.url)
            assert len(server.requests) == 2

    def test_unasked_bytes_are_never_taken_for_an_answer(self, client):
        """The late answer to a call that was given up must not become the answer to the next."""
        sent = threading.Event()

        def handler(peer: Peer) -> None:
            while peer.request():
                peer.send(answer(b"asked"))
                peer.send(answer(b"unasked" * 10000))
                sent.set()

        with RawServer(handler) as server:
            for _ in range(3):
                sent.clear()
                assert get(client, server.url).content == b"asked"
                assert sent.wait(BOUND)

    def test_what_follows_an_interim_answer_is_not_the_next_ones(self, client):
        with RawServer(forever(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"late"))) as server:
            for number in (1, 2):
                assert get(client, server.url).status_code == 103
                assert len(server.peers) == number

    def test_after_a_time_out_the_connection_is_gone(self, client):
        release = threading.Event()

        def handler(peer: Peer) -> None:
            first = len(server.peers) == 1
            while peer.request():
                if first:
                    release.wait(BOUND)
                peer.send(answer(b"late" if first else b"new"))

        with RawServer(handler) as server:
            with pytest.raises(requests.Timeout):
                get(client, server.url)
            release.set()
            assert get(client, server.url).content == b"new"

    def test_an_interrupted_exchange_leaves_no_half_answer(self, client, monkeypatch):
        def interrupt(budget: connection.Budget, size: int) -> None:
            raise KeyboardInterrupt

        with RawServer(forever(answer(b"whole"))) as server:
            get(client, server.url)
            with monkeypatch.context() as patched:
                patched.setattr(connection.Budget, "count", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    get(client, server.url)
            assert get(client, server.url).content == b"whole"
            assert [len(peer.requests) for peer in server.peers] == [2, 1]

    def test_connection_close_is_honoured(self, client):
        with RawServer(forever(answer(b"x", Connection="close"))) as server:
            for number in range(1, 4):
                get(client, server.url)
                assert len(server.peers) == number


class TestNames:
    """Look-ups of names can hang: they must not take the exchange with them."""

    @pytest.fixture
    def names(self, monkeypatch):
        """Stands between us and the resolver: `names.wait` makes it hang, `names.fail` makes it fail."""
        real = socket.getaddrinfo

        class Names:
            wait = threading.Event()
            fail = False
            asked = 0

            def __call__(self, host, port, *args, flags=0, **kwargs):
                if flags & socket.AI_NUMERICHOST:
                    return real(host, port, *args, flags=flags, **kwargs)
                self.asked += 1
                self.wait.wait(BOUND)
                if self.fail:
                    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
                return real("127.0.0.1", port, *args, **kwargs)

        names = Names()
        names.wait.set()
        monkeypatch.setattr(connection.socket, "getaddrinfo", names)
        yield names
        names.wait.set()

    def url(self, server: RawServer) -> str:
        return f"http://api.invalid:{server.port}"

    def test_a_name_is_resolved(self, client, names):
        with RawServer(forever(answer(b"x"))) as server:
            assert get(client, self.url(server)).content == b"x"

    def test_a_hanging_look_up_is_bounded_and_never_piles_up(self, client, names):
        names.wait.clear()
        start = time.monotonic()
        for _ in range(3):
            with pytest.raises(requests.Timeout):
                get(client, "http://api.invalid")
        assert time.monotonic() - start < BOUND
        assert names.asked == 1

    def test_a_failing_look_up_names_the_host(self, client, names):
        names.fail = True
        with pytest.raises(requests.ConnectionError, match=r"api\.invalid cannot be resolved"):
            get(client, "http://api.invalid")

    @pytest.mark.parametrize("hang", [False, True])
    def test_the_last_known_address_serves_when_the_name_server_is_away(self, client, names, hang):
        with RawServer(forever(answer(b"x", Connection="close"))) as server:
            get(client, self.url(server))
            names.fail = True
            if hang:
                names.wait.clear()
            assert get(client, self.url(server)).content == b"x"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=exoip test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", path, "-out", path.with_suffix(".crt")], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


class TestTls:
    @pytest.fixture
    def server(self, certificate) -> Iterator[RawServer]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        with RawServer(forever(answer(b"secret")), tls) as server:
            yield server

    @pytest.fixture
    def trusting(self, certificate) -> Iterator[Transport]:
        with contextlib.closing(Transport(ca_file=str(certificate.with_suffix(".crt")))) as made:
            yield made

    def test_a_stranger_is_refused(self, client, server, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/dev/null")  # nor does the environment have a say
        with pytest.raises(requests.ConnectionError, match="certificate verify failed"):
            get(client, server.url, 10)
        assert server.requests == []

    def test_another_name_is_refused(self, trusting, server):
        with pytest.raises(requests.ConnectionError, match="certificate verify failed"):
            get(trusting, server.url.replace("127.0.0.1", "localhost"), 10)

    def test_one_handshake_serves_many_calls(self, trusting, server):
        for _ in range(5):
            assert get(trusting, server.url, 10).content == b"secret"
        assert len(server.peers) == 1


def test_certificates_are_loaded_once_and_anew_when_they_changed(tmp_path, certificate, monkeypatch):
    bundle = tmp_path / "bundle"
    bundle.write_bytes(certificate.with_suffix(".crt").read_bytes())
    loads: list[str] = []
    real = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **given: loads.append(given["cafile"]) or real(**given))
    for _ in range(3):
        Transport(ca_file=str(bundle))._connection_for("https://127.0.0.1:1/")
    assert loads == [str(bundle)]
    os.utime(bundle, ns=(0, bundle.stat().st_mtime_ns + 1))
    Transport(ca_file=str(bundle))._connection_for("https://127.0.0.1:1/")
    assert len(loads) == 2


def test_of_debians_certificates_only_those_that_are_needed_are_loaded(certificate, tmp_path, monkeypatch):
    """From the folder: by the hash of the name, and one that is not in it is refused."""
    own = certificate.with_suffix(".crt")
    asked = ["openssl", "x509", "-hash", "-noout", "-in", own]
    name = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    bundle = tmp_path / "ca-certificates.crt"
    bundle.write_text("nobody reads this")
    monkeypatch.setattr(transport, "CA_FOLDER", str(tmp_path))
    monkeypatch.setattr(transport, "CA_FOLDERS_BUNDLE", str(bundle))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with RawServer(forever(answer(b"secret")), tls) as server:
        for trusted in (False, True):
            if trusted:
                (tmp_path / f"{name}.0").symlink_to(own)
            with contextlib.closing(Transport(ca_file=str(bundle))) as one:
                if trusted:
                    assert get(one, server.url, 10).content == b"secret"
                else:
                    with pytest.raises(requests.ConnectionError, match="certificate verify failed"):
                        get(one, server.url, 10)


def test_the_environment_has_no_say(client, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with RawServer(forever(answer(b"direct"))) as server:
        assert get(client, server.url, headers={"Authorization": "ours"}).content == b"direct"
        assert b"\r\nAuthorization: ours\r\n" in server.requests[0]


def test_redirects_cookies_and_compression_are_left_alone(client):
    bomb = answer(b"\x1f\x8b", 302, Location="http://[::bad", Content_Encoding="gzip", Set_Cookie="a=b")
    with RawServer(forever(bomb)) as server:
        for _ in range(2):
            response = get(client, server.url)
            assert (response.status_code, response.content) == (302, b"\x1f\x8b")
        assert b"ookie" not in server.requests[1]
        assert len(server.peers) == 1
