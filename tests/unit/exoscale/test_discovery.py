"""Discover this instance, the Elastic IP and the members in a simulated zone, or fail."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from exoip.config import parse
from exoip.config.options import Config
from exoip.errors import ApiForbidden, ApiNotFound, ApiUnavailable, ConfigError
from exoip.exoscale import discovery, models
from exoip.exoscale.client import Client
from exoip.exoscale.discovery import client_for, discover, refresh
from exoip.exoscale.models import ElasticIp, InstanceRecord, SecurityGroup
from exoip.exoscale.security_group import MOST_LOOK_UPS, SecurityGroupMembers
from exoip.exoscale.topology import Member, Topology
from exoip.sandbox import model
from exoip.sandbox.faults import Fault, Match
from exoip.sandbox.model import INSTANCE_STATES
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone
from tests.support.raw_server import Peer, RawServer, answer

KEY, SECRET = "EXOtest", "sEcReT-that-nobody-sees"
EIP = "198.51.100.50"
IP_V6, PREFIX = "2001:db8:0:1::1", "2001:db8:0:1::/96"
UNKNOWN = "99999999-0000-4000-8000-000000000000"
A, B, C = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc")
PORT = 12345
GVA, ZURICH = "https://api-ch-gva-2.exoscale.com/v2", "https://api-ch-dk-2.exoscale.com/v2"


class World:
    """A zone with instances a, b, c in group web, and d outside; `a` is the node under test."""

    def __init__(self) -> None:
        self.zone = Zone("ch-gva-2", eip=EIP)
        self.zone.add_key(KEY, SECRET)
        for number, name in enumerate("abc", 1):
            self.zone.add_instance(name, public_ip=f"192.0.2.{number}", groups=("web",))
        self.zone.add_instance("d", public_ip="192.0.2.4", ipv6="2001:db8::4")
        self.zone.add_elastic_ip(PREFIX)
        self.server = SandboxServer(self.zone)

    @property
    def prefix(self) -> model.ElasticIp:
        return self.zone.elastic_ips()[-1]

    def id(self, name: str) -> str:
        with self.server.lock:
            return self.zone.instance_named(name, self.server.now()).id

    def change(self, method: str, *arguments: object, **fields: object) -> None:
        with self.server.lock:
            if method == "add_instance":
                self.zone.add_instance(*arguments, self.server.now(), **fields)
            else:
                getattr(self.zone, method)(*arguments, self.server.now())

    def config(self, *arguments: str, mode: str = "-W", own: bool = True, endpoint: bool = True) -> Config:
        """The configuration; `own` and `endpoint`: whether it names this instance and the API."""
        given = [mode, "-xi", EIP, "-xk", KEY, "-xs", SECRET, "-xm", self.server.metadata_url("a")]
        given += ["-i", self.id("a")] if own else []
        given += ["-xe", self.server.endpoint] if endpoint else []
        return parse.parse([*given, *arguments], {})

    def discover(self, *arguments: str, **kwargs: object) -> Topology:
        return discover(self.config(*arguments, **kwargs), files=(), sleep=lambda _: None)

    def discover_v6(
        self, text: str, listed: Callable[[ElasticIp], ElasticIp] = lambda eip: eip, own: str = "d"
    ) -> Topology:
        """Discover the prefix for an instance, with the API's list changed by `listed`."""

        class Changed(Client):
            def elastic_ips(self, needed: str = "") -> tuple[ElasticIp, ...]:
                return tuple(map(listed, super().elastic_ips(needed)))

        config = self.config("-xi", text, "-p", "192.0.2.2", "-i", self.id(own), own=False)
        return discover(config, lambda endpoint: Changed(endpoint, KEY, SECRET), ())

    def member(self, name: str, address: str, port: int = PORT) -> Member:
        return Member(self.id(name), address, port, name)

    def calls(self) -> int:
        with self.server.lock:
            return len(list(self.zone.record.calls()))


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    with made.server:
        yield made


def by_id(*members: Member) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.instance_id))


