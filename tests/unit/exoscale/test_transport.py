"""Bound an exchange in time and size, and keep the connection, but never trust it."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import requests

from exoip.exoscale import connection
from exoip.exoscale.transport import LIMIT, MalformedResponse, Transport
from tests.support.certificate import Certificate
from tests.support.raw_server import Peer, RawServer, answer, each_with
from tests.support.waiting import PATIENCE

SECONDS = 0.4  # what an exchange may take that is to time out
BOUND = 12 * SECONDS  # the most that it takes: far above the hiccups of a busy machine
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\n"
KEPT = answer(b"kept")


@pytest.fixture
def client() -> Iterator[Transport]:
    with contextlib.closing(Transport()) as made:
        yield made


def get(client: Transport, url: str, seconds: float = PATIENCE, **kwargs: object) -> requests.Response:
    return client.send(requests.Request("GET", url, **kwargs).prepare(), seconds)  # type: ignore[arg-type]


@contextlib.contextmanager
def times_out() -> Iterator[None]:
    start = time.monotonic()
    with pytest.raises(requests.Timeout):
        yield
    assert time.monotonic() - start < BOUND


def test_a_response_arrives_and_the_connection_is_kept(client):
    with RawServer(answer(b"hello", X_Test="yes")) as server:
        for _ in range(3):
            response = get(client, server.url + "/a?b=c")
            assert (response.status_code, response.content, response.headers["x-test"]) == (200, b"hello", "yes")
        assert len(server.peers) == 1
        assert server.requests[0].startswith(f"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n".encode())


def test_head_and_body_leave_in_one_segment_without_nagle(client):
    """The server's first read has the whole request: nothing waits for an acknowledgement."""
    firsts = []

    def handler(peer: Peer) -> None:
        while first := peer.sock.recv(65536):
            firsts.append(first)
            peer.send(answer(b"{}"))

    with RawServer(handler) as server:
        for _ in range(5):
            client.send(requests.Request("PUT", server.url, data=b'{"a": 1}').prepare(), SECONDS)
        assert client._connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert len(firsts) == 5
    assert all(first.endswith(b'\r\n\r\n{"a": 1}') for first in firsts)


