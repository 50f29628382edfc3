"""The client against a simulated zone, and against every kind of nonsense."""

from __future__ import annotations

import contextlib
import json
import math
import time
import traceback
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exoip.errors import (
    ApiConflict,
    ApiError,
    ApiForbidden,
    ApiInvalid,
    ApiNotFound,
    ApiTimeout,
    ApiUnavailable,
    ApiUnreachable,
    ConfigError,
    OperationFailed,
)
from exoip.exoscale.client import Client
from exoip.exoscale.models import ElasticIp, IngressRule, InstanceRecord, OperationRecord, SecurityGroup, Zone
from exoip.sandbox import faults, zone
from exoip.sandbox.server import SandboxServer
from tests.support.raw_server import Peer, RawServer, answer

KEY, SECRET = "EXOtest", "sEcReT-that-nobody-sees"
EIP_ID, ID, OTHER = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")
SECONDS = 0.4
BOUND = 12 * SECONDS
EIP = "198.51.100.50"
NOW = 1_700_000_000.0  # a wall clock for what is compared with a Date


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    one = zone.Zone("ch-gva-2", eip=EIP, operation_seconds=0.0)
    one.add_key(KEY, SECRET)
    one.add_instance("a", public_ip="192.0.2.1", groups=("web",))
    one.add_instance("b", public_ip="192.0.2.2", ipv6="2001:db8::2")
    with SandboxServer(one) as server:
        yield server


@contextlib.contextmanager
def client_of(endpoint: str, **kwargs) -> Iterator[Client]:
    with contextlib.closing(Client(endpoint, KEY, SECRET, **kwargs)) as client:
        yield client


@pytest.fixture
def client(sandbox) -> Iterator[Client]:
    with client_of(sandbox.endpoint) as made:
        yield made


def ids(sandbox: SandboxServer) -> dict[str, str]:
    with sandbox.lock:
        return {instance.name: instance.id for instance in sandbox.zone.instances(sandbox.now())}


class TestAgainstASimulatedZone:
    def test_reads(self, sandbox, client):
        a, b = ids(sandbox)["a"], ids(sandbox)["b"]
        eip = ElasticIp(sandbox.zone.eip.id, EIP)
        (web,) = sandbox.zone.security_groups()
        assert client.zones() == (Zone("ch-gva-2", sandbox.endpoint),)
        assert client.elastic_ips() == (eip,)
        assert client.security_groups() == (SecurityGroup(web.id, "web", ()),)
        with sandbox.lock:
            sandbox.zone.let_in("web", "udp", 12345, 12346, source="web")
            sandbox.zone.let_in("web", "tcp", 22, 22, network="192.0.2.0/24")
        rules = (IngressRule("udp", 12345, 12346, web.id), IngressRule("tcp", 22, 22, network="192.0.2.0/24"))
        assert client.security_groups() == (SecurityGroup(web.id, "web", rules),)
        groups = frozenset({web.id})
        listed = InstanceRecord(a, "a", "running", "192.0.2.1", "", None, groups)
        assert {one.id: one for one in client.instances()}[a] == listed
        assert not client.instance(a).holds(eip.id)
        assert client.instance(b).addresses == ("192.0.2.2", "2001:db8::2")
        assert [one.id for one in client.instances("192.0.2.2")] == [b]

    def test_attach_and_detach(self, sandbox, client):
        a, eip = ids(sandbox)["a"], sandbox.zone.eip.id
        client.wait(client.attach(eip, a), BOUND, sleep=lambda _: None)
        assert client.instance(a).holds(eip)
        assert [one.id for one in client.instances(EIP)] == [a]
        assert client.wait(client.attach(eip, a), BOUND, sleep=lambda _: None).succeeded
        client.wait(client.detach(eip, a), BOUND, sleep=lambda _: None)
        assert sandbox.holders() == frozenset()
        with pytest.raises(ApiNotFound, match="not attached"):
            client.detach(eip, a)

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, ApiInvalid),
            (403, ApiForbidden),
            (404, ApiNotFound),
            (409, ApiConflict),
            (429, ApiUnavailable),
            (500, ApiUnavailable),
            (503, ApiUnavailable),
        ],
    )
    @pytest.mark.parametrize("form", faults.FORMS)
    def test_errors(self, sandbox, client, status, error, form):
        fault = faults.Fault("status", status=status, form=form, message="the reason of it", retry_after=7)
        with sandbox.lock:
            sandbox.zone.add_fault(fault, sandbox.now())
        with pytest.raises(error, match="the reason of it") as caught:
            client.instances()
        assert caught.value.retry_after == 7
        assert str(caught.value).startswith("GET /instance")

    @pytest.mark.parametrize(
        ("kind", "error"),
        [("hang", ApiTimeout), ("drop", ApiUnreachable), ("garbage", ApiUnavailable), ("half", ApiUnavailable)],
    )
    def test_broken_answers(self, sandbox, kind, error):
        seconds = 60 if kind == "hang" else None
        with client_of(sandbox.endpoint, read_timeout=SECONDS) as client:
            client.zones()
            with sandbox.lock:
                sandbox.zone.add_fault(faults.Fault(kind, seconds=seconds), sandbox.now())
            with pytest.raises(error):
                client.instances()
            with sandbox.lock:
                sandbox.zone.clear_faults(sandbox.now())
            assert len(client.instances()) == 2

    def test_a_refusal_names_the_operation(self, sandbox, client):
        with sandbox.lock:
            sandbox.zone.add_key(KEY, SECRET, ("attach-instance-to-elastic-ip",))
        with pytest.raises(ApiForbidden, match="role allows attach-instance-to-elastic-ip") as caught:
            client.attach(sandbox.zone.eip.id, ids(sandbox)["a"])
        assert "clock" not in str(caught.value)

    def test_a_wrong_secret_is_refused_and_not_shown(self, sandbox):
        with contextlib.closing(Client(sandbox.endpoint, KEY, "another-secret")) as client:
            with pytest.raises(ApiForbidden) as caught:
                client.elastic_ips()
            assert "another-secret" not in "".join(traceback.format_exception(caught.value)) + repr(client)

    def test_warm_needs_no_right_and_opens_the_connection(self, sandbox):
        with contextlib.closing(Client(sandbox.endpoint, "EXOunknown", "secret")) as client:
            client.zones()

    def test_a_wrong_clock_is_named(self, sandbox):
        slow = client_of(sandbox.endpoint, wall_clock=lambda: time.time() - 3600)
        with slow as client, pytest.raises(ApiForbidden, match=r"clock is 3\d\d\d s behind"):
            client.elastic_ips()


