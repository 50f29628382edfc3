"""Who am I, where is the Elastic IP, who are the others: asked of a simulated zone, and every way it can not work."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exoip.config import parse
from exoip.errors import ApiForbidden, ApiNotFound, ApiUnavailable, ApiUnreachable, ConfigError
from exoip.exoscale import discovery, metadata, models
from exoip.exoscale.client import Client
from exoip.exoscale.discovery import client_for, discover, refresh
from exoip.exoscale.models import SecurityGroup
from exoip.exoscale.topology import Member, Topology
from exoip.sandbox.faults import Fault, Match
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone
from tests.support.raw_server import Peer, RawServer, answer

KEY, SECRET = "EXOtest", "sEcReT-that-nobody-sees"
EIP = "198.51.100.50"
UNKNOWN = "99999999-0000-4000-8000-000000000000"
ID_TEXT = b"01234567-89ab-cdef-0123-456789abcdef"
PORT = 12345
NO_FILES: tuple[Path, ...] = ()


class World:
    """A zone with instances a, b, c in group web, and d outside; `a` is the node under test."""

    def __init__(self) -> None:
        self.zone = Zone("ch-gva-2", eip=EIP)
        self.zone.add_key(KEY, SECRET)
        for number, name in enumerate("abc", 1):
            self.zone.add_instance(name, public_ip=f"192.0.2.{number}", groups=("web",))
        self.zone.add_instance("d", public_ip="192.0.2.4", ipv6="2001:db8::4")
        self.server = SandboxServer(self.zone)

    def id(self, name: str) -> str:
        with self.server.lock:
            return self.zone.instance_named(name, self.server.now()).id

    def change(self, method: str, *arguments: object, **fields: object) -> None:
        with self.server.lock:
            if method == "add_fault":
                self.zone.add_fault(*arguments, self.server.now())
            elif method == "add_instance":
                self.zone.add_instance(*arguments, self.server.now(), **fields)
            else:
                getattr(self.zone, method)(*arguments, self.server.now())

    def config(self, *arguments: str, mode: str = "-W", own: bool = True, endpoint: bool = True) -> parse.Config:
        """What the command line says; `own` and `endpoint`: whether it names this instance and the API."""
        given = [mode, "-xi", EIP, "-xk", KEY, "-xs", SECRET, "-xm", self.server.metadata_url("a")]
        given += ["-i", self.id("a")] if own else []
        given += ["-xe", self.server.endpoint] if endpoint else []
        return parse.parse([*given, *arguments], {})

    def member(self, name: str, address: str, port: int = PORT) -> Member:
        return Member(self.id(name), address, port, name)

    def calls(self) -> list[str]:
        """The API calls so far."""
        with self.server.lock:
            return [f"{event.method} {event.path}" for event in self.zone.record.calls()]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    with made.server:
        yield made


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(metadata, "PAUSE", 0.0)


def by_id(*members: Member) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.instance_id))


class TestPeersByAddress:
    def test_everything_is_found(self, world):
        found = discover(world.config("-p", "192.0.2.2,192.0.2.3:999"), files=NO_FILES)
        assert found == Topology(
            world.id("a"),
            "ch-gva-2",
            world.server.endpoint,
            EIP,
            world.zone.eip.id,
            by_id(world.member("b", "192.0.2.2"), world.member("c", "192.0.2.3", 999)),
        )
        assert found.warnings == ()

    def test_the_port_is_the_one_that_is_bound(self, world):
        found = discover(world.config("-p", "192.0.2.2", "-l", ":777"), files=NO_FILES)
        assert found.members == (world.member("b", "192.0.2.2", 777),)

    def test_a_service_that_ignores_the_filter(self, world):
        world.zone.ip_filter = False
        found = discover(world.config("-p", "192.0.2.3"), files=NO_FILES)
        assert found.members == (world.member("c", "192.0.2.3"),)

    def test_ipv6(self, world):
        found = discover(world.config("-p", "[2001:DB8:0::4]:99"), files=NO_FILES)
        assert found.members == (world.member("d", "2001:db8::4", 99),)

    def test_address_and_id(self, world):
        """Private addresses are unknown to the API: the id is confirmed, the address believed."""
        found = discover(world.config("-p", f"10.0.0.2={world.id('b')}"), files=NO_FILES)
        assert found.members == (world.member("b", "10.0.0.2"),)

    @pytest.mark.parametrize("ignores_filter", [False, True])
    def test_oneself_is_left_out(self, world, ignores_filter):
        world.zone.ip_filter = not ignores_filter
        found = discover(world.config("-p", "192.0.2.1,192.0.2.2"), files=NO_FILES)
        assert [member.name for member in found.members] == ["b"]
        assert found.warnings == ()

    @pytest.mark.parametrize("by", ["address", "id"])
    def test_nobody_but_oneself_is_a_warning(self, world, by):
        peer = "192.0.2.1" if by == "address" else f"10.0.0.1={world.id('a')}"
        found = discover(world.config("-p", peer), files=NO_FILES)
        assert found.members == ()
        assert "no peers" in found.warnings[0]

    def test_one_without_an_instance(self, world):
        with pytest.raises(ConfigError, match=r"-p 192\.0\.2\.99: no instance has the public address.*=INSTANCE-ID"):
            discover(world.config("-p", "192.0.2.99"), files=NO_FILES)

    def test_one_with_an_unknown_id(self, world):
        with pytest.raises(ConfigError, match=f"no instance {UNKNOWN} in zone ch-gva-2"):
            discover(world.config("-p", f"192.0.2.2={UNKNOWN}"), files=NO_FILES)

    def test_holding_the_address_as_an_elastic_ip_does_not_make_a_peer(self, world):
        """`?ip-address=` also answers holders: they have another address of their own."""
        with world.server.lock:
            extra = world.zone.add_elastic_ip("198.51.100.60")
            world.zone.force(world.id("b"), True, world.server.now(), extra.id)
        with pytest.raises(ConfigError, match="no instance has"):
            discover(world.config("-p", "198.51.100.60"), files=NO_FILES)

    def test_two_instances_with_one_address(self, world):
        world.change("add_instance", "twin", public_ip="192.0.2.2")
        with pytest.raises(ConfigError, match="several instances have"):
            discover(world.config("-p", "192.0.2.2"), files=NO_FILES)

    def test_one_instance_by_two_addresses(self, world):
        with pytest.raises(ConfigError, match=r"names instance d .* twice"):
            discover(world.config("-p", "192.0.2.4,2001:db8::4"), files=NO_FILES)


class TestPeersByGroup:
    @pytest.mark.parametrize("by", ["name", "id"])
    @pytest.mark.parametrize("bare", [True, False])
    def test_the_others_in_it(self, world, by, bare):
        world.zone.bare_groups = bare
        (web,) = world.zone.security_groups()
        found = discover(world.config("-G", web.id.upper() if by == "id" else "web"), files=NO_FILES)
        assert found.members == by_id(world.member("b", "192.0.2.2"), world.member("c", "192.0.2.3"))
        assert found.warnings == ()

    @pytest.mark.parametrize("state", ["stopped", "starting", "destroying", "error"])
    def test_only_running_ones(self, world, state):
        world.change("set_state", world.id("b"), state)
        assert [member.name for member in discover(world.config("-G", "web"), files=NO_FILES).members] == ["c"]

    def test_ipv6_only_where_there_is_no_ipv4(self, world):
        world.change("join_group", world.id("d"), "web")
        world.change("add_instance", "e", public_ip=None, ipv6="2001:db8::5", groups=("web",))
        found = {member.name: member.address for member in discover(world.config("-G", "web"), files=NO_FILES).members}
        assert found == {"b": "192.0.2.2", "c": "192.0.2.3", "d": "192.0.2.4", "e": "2001:db8::5"}

    def test_one_that_the_bound_address_can_not_reach(self, world):
        world.change("add_instance", "e", public_ip=None, ipv6="2001:db8::5", groups=("web",))
        found = discover(world.config("-G", "web", "-l", "127.0.0.1:5"), files=NO_FILES)
        assert "e" not in [member.name for member in found.members]
        assert "instance e" in found.warnings[0]

    def test_not_being_in_it_is_a_warning(self, world):
        world.change("leave_group", world.id("a"), "web")
        found = discover(world.config("-G", "web"), files=NO_FILES)
        assert len(found.members) == 2
        assert "this instance is not in group web" in found.warnings[0]

    def test_being_alone_is_a_warning(self, world):
        for name in "bc":
            world.change("leave_group", world.id(name), "web")
        found = discover(world.config("-G", "web"), files=NO_FILES)
        assert found.members == ()
        assert "no peers" in found.warnings[0]

    def test_an_unknown_one(self, world):
        with pytest.raises(ConfigError, match=r"-G wbe: no such security group in zone ch-gva-2 .*; there are: web"):
            discover(world.config("-G", "wbe"), files=NO_FILES)

    def test_two_of_one_name(self, world):
        class Twice(Client):
            def security_groups(self):
                return (*super().security_groups(), SecurityGroup(UNKNOWN, "web"))

        given = world.config("-G", "web")
        with pytest.raises(ConfigError, match=r"several security groups .* give an id"):
            discover(given, lambda endpoint: Twice(endpoint, KEY, SECRET), NO_FILES)

    def test_two_instances_with_one_address(self, world):
        world.change("add_instance", "twin", public_ip="192.0.2.2", groups=("web",))
        with pytest.raises(ApiUnavailable, match="same id or address"):
            discover(world.config("-G", "web"), files=NO_FILES)


class TestRefresh:
    @pytest.fixture
    def client(self, world) -> Iterator[Client]:
        with contextlib.closing(client_for(world.config("-G", "web"), world.server.endpoint)) as made:
            yield made

    def test_comes_goes_stops_vanishes(self, world, client):
        given = world.config("-G", "web")
        first = discover(given, files=NO_FILES)
        world.change("add_instance", "e", public_ip="192.0.2.5", groups=("web",))
        world.change("remove_instance", world.id("b"))
        world.change("set_state", world.id("c"), "stopped")
        second = refresh(given, client, first)
        assert second == replace(first, members=(world.member("e", "192.0.2.5"),))
        world.change("leave_group", world.id("e"), "web")
        world.change("set_state", world.id("c"), "running")
        assert refresh(given, client, second).members == (world.member("c", "192.0.2.3"),)

    def test_nothing_changed(self, world, client):
        given = world.config("-G", "web")
        found = discover(given, files=NO_FILES)
        assert refresh(given, client, found) == found

    def test_listed_peers_are_not_asked_again(self, world, client):
        given = world.config("-p", "192.0.2.2")
        found = discover(given, files=NO_FILES)
        before = world.calls()
        world.change("remove_instance", world.id("b"))
        assert refresh(given, client, found) is found
        assert world.calls() == before

    def test_an_api_that_is_away_passes_through(self, world, client):
        given = world.config("-G", "web")
        found = discover(given, files=NO_FILES)
        world.change("add_fault", Fault("status", status=503, retry_after=5))
        with pytest.raises(ApiUnavailable) as caught:
            refresh(given, client, found)
        assert caught.value.retry_after == 5

    def test_a_list_that_does_not_say_the_groups_is_asked_one_by_one(self, world, client):
        """Each field is optional; an instance may vanish between the list and the question."""
        given = world.config("-G", "web")
        found = discover(given, files=NO_FILES)

        class Terse(Client):
            def instances(self, ip_address: str | None = None):
                listed = [replace(one, security_group_ids=None) for one in super().instances(ip_address)]
                return (*listed, replace(listed[0], id=UNKNOWN, public_ip="192.0.2.77"))

        with contextlib.closing(Terse(world.server.endpoint, KEY, SECRET)) as terse:
            assert refresh(given, terse, found) == found


class TestOneself:
    def test_from_the_metadata_service(self, world):
        assert discover(world.config("-p", "192.0.2.2", own=False), files=NO_FILES).instance_id == world.id("a")

    def test_the_zone_too_and_the_endpoint_from_it(self, world):
        asked = []

        def connect(endpoint: str) -> Client:
            asked.append(endpoint)
            return Client(world.server.endpoint, KEY, SECRET)

        found = discover(world.config("-p", "192.0.2.2", own=False, endpoint=False), connect, NO_FILES)
        assert (found.zone, found.endpoint) == ("ch-gva-2", "https://api-ch-gva-2.exoscale.com/v2")
        assert asked == [found.endpoint]

    def test_a_given_zone_is_not_asked_for(self, world):
        given = world.config("-p", "192.0.2.2", "-xz", "at-vie-1", endpoint=False)
        found = discover(given, lambda _: Client(world.server.endpoint, KEY, SECRET), NO_FILES)
        assert (found.zone, found.endpoint) == ("at-vie-1", "https://api-at-vie-1.exoscale.com/v2")

    def test_an_endpoint_that_no_zone_has(self, world):
        other = world.server.endpoint.replace("127.0.0.1", "localhost")
        found = discover(world.config("-p", "192.0.2.2", "-xe", other), files=NO_FILES)
        assert (found.zone, found.endpoint) == ("", other)

    def test_not_in_the_zone(self, world):
        with pytest.raises(ConfigError, match=f"-i {UNKNOWN}: this instance is not in zone ch-gva-2"):
            discover(world.config("-p", "192.0.2.2", "-i", UNKNOWN, own=False), files=NO_FILES)

    @pytest.mark.parametrize("mode", ["-A", "-D"])
    def test_attach_and_detach_need_no_peers(self, world, mode):
        assert discover(world.config(mode=mode), files=NO_FILES).members == ()
        assert discover(world.config("-p", "192.0.2.99", mode=mode), files=NO_FILES).members == ()


class TestElasticIp:
    def test_an_unknown_one_lists_those_that_exist(self, world):
        with world.server.lock:
            world.zone.add_elastic_ip("198.51.100.60")
        given = world.config("-p", "192.0.2.2", "-xi", "198.51.100.99")
        expected = rf"-xi 198\.51\.100\.99: no such Elastic IP in zone ch-gva-2 .*; there are: {EIP}, 198\.51\.100\.60"
        with pytest.raises(ConfigError, match=expected):
            discover(given, files=NO_FILES)

    def test_one_of_another_zone_is_named(self, world):
        """A front with the zones of two sandboxes, and the Elastic IPs of none."""
        with SandboxServer(Zone("de-fra-1", eip="198.51.100.70")) as other:
            other.zone.add_key(KEY, SECRET)

            def front(peer: Peer) -> None:
                while request := peer.request():
                    if request.startswith(b"GET /v2/zone "):
                        zones = [("xx-out-1", "http://127.0.0.1:1/v2"), ("xx-bad-1", "nonsense")]
                        zones += [("ch-gva-2", server.url + "/v2"), ("de-fra-1", other.endpoint)]
                        body = {"zones": [{"name": name, "api-endpoint": url} for name, url in zones]}
                    else:
                        body = {"elastic-ips": []}
                    peer.send(answer(json.dumps(body).encode()))

            with RawServer(front) as server:
                given = world.config("-p", "192.0.2.2", "-xi", "198.51.100.70", "-xe", server.url + "/v2")
                with pytest.raises(ConfigError, match="this Elastic IP is in zone de-fra-1, not in zone ch-gva-2"):
                    discover(given, files=NO_FILES)

    @pytest.mark.parametrize(
        ("ours", "theirs", "asked"),
        [
            ("https://api-ch-gva-2.exoscale.com/v2", "https://api-de-fra-1.exoscale.com/v2", True),
            ("https://api-ch-gva-2.exoscale.com/v2", "http://api-de-fra-1.exoscale.com/v2", False),
            ("https://api-ch-gva-2.exoscale.com/v2", "https://api-de-fra-1.exoscale.com.example.org/v2", False),
            ("https://api-ch-gva-2.exoscale.com/v2", "https://evilexoscale.com/v2", False),
            ("https://api-ch-gva-2.exoscale.com/v2", "https://api.exoscale.com@example.org/v2", False),
            ("https://api-ch-gva-2.exoscale.com/v2", "https://[x", False),
            ("https://api-ch-gva-2.exoscale.com/v2", "", False),
            ("https://proxy.example.org/v2", "https://api-de-fra-1.exoscale.com/v2", False),
            ("http://127.0.0.1:1/v2", "http://127.0.0.1:2/v2", True),
        ],
    )
    def test_what_is_signed_is_shown_to_no_stranger(self, ours, theirs, asked):
        """Whatever the list of zones says: a signature goes to hosts of the same operator only."""
        assert models.Zone("z", theirs).same_operator_as(ours) is asked


class TestWhatPassesThrough:
    @pytest.mark.parametrize("path", ["/elastic-ip", "/instance/", "/instance$", "/security-group"])
    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault("status", status=403), ApiForbidden),
            (Fault("status", status=500), ApiUnavailable),
            (Fault("drop"), ApiUnreachable),
            (Fault("garbage"), ApiUnavailable),
        ],
    )
    def test_trouble_of_the_api(self, world, path, fault, error):
        world.change("add_fault", replace(fault, match=Match(path=path)))
        with pytest.raises(error):
            discover(world.config("-G", "web"), files=NO_FILES)

    def test_nobody_listens(self, world):
        with pytest.raises(ApiUnreachable):
            discover(world.config("-G", "web", "-xe", "http://127.0.0.1:1/v2", "-xz", "ch-gva-2"), files=NO_FILES)

    def test_a_wrong_key_shows_no_secret(self, world):
        given = world.config("-G", "web", "-xs", "another-secret")
        with pytest.raises(ApiForbidden) as caught:
            discover(given, files=NO_FILES)
        assert "another-secret" not in str(caught.value)

    def test_a_peer_that_vanishes_is_a_configuration_error_but_only_then(self, world):
        world.change("add_fault", Fault("status", status=404, match=Match(path="/elastic-ip")))
        with pytest.raises(ApiNotFound):
            discover(world.config("-p", "192.0.2.2"), files=NO_FILES)


class TestMetadata:
    ID = ID_TEXT.decode()

    @pytest.fixture
    def service(self) -> Iterator[Callable[..., str]]:
        """`service(*answers)` is the URL of a service that gives these, the last one for good."""
        with contextlib.ExitStack() as stack:

            def serve(*answers: bytes) -> str:
                left = list(answers)

                def handler(peer: Peer) -> None:
                    if peer.request():
                        peer.send(left.pop(0) if len(left) > 1 else left[0])

                return stack.enter_context(RawServer(handler)).url

            yield serve

    @pytest.fixture
    def files(self, tmp_path) -> tuple[Path, Path]:
        return tmp_path / "instance-id", tmp_path / "product_uuid"

    def test_an_id(self, service):
        assert metadata.instance_id(service(answer(self.ID.upper().encode() + b"\n")), NO_FILES) == self.ID

    def test_a_service_that_comes_up_late(self, service):
        pauses = []
        url = service(answer(b"", 503), b"", answer(self.ID.encode()))
        assert metadata.instance_id(url, NO_FILES, pauses.append) == self.ID
        assert pauses == [metadata.PAUSE] * 2

    @pytest.mark.parametrize(
        "bad",
        [
            answer(b"", 404),
            answer(ID_TEXT, 500),
            answer(ID_TEXT, 302, Location="http://127.0.0.1:1/"),
            answer(b"<html>captive portal</html>"),
            answer(b""),
            answer(ID_TEXT + b" " * 5000),
            answer(b"\xff" * 36),
            ID_TEXT,
            b"",
        ],
        ids=range(9),
    )
    def test_no_id_is_a_configuration_error_with_its_cure(self, service, bad):
        url = service(bad)
        with pytest.raises(ConfigError) as caught:
            metadata.instance_id(url, NO_FILES)
        for part in (f"GET {url}/latest/meta-data/instance-id", "-i ", "-xz", "cidata"):
            assert part in str(caught.value)
        assert str(caught.value).isprintable()

    def test_unreachable(self):
        with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:1/latest/meta-data/instance-id: .*refused"):
            metadata.instance_id("http://127.0.0.1:1", NO_FILES)

    def test_the_machine_itself_may_know(self, files):
        files[1].write_text(self.ID.upper() + "\n")
        assert metadata.instance_id("http://127.0.0.1:1", files) == self.ID
        files[0].write_text(self.ID.replace("0", "a"))
        assert metadata.instance_id("http://127.0.0.1:1", files) == self.ID.replace("0", "a")

    @pytest.mark.parametrize("content", [b"", b"i-12345", b"\xff\xfe", b"iid-datasource-none\n", b"x" * 100_000])
    def test_a_file_with_something_else_is_passed_over(self, files, content):
        files[0].write_bytes(content)
        files[1].write_text(self.ID)
        assert metadata.instance_id("http://127.0.0.1:1", files) == self.ID

    def test_files_that_can_not_be_read(self, files):
        files[0].mkdir()
        with pytest.raises(ConfigError):
            metadata.instance_id("http://127.0.0.1:1", files)

    def test_the_service_is_asked_before_the_files(self, service, files):
        files[0].write_text(UNKNOWN)
        assert metadata.instance_id(service(answer(self.ID.encode())), files) == self.ID

    def test_the_zone(self, service):
        assert metadata.zone(service(answer(b"ch-gva-2\n"))) == "ch-gva-2"

    @pytest.mark.parametrize("bad", [b"", b"evil.example/x", b"a" * 60, b"CH GVA", b"-x"])
    def test_no_zone(self, service, bad):
        with pytest.raises(ConfigError, match="availability-zone"):
            metadata.zone(service(answer(bad)))

    def test_unreachable_for_a_node(self, world):
        given = world.config("-p", "192.0.2.2", "-xm", "http://127.0.0.1:1", own=False)
        with pytest.raises(ConfigError, match="-i"):
            discover(given, files=NO_FILES)
        given = world.config("-p", "192.0.2.2", "-xm", "http://127.0.0.1:1", endpoint=False)
        with pytest.raises(ConfigError, match="-xz"):
            discover(given, files=NO_FILES)


class TestWhatCanNotExist:
    A, B = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"

    @pytest.mark.parametrize(
        "fields",
        [
            (A.upper(), "192.0.2.1", 1),
            ("a", "192.0.2.1", 1),
            (A, "localhost", 1),
            (A, "2001:DB8::1", 1),
            (A, "192.0.2.1", 0),
            (A, "192.0.2.1", 65536),
        ],
    )
    def test_members(self, fields):
        with pytest.raises(ValueError, match=r"not|does not appear|1 to 65535"):
            Member(*fields)

    @pytest.mark.parametrize(
        "change",
        [
            {"members": (Member(A, "192.0.2.1", 1),)},
            {"members": (Member(B, "192.0.2.1", 1), Member(B, "192.0.2.2", 1))},
            {"members": (Member(B.replace("b", "c"), "192.0.2.1", 1), Member(B, "192.0.2.2", 1))},
            {"members": (Member(B, "192.0.2.1", 1), Member(B.replace("b", "c"), "192.0.2.1", 1))},
            {"instance_id": "a"},
            {"eip_id": A.upper()},
            {"eip": "here"},
        ],
    )
    def test_topologies(self, change):
        fine = Topology(self.A, "ch-gva-2", "https://api", EIP, self.B, ())
        with pytest.raises(ValueError, match=r"."):
            replace(fine, **change)

    def test_how_a_member_is_shown(self):
        assert str(Member(self.A, "192.0.2.1", 5, "web-1")) == "web-1 at 192.0.2.1:5"
        assert str(Member(self.A, "2001:db8::1", 5)) == f"{self.A} at [2001:db8::1]:5"


def test_each_connection_is_closed_again(world, monkeypatch):
    """Also when it goes wrong: discovery is repeated while the API is away."""
    open_now = []

    class Counted(Client):
        def __init__(self, *arguments: object, **rest: object) -> None:
            super().__init__(*arguments, **rest)
            open_now.append(self)

        def close(self) -> None:
            super().close()
            open_now.remove(self)

    monkeypatch.setattr(discovery, "Client", Counted)
    discover(world.config("-p", "192.0.2.2"), files=NO_FILES)
    with pytest.raises(ConfigError):
        discover(world.config("-p", "192.0.2.99"), files=NO_FILES)
    assert open_now == []