class TestStaticPeers:
    def test_everything_is_found(self, world):
        found = world.discover("-p", "192.0.2.2,192.0.2.3:999")
        members = by_id(world.member("b", "192.0.2.2"), world.member("c", "192.0.2.3", 999))
        assert found == Topology(world.id("a"), "ch-gva-2", world.server.endpoint, EIP, world.zone.eip.id, members)
        assert found.warnings == ()

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["192.0.2.2", "-l", ":777"], ("b", "192.0.2.2", 777)),  # the default is our own port
            (["[2001:DB8:0::4]:99"], ("d", "2001:db8::4", 99)),
            (["10.0.0.2={b}"], ("b", "10.0.0.2", PORT)),  # the API confirms the id, and cannot know the address
            (["192.0.2.1,192.0.2.2"], ("b", "192.0.2.2", PORT)),  # this instance is left out
        ],
    )
    @pytest.mark.parametrize("ip_filter", [True, False])
    def test_one_member(self, world, arguments, expected, ip_filter):
        world.zone.ip_filter = ip_filter  # an old service ignores the filter
        found = world.discover("-p", *(argument.format(b=world.id("b")) for argument in arguments))
        assert found.members == (world.member(*expected),)
        assert found.warnings == ()

    @pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.1={a}"])
    def test_a_list_of_this_instance_alone_is_a_warning(self, world, peer):
        found = world.discover("-p", peer.format(a=world.id("a")))
        assert found.members == ()
        assert "no peers" in found.warnings[0]

    @pytest.mark.parametrize(
        ("peer", "expected"),
        [
            ("192.0.2.99", r"-p 192\.0\.2\.99: no instance has the public address.*=INSTANCE-ID"),
            (f"192.0.2.2={UNKNOWN}", f"no instance {UNKNOWN} in zone ch-gva-2"),
            ("198.51.100.60", "no instance has"),  # b only holds it, and `?ip-address=` finds holders too
            ("192.0.2.3", "several instances have"),
            ("192.0.2.4,2001:db8::4", r"names instance d .* twice"),
        ],
    )
    def test_a_peer_that_is_not_one_instance(self, world, peer, expected):
        world.change("add_instance", "twin", public_ip="192.0.2.3")
        with world.server.lock:
            extra = world.zone.add_elastic_ip("198.51.100.60")
            world.zone.force(world.zone.instance_named("b", world.server.now()).id, True, world.server.now(), extra.id)
        with pytest.raises(ConfigError, match=expected):
            world.discover("-p", peer)