class TestOperations:
    def test_failure_gives_the_reason(self, sandbox, client):
        a, eip = ids(sandbox)["a"], sandbox.zone.eip.id
        with sandbox.lock:
            sandbox.zone.add_fault(faults.Fault("operation-failure", reason="busy"), sandbox.now())
        with pytest.raises(OperationFailed) as caught:
            client.wait(client.attach(eip, a), BOUND, sleep=lambda _: None)
        assert caught.value.reason == "busy"

    def test_its_time_out_is_a_failure(self):
        with client_of("http://127.0.0.1:1/v2") as client, pytest.raises(OperationFailed, match="ended as timeout"):
            client.wait(OperationRecord(ID, "timeout"), 1)

    @pytest.mark.parametrize("state", ["pending", "something-new", ""])
    def test_polls_from_a_quarter_second_to_three_and_gives_up(self, state):
        """In virtual time: nothing sleeps."""
        now, pauses = [100.0], []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            now[0] += seconds

        reply = json.dumps({"id": ID, "state": state}).encode()
        expected = pytest.raises(ApiTimeout, match=f"{ID} is not done after 10 s")
        with RawServer(always(answer(reply))) as server, client_of(server.url) as client, expected:
            client.wait(client.operation(ID), 10, lambda: now[0], sleep)
        assert pauses == [0.25, 0.5, 1.0, 2.0, 3.0, 3.0, 0.25]

    def test_trouble_while_polling_is_outlasted(self):
        replies = [
            answer(b"", 503, Retry_After="2"),
            b"",
            answer(b"{"),
            answer(json.dumps({"id": ID, "state": "success"}).encode()),
        ]
        pauses = []

        def handler(peer: Peer) -> None:
            if peer.request():
                peer.send(replies.pop(0))

        with RawServer(handler) as server, client_of(server.url) as client:
            assert client.wait(OperationRecord(ID), 60, sleep=pauses.append).succeeded
        assert pauses == [0.25, 2.0, 1.0, 2.0]

    def test_a_refusal_while_polling_is_not(self):
        expected = pytest.raises(ApiForbidden, match="get-operation")
        with RawServer(always(answer(b"", 403))) as server, client_of(server.url) as client, expected:
            client.wait(OperationRecord(ID), 60, sleep=lambda _: None)


def always(data: bytes):
    def handler(peer: Peer) -> None:
        while peer.request():
            peer.send(data)

    return handler