@pytest.mark.slow
class TestTime:
    @pytest.mark.parametrize(
        ("start", "dripped"),
        [
            (b"", b"HTTP/1.1 "),
            (OK, b"X-Slow: yes\r\n"),
            (OK + b"Content-Length: 1000000\r\n\r\n", b"x"),
            (CHUNKED, b"1\r\nx\r\n"),
            (CHUNKED + b"0\r\n", b"X-Slow: yes\r\n"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (b"", b""),
        ],
        ids=["status", "head", "body", "chunks", "trailer", "continue", "silence"],
    )
    def test_the_deadline_covers_the_whole_exchange(self, client, start, dripped):
        def handler(peer: Peer) -> None:
            peer.request()
            peer.send(start)
            peer.drip(dripped, SECONDS / 50) if dripped else peer.hold()

        with RawServer(handler) as server:
            with times_out():
                get(client, server.url, SECONDS)
            assert len(server.peers) == 1, "a time-out is never retried"

    def test_a_dripped_tls_handshake_is_bounded_too(self, client):
        hello = b"\x16\x03\x03\x40\x00" + b"\x02" * 1000
        with RawServer(lambda peer: peer.drip(hello, SECONDS / 50)) as server, times_out():
            get(client, server.url.replace("http:", "https:"), SECONDS)

    def test_a_listener_that_accepts_nothing_is_bounded(self, client):
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            address = listener.getsockname()
            for _ in range(4):  # fill the backlog, so that no further SYN is answered
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
            with times_out():
                get(client, f"http://127.0.0.1:{address[1]}", SECONDS)


class TestSize:
    @pytest.mark.parametrize(
        ("start", "unit"),
        [
            (OK + b"\r\n", b"x"),
            (OK + b"Content-Length: 99999999999\r\n\r\n", b"x"),
            (CHUNKED + b"ffffffff\r\n", b"x"),
            (CHUNKED + b"-5\r\n", b"x"),
            (OK + b"A: ", b"X: y\r\n"),
            (OK + b"A: ", b"x"),
            (OK + b"A: ", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ],
    )
    def test_an_endless_response_costs_bounded_memory(self, client, start, unit):
        def handler(peer: Peer) -> None:
            peer.request()
            peer.send(start)
            while not peer.stopping.is_set():
                peer.send(unit * (2**20 // len(unit)))

        with RawServer(handler) as server:
            tracemalloc.start()
            try:
                with pytest.raises(MalformedResponse):
                    get(client, server.url, 60)
                assert tracemalloc.get_traced_memory()[1] < 5 * LIMIT
            finally:
                tracemalloc.stop()

    @pytest.mark.parametrize("limit", [1, 1000, LIMIT])
    def test_a_body_up_to_the_limit_passes_and_one_byte_more_does_not(self, limit):
        with contextlib.closing(Transport(limit=limit)) as client:
            with RawServer(answer(b"x" * limit)) as server:
                assert len(get(client, server.url, 60).content) == limit
            too_long = pytest.raises(MalformedResponse, match="too long")
            with RawServer(answer(b"x" * (limit + 1))) as server, too_long:
                get(client, server.url, 60)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3\r\n\r\n",
        OK + b"Content-Length: 10\r\n\r\nhalf",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-1\r\nx",
        CHUNKED + b"9" * 5000 + b"\r\n{}",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200",
        NOT_FOUND,
        NOT_FOUND + b"Content-Len",
        NOT_FOUND + b"Content-Length: 0\r\n",
    ],
    ids=range(12),
)
def test_a_response_that_is_not_whole_is_an_error_and_not_retried(client, data):
    with RawServer(lambda peer: peer.request() and peer.send(data)) as server:
        with pytest.raises(MalformedResponse):
            get(client, server.url)
        assert len(server.requests) == 1


def test_a_refused_connection(client):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(requests.ConnectionError, match="refused"):
        get(client, f"http://127.0.0.1:{port}")


class TestReuse:
    """A kept connection may die at any moment."""

    @pytest.mark.parametrize("reset", [False, True])
    def test_one_that_closed_while_idle_is_replaced(self, client, reset):
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

    def after_one(self, second: Callable[[Peer], object], third: Callable[[Peer], object] = Peer.hold) -> RawServer:
        """Return a server that answers once, then does `second`; `third` on a new connection."""

        def handler(peer: Peer) -> None:
            if len(server.peers) == 1:
                peer.request()
                peer.send(KEPT)
            peer.request()
            (second if len(server.peers) == 1 else third)(peer)

        server = RawServer(handler)
        return server

    @pytest.mark.parametrize("end", [lambda _: None, Peer.reset], ids=["closed", "reset"])
    def test_one_that_dies_under_the_request_is_retried_once(self, client, end):
        with self.after_one(end, lambda peer: peer.send(KEPT)) as server:
            for _ in range(2):
                assert get(client, server.url).content == b"kept"
            assert [len(peer.requests) for peer in server.peers] == [2, 1]

    @pytest.mark.parametrize(
        ("second", "third", "error", "requests_received"),
        [
            (lambda _: None, lambda _: None, MalformedResponse, [2, 1]),
            (Peer.hold, Peer.hold, requests.Timeout, [2]),
            (lambda peer: peer.send(b"H"), Peer.hold, MalformedResponse, [2]),
        ],
        ids=["not twice", "not after a time-out", "not after a first byte"],
    )
    def test_nothing_else_is_retried(self, client, second, third, error, requests_received):
        with self.after_one(second, third) as server:
            get(client, server.url)
            with pytest.raises(error):
                get(client, server.url, SECONDS if error is requests.Timeout else PATIENCE)
            assert [len(peer.requests) for peer in server.peers] == requests_received

    def test_a_fresh_connection_that_dies_is_not_retried(self, client):
        with RawServer(lambda peer: peer.request()) as server:
            with pytest.raises(MalformedResponse, match="is missing"):
                get(client, server.url)
            assert len(server.requests) == 1

    def test_unasked_bytes_are_never_taken_for_a_response(self, client):
        """The late response to a request that was given up must not answer the next one."""
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

    @pytest.mark.parametrize(
        ("data", "status"),
        [(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(b"late"), 103), (answer(b"x", Connection="close"), 200)],
    )
    def test_no_reuse_after_an_interim_response_or_connection_close(self, client, data, status):
        with RawServer(data) as server:
            for number in (1, 2):
                assert get(client, server.url).status_code == status
                assert len(server.peers) == number

    def test_no_reuse_after_a_time_out(self, client):
        release = threading.Event()

        def handler(peer: Peer) -> None:
            first = len(server.peers) == 1
            while peer.request():
                if first:
                    release.wait(BOUND)
                peer.send(answer(b"late" if first else b"new"))

        with RawServer(handler) as server:
            with times_out():
                get(client, server.url, SECONDS)
            release.set()
            assert get(client, server.url).content == b"new"

    def test_no_reuse_after_an_interruption(self, client, monkeypatch):
        def interrupt(budget: connection.Budget, size: int) -> None:
            raise KeyboardInterrupt

        with RawServer(answer(b"whole")) as server:
            get(client, server.url)
            with monkeypatch.context() as patched:
                patched.setattr(connection.Budget, "count", interrupt)
                with pytest.raises(KeyboardInterrupt):
                    get(client, server.url)
            assert get(client, server.url).content == b"whole"
            assert [len(peer.requests) for peer in server.peers] == [2, 1]


class TestNames:
    """A name lookup can hang: it must not take the exchange with it."""

    @pytest.fixture
    def names(self, monkeypatch):
        """The resolver of this host: without `names.go` it hangs, with `names.fail` it fails."""
        real = socket.getaddrinfo

        class Names:
            go = threading.Event()
            fail = False
            asked = 0

            def __call__(self, host, port, *args, flags=0, **kwargs):
                if flags & socket.AI_NUMERICHOST:
                    return real(host, port, *args, flags=flags, **kwargs)
                self.asked += 1
                self.go.wait(BOUND)
                if self.fail:
                    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
                return real("127.0.0.1", port, *args, **kwargs)

        names = Names()
        names.go.set()
        connection._resolver.cache_clear()
        monkeypatch.setattr(connection.socket, "getaddrinfo", names)
        yield names
        names.go.set()

    @pytest.mark.slow
    def test_a_hanging_lookup_is_bounded_and_never_piles_up(self, client, names):
        names.go.clear()
        for _ in range(3):
            with times_out():
                get(client, "http://api.invalid", SECONDS)
        assert names.asked == 1

    @pytest.mark.slow
    def test_a_lookup_that_takes_longer_than_an_exchange_serves_a_later_client(self, names):
        """A start makes a new client for each try: each waited for a lookup of its own, for ever."""
        names.go.clear()
        with RawServer(answer(b"x")) as server:
            url = f"http://api.invalid:{server.port}"
            with contextlib.closing(Transport()) as first, times_out():
                get(first, url, SECONDS)
            threading.Timer(SECONDS, names.go.set).start()
            with contextlib.closing(Transport()) as second:
                assert get(second, url, BOUND).content == b"x"
        assert names.asked == 1

    def test_a_failing_lookup_names_the_host(self, client, names):
        names.fail = True
        with pytest.raises(requests.ConnectionError, match=r"api\.invalid cannot be resolved"):
            get(client, "http://api.invalid")

    @pytest.mark.slow
    @pytest.mark.parametrize("hang", [False, True])
    def test_the_last_known_address_serves_while_the_name_server_is_down(self, client, names, hang):
        with RawServer(answer(b"x", Connection="close")) as server:
            for _ in range(2):
                assert get(client, f"http://api.invalid:{server.port}").content == b"x"
                names.fail = True
                if hang:
                    names.go.clear()

    @pytest.mark.slow
    def test_a_name_server_that_does_not_answer_is_named(self, client, names):
        names.go.clear()
        with pytest.raises(requests.Timeout, match=r"the name api\.invalid was not resolved in time: 0\.5 s"):
            get(client, "http://api.invalid", 0.5)

    def test_without_a_thread_for_the_lookup_the_call_fails_and_the_next_one_works(self, client, names, monkeypatch):
        def none_left(_: object) -> None:
            raise RuntimeError("can't start new thread")

        with RawServer(answer(b"x")) as server:
            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", none_left)
                with pytest.raises(requests.ConnectionError, match="can't start new thread"):
                    get(client, f"http://api.invalid:{server.port}")
            assert get(client, f"http://api.invalid:{server.port}").content == b"x"


class TestDeadPaths:
    """A listener whose queue is full takes no SYN: a black hole on the loopback."""

    @pytest.fixture
    def hole(self) -> Iterator[socket.socket]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.31", 0))
            listener.listen(0)
            with contextlib.ExitStack() as stack:
                for _ in range(3):
                    one = stack.enter_context(socket.socket())
                    one.setblocking(False)
                    one.connect_ex(listener.getsockname())
                yield listener

    def resolve(self, monkeypatch, *addresses: tuple[str, int]) -> list[float]:
        """Have every name resolved to these; return the moments at which an address was tried."""
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(connection._Resolver, "addresses", lambda *_: found)
        connection._resolver.cache_clear()
        tried: list[float] = []
        real = connection._connecting
        monkeypatch.setattr(connection, "_connecting", lambda *each: (tried.append(time.monotonic()), real(*each))[1])
        return tried

    @pytest.mark.slow
    def test_behind_a_black_hole_the_next_address_is_tried_soon_and_then_first(self, client, hole, monkeypatch):
        with RawServer(answer(b"x", Connection="close")) as server:
            tried = self.resolve(monkeypatch, hole.getsockname(), ("127.0.0.1", server.port))
            assert get(client, "http://api.invalid", BOUND).content == b"x"
            first, second = tried
            assert connection.NEXT_ADDRESS <= second - first < BOUND / 2  # not an equal share of the time
            tried.clear()
            assert get(client, "http://api.invalid", BOUND).content == b"x"
            assert len(tried) == 1

    @pytest.mark.slow
    def test_behind_those_that_connect_and_do_not_answer_each_address_gets_its_turn(self, client, monkeypatch):
        """Each costs one time-out; then the one that answers stays first."""
        with contextlib.ExitStack() as stack:
            mute = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            server = stack.enter_context(RawServer(answer(b"x", Connection="close")))
            places = [*[one.getsockname() for one in mute], ("127.0.0.1", server.port)]
            tried = self.resolve(monkeypatch, *places)
            for _ in mute:
                with times_out():
                    get(client, "http://api.invalid", SECONDS)
            tried.clear()
            for _ in range(3):
                assert get(client, "http://api.invalid", BOUND).content == b"x"
            assert len(tried) == 3

    @pytest.mark.slow
    def test_behind_a_mute_tls_server_the_next_address_is_tried(self, certificate, monkeypatch):
        with (
            contextlib.closing(Transport(ca_file=str(certificate.path))) as client,
            socket.create_server(("127.0.0.1", 0)) as mute,
            RawServer(answer(b"x"), certificate.server) as server,
        ):
            self.resolve(monkeypatch, mute.getsockname(), ("127.0.0.1", server.port))
            with times_out():
                get(client, server.url, SECONDS)
            assert get(client, server.url, BOUND).content == b"x"

    def test_an_address_that_failed_is_tried_again_once_the_others_fail(self, client, monkeypatch):
        first, second = each_with(b"", KEPT), each_with(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast", b"")
        with RawServer(first) as one, RawServer(second) as other:
            self.resolve(monkeypatch, ("127.0.0.1", one.port), ("127.0.0.1", other.port))
            found = []
            for _ in range(4):
                try:
                    found.append(get(client, "http://api.invalid").content)
                except MalformedResponse:
                    found.append(b"")
            assert found == [b"", b"last", b"", b"kept"]

    @pytest.mark.slow
    def test_what_one_connection_finds_out_counts_for_the_next_one(self, client, monkeypatch):
        """A start makes a new client for each try."""
        with socket.create_server(("127.0.0.1", 0)) as mute, RawServer(answer(b"x")) as server:
            self.resolve(monkeypatch, mute.getsockname(), ("127.0.0.1", server.port))
            with contextlib.closing(Transport()) as first, times_out():
                get(first, "http://api.invalid", SECONDS)
            assert get(client, "http://api.invalid", BOUND).content == b"x"

    def test_after_an_answer_of_5xx_the_next_address_is_tried(self, client, monkeypatch):
        with RawServer(answer(b"lost", 503)) as one, RawServer(answer(b"x")) as other:
            self.resolve(monkeypatch, ("127.0.0.1", one.port), ("127.0.0.1", other.port))
            assert [get(client, "http://api.invalid").status_code for _ in range(3)] == [503, 200, 200]

    def test_after_an_answer_of_5xx_the_connection_to_the_only_address_is_kept(self, client):
        """The next attach needs no handshake."""
        with RawServer(answer(b"lost", 503)) as server:
            assert [get(client, server.url).status_code for _ in range(2)] == [503, 503]
            assert len(server.peers) == 1

    @pytest.mark.parametrize("bad", [("127.0.0.1", 9), ("255.255.255.255", 9)])  # fails later, and at once
    def test_an_address_that_fails_costs_no_time(self, client, bad, monkeypatch):
        with RawServer(answer(b"x")) as server:
            monkeypatch.setattr(connection, "NEXT_ADDRESS", 10 * BOUND)
            self.resolve(monkeypatch, bad, ("127.0.0.1", server.port))
            assert get(client, "http://api.invalid", BOUND).content == b"x"

    def test_if_none_connects_the_last_error_is_told(self, client, monkeypatch):
        self.resolve(monkeypatch, ("127.0.0.1", 9), ("127.0.0.1", 9))
        with pytest.raises(requests.ConnectionError, match="Connection refused"):
            get(client, "http://api.invalid")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


class TestTls:
    @pytest.fixture
    def server(self, certificate) -> Iterator[RawServer]:
        with RawServer(answer(b"secret"), certificate.server) as server:
            yield server

    def rejected(self, client: Transport, url: str) -> None:
        with contextlib.closing(client), pytest.raises(requests.ConnectionError, match="certificate verify failed"):
            get(client, url, 10)

    def accepted(self, client: Transport, url: str) -> None:
        with contextlib.closing(client):
            for _ in range(3):
                assert get(client, url, 10).content == b"secret"

    def test_an_unknown_authority_is_rejected(self, client, server, monkeypatch):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/dev/null")  # the environment has no say
        self.rejected(client, server.url)
        assert server.requests == []

    def test_another_name_is_rejected(self, server, certificate):
        self.rejected(Transport(ca_file=str(certificate.path)), server.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"))

    def test_one_handshake_serves_many_calls(self, server, certificate):
        self.accepted(Transport(ca_file=str(certificate.path)), server.url)
        assert len(server.peers) == 1

    def test_of_debians_certificates_only_those_that_are_needed_are_loaded(self, server, certificate, tmp_path):
        """From the folder, by the hash of the name; one that is not there is rejected."""
        bundle = tmp_path / "ca-certificates.crt"
        bundle.write_text("nobody reads this")
        folders = {str(bundle): str(tmp_path)}
        self.rejected(Transport(ca_file=str(bundle), ca_folders=folders), server.url)
        (tmp_path / certificate.hashed_name).symlink_to(certificate.path)
        self.accepted(Transport(ca_file=str(bundle), ca_folders=folders), server.url)

    @pytest.mark.parametrize(("text", "reason"), [(None, "No such file"), ("", "certificate")])
    def test_where_there_are_none_the_cure_is_named(self, tmp_path, text, reason):
        bundle = tmp_path / "bundle"
        if text is not None:
            bundle.write_text(text)
        with pytest.raises(requests.ConnectionError, match=f"{bundle}: .*{reason}.*install .*ca-certificates"):
            get(Transport(ca_file=str(bundle)), "https://127.0.0.1:1/")

    def test_certificates_are_loaded_once_and_again_when_they_change(self, tmp_path, certificate, monkeypatch):
        bundle = tmp_path / "bundle"
        bundle.write_bytes(certificate.path.read_bytes())
        loads = []
        real = ssl.create_default_context
        monkeypatch.setattr(ssl, "create_default_context", lambda **how: loads.append(how["cafile"]) or real(**how))
        for expected in (1, 1, 2):
            if expected == 2:
                os.utime(bundle, ns=(0, bundle.stat().st_mtime_ns + 1))
            Transport(ca_file=str(bundle))._tls()
            assert loads == [str(bundle)] * expected

    def test_a_client_that_lives_for_years_trusts_what_the_host_trusts_now(self, server, certificate, tmp_path):
        """The authority of the API is another one some day, and the host's update brings it."""
        bundle = tmp_path / "bundle"
        bundle.write_bytes(Certificate(tmp_path).path.read_bytes())
        client = Transport(ca_file=str(bundle))
        self.rejected(client, server.url)
        bundle.write_bytes(certificate.path.read_bytes())
        self.accepted(client, server.url)


def test_the_environment_has_no_say(client, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with RawServer(answer(b"direct")) as server:
        assert get(client, server.url, headers={"Authorization": "ours"}).content == b"direct"
        assert b"\r\nAuthorization: ours\r\n" in server.requests[0]


def test_redirects_cookies_and_compression_are_ignored(client):
    odd = answer(b"\x1f\x8b", 302, Location="http://[::bad", Content_Encoding="gzip", Set_Cookie="a=b")
    with RawServer(odd) as server:
        for _ in range(2):
            response = get(client, server.url)
            assert (response.status_code, response.content) == (302, b"\x1f\x8b")
        assert b"ookie" not in server.requests[1]
        assert len(server.peers) == 1