class TestSecurityGroup:
    @pytest.mark.parametrize("by", ["name", "id"])
    @pytest.mark.parametrize("bare", [True, False])
    def test_the_others_in_it(self, world, by, bare):
        world.zone.bare_groups = bare
        (web,) = world.zone.security_groups()
        found = world.discover("-G", web.id.upper() if by == "id" else "web")
        assert found.members == by_id(world.member("b", "192.0.2.2"), world.member("c", "192.0.2.3"))
        assert found.warnings == ()

    @pytest.mark.parametrize("state", sorted(INSTANCE_STATES))
    def test_in_any_state(self, world, state):
        """The state says whether an instance can serve, not whether it may be heard."""
        world.change("set_state", world.id("b"), state)
        members = {member.name: member.running for member in world.discover("-G", "web").members}
        assert members == {"b": state in ("running", "migrating"), "c": True}

    def test_ipv6_only_without_ipv4_and_only_if_the_socket_reaches_it(self, world):
        world.change("join_group", world.id("d"), "web")
        world.change("add_instance", "e", public_ip=None, ipv6="2001:db8::5", groups=("web",))
        found = {member.name: member.address for member in world.discover("-G", "web").members}
        assert found == {"b": "192.0.2.2", "c": "192.0.2.3", "d": "192.0.2.4", "e": "2001:db8::5"}
        found = world.discover("-G", "web", "-l", "127.0.0.1:5")
        assert {member.name for member in found.members} == {"b", "c", "d"}
        assert "instance e" in found.warnings[0]

    @pytest.mark.parametrize(
        ("leaving", "members", "warning"), [("a", 2, "this instance is not in group web"), ("bc", 0, "no peers")]
    )
    def test_warnings(self, world, leaving, members, warning):
        for name in leaving:
            world.change("leave_group", world.id(name), "web")
        found = world.discover("-G", "web")
        assert len(found.members) == members
        assert warning in found.warnings[0]

    def test_an_unknown_one(self, world):
        with pytest.raises(ConfigError, match=r"-G wbe: no such security group in zone ch-gva-2 .*; there are: web"):
            world.discover("-G", "wbe")

    def test_two_of_one_name(self, world):
        class Twice(Client):
            def security_groups(self, needed: str = ""):
                return (*super().security_groups(needed), SecurityGroup(UNKNOWN, "web"))

        with pytest.raises(ConfigError, match=r"several security groups .* give an id"):
            discover(world.config("-G", "web"), lambda endpoint: Twice(endpoint, KEY, SECRET), ())

    @pytest.mark.parametrize("gone", ["b", "twin"])
    def test_an_address_that_went_from_one_instance_to_another(self, world, gone):
        """One that is being destroyed may still be listed with the address that another one has now."""
        world.change("add_instance", "twin", public_ip="192.0.2.2", groups=("web",))
        found = world.discover("-G", "web")
        assert (len(found.members), "same address" in found.warnings[0]) == (2, True)
        world.change("set_state", world.id(gone), "destroying")
        found = world.discover("-G", "web")
        assert {member.name for member in found.members} == {"b", "c", "twin"} - {gone}
        assert found.warnings == ()

    def test_a_member_that_no_list_and_no_read_shows_gives_way_to_a_listed_one(self, world):
        """Its instance may be gone, and its address another's by now."""
        found = world.discover("-G", "web")
        ghost = replace(found.members[0], instance_id="00000000-0000-4000-8000-000000000000", name="ghost")
        alone = replace(ghost, instance_id="00000000-0000-4000-8000-000000000001", address="192.0.2.99")

        class Unreadable(Client):
            def instance(self, instance_id):
                if instance_id.startswith("00000000"):
                    raise ApiUnavailable("GET /instance/ID: 503")
                return super().instance(instance_id)

        known = replace(found, members=(ghost, alone, *found.members[1:]))
        config = world.config("-G", "web")
        with contextlib.closing(Unreadable(found.endpoint, KEY, SECRET)) as client:
            again = refresh(config, client, known)
        assert again.members == (alone, *found.members)
        assert again.warnings == ()

    @pytest.mark.parametrize("change", [{"state": {"name": "running"}}, {"ipv6-address": "anywhere"}, {"id": "x"}])
    def test_an_odd_entry_is_left_out_with_a_warning(self, world, change):
        class Odd(Client):
            def _list(self, call, name, parse, *others, **given):
                def odd(entry):
                    return parse(entry | (change if entry.get("name") == "b" else {}))

                return super()._list(call, name, odd, *others, **given)

        found = discover(world.config("-G", "web"), lambda endpoint: Odd(endpoint, KEY, SECRET), ())
        assert [member.name for member in found.members] == ["c"]
        assert "not understood" in found.warnings[0]