class TestWhatIsSent:
    def test_what_is_signed_is_what_is_sent(self):
        operation = answer(json.dumps({"id": OTHER, "state": "pending"}).encode())
        with RawServer(always(operation)) as server, client_of(server.url + "/v2", wall_clock=lambda: NOW) as client:
            client.attach(EIP_ID.upper(), ID)
            (request,) = server.requests
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(f"PUT /v2/elastic-ip/{EIP_ID}:attach HTTP/1.1\r\n".encode())
        assert body == b'{"instance": {"id": "%s"}}' % ID.encode()
        assert b"credential=EXOtest,expires=1700000600,signature=" in head
        assert SECRET.encode() not in request

    def test_zones_are_asked_without_a_signature(self):
        with RawServer(always(answer(b'{"zones": []}'))) as server, client_of(server.url) as client:
            assert client.zones() == ()
            assert b"authorization" not in server.requests[0].lower()

    @pytest.mark.parametrize(
        "bad", ["", "../zone", ID + "/", f"{ID}:detach", f"{{{ID}}}", "urn:uuid:" + ID, ID[:-1], "é"]
    )
    def test_an_id_that_is_no_uuid_is_never_sent(self, bad):
        with RawServer(always(answer(b"{}"))) as server, client_of(server.url) as client:
            for call in (lambda: client.instance(bad), lambda: client.attach(bad, ID), lambda: client.detach(ID, bad)):
                with pytest.raises(ValueError, match="not a UUID"):
                    call()
            assert server.requests == []

    @pytest.mark.parametrize(
        "endpoint", ["", "api", "ftp://x", "https://", "http://[::1", "https://x:y/v2", "http://\n/"]
    )
    def test_a_malformed_endpoint(self, endpoint):
        with pytest.raises(ConfigError) as caught:
            Client(endpoint, KEY, SECRET).zones()
        assert "https://api-ch-gva-2.exoscale.com/v2" in str(caught.value)

    @pytest.mark.parametrize(
        ("key", "secret"), [("", SECRET), ("a,b", SECRET), ("a b", SECRET), ("a\r\nb", SECRET), ("a", "")]
    )
    def test_a_malformed_key(self, key, secret):
        with pytest.raises(ConfigError) as caught:
            Client("https://api-ch-gva-2.exoscale.com/v2", key, secret)
        assert SECRET not in str(caught.value)


def ask(client: Client) -> list[object]:
    """Every call once; what is no answer must be an ApiError, nothing else."""
    calls = [
        client.zones,
        client.elastic_ips,
        client.instances,
        client.security_groups,
        lambda: client.instance(ID),
        lambda: client.operation(ID),
        lambda: client.attach(EIP_ID, ID),
        lambda: client.detach(EIP_ID, ID),
    ]
    results: list[object] = []
    for call in calls:
        try:
            results.append(call())
        except ApiError as error:
            text = str(error)
            assert text.isprintable()
            assert len(text) < 2000
            assert SECRET not in text
            assert 0 <= (error.retry_after or 0) < math.inf
            results.append(error)
    return results


@pytest.fixture(scope="module")
def parrot() -> Iterator[RawServer]:
    """A server that says `parrot.says` to everything and hangs up."""

    def handler(peer: Peer) -> None:
        if peer.request():
            peer.send(server.says)

    with RawServer(handler) as server:
        server.says = b""
        yield server


@pytest.fixture(scope="module")
def victim(parrot) -> Iterator[Client]:
    with client_of(parrot.url, read_timeout=10, mutation_timeout=10) as client:
        yield client


fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(ID) | st.ip_addresses().map(str),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "id ip name state reason message error title detail errors public-ip ipv6-address security-groups "
                "elastic-ips instances zones api-endpoint".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
bodies = (
    st.binary()
    | json_values.map(json.dumps).map(str.encode)
    | json_values.map(lambda v: json.dumps(v).encode("utf-16"))
)


@fuzz
@given(
    status=st.integers(100, 999),
    headers=st.dictionaries(
        st.sampled_from("Content-Type Retry-After Date Location Set-Cookie Content-Encoding Connection".split()),
        header_values | st.sampled_from(["application/json", "gzip", "999999999999999999999", "Tue, 99 Xyz 2023"]),
    ),
    body=bodies,
)
@example(200, {}, b"[" * 100_000)
@example(200, {}, b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}")
@example(200, {}, b'{"instances": [{"id": ' + b"9" * 5000 + b"}]}")
@example(500, {}, b'{"message": ' + b"9" * 5000 + b"}")
@example(500, {}, b'{"message": "\\ud800 \\n\\u001b[31m"}')
@example(429, {"Retry-After": "²"}, b"")
@example(429, {"Retry-After": "9" * 5000}, b"")
@example(429, {"Retry-After": "Tue, 14 Nov 99999 22:13:20 GMT"}, b"")
@example(403, {"Date": "Tue, 14 Nov 2023 22:13:20 -0000"}, b"")
@example(403, {"Date": "Mon, 01 Jan 0001 00:00:00 +2359"}, b"")
def test_any_answer_is_an_answer_or_an_api_error(parrot, victim, status, headers, body):
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    parrot.says = answer(body, status, **named)
    for result in ask(victim):
        if not 200 <= status < 300:
            assert isinstance(result, ApiError)


