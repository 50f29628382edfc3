"""Call a simulated zone, and a server that sends every kind of nonsense."""

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
    OperationFailed,
    WrongClock,
)
from exoip.exoscale.client import Client
from exoip.exoscale.models import ElasticIp, IngressRule, InstanceRecord, OperationRecord, SecurityGroup, Zone
from exoip.sandbox import zone
from exoip.sandbox.faults import FORMS, Fault
from exoip.sandbox.server import SandboxServer
from tests.support.raw_server import Peer, RawServer, answer, each_with

KEY, SECRET = "EXOtest", "sEcReT-that-nobody-sees"
EIP_ID, ID, OTHER = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")
SECONDS = 0.4  # a short time-out
BOUND = 12 * SECONDS
EIP = "198.51.100.50"
ENDPOINT = "https://api-ch-gva-2.exoscale.com/v2"
NOW = 1_700_000_000.0  # a wall clock for what is compared with a Date


@contextlib.contextmanager
def client_of(endpoint: str, **kwargs) -> Iterator[Client]:
    with contextlib.closing(Client(endpoint, KEY, SECRET, **kwargs)) as client:
        yield client


def encoded(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    one = zone.Zone("ch-gva-2", eip=EIP, operation_seconds=0.0)
    one.add_key(KEY, SECRET)
    one.add_instance("a", public_ip="192.0.2.1", groups=("web",))
    one.add_instance("b", public_ip="192.0.2.2", ipv6="2001:db8::2")
    with SandboxServer(one) as server:
        yield server


@pytest.fixture
def client(sandbox) -> Iterator[Client]:
    with client_of(sandbox.endpoint) as made:
        yield made


@pytest.fixture
def ids(sandbox) -> tuple[str, str, str]:
    """The ids of a, b and the Elastic IP."""
    with sandbox.lock:
        named = {instance.name: instance.id for instance in sandbox.zone.instances(sandbox.now())}
    return named["a"], named["b"], sandbox.zone.eip.id


def fault(sandbox: SandboxServer, *args: str, **kwargs: object) -> None:
    with sandbox.lock:
        sandbox.zone.add_fault(Fault(*args, **kwargs), sandbox.now())


class TestWithASimulatedZone:
    def test_reads(self, sandbox, client, ids):
        a, b, eip = ids
        (web,) = sandbox.zone.security_groups()
        assert client.zones() == (Zone("ch-gva-2", sandbox.endpoint),)
        assert client.elastic_ips() == (ElasticIp(eip, EIP, f"{EIP}/32"),)
        assert client.security_groups() == (SecurityGroup(web.id, "web", ()),)
        with sandbox.lock:
            sandbox.zone.let_in("web", "udp", 12345, 12346, source="web")
            sandbox.zone.let_in("web", "tcp", 22, 22, network="192.0.2.0/24")
        rules = (IngressRule("udp", 12345, 12346, web.id), IngressRule("tcp", 22, 22, network="192.0.2.0/24"))
        assert client.security_groups() == (SecurityGroup(web.id, "web", rules),)
        listed = InstanceRecord(a, "a", "running", "192.0.2.1", security_group_ids=frozenset({web.id}))
        assert {one.id: one for one in client.instances()}[a] == listed
        assert not client.instance(a).holds(eip)
        assert client.instance(b).addresses == ("192.0.2.2", "2001:db8::2")
        assert [one.id for one in client.instances("192.0.2.2")] == [b]

    def test_attach_and_detach(self, sandbox, client, ids):
        a, _, eip = ids
        for _ in range(2):
            assert client.wait(client.attach(eip, a), BOUND, sleep=lambda _: None).succeeded
            assert client.instance(a).holds(eip)
            assert [one.id for one in client.instances(EIP)] == [a]
        client.wait(client.detach(eip, a), BOUND, sleep=lambda _: None)
        assert sandbox.holders() == frozenset()
        with pytest.raises(ApiNotFound, match="not attached"):
            client.detach(eip, a)

    @pytest.mark.parametrize(
        ("status", "error"),
        [(400, ApiInvalid), (403, ApiForbidden), (404, ApiNotFound), (409, ApiConflict), (429, ApiUnavailable),
         (500, ApiUnavailable), (503, ApiUnavailable)],
    )  # fmt: skip
    @pytest.mark.parametrize("form", FORMS)
    def test_a_status_becomes_an_error(self, sandbox, client, status, error, form):
        fault(sandbox, "status", status=status, form=form, message="the reason of it", retry_after=7)
        with pytest.raises(error, match=r"GET /instance: .*the reason of it") as caught:
            client.instances()
        assert caught.value.retry_after == 7

    @pytest.mark.parametrize(
        ("kind", "error"),
        [("hang", ApiTimeout), ("drop", ApiUnavailable), ("garbage", ApiUnavailable), ("half", ApiUnavailable)],
    )
    def test_a_broken_response_becomes_an_error_and_the_next_call_works(self, sandbox, kind, error):
        with client_of(sandbox.endpoint) as client:
            client.zones()
            fault(sandbox, kind, seconds=60 if kind == "hang" else None)
            patient, client.read_timeout = client.read_timeout, SECONDS if kind == "hang" else client.read_timeout
            with pytest.raises(error):
                client.instances()
            client.read_timeout = patient
            with sandbox.lock:
                sandbox.zone.clear_faults(sandbox.now())
            assert len(client.instances()) == 2

    def test_403_names_the_permission(self, sandbox, client, ids):
        with sandbox.lock:
            sandbox.zone.add_key(KEY, SECRET, ("attach-instance-to-elastic-ip",))
        with pytest.raises(ApiForbidden, match=r"role allows attach-instance-to-elastic-ip$"):
            client.attach(ids[2], ids[0])

    def test_a_wrong_secret_is_forbidden_and_not_shown(self, sandbox):
        with contextlib.closing(Client(sandbox.endpoint, KEY, "another-secret")) as client:
            with pytest.raises(ApiForbidden) as caught:
                client.elastic_ips()
            assert "another-secret" not in "".join(traceback.format_exception(caught.value)) + repr(client)
            assert len(client.zones()) == 1  # which needs no permission


class TestWait:
    @pytest.mark.parametrize(
        "operation", [OperationRecord(ID, "timeout", "busy"), OperationRecord(ID, "failure", "busy")]
    )
    def test_a_failure_gives_the_reason(self, operation):
        with client_of(ENDPOINT) as client, pytest.raises(OperationFailed, match=operation.state) as caught:
            client.wait(operation, BOUND)
        assert caught.value.reason == "busy"

    @pytest.mark.parametrize("state", ["pending", "something-new", ""])
    def test_polls_from_a_quarter_second_to_three_and_gives_up(self, state):
        """In virtual time: nothing sleeps."""
        now, pauses = [100.0], []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            now[0] += seconds

        expected = pytest.raises(ApiTimeout, match=f"{ID} is not done after 10 s")
        with (
            RawServer(answer(encoded({"id": ID, "state": state}))) as server,
            client_of(server.url) as client,
            expected,
        ):
            client.wait(client.operation(ID), 10, lambda: now[0], sleep)
        assert pauses == [0.25, 0.5, 1.0, 2.0, 3.0, 3.0, 0.25]

    def test_continues_while_the_api_is_down(self):
        pauses = []
        last = answer(encoded({"id": ID, "state": "success"}))
        with (
            RawServer(each_with(b"", answer(b"", 503, Retry_After="2"), answer(b"{"), last)) as server,
            client_of(server.url) as client,
        ):
            assert client.wait(OperationRecord(ID), 60, sleep=pauses.append).succeeded
        assert pauses == [0.25, 0.5, 2.0, 2.0]

    def test_stops_if_the_key_may_not_look(self):
        expected = pytest.raises(ApiForbidden, match="get-operation")
        with RawServer(answer(b"", 403)) as server, client_of(server.url) as client, expected:
            client.wait(OperationRecord(ID), 60, sleep=lambda _: None)


class TestRequests:
    def test_what_is_signed_is_what_is_sent(self):
        operation = answer(encoded({"id": OTHER, "state": "pending"}))
        with RawServer(operation) as server, client_of(server.url + "/v2", wall_clock=lambda: NOW) as client:
            client.attach(EIP_ID.upper(), ID)
            (request,) = server.requests
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(f"PUT /v2/elastic-ip/{EIP_ID}:attach HTTP/1.1\r\n".encode())
        assert body == b'{"instance": {"id": "%s"}}' % ID.encode()
        assert b"credential=EXOtest,expires=1700000600,signature=" in head
        assert SECRET.encode() not in request

    def test_zones_are_asked_without_a_signature(self):
        with RawServer(answer(b'{"zones": []}')) as server, client_of(server.url) as client:
            assert client.zones() == ()
            assert b"authorization" not in server.requests[0].lower()

    @pytest.mark.parametrize(
        "bad", ["", "../zone", ID + "/", f"{ID}:detach", f"{{{ID}}}", "urn:uuid:" + ID, ID[:-1], "é"]
    )
    def test_an_id_that_is_not_a_uuid_is_never_sent(self, bad):
        with RawServer(answer(b"{}")) as server, client_of(server.url) as client:
            for call in (lambda: client.instance(bad), lambda: client.attach(bad, ID), lambda: client.detach(ID, bad)):
                with pytest.raises(ValueError, match="not a UUID"):
                    call()
            assert server.requests == []

    @pytest.mark.parametrize("bad", ["", "api", "https://", "http://[::1", "https://x:y/v2"])
    def test_a_malformed_endpoint_is_unavailable(self, bad):
        """The configuration has none, but the list of zones may."""
        with client_of(bad) as client, pytest.raises(ApiUnavailable):
            client.elastic_ips()

    def test_reads_and_mutations_have_their_own_time_outs(self):
        with RawServer(lambda peer: (peer.request(), peer.hold())) as server:
            for read, mutation in ((SECONDS, 60), (60, SECONDS)):
                with client_of(server.url, read_timeout=read, mutation_timeout=mutation) as client:
                    start = time.monotonic()
                    with pytest.raises(ApiTimeout, match="…"):
                        client.instance(ID) if read == SECONDS else client.attach(EIP_ID, ID)
                    assert time.monotonic() - start < BOUND

    def test_an_endpoint_out_of_reach_is_named(self):
        expected = pytest.raises(ApiUnreachable, match=r"GET /elastic-ip at http://127\.0\.0\.1:1/v2: .*refused")
        with client_of("http://127.0.0.1:1/v2") as client, expected as caught:
            client.elastic_ips()
        assert not isinstance(caught.value, ApiTimeout)

    def test_the_secret_is_in_no_repr(self):
        with client_of(ENDPOINT) as client:
            assert SECRET not in repr(client)


@pytest.fixture(scope="module")
def parrot() -> Iterator[RawServer]:
    """A server that sends `parrot.says` to each request and hangs up."""

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


def outcomes(client: Client) -> Iterator[object]:
    """Make every call once and yield its answer or ApiError, which is checked."""
    calls = [client.zones, client.elastic_ips, client.instances, client.security_groups]
    calls += [lambda: client.instance(ID), lambda: client.operation(ID)]
    calls += [lambda: client.attach(EIP_ID, ID), lambda: client.detach(EIP_ID, ID)]
    for call in calls:
        try:
            yield call()
        except ApiError as error:
            text = str(error)
            assert text.isprintable()
            assert len(text) < 2000
            assert SECRET not in text
            assert 0 <= (error.retry_after or 0) < math.inf
            yield error


KEYS = (
    "id ip name state reason message error title detail errors public-ip ipv6-address security-groups "
    "elastic-ips instances zones api-endpoint"
).split()
HEADERS = "Content-Type Retry-After Date Location Set-Cookie Content-Encoding Connection".split()
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(ID) | st.ip_addresses().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
).map(json.dumps)
bodies = st.binary() | json_values.map(str.encode) | json_values.map(lambda text: text.encode("utf-16"))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    status=st.integers(100, 999),
    headers=st.dictionaries(
        st.sampled_from(HEADERS),
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
@pytest.mark.slow
def test_any_answer_is_an_answer_or_an_api_error(parrot, victim, status, headers, body):
    parrot.says = answer(body, status, **{name.replace("-", "_"): value for name, value in headers.items()})
    for outcome in outcomes(victim):
        assert 200 <= status < 300 or isinstance(outcome, ApiError)


@pytest.mark.parametrize("size", range(0, 200, 7))
def test_a_response_that_is_cut_off_is_never_used(parrot, victim, size):
    body = {"id": ID, "elastic-ips": [{"id": EIP_ID}], "state": "running", "name": "x" * 60}
    parrot.says = answer(encoded(body))[:size]
    with pytest.raises((ApiUnreachable, ApiUnavailable)):
        victim.instance(ID)


class TestAnswers:
    @pytest.fixture
    def say(self, parrot, victim):
        def say(value: object, status: int = 200, **headers: str) -> Client:
            parrot.says = answer(encoded(value), status, **headers)
            return victim

        return say

    @pytest.mark.parametrize(
        "wrong",
        [
            [], None, 1, "text", {"message": "all is well"}, b"", b"<html>It works!</html>", b'{"instances": []',
            {"instances": {}}, {"instances": "x"},
        ],
    )  # fmt: skip
    def test_nonsense_is_unavailable(self, say, wrong):
        with pytest.raises(ApiUnavailable):
            say(wrong).instances()

    @pytest.mark.parametrize(
        "odd",
        [
            1, {}, {"id": "x"}, {"id": 1},
            *({"id": ID} | odd for odd in (
                {"name": 1}, {"state": {"name": "running"}}, {"public-ip": "300.1.1.1"},
                {"ipv6-address": "2001:db8::1/129"}, {"security-groups": {}}, {"security-groups": [{}]},
                {"elastic-ips": [{"ip": EIP}]}, {"elastic-ips": ""}, {"elastic-ips": 0}, {"elastic-ips": False},
            )),
        ],
    )  # fmt: skip
    def test_one_odd_entry_is_left_out_and_named_unless_it_is_needed(self, say, odd):
        client = say({"instances": [odd, {"id": OTHER}]})
        assert client.instances(needed=OTHER) == (InstanceRecord(OTHER),)
        said = client.skipped["GET /instance"]
        named = ID if isinstance(odd, dict) and odd.get("id") == ID else "entry"
        assert named in said
        if named == ID:
            with pytest.raises(ApiUnavailable):
                client.instances(needed=ID.upper())
        assert say({"instances": [{"id": OTHER}]}).instances() == (InstanceRecord(OTHER),)
        assert client.skipped["GET /instance"] == ""

    def test_an_address_may_have_a_prefix_length(self, say):
        (found,) = say({"instances": [{"id": ID, "ipv6-address": "2001:DB8::1/64"}]}).instances()
        assert found.addresses == ("2001:db8::1",)

    @pytest.mark.parametrize("answered", [{}, {"instances": None}, {"instances": []}])
    def test_no_list_is_an_empty_one(self, say, answered):
        assert say(answered).instances() == ()

    def test_absent_and_null_fields_are_fine(self, say):
        nulls = dict.fromkeys(("name", "state", "public-ip", "ipv6-address", "elastic-ips", "security-groups"))
        for given_id, rest in ((ID, {}), (ID.upper(), nulls)):
            assert say({"instances": [{"id": given_id} | rest]}).instances() == (InstanceRecord(ID),)

    @pytest.mark.parametrize(
        "rules",
        [None, {}, [1], *([{"flow-direction": "ingress"} | odd] for odd in (
            {"start-port": "1"}, {"protocol": 1}, {"security-group": {"id": "x"}}, {"security-group": 1},
            {"protocol": "udp", "network": "anywhere"},
        ))],
    )  # fmt: skip
    def test_a_group_with_odd_rules_is_still_a_group(self, say, rules):
        """The daemon does not read rules, so odd ones must not keep it from its peers."""
        assert say({"security-groups": [{"id": ID, "rules": rules}]}).security_groups() == (SecurityGroup(ID),)

    def test_egress_rules_are_left_out_and_a_rule_without_ports_is_for_all(self, say):
        rules = [{"flow-direction": "egress", "protocol": "udp"}, {"flow-direction": "ingress", "protocol": "icmp"}]
        (group,) = say({"security-groups": [{"id": ID, "rules": rules}]}).security_groups()
        assert group.rules == (IngressRule("icmp", 1, 65535),)

    def test_which_elastic_ips_an_instance_holds(self, say):
        assert not say({"id": ID}).instance(ID).holds(EIP_ID)
        assert say({"id": ID, "elastic-ips": [{"id": EIP_ID}]}).instance(ID).holds(EIP_ID)

    def test_another_instance_is_an_error(self, say):
        with pytest.raises(ApiUnavailable, match=f"asked for {ID}, got {OTHER}"):
            say({"id": OTHER}).instance(ID)

    def test_texts_are_one_printable_line_and_unspecified_addresses_are_none(self, say):
        strange = {"name": "a\n\x1b[31mb\u202e" + "x" * 5000, "public-ip": "0.0.0.0", "ipv6-address": "::"}  # noqa: S104
        (found,) = say({"instances": [{"id": ID} | strange]}).instances()
        assert found.name.startswith("a ?[31mb?xxx")
        assert len(found.name) <= 300
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
            (b"x" * 10_000_000, "x" * 299 + "…"),
        ],
        ids=range(10),
    )
    def test_what_an_error_says(self, say, body, text):
        with pytest.raises(ApiInvalid) as caught:
            say(body, 400).instances()
        assert str(caught.value) == f"GET /instance: status 400: {text}"

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_a_redirect_is_not_followed_but_named(self, say, parrot, status):
        before = len(parrot.requests)
        with pytest.raises(ApiUnavailable, match=r"redirect to https://elsewhere\.example/x"):
            say(b"", status, Location="https://elsewhere.example/x").instances()
        assert len(parrot.requests) == before + 1

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [("7", 7.0), (" 0 ", 0.0), (formatdate(NOW + 20, usegmt=True), 20.0), (formatdate(NOW - 20, usegmt=True), 0.0),
         ("-5", None), ("1.5", None), ("soon", None), ("", None)],
    )  # fmt: skip
    def test_retry_after(self, say, header, seconds):
        """A date counts from the answer's own Date, because our clock may be wrong."""
        with pytest.raises(ApiUnavailable) as caught:
            say(b"", 503, Retry_After=header, Date=formatdate(NOW, usegmt=True)).instances()
        assert caught.value.retry_after == seconds

    @pytest.mark.parametrize("status", [200, 503])
    @pytest.mark.parametrize("date", [formatdate(NOW, usegmt=True), "", "soon", "Mon, 99 Foo 2023 99:99:99 GMT"])
    def test_the_time_of_an_answer(self, say, date, status):
        """By its Date, not by our clock."""
        client = say(b'{"instances": []}', status, Date=date)
        with contextlib.suppress(ApiUnavailable):
            client.instances()
        assert client.answered_at == (NOW if date.endswith("22:13:20 GMT") else None)


@pytest.mark.parametrize(
    ("offset", "said"), [(0, ""), (59, ""), (-59, ""), (61, "61 s ahead of"), (-900, "900 s behind")]
)
@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_clock_is_named_when_the_key_is_forbidden(status, offset, said):
    data = answer(b'{"message": "Invalid signature"}', status, Date=formatdate(NOW, usegmt=True))
    expected = pytest.raises(ApiForbidden, match=f"Invalid signature.*{said}")
    with (
        RawServer(data) as server,
        client_of(server.url, wall_clock=lambda: NOW + offset) as client,
        expected as caught,
    ):
        client.attach(EIP_ID, ID)
    assert ("clock" in str(caught.value)) == isinstance(caught.value, WrongClock) == bool(said)
    assert "its role allows attach-instance-to-elastic-ip" in str(caught.value), "the clock may not be the cause"


@pytest.mark.parametrize("kind", [ElasticIp, InstanceRecord, OperationRecord, SecurityGroup])
@pytest.mark.parametrize("bad", ["", "x", ID.upper().replace("2", "A"), f"{{{ID}}}"])
def test_no_record_has_an_id_that_is_not_a_canonical_uuid(kind, bad):
    with pytest.raises(ValueError, match="UUID"):
        kind(bad)