class TestRefresh:
    @pytest.fixture
    def client(self, world) -> Iterator[Client]:
        with contextlib.closing(client_for(world.config("-G", "web"), world.server.endpoint)) as made:
            yield made

    def test_members_come_go_stop_and_vanish(self, world, client):
        config = world.config("-G", "web")
        first = world.discover("-G", "web")
        assert refresh(config, client, first) == first
        world.change("add_instance", "e", public_ip="192.0.2.5", groups=("web",))
        world.change("remove_instance", world.id("b"))
        world.change("set_state", world.id("c"), "stopped")
        second = refresh(config, client, first)
        assert second == replace(first, members=by_id(world.member("c", "192.0.2.3"), world.member("e", "192.0.2.5")))
        world.change("leave_group", world.id("c"), "web")
        assert refresh(config, client, second).members == (world.member("e", "192.0.2.5"),)

    @pytest.mark.parametrize("fault", [None, Fault("status", Match(path="/instance/"), status=503)])
    def test_a_member_that_a_list_lacks_is_asked_for(self, world, fault):
        """A list may be incomplete. What cannot be read is not known to be gone."""

        class Partial(Client):
            def instances(self, ip_address: str | None = None, needed: str = ""):
                return tuple(one for one in super().instances(ip_address, needed) if one.id == needed)

        found = world.discover("-G", "web")
        if fault is not None:
            world.change("add_fault", fault)
        with contextlib.closing(Partial(world.server.endpoint, KEY, SECRET)) as partial:
            assert refresh(world.config("-G", "web"), partial, found) == found

    def test_only_some_that_a_list_lacks_are_asked_for(self, world, client):
        """The reads of a node wait meanwhile; the others stay members."""
        for number in range(20):
            world.change("add_instance", f"x{number}", public_ip=f"192.0.2.{100 + number}", groups=("web",))
        found = world.discover("-G", "web")
        for number in range(20):
            world.change("remove_instance", world.id(f"x{number}"))
        before = world.calls()
        left = refresh(world.config("-G", "web"), client, found)
        assert world.calls() - before == 2 + MOST_LOOK_UPS
        assert len(left.members) == len(found.members) - MOST_LOOK_UPS

    def test_listed_peers_do_not_change(self, world, client):
        config = world.config("-p", "192.0.2.2")
        assert (discovery.members_change(config), discovery.members_change(world.config("-G", "web"))) == (False, True)
        found = discover(config, files=())
        before = world.calls()
        world.change("remove_instance", world.id("b"))
        assert refresh(config, client, found) is found
        assert world.calls() == before

    def test_an_api_that_is_down(self, world, client):
        found = world.discover("-G", "web")
        world.change("add_fault", Fault("status", status=503, retry_after=5))
        with pytest.raises(ApiUnavailable) as caught:
            refresh(world.config("-G", "web"), client, found)
        assert caught.value.retry_after == 5


class TestListsWithoutGroups:
    """No field is required: the list of instances may leave out their groups."""

    @pytest.fixture
    def terse(self, world) -> World:
        world.zone.groups_listed = False
        return world

    def refresh(self, world: World, found: Topology) -> Topology:
        """Refresh with as many calls as are allowed."""
        before = world.calls()
        with contextlib.closing(client_for(world.config("-G", "web"), world.server.endpoint)) as client:
            found = refresh(world.config("-G", "web"), client, found)
        assert world.calls() - before <= 2 + MOST_LOOK_UPS
        return found

    def test_the_members_are_the_same(self, world):
        listed = world.discover("-G", "web")
        world.zone.groups_listed = False
        found = world.discover("-G", "web")
        assert (found, found.warnings) == (listed, ())
        assert sorted(found.asked) == sorted(map(world.id, "abcd"))
        assert self.refresh(world, found) == found
        world.zone.groups_listed = True
        assert self.refresh(world, found).asked == ()

    def test_a_new_one_is_asked_first(self, terse):
        found = terse.discover("-G", "web")
        terse.change("add_instance", "e", public_ip="192.0.2.5", groups=("web",))
        found = self.refresh(terse, found)
        new = terse.member("e", "192.0.2.5")
        assert new in found.members
        terse.change("remove_instance", new.instance_id)
        assert new.instance_id not in self.refresh(terse, found).asked

    def test_a_change_of_groups_is_found_when_its_turn_comes(self, terse):
        for number in range(20):
            terse.change("add_instance", f"x{number}", public_ip=f"192.0.2.{100 + number}")
        found = terse.discover("-G", "web")
        terse.change("leave_group", terse.id("b"), "web")
        terse.change("join_group", terse.id("x7"), "web")
        for _ in range(math.ceil(24 / MOST_LOOK_UPS)):
            found = self.refresh(terse, found)
        assert found.members == by_id(terse.member("c", "192.0.2.3"), terse.member("x7", "192.0.2.107"))

    def test_what_was_true_stays_while_nothing_can_be_asked(self, terse):
        found = terse.discover("-G", "web")
        terse.change("add_instance", "e", public_ip="192.0.2.5", groups=("web",))
        terse.change("add_fault", Fault("status", Match(path="/instance/"), status=503))
        kept = self.refresh(terse, found)
        assert kept == found
        assert kept.warnings == (
            "the API lists instances without their groups, and not all of them have been asked yet",
        )

    def test_a_start_needs_all_of_them(self, terse):
        terse.change("add_fault", Fault("status", Match(path="/instance/"), status=503, skip=2))
        with pytest.raises(ApiUnavailable):
            terse.discover("-G", "web")

    @pytest.mark.parametrize("size", [100, 1000])
    def test_each_refresh_asks_for_a_few(self, world, size):
        zone = ManyInstances(size)
        source = SecurityGroupMembers(world.config("-G", "web"))
        members, _ = source.find(zone, zone.all[0], "here")
        assert len(members) == (size - 1) // 2
        assert zone.asked == size
        for _ in range(10):
            zone.asked = 0
            assert source.find(zone, zone.all[0], "here", members, source.asked)[0] == members
            assert zone.asked == MOST_LOOK_UPS

    @pytest.mark.parametrize(
        ("asked", "seconds", "most"),
        [(None, 10, 1), (None, 2, 13), ((), 10, 1), ((), 3, 1), ((), 1, 3), ((), 0.1, MOST_LOOK_UPS)],
    )
    def test_a_slow_api_does_not_keep_the_reader_for_long(self, world, monkeypatch, asked, seconds, most):
        """The rest of a start is asked by the refreshes, and each of these comes to one at least."""
        zone = ManyInstances(100, seconds)
        monkeypatch.setattr("exoip.exoscale.security_group.time.monotonic", lambda: zone.now)
        source = SecurityGroupMembers(world.config("-G", "web"))
        _, warnings = source.find(zone, zone.all[0], "here", (), asked)
        assert zone.asked == most
        assert any("without their groups" in warning for warning in warnings)