@fuzz
@given(st.binary(max_size=300) | st.binary(max_size=300).map(b"HTTP/1.1 ".__add__))
@example(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}")
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"9" * 5000 + b"\r\n{}")
def test_any_bytes_are_an_api_error(parrot, victim, data):
    parrot.says = data
    ask(victim)


@pytest.mark.parametrize("size", range(0, 200, 7))
def test_a_cut_answer_is_never_half_believed(parrot, victim, size):
    whole = answer(
        json.dumps({"id": ID, "elastic-ips": [{"id": EIP_ID}], "state": "running", "name": "x" * 60}).encode()
    )
    assert size < len(whole)
    parrot.says = whole[:size]
    with pytest.raises((ApiUnreachable, ApiUnavailable)):
        victim.instance(ID)


class TestAnswers:
    @pytest.fixture
    def say(self, parrot, victim):
        def say(value: object, status: int = 200, **headers: str) -> Client:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            parrot.says = answer(body, status, **headers)
            return victim

        return say

    @pytest.mark.parametrize(
        "wrong",
        [
            [],
            None,
            1,
            "text",
            {"instances": {}},
            {"instances": "x"},
            {"instances": [1]},
            {"instances": [{}]},
            {"instances": [{"id": "x"}]},
            {"instances": [{"id": 1}]},
            {"instances": [{"id": ID, "name": 1}]},
            {"instances": [{"id": ID, "public-ip": "300.1.1.1"}]},
            {"instances": [{"id": ID, "security-groups": {}}]},
            {"instances": [{"id": ID, "security-groups": [{}]}]},
            {"instances": [{"id": ID, "elastic-ips": [{"ip": EIP}]}]},
            {"message": "all is well"},
            b"",
            b"<html>It works!</html>",
            b'{"instances": []',
        ],
    )
    def test_nonsense_is_unavailable(self, say, wrong):
        with pytest.raises(ApiUnavailable):
            say(wrong).instances()

    def test_absent_and_null_fields_are_fine(self, say):
        assert say({"instances": [{"id": ID}]}).instances() == (InstanceRecord(ID),)
        nulls = dict.fromkeys(("name", "state", "public-ip", "ipv6-address", "elastic-ips", "security-groups"))
        assert say({"instances": [{"id": ID.upper()} | nulls]}).instances() == (InstanceRecord(ID),)
        assert say({"instances": None}).instances() == ()
        assert say({}).instances() == ()

    @pytest.mark.parametrize(
        "rules",
        [None, {}, [1], [{"flow-direction": "ingress", "start-port": "1"}], [{"flow-direction": "ingress", "protocol": 1}],
         [{"flow-direction": "ingress", "security-group": {"id": "x"}}], [{"flow-direction": "ingress", "security-group": 1}],
         [{"flow-direction": "ingress", "protocol": "udp", "network": "anywhere"}]],
    )  # fmt: skip
    def test_a_group_whose_rules_are_odd_is_a_group_all_the_same(self, say, rules):
        """The daemon goes by groups and not by their rules: an odd one must not keep it from its peers."""
        assert say({"security-groups": [{"id": ID, "rules": rules}]}).security_groups() == (SecurityGroup(ID),)

    def test_rules_that_let_nothing_in_are_left_out_and_any_port_is_all(self, say):
        outward, inward = (
            {"flow-direction": "egress", "protocol": "udp"},
            {"flow-direction": "ingress", "protocol": "icmp"},
        )
        (group,) = say({"security-groups": [{"id": ID, "rules": [outward, inward]}]}).security_groups()
        assert group.rules == (IngressRule("icmp", 1, 65535),)

    def test_an_instance_without_elastic_ips_holds_none(self, say):
        assert not say({"id": ID}).instance(ID).holds(EIP_ID)
        assert say({"id": ID, "elastic-ips": [{"id": EIP_ID}]}).instance(ID).holds(EIP_ID)

    @pytest.mark.parametrize("wrong", ["", 0, {}, False])
    def test_elastic_ips_of_another_type_are_no_emptiness(self, say, wrong):
        with pytest.raises(ApiUnavailable):
            say({"id": ID, "elastic-ips": wrong}).instance(ID)

    def test_the_wrong_instance_is_not_taken(self, say):
        with pytest.raises(ApiUnavailable, match=f"asked for {ID}, got {OTHER}"):
            say({"id": OTHER}).instance(ID)

    def test_texts_are_one_printable_line(self, say):
        (found,) = say({"instances": [{"id": ID, "name": "a\n\x1b[31mb\u202e" + "x" * 5000}]}).instances()
        assert found.name.startswith("a ?[31mb?xxx")
        assert len(found.name) <= 300

    def test_no_address_is_none(self, say):
        (found,) = say({"instances": [{"id": ID, "public-ip": "0.0.0.0", "ipv6-address": "::"}]}).instances()  # noqa: S104
        assert found.addresses == ()

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({"message": "m", "errors": [{"message": "e1"}, "e2", 3]}, "m: e1: e2"),
            ({"error": "e"}, "e"),
            ({"error": {"message": "nested"}}, "nested"),
            ({"title": "t", "detail": "d"}, "t: d"),
            ({"message": "same", "error": "same"}, "same"),
            (b"plain\r\ntext", "plain text"),
            ({"message": 5}, '{"message": 5}'),
            ("a JSON text", "a JSON text"),
            (b"", "Because"),
        ],
    )
    def test_what_an_error_says(self, say, body, text):
        with pytest.raises(ApiInvalid) as caught:
            say(body, 400).instances()
        assert str(caught.value) == f"GET /instance: status 400: {text}"

    def test_a_long_error_is_cut(self, say):
        with pytest.raises(ApiInvalid) as caught:
            say(b"x" * 10_000_000, 400).instances()
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_a_redirect_is_not_followed_but_named(self, say, parrot, status):
        before = len(parrot.requests)
        with pytest.raises(ApiUnavailable, match=r"redirect to https://elsewhere\.example/x"):
            say(b"", status, Location="https://elsewhere.example/x").instances()
        assert len(parrot.requests) == before + 1

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("7", 7.0),
            (" 0 ", 0.0),
            ("100000", 100000.0),
            (formatdate(NOW + 20, usegmt=True), 20.0),
            (formatdate(NOW - 20, usegmt=True), 0.0),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ],
    )
    def test_retry_after(self, say, header, seconds):
        """A date there counts from the answer's own Date: our clock may be wrong."""
        with pytest.raises(ApiUnavailable) as caught:
            say(b"", 503, Retry_After=header, Date=formatdate(NOW, usegmt=True)).instances()
        assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("offset", "said"), [(0, None), (59, None), (-59, None), (61, "61 s ahead of"), (-900, "900 s behind")]
)
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_looks_at_the_clock(status, offset, said):
    data = answer(b'{"message": "Invalid signature"}', status, Date=formatdate(NOW, usegmt=True))
    expected = pytest.raises(ApiForbidden, match="Invalid signature")
    with (
        RawServer(always(data)) as server,
        client_of(server.url, wall_clock=lambda: NOW + offset) as client,
        expected as caught,
    ):
        client.attach(EIP_ID, ID)
    assert ("clock" in str(caught.value)) == (said is not None)
    assert (said or "") in str(caught.value)


