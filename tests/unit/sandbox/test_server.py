"""The simulated zone over real HTTP on loopback: signatures, faults, metadata, control, and a clean
end.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
from exoscale_auth import ExoscaleV2Auth

from exoip.errors import ApiInvalid, ApiUnreachable
from exoip.sandbox.__main__ import main
from exoip.sandbox.client import ControlClient
from exoip.sandbox.faults import Fault, Match
from exoip.sandbox.model import Forbidden, Key, Unauthenticated
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.signature import verify
from exoip.sandbox.zone import Zone
from tests.support.certificate import Certificate
from tests.support.signature_vectors import EXPIRES, ID, VECTORS, header
from tests.support.waiting import PATIENCE, until

EIP = "127.0.0.100"


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    """A zone of a, b, c at 127.0.0.11 to 13; each has a key EXOa.. with the secret secret-a.."""
    zone = Zone(eip=EIP, operation_seconds=0.05)
    for number, name in enumerate("abc", start=11):
        zone.add_instance(name, public_ip=f"127.0.0.{number}", groups=("web",))
        zone.add_key(f"EXO{name}", f"secret-{name}")
    with SandboxServer(zone) as running:
        yield running


@pytest.fixture
def control(server: SandboxServer) -> Iterator[ControlClient]:
    client = ControlClient(server.url)
    yield client
    client.close()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False
        made.auth = ExoscaleV2Auth("EXOa", "secret-a")
        yield made


def ident(server: SandboxServer, name: str) -> str:
    with server.lock:
        return server.zone.instance_named(name, server.now()).id


def order(server: SandboxServer, fault: Fault) -> None:
    with server.lock:
        server.zone.add_fault(fault, server.now())


def call(session: requests.Session, server: SandboxServer, method: str, path: str, **how: Any) -> requests.Response:
    return session.request(method, server.endpoint + path, timeout=PATIENCE, **how)


def attach(session: requests.Session, server: SandboxServer, name: str, action: str = "attach") -> requests.Response:
    path = f"/elastic-ip/{server.zone.eip.id}:{action}"
    return call(session, server, "PUT", path, json={"instance": {"id": ident(server, name)}})


# The signature: the vectors were made with a public client


KEYS = {"EXOtest": Key("EXOtest", "sEcReT")}


@pytest.mark.parametrize(("method", "path", "query", "body", "signature"), VECTORS)
def test_signatures_of_the_public_clients_are_accepted_and_nothing_near_them(
    method: str, path: str, query: str, body: bytes, signature: str
) -> None:
    pairs = tuple(parse_qsl(query))
    parameters = [name for name, _ in pairs]
    good = header(parameters, signature)
    for now in (EXPIRES - 600.0, 0.0, EXPIRES - 0.5):
        assert verify(good, method, path, pairs, body, KEYS, now).name == "EXOtest"
    with pytest.raises(Forbidden, match="expired"):
        verify(good, method, path, pairs, body, KEYS, EXPIRES)
    for near in (
        (good, "POST", path, pairs, body),
        (good, method, path + "x", pairs, body),
        (good, method, path, pairs, body + b" "),
        (good, method, path, (*pairs, ("more", "x")), body),
        (header(parameters, signature.swapcase()), method, path, pairs, body),
        (header(parameters, "no base64!"), method, path, pairs, body),
        (header(parameters, signature, key="EXOother"), method, path, pairs, body),
        (header(parameters, signature, expires=EXPIRES + 1), method, path, pairs, body),
    ):
        with pytest.raises(Forbidden):
            verify(*near, KEYS, EXPIRES - 600.0)


@pytest.mark.parametrize(
    "bad",
    [None, "", "Basic Zm9v", *(f"EXO2-HMAC-SHA{rest}" for rest in (
        "256", "256 credential=EXOtest,expires=1700000000", "256 credential=EXOtest,expires=soon,signature=AAAA",
        "256 credential=,expires=1,signature=AAAA", "512 credential=EXOtest,expires=1,signature=AAAA",
    ))],
)  # fmt: skip
def test_a_header_that_is_no_signature_differs_from_a_wrong_one(bad: str | None) -> None:
    with pytest.raises(Unauthenticated):
        verify(bad, "GET", "/v2/zone", (), b"", KEYS, 0.0)


def test_calls_without_a_good_signature_are_rejected(server: SandboxServer, session: requests.Session) -> None:
    assert call(session, server, "GET", "/instance").status_code == 200
    session.auth = None
    assert call(session, server, "GET", "/instance").status_code == 401
    session.auth = ExoscaleV2Auth("EXOa", "wrong")
    assert call(session, server, "GET", "/instance").status_code == 403
    session.auth = ExoscaleV2Auth("EXOnobody", "secret-a")
    refused = call(session, server, "GET", "/instance")
    assert (refused.status_code, "EXOnobody" in refused.json()["message"]) == (403, True)
    assert attach(session, server, "a").status_code == 403
    assert server.holders() == frozenset()
    with server.lock:
        assert not server.zone.operations(server.now())


def test_the_servers_wall_clock_decides_what_is_expired(session: requests.Session) -> None:
    zone = Zone(eip=EIP)
    zone.add_key("EXOa", "secret-a")
    for offset, status in ((0.0, 200), (1e6, 403), (-1e6, 200)):
        with SandboxServer(zone, wall=lambda ahead=offset: time.time() + ahead) as server:
            assert call(session, server, "GET", "/elastic-ip").status_code == status


def test_zones_are_shown_to_anybody_but_a_given_signature_is_checked(
    server: SandboxServer, session: requests.Session
) -> None:
    told = requests.get(f"{server.endpoint}/zone", timeout=PATIENCE).json()
    assert told == {"zones": [{"name": "ch-gva-2", "api-endpoint": server.endpoint}]}
    assert call(session, server, "GET", "/zone").status_code == 200
    session.auth = ExoscaleV2Auth("EXOa", "wrong")
    assert call(session, server, "GET", "/zone").status_code == 403


# The API over HTTP


def test_the_colon_of_an_action_may_come_escaped(server: SandboxServer, session: requests.Session) -> None:
    path = f"/elastic-ip/{server.zone.eip.id}%3Aattach"
    answer = call(session, server, "PUT", path, json={"instance": {"id": ident(server, "b")}})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/elastic-ip/{eip}:attach", b"", 400),
        ("PUT", "/elastic-ip/{eip}:attach", b"\xff\xfe", 400),
        ("GET", "/instance?ip-address=127.0.0.1&ip-address=127.0.0.2", b"", 400),
        ("GET", "/instance?ip-address", b"", 400),
        ("DELETE", f"/instance/{ID}", b"", 404),
    ],
)
def test_wrong_requests_are_rejected_with_a_message(
    server: SandboxServer, session: requests.Session, method: str, path: str, body: bytes, status: int
) -> None:
    answer = call(session, server, method, path.format(eip=server.zone.eip.id), data=body)
    assert answer.status_code == status
    assert answer.json()["message"]
    assert ("errors" in answer.json()) == (status == 400)


def raw(server: SandboxServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("length", ["-1", "x", "99999999999", "1e3", ""])
def test_a_body_of_untold_length_ends_the_connection(server: SandboxServer, length: str) -> None:
    head = b"Transfer-Encoding: chunked" if not length else f"Content-Length: {length}".encode()
    answer = raw(
        server, b"PUT /v2/elastic-ip HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\nGET /v2/zone HTTP/1.1\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "request_",
    [b"", b"\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\xff", b"PUT /v2/zone HTTP/1.1\r\nContent-Length: 9\r\n\r\n1"],
)
def test_what_is_no_request_harms_nobody(server: SandboxServer, request_: bytes) -> None:
    raw(server, request_)
    assert requests.get(f"{server.endpoint}/zone", timeout=PATIENCE).ok


def test_one_connection_serves_many_calls_and_each_answer_leaves_in_one_piece(server: SandboxServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        for _ in range(50):
            connection.sendall(b"GET /v2/zone HTTP/1.1\r\nHost: x\r\n\r\n")
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert json.loads(body)["zones"]


def test_the_latency_is_waited_for_and_other_calls_go_on_meanwhile(
    server: SandboxServer, session: requests.Session
) -> None:
    with server.lock:
        server.zone.set_latency(0.3, "EXOa")
    started = server.now()
    waiting = threading.Thread(target=attach, args=(session, server, "a"))
    waiting.start()
    until(lambda: server.zone.record.count().mutations == 1, "the call")
    for _ in range(3):
        requests.get(f"{server.endpoint}/zone", timeout=PATIENCE)
    assert waiting.is_alive()
    waiting.join()
    with server.lock:
        [answer] = [e for e in server.zone.record if e.kind == "answer" and e.method == "PUT"]
        [operation] = server.zone.operations(server.now())
    assert answer.arrived is not None
    assert started <= answer.arrived
    assert operation.started - answer.arrived >= 0.15
    assert answer.time - operation.started >= 0.15


# Faults over HTTP


def test_a_refusal_to_order_reaches_the_client(server: SandboxServer, session: requests.Session) -> None:
    order(server, Fault("status", status=429, retry_after=1.5, count=1))
    order(server, Fault("status", status=502, form="text", message="bad gateway", count=1))
    order(server, Fault("status", status=500, form="problem", count=1))
    first, second, third = (call(session, server, "GET", "/instance") for _ in range(3))
    assert (first.status_code, first.headers["Retry-After"]) == (429, "1.5")
    assert (second.status_code, second.text) == (502, "bad gateway")
    assert third.headers["Content-Type"] == "application/problem+json"
    assert third.json()["status"] == 500
    assert call(session, server, "GET", "/instance").status_code == 200


@pytest.mark.parametrize(("when", "takes_effect"), [("instead", False), ("after", True)])
def test_a_dropped_connection_is_no_answer(
    server: SandboxServer, session: requests.Session, when: str, takes_effect: bool
) -> None:
    order(server, Fault("drop", when=when, count=1))
    with pytest.raises(requests.ConnectionError, match=r"RemoteDisconnected|reset"):
        attach(session, server, "a")
    with server.lock:
        assert bool(server.zone.operations(server.now())) == takes_effect
    assert call(session, server, "GET", "/instance").status_code == 200


def test_half_a_body_breaks_off(server: SandboxServer, session: requests.Session) -> None:
    order(server, Fault("half", count=1))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", "/v2/zone")
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    connection.close()


def test_a_hanging_call_gives_no_answer_and_holds_up_no_other(server: SandboxServer, session: requests.Session) -> None:
    order(server, Fault("hang", Match(key="EXOa"), seconds=0.5, count=1))
    with pytest.raises(requests.ReadTimeout):
        session.get(f"{server.endpoint}/instance", timeout=0.1)
    order(server, Fault("hang", Match(key="EXOa"), seconds=30.0, count=1))
    with pytest.raises(requests.ReadTimeout):
        session.get(f"{server.endpoint}/instance", timeout=0.1)
    assert requests.get(f"{server.endpoint}/zone", timeout=PATIENCE).ok
    order(server, Fault("hang", Match(key="EXOa"), seconds=0.1, count=1))
    with pytest.raises(requests.ConnectionError, match="RemoteDisconnected"):
        call(session, server, "GET", "/instance")


# Metadata


def test_metadata_by_prefix_and_by_address(server: SandboxServer) -> None:
    for name in ("b", ident(server, "b")):
        base = f"{server.metadata_url(name)}/latest/meta-data"
        assert requests.get(f"{base}/instance-id", timeout=PATIENCE).text == ident(server, "b")
        assert requests.get(f"{base}/availability-zone", timeout=PATIENCE).text == "ch-gva-2"
    assert "instance-id" in requests.get(f"{base}/", timeout=PATIENCE).text.split()
    connection = http.client.HTTPConnection(
        "127.0.0.1", server.port, timeout=PATIENCE, source_address=("127.0.0.12", 0)
    )
    connection.request("GET", "/latest/meta-data/instance-id")
    assert connection.getresponse().read().decode() == ident(server, "b")
    connection.close()


@pytest.mark.parametrize(
    "path", ["/latest/meta-data/instance-id", "/metadata/z/latest/meta-data/instance-id", "/metadata/a/latest/x"]
)
def test_an_unknown_client_has_no_metadata(server: SandboxServer, path: str) -> None:
    assert requests.get(server.url + path, timeout=PATIENCE).status_code == 404


def test_a_fault_of_the_api_spares_the_metadata_and_the_other_way_round(
    server: SandboxServer, session: requests.Session
) -> None:
    url = f"{server.metadata_url('a')}/latest/meta-data/instance-id"
    order(server, Fault("status"))
    assert requests.get(url, timeout=PATIENCE).ok
    with server.lock:
        server.zone.clear_faults(server.now())
    order(server, Fault("status", Match(service="metadata")))
    assert requests.get(url, timeout=PATIENCE).status_code == 503
    assert call(session, server, "GET", "/instance").ok
    assert server.zone.record.count().reads == 1


# Control


def test_the_state_shows_everything(server: SandboxServer, control: ControlClient, session: requests.Session) -> None:
    attach(session, server, "a")
    until(lambda: control.state()["elastic_ips"][0]["holders"] == [ident(server, "a")], "a holds")
    control.latency(0.001, "EXOb")
    number = control.fault("hang", seconds=1, match={"key": "EXOz"})
    state = control.state()
    assert state["endpoint"] == server.endpoint
    a = state["instances"][0]
    assert (a["name"], a["public_ip"], a["groups"]) == ("a", "127.0.0.11", ["web"])
    assert state["latencies"] == {"EXOb": 0.001}
    assert state["faults"][str(number)]["match"]["key"] == "EXOz"
    assert state["counts"] == {"reads": 0, "mutations": 1}
    assert abs(state["wall"] - time.time()) < PATIENCE
    assert "secret-a" not in json.dumps(state)


def test_the_state_shows_what_is_pending_even_if_it_never_ends(
    server: SandboxServer, control: ControlClient, session: requests.Session
) -> None:
    control.settings(operation_seconds=3600)
    attach(session, server, "a")
    control.fault("operation-never", count=1)
    attach(session, server, "b")
    pending = control.state()["pending"]
    assert [(one["instance"], one["completes"] is None) for one in pending] == [
        (ident(server, "a"), False),
        (ident(server, "b"), True),
    ]
    assert main(["state", "--url", server.url]) == 0
    assert main(["state", "--json", "--url", server.url]) == 0


def test_the_record_is_read_on_from_where_one_was(
    server: SandboxServer, control: ControlClient, session: requests.Session
) -> None:
    before = control.record()["next"]
    attach(session, server, "a")
    until(lambda: len(server.holders()) == 1, "a holds")
    told = control.record(before)
    kinds = [entry["kind"] for entry in told["entries"]]
    assert kinds == ["call", "answer", "holders", "operation"]
    arrived = told["entries"][0]
    assert abs((told["wall"] - arrived["wall"]) - (told["now"] - arrived["time"])) < 0.001
    assert control.record(told["next"])["entries"] == []


def test_faults_are_ordered_and_lifted(
    server: SandboxServer, control: ControlClient, session: requests.Session
) -> None:
    control.fault("status", status=500, match={"method": "GET"})
    assert call(session, server, "GET", "/instance").status_code == 500
    control.clear()
    first = control.fault("status", status=500)
    control.fault("status", status=504)
    control.clear(first)
    told = control.state()["next"]
    for gone in (first, 99):
        with pytest.raises(ApiInvalid, match=f"no fault {gone} is active: `exoip-sandbox state` lists those that are"):
            control.clear(gone)
    assert control.record(told)["entries"] == [], "nothing was lifted"
    assert call(session, server, "GET", "/instance").status_code == 504
    control.clear()
    control.fault("status", **{"for": 0.05})
    until(lambda: call(session, server, "GET", "/instance").status_code == 200, "the fault is over")


def test_instances_keys_and_settings_change(
    server: SandboxServer, control: ControlClient, session: requests.Session
) -> None:
    d = control.instance("add", name="d", public_ip="127.0.0.14", groups=["web", "db"])
    control.instance("leave", instance="d", group="web")
    control.instance("join", instance="a", group="db")
    control.instance("state", instance="b", state="stopped")
    control.instance("remove", instance="c")
    control.instance("attach", instance="d")
    state = control.state()
    assert [(one["name"], one["state"], one["groups"]) for one in state["instances"]] == [
        ("a", "running", ["db", "web"]),
        ("b", "stopped", ["web"]),
        ("d", "running", ["db"]),
    ]
    assert state["elastic_ips"][0]["holders"] == [d]
    control.instance("detach", instance=d)
    assert control.state()["elastic_ips"][0]["holders"] == []
    control.key("EXOnew", "new", refused=("get-instance",))
    session.auth = ExoscaleV2Auth("EXOnew", "new")
    assert call(session, server, "GET", "/instance").status_code == 200
    assert call(session, server, "GET", f"/instance/{d}").status_code == 403
    control.settings(ip_filter=False, detach_unattached="409")
    assert len(call(session, server, "GET", "/instance", params={"ip-address": EIP}).json()["instances"]) == 3
    assert attach(session, server, "a", "detach").status_code == 409


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "fault", {"kind": "fire"}, "fire"), ("POST", "fault", {"kind": "drop", "colour": "red"}, "colour"),
        ("POST", "fault", {"kind": "drop", "for": "long"}, "long"), ("POST", "fault", [], "object"),
        ("POST", "fault", {"kind": "drop", "match": {"path": "("}}, "regular expression"),
        ("POST", "latency", {}, "seconds"), ("POST", "latency", {"seconds": -1}, "-1"),
        ("POST", "instance", {"do": "dance", "instance": "a"}, "dance"),
        ("POST", "instance", {"do": "remove", "instance": "z"}, "z"),
        ("POST", "instance", {"do": "state", "instance": "a", "state": "asleep"}, "asleep"),
        ("POST", "settings", {"name": "x"}, "name"),
        ("POST", "settings", {"operation_seconds": -1}, "operation_seconds"),
        ("GET", "record?since=x", None, "x"), ("GET", "nothing", None, "nothing"),
        ("DELETE", "fault?fault=x", None, "x"),
    ],
)  # fmt: skip
def test_a_wrong_order_is_rejected_by_name(server: SandboxServer, method: str, path: str, body: Any, told: str) -> None:
    answer = requests.request(method, f"{server.url}/sandbox/{path}", json=body, timeout=PATIENCE)
    assert answer.status_code in (400, 404)
    assert told in answer.json()["message"]


def test_the_control_client_says_what_is_wrong(server: SandboxServer, control: ControlClient) -> None:
    with pytest.raises(ApiInvalid, match="fire"):
        control.fault("fire")
    elsewhere = ControlClient(server.metadata_url("a"))
    with pytest.raises(ApiInvalid):
        elsewhere.state()
    elsewhere.close()
    gone = ControlClient("http://127.0.0.1:1")
    with pytest.raises(ApiUnreachable, match="exoip-sandbox zone"):
        gone.state()
    gone.close()


# The end


def test_leaving_ends_held_calls_and_idle_connections_and_leaves_no_thread(session: requests.Session) -> None:
    before = set(threading.enumerate())
    zone = Zone(eip=EIP)
    zone.add_key("EXOa", "secret-a")
    errors: list[BaseException] = []

    def hanging() -> None:
        try:
            call(session, server, "GET", "/instance")
        except requests.ConnectionError as error:
            errors.append(error)

    with SandboxServer(zone) as server:
        idle = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        order(server, Fault("hang", seconds=3600.0))
        held = threading.Thread(target=hanging)
        held.start()
        until(lambda: server.zone.record.count().reads == 1, "the call hangs")
        port = server.port
    held.join(PATIENCE)
    assert len(errors) == 1
    assert idle.recv(1) == b""
    idle.close()
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE)
    server.close()  # a second time is no error
    with SandboxServer(zone, port=port) as again:  # and the port is free at once
        assert again.port == port


def test_it_serves_ipv6_too() -> None:
    with SandboxServer(Zone(), host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert requests.get(f"{server.endpoint}/zone", timeout=PATIENCE).ok


def test_a_port_that_is_taken_is_an_error_and_leaves_nothing(server: SandboxServer) -> None:
    before = set(threading.enumerate())
    with pytest.raises(OSError, match="in use"), SandboxServer(Zone(), port=server.port):
        pass
    assert set(threading.enumerate()) == before
    with pytest.raises(RuntimeError):
        _ = SandboxServer(Zone()).url


def test_it_serves_https_and_a_slow_handshake_holds_up_nobody(tmp_path: Path) -> None:
    certificate = Certificate(tmp_path)
    before = set(threading.enumerate())
    with SandboxServer(Zone(), tls=certificate.server) as server:
        silent = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        with requests.Session() as session:
            for _ in range(3):
                assert session.get(f"{server.endpoint}/zone", verify=str(certificate.path), timeout=PATIENCE).ok
        with pytest.raises(requests.exceptions.SSLError), requests.Session() as distrusting:
            distrusting.get(f"{server.endpoint}/zone", timeout=PATIENCE)
        assert server.endpoint.startswith("https://")
    silent.close()
    assert set(threading.enumerate()) == before


# The command


def sandbox(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "exoip.sandbox", *arguments]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_a_zone_shows_how_to_join_and_ends_cleanly(
    stop: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    command = sandbox("zone", "--listen", "127.0.0.1:0", "--instances", "x=127.0.0.21,y=127.0.0.22", "--group", "web")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = list(iter(lambda: process.stdout.readline().rstrip("\n"), "To stop it:   Ctrl-C"))
            url = next(word for line in lines for word in line.split() if word.startswith("http")).rstrip(",")[:-3]
            joins = [line for line in lines if line.startswith("exoip -W ")]
            control = ControlClient(url)
            ids = {one["name"]: one["id"] for one in control.state()["instances"]}
            control.close()
            assert joins == [
                f"exoip -W -xi 127.0.0.100 -i {ids[name]} -G web -P {priority} -xk EXO{name} -xs sandbox-{name} "
                f"-xe {url}/v2 -xz ch-gva-2 -l 127.0.0.{last}:12345"
                for name, priority, last in (("x", 10, 21), ("y", 20, 22))
            ]
            assert main(["fault", "status", "--status", "500", "--key", "EXOx", "--count", "3", "--url", url]) == 0
            assert main(["latency", "5", "--url", url]) == 0
            assert main(["set", "ip_filter=false", "detach_unattached=404", "operation_seconds=0", "--url", url]) == 0
            assert main(["instance", "attach", "x", "--url", url]) == 0
            assert main(["instance", "add", "z", "--public-ip", "127.0.0.23", "--group", "web", "--url", url]) == 0
            assert main(["state", "--url", url]) == 0
            assert main(["record", "--url", url]) == 0
            assert main(["record", "--json", "--since", "1", "--url", url]) == 0
            assert main(["clear", "1", "--url", url]) == 0
        finally:
            process.send_signal(stop)
            code = process.wait(PATIENCE)
        assert process.stderr is not None
        assert (code, process.stderr.read()) == (0, "")
    told = capsys.readouterr().out
    assert "127.0.0.100 held by x" in told
    assert "fault 1: status instead {'key': 'EXOx'}" in told
    assert "latency of all other keys: 5 ms" in told
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} holders +attached -> x \[x\] outsider$", told, re.MULTILINE)
    assert '"kind": "holders"' in told


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_the_command_serves_a_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    command = sandbox("zone", "--listen", "127.0.0.1:0", "--eip", "2001:db8:0:1::/96", "--traffic", "0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = list(iter(lambda: process.stdout.readline().rstrip("\n"), "To stop it:   Ctrl-C"))
            url = next(word for line in lines for word in line.split() if word.startswith("http")).rstrip(",")[:-3]
            assert lines[0].endswith("Elastic IP 2001:db8:0:1::/96")
            assert re.fullmatch(r"connections to \[::1\]:\d+ reach the holder", lines[2])
            assert all("-xi 2001:db8:0:1::/96" in line for line in lines if line.startswith("exoip "))
            assert (
                main(["instance", "add", "z", "--public-ip", "127.0.0.23", "--ipv6", "2001:db8::z", "--url", url]) == 1
            )
            assert (
                main(["instance", "add", "z", "--public-ip", "127.0.0.23", "--ipv6", "2001:db8::9", "--url", url]) == 0
            )
            assert main(["instance", "attach", "z", "--url", url]) == 0
            assert main(["state", "--url", url]) == 0
            with contextlib.closing(ControlClient(url)) as control:
                state = control.state()
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0
    assert {one["name"]: one["ipv6"] for one in state["instances"]} == {
        "a": "2001:db8::1", "b": "2001:db8::2", "c": "2001:db8::3", "z": "2001:db8::9",
    }  # fmt: skip
    assert [(eip["ip"], eip["cidr"]) for eip in state["elastic_ips"]] == [("2001:db8:0:1::1", "2001:db8:0:1::/96")]
    assert "2001:db8:0:1::/96 held by z" in capsys.readouterr().out


def test_peers_are_named_one_by_one_without_a_group() -> None:
    command = sandbox("zone", "--listen", "127.0.0.1:0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = list(iter(lambda: process.stdout.readline().rstrip("\n"), "To stop it:   Ctrl-C"))
        finally:
            process.terminate()
            process.wait(PATIENCE)
    peers = [re.findall(r" -p (\S+)", line) for line in lines if line.startswith("exoip -W ")]
    a, b, c = (f"127.0.0.{last}:12345" for last in (11, 12, 13))
    assert peers == [[b, c], [a, c], [a, b]]


@pytest.mark.parametrize(
    "line",
    ["", "dance", "fault fire", "set ip_filter", *(f"zone --{rest}" for rest in (
        "eip elastic", "eip 2001:db8::/64", "listen 8080", "listen 127.0.0.1:99999", "instances a", "instances a=127.0.0.1,a=127.0.0.2",
        "instances a,b=127.0.0.1", "latency-ms nan", "traffic http",
    ))],
)  # fmt: skip
def test_bad_usage_is_reported(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert "exoip-sandbox" in capsys.readouterr().err


def test_an_address_that_cannot_be_bound_is_reported_with_its_option(
    server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["zone", "--listen", f"127.0.0.1:{server.port}"],
        ["zone", "--listen", "127.0.0.1:0", "--eip", "203.0.113.9", "--traffic", "0"],
    ):
        ended = subprocess.run(sandbox(*arguments), capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert re.fullmatch(r"exoip-sandbox: --(listen|traffic): cannot listen on [^\n]+\n", ended.stderr)
    assert main(["state", "--url", "http://127.0.0.1:1"]) == 1
    assert "no sandbox at http://127.0.0.1:1" in capsys.readouterr().err