class ManyInstances:
    """A zone of `size` instances, every second one in the group, that counts what it is asked for.

    Each call takes `seconds`. The last instance vanishes after each list.
    """

    def __init__(self, size: int, seconds: float = 0.0) -> None:
        self.asked, self.now, self._seconds = 0, 0.0, seconds
        self.all = [
            InstanceRecord(
                f"{number:08}-0000-4000-8000-000000000000",
                state="running",
                public_ip=f"10.0.{number // 250}.{number % 250 + 1}",
                security_group_ids=frozenset({A} if number % 2 == 0 else ()),
            )
            for number in range(size)
        ]
        self._by_id = {one.id: one for one in self.all[:-1]}

    def security_groups(self, needed: str = "") -> tuple[models.SecurityGroup, ...]:
        self.now += self._seconds
        return (models.SecurityGroup(A, "web"),)

    def instances(self, ip_address: str | None = None, needed: str = "") -> tuple[InstanceRecord, ...]:
        self.now += self._seconds
        return tuple(replace(one, security_group_ids=None) for one in self.all)

    def instance(self, instance_id: str) -> InstanceRecord:
        self.asked += 1
        self.now += self._seconds
        if instance_id not in self._by_id:
            raise ApiNotFound("it has vanished since the list")
        return self._by_id[instance_id]


class TestThisInstance:
    def test_its_id_comes_from_the_metadata_service(self, world):
        assert world.discover("-p", "192.0.2.2", own=False).instance_id == world.id("a")

    @pytest.mark.parametrize(("arguments", "zone"), [([], "ch-gva-2"), (["-xz", "at-vie-1"], "at-vie-1")])
    def test_the_endpoint_comes_from_the_zone_given_or_asked_for(self, world, arguments, zone):
        asked = []

        def connect(endpoint: str) -> Client:
            asked.append(endpoint)
            return Client(world.server.endpoint, KEY, SECRET)

        found = discover(world.config("-p", "192.0.2.2", *arguments, endpoint=False), connect, ())
        assert (found.zone, found.endpoint) == (zone, f"https://api-{zone}.exoscale.com/v2")
        assert asked == [found.endpoint]

    def test_an_endpoint_that_no_zone_has(self, world):
        other = world.server.endpoint.replace("127.0.0.1", "127.0.0.01")  # the same host, no zone's URL
        found = world.discover("-p", "192.0.2.2", "-xe", other)
        assert (found.zone, found.endpoint) == ("", other)

    def test_it_is_not_in_the_zone(self, world):
        with pytest.raises(ConfigError, match=f"-i {UNKNOWN}: this instance is not in zone ch-gva-2"):
            world.discover("-p", "192.0.2.2", "-i", UNKNOWN, own=False)

    @pytest.mark.parametrize("mode", ["-A", "-D"])
    def test_attach_and_detach_need_no_peers(self, world, mode):
        assert world.discover(mode=mode).members == ()
        assert world.discover("-p", "192.0.2.99", mode=mode).members == ()

    @pytest.mark.parametrize(("missing", "cure"), [("own", "-i"), ("endpoint", "-xz")])
    def test_without_a_metadata_service_the_error_names_the_option(self, world, missing, cure):
        with pytest.raises(ConfigError, match=cure):
            world.discover("-p", "192.0.2.2", "-xm", "http://127.0.0.1:1", **{missing: False})