def test_reads_and_mutations_have_their_own_time_outs():
    with RawServer(lambda peer: (peer.request(), peer.hold())) as server:
        for read, mutation in ((SECONDS, 60), (60, SECONDS)):
            with client_of(server.url, read_timeout=read, mutation_timeout=mutation) as client:
                start = time.monotonic()
                with pytest.raises(ApiTimeout) as caught:
                    client.instance(ID) if read == SECONDS else client.attach(EIP_ID, ID)
                assert time.monotonic() - start < BOUND
                assert "…" in str(caught.value)


def test_out_of_reach_names_the_endpoint():
    with client_of("http://127.0.0.1:1/v2") as client:
        with pytest.raises(ApiUnreachable, match=r"GET /elastic-ip at http://127\.0\.0\.1:1/v2: .*refused") as caught:
            client.elastic_ips()
        assert not isinstance(caught.value, ApiTimeout)


@pytest.mark.parametrize("kind", [ElasticIp, InstanceRecord, OperationRecord, SecurityGroup])
@pytest.mark.parametrize("bad", ["", "x", ID.upper().replace("2", "A"), f"{{{ID}}}"])
def test_nothing_has_an_id_that_is_no_canonical_uuid(kind, bad):
    with pytest.raises(ValueError, match="UUID"):
        kind(bad)


def test_the_secret_is_in_no_repr():
    with client_of("https://api-ch-gva-2.exoscale.com/v2") as client:
        assert SECRET not in repr(client)