class TestElasticIp:
    def test_an_unknown_one_lists_those_that_exist(self, world):
        with world.server.lock:
            world.zone.add_elastic_ip("198.51.100.60")
        expected = rf"-xi 198\.51\.100\.99: no such Elastic IP in zone ch-gva-2 .*; there are: {EIP}, 198\.51\.100\.60"
        with pytest.raises(ConfigError, match=expected):
            world.discover("-p", "192.0.2.2", "-xi", "198.51.100.99")

    def test_one_of_another_zone_is_named(self, world):
        """A front that lists the zones of two sandboxes, and no Elastic IP."""
        with SandboxServer(Zone("de-fra-1", eip="198.51.100.70")) as other:
            other.zone.add_key(KEY, SECRET)

            def front(peer: Peer) -> None:
                zones = [("xx-out-1", "http://127.0.0.1:1/v2"), ("xx-bad-1", "nonsense")]
                zones += [("ch-gva-2", server.url + "/v2"), ("de-fra-1", other.endpoint)]
                while request := peer.request():
                    body = {"elastic-ips": []}
                    if request.startswith(b"GET /v2/zone "):
                        body = {"zones": [{"name": name, "api-endpoint": url} for name, url in zones]}
                    peer.send(answer(json.dumps(body).encode()))

            expected = pytest.raises(ConfigError, match="this Elastic IP is in zone de-fra-1, not in zone ch-gva-2")
            with RawServer(front) as server, expected:
                world.discover("-p", "192.0.2.2", "-xi", "198.51.100.70", "-xe", server.url + "/v2")

    @pytest.mark.parametrize(
        "text", [IP_V6, "2001:DB8:0:1:0::1", "2001:db8:0:1::", PREFIX, f"{IP_V6}/96", f"{IP_V6}/128"]
    )
    @pytest.mark.parametrize("cidr", [True, False])
    def test_a_prefix_is_meant_by_its_ip_or_its_prefix(self, world, text, cidr):
        found = world.discover_v6(text, lambda eip: eip if cidr else replace(eip, cidr=""))
        assert (found.eip, found.eip_label, found.eip_id) == (IP_V6, PREFIX, world.prefix.id)

    @pytest.mark.parametrize(
        "text",
        ["2001:db8:0:1::2", "2001:db8:0:1::7/96", "2001:db8:0:1::/64", "2001:db8:0:1::/95", "2001:db8:0:2::/96"],
    )
    def test_anything_else_lists_the_prefixes(self, world, text):
        expected = rf"-xi {text}: no such Elastic IP in zone ch-gva-2 .*; there are: {EIP}, {PREFIX}"
        with pytest.raises(ConfigError, match=expected):
            world.discover_v6(text)

    def test_the_api_may_list_any_address_of_the_prefix(self, world):
        """And the `cidr` with host bits, as nothing forbids."""
        found = world.discover_v6(PREFIX, lambda eip: models.ElasticIp.from_json(
            {"id": eip.id, "ip": "2001:db8:0:1::abcd", "cidr": "2001:db8:0:1::abcd/96"}
        ))  # fmt: skip
        assert (found.eip, found.eip_label) == ("2001:db8:0:1::abcd", PREFIX)

    @pytest.mark.parametrize("cidr", ["nonsense", "", "2001:db8::/200", None])
    def test_an_odd_cidr_is_as_good_as_none(self, cidr):
        eip = models.ElasticIp.from_json({"id": UNKNOWN, "ip": EIP, "cidr": cidr})
        assert (eip.cidr, eip.label, eip.is_meant_by(EIP)) == ("", EIP, True)
        assert models.ElasticIp.from_json({"id": UNKNOWN}).label == ""

    def test_an_instance_without_ipv6_is_a_warning(self, world):
        (warning,) = world.discover_v6(PREFIX, own="a").warnings
        assert "this instance has no IPv6 address" in warning
        assert PREFIX in warning
        assert world.discover_v6(PREFIX).warnings == ()

    @pytest.mark.parametrize(
        ("ours", "theirs", "asked"),
        [
            (GVA, ZURICH, True),
            (GVA, ZURICH.replace("https", "http"), False),
            (GVA, "https://api-ch-dk-2.exoscale.com.example.org/v2", False),
            (GVA, "https://evilexoscale.com/v2", False),
            (GVA, "https://api.exoscale.com@example.org/v2", False),
            (GVA, "https://[x", False),
            (GVA, "", False),
            ("https://proxy.example.org/v2", ZURICH, False),
            ("http://127.0.0.1:1/v2", "http://127.0.0.1:2/v2", True),
        ],
    )
    def test_what_is_signed_is_shown_to_no_stranger(self, ours, theirs, asked):
        """Whatever zones are listed, signed requests go only to hosts of the same operator."""
        assert models.Zone("z", theirs).same_operator_as(ours) is asked


class TestApiErrors:
    @pytest.mark.parametrize("path", ["/elastic-ip", "/instance/", "/instance$", "/security-group"])
    @pytest.mark.parametrize(
        ("fault", "error"), [(Fault("status", status=403), ApiForbidden), (Fault("drop"), ApiUnavailable)]
    )
    def test_they_pass_through(self, world, path, fault, error):
        world.change("add_fault", replace(fault, match=Match(path=path)))
        with pytest.raises(error):
            world.discover("-G", "web")

    def test_a_404_for_the_elastic_ips_passes_through(self, world):
        world.change("add_fault", Fault("status", status=404, match=Match(path="/elastic-ip")))
        with pytest.raises(ApiNotFound):
            world.discover("-p", "192.0.2.2")

    def test_each_connection_is_closed(self, world, monkeypatch):
        """Discovery is repeated while the API is down, so an error must not leave one open."""
        open_now = []

        class Counted(Client):
            def __init__(self, *arguments: object, **rest: object) -> None:
                super().__init__(*arguments, **rest)
                open_now.append(self)

            def close(self) -> None:
                super().close()
                open_now.remove(self)

        monkeypatch.setattr(discovery, "Client", Counted)
        world.discover("-p", "192.0.2.2")
        with pytest.raises(ConfigError):
            world.discover("-p", "192.0.2.99")
        assert open_now == []


class TestTopology:
    @pytest.mark.parametrize(
        "fields",
        [(A.upper(), "192.0.2.1", 1), ("a", "192.0.2.1", 1), (A, "localhost", 1), (A, "2001:DB8::1", 1),
         (A, "192.0.2.1", 0), (A, "192.0.2.1", 65536)],
    )  # fmt: skip
    def test_a_member_that_cannot_exist(self, fields):
        with pytest.raises(ValueError, match=r"not|does not appear|1 to 65535"):
            Member(*fields)

    @pytest.mark.parametrize(
        "change",
        [
            {"members": (Member(A, "192.0.2.1", 1),)},
            {"members": (Member(B, "192.0.2.1", 1), Member(B, "192.0.2.2", 1))},
            {"members": (Member(C, "192.0.2.1", 1), Member(B, "192.0.2.2", 1))},
            {"members": (Member(B, "192.0.2.1", 1), Member(C, "192.0.2.1", 1))},
            {"instance_id": "a"},
            {"eip_id": A.upper()},
            {"eip": "here"},
        ],
    )
    def test_a_topology_that_cannot_exist(self, change):
        fine = Topology(A, "ch-gva-2", "https://api", EIP, B, ())
        with pytest.raises(ValueError, match=r"."):
            replace(fine, **change)

    def test_how_a_member_is_shown(self):
        assert str(Member(A, "192.0.2.1", 5, "web-1")) == "web-1 at 192.0.2.1:5"
        assert str(Member(A, "2001:db8::1", 5)) == f"{A} at [2001:db8::1]:5"
