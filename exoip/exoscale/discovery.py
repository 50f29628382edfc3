"""From the configuration to what a node needs to know: itself, the zone, the Elastic IP, the other members.

Everything comes from the configuration, the metadata service or the API, nothing from a packet. What can not work, as
far as the API tells, is a ConfigError; an API that does not answer, or refuses, is one of its own errors, which pass
through: try again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

from exoip.config.parse import Config, Mode, Peer
from exoip.errors import ApiError, ApiNotFound, ApiUnavailable, ConfigError
from exoip.exoscale import metadata
from exoip.exoscale.client import Client, InstanceRecord
from exoip.exoscale.models import one_line, uuid
from exoip.heartbeat.socket_address import SocketAddress

Connect = Callable[[str], Client]  # from an endpoint's URL


@dataclass(frozen=True, slots=True)
class Member:
    """Another node, never oneself. `address`: an IP literal in canonical form, to which its heartbeats go."""

    instance_id: str
    address: str
    port: int
    name: str = ""

    def __post_init__(self) -> None:
        if uuid(self.instance_id) != self.instance_id:
            raise ValueError(f"an instance id is a lower-case UUID, not {self.instance_id!r}")
        if str(ip_address(self.address)) != self.address:
            raise ValueError(f"an address is an IP literal in canonical form, not {self.address!r}")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"a port is 1 to 65535, not {self.port}")

    def __str__(self) -> str:
        return f"{self.name or self.instance_id} at {SocketAddress(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class Topology:
    """Who is who. `zone`: "" when only the endpoint is known. `members`: in the order of their ids.

    `warnings`: what is odd about it, one sentence each, to be logged once; they do not count when two are compared.
    """

    instance_id: str
    zone: str
    endpoint: str
    eip: str
    eip_id: str
    members: tuple[Member, ...]
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        ids = [member.instance_id for member in self.members]
        if self.instance_id in ids:
            raise ValueError(f"{self.instance_id} is this node itself and can not be one of its peers")
        if ids != sorted(set(ids)):
            raise ValueError("members are sorted by their ids, and each is there once")
        if len({(member.address, member.port) for member in self.members}) != len(ids):
            raise ValueError("two members have the same address and port")
        for name in (self.instance_id, self.eip_id):
            if uuid(name) != name:
                raise ValueError(f"an id is a lower-case UUID, not {name!r}")
        if str(ip_address(self.eip)) != self.eip:
            raise ValueError(f"an Elastic IP is an IP literal in canonical form, not {self.eip!r}")


def client_for(config: Config, endpoint: str) -> Client:
    """Return a client of the API at `endpoint` with the configured key. Each thread needs one of its own."""
    return Client(endpoint, config.api_key, config.api_secret.reveal())


def discover(
    config: Config, connect: Connect | None = None, files: Sequence[Path] = metadata.IDENTITY_FILES
) -> Topology:
    """Find out everything, with a client that `connect` makes and that is closed at the end. Takes several calls.

    Raises ConfigError: metadata out of reach, unknown Elastic IP or group, this instance or a peer is not in the zone.
    ApiForbidden and the other errors of the API pass through.
    """
    connect = connect or (lambda endpoint: client_for(config, endpoint))
    own_id = config.instance_id or metadata.instance_id(config.metadata_url, files)
    zone = config.zone or ("" if config.api_endpoint else metadata.zone(config.metadata_url))
    endpoint = config.api_endpoint or f"https://api-{zone}.exoscale.com/v2"
    with contextlib.closing(connect(endpoint)) as client:
        zone = zone or next((one.name for one in client.zones() if one.api_endpoint == endpoint), "")
        place = f"zone {zone} ({endpoint})" if zone else f"the zone of {endpoint}"
        eip_id = _eip_id(config.address, client, place, connect)
        own = _own_instance(own_id, client, place)
        members, warnings = _members(config, client, own, place)
        return Topology(own.id, zone, endpoint, config.address, eip_id, members, warnings)


def refresh(config: Config, client: Client, topology: Topology) -> Topology:
    """Return `topology` with its members read anew from the group; without a group it is the same one.

    The members are the instances that run now: one that was there before and is not now has stopped, left or vanished,
    which is no proof that it holds nothing. Raises as `discover` does: keep the old topology then.
    """
    if config.peer_group is None:
        return topology
    place = f"zone {topology.zone} ({topology.endpoint})" if topology.zone else f"the zone of {topology.endpoint}"
    members, warnings = _from_group(config, config.peer_group, client, topology.instance_id, place)
    return replace(topology, members=members, warnings=warnings)


def _eip_id(address: str, client: Client, place: str, connect: Connect) -> str:
    there = client.elastic_ips()
    for eip in there:
        if eip.ip == address:
            return eip.id
    elsewhere = _zone_with(address, client, connect)
    if elsewhere:
        raise ConfigError(
            f"-xi {address}: this Elastic IP is in zone {elsewhere}, not in {place}: an Elastic IP works only for "
            "instances of its own zone"
        )
    listed = ", ".join(sorted(eip.ip for eip in there if eip.ip)) or "none"
    raise ConfigError(f"-xi {address}: no such Elastic IP in {place}; there are: {listed}")


def _zone_with(address: str, client: Client, connect: Connect) -> str:
    """Return the name of another zone that has the Elastic IP, "" when none is found: only to say so in an error."""
    with contextlib.suppress(ApiError):
        for zone in client.zones():
            if zone.api_endpoint == client.endpoint or not zone.same_operator_as(client.endpoint):
                continue
            with contextlib.suppress(ApiError, ConfigError), contextlib.closing(connect(zone.api_endpoint)) as other:
                if any(eip.ip == address for eip in other.elastic_ips()):
                    return zone.name
    return ""


def _own_instance(own_id: str, client: Client, place: str) -> InstanceRecord:
    try:
        return client.instance(own_id)
    except ApiNotFound as error:
        raise ConfigError(
            f"-i {own_id}: this instance is not in {place}: give the id of this very instance and the zone that it is "
            "in; the Elastic IP and the instance must be in the same zone"
        ) from error


def _members(
    config: Config, client: Client, own: InstanceRecord, place: str
) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    if config.mode is not Mode.WATCH:
        return (), ()  # -A and -D concern this instance alone: a peer that is gone must not keep them from it
    if config.peer_group is not None:
        return _from_group(config, config.peer_group, client, own.id, place)
    members: dict[str, Member] = {}
    for peer in config.peers:
        if peer.instance_id == own.id or (peer.instance_id is None and peer.address in own.addresses):
            continue  # the same list may stand on every node
        instance = _instance_of(peer, client, place)
        if instance.id == own.id:
            continue
        if instance.id in members:
            raise ConfigError(f"-p names instance {instance} twice: as {members[instance.id].address} and as {peer}")
        members[instance.id] = Member(instance.id, peer.address, peer.port or config.bind_address.port, instance.name)
    alone = bool(config.peers) and not members
    return _sorted(members.values()), ("-p names no node but this one: it has no peers",) if alone else ()


def _instance_of(peer: Peer, client: Client, place: str) -> InstanceRecord:
    if peer.instance_id is not None:
        try:
            return client.instance(peer.instance_id)
        except ApiNotFound as error:
            raise ConfigError(f"-p {peer}: there is no instance {peer.instance_id} in {place}") from error
    # an older service answers all instances, and today's also those that hold the address as an Elastic IP
    found = [one for one in client.instances(ip_address=peer.address) if peer.address in one.addresses]
    if len(found) == 1:
        return found[0]
    said = "several instances have" if found else "no instance has"
    raise ConfigError(
        f"-p {peer}: {said} the public address {peer.address} in {place}: correct it, or name the instance too, as "
        f"{peer}=INSTANCE-ID, which a private address needs, for the API does not know those"
    )


def _from_group(
    config: Config, wanted: str, client: Client, own_id: str, place: str
) -> tuple[tuple[Member, ...], tuple[str, ...]]:
    group_id = _group_id(wanted, client, place)
    members, warnings, own_is_in = [], [], False
    instances = client.instances()
    if all(instance.id != own_id for instance in instances):
        raise ApiUnavailable(
            "the API's list of instances lacks this very one: it is not to be trusted", call="GET /instance"
        )
    for instance in instances:
        if not _in_group(instance, group_id, client):
            continue
        if instance.id == own_id:
            own_is_in = True
        elif instance.running:
            addresses = [address for address in instance.addresses if _in_reach(config.bind_address.host, address)]
            if addresses:
                members.append(Member(instance.id, addresses[0], config.bind_address.port, instance.name))
            else:
                warnings.append(
                    f"instance {instance} of group {wanted} has no public address that heartbeats can reach"
                )
    for distinct in ({member.address for member in members}, {member.instance_id for member in members}):
        if len(distinct) != len(members):
            raise ApiUnavailable("two instances in the API's list have the same id or address", call="GET /instance")
    if not own_is_in:
        warnings.append(f"this instance is not in group {wanted}: the nodes in there do not know it, add it")
    if not members:
        warnings.append(f"no other running instance is in group {wanted}: this node has no peers")
    return _sorted(members), tuple(warnings)


def _group_id(wanted: str, client: Client, place: str) -> str:
    groups = client.security_groups()
    found = [group.id for group in groups if group.id == wanted.lower()]
    found = found or [group.id for group in groups if group.name == one_line(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"-G {wanted}: several security groups in {place} have this name, give the id of one")
    listed = ", ".join(sorted(group.name or group.id for group in groups)) or "none"
    raise ConfigError(f"-G {wanted}: no such security group in {place}; there are: {listed}")


def _in_group(instance: InstanceRecord, group_id: str, client: Client) -> bool:
    if instance.security_group_ids is None:  # the list does not say; it can have vanished since
        try:
            instance = client.instance(instance.id)
        except ApiNotFound:
            return False
    return group_id in (instance.security_group_ids or ())


def _in_reach(bind_host: str, address: str) -> bool:
    """Return whether a socket bound there can send to the address at all; "" and "::" are every address."""
    return bind_host in ("", "::") or ip_address(bind_host).version == ip_address(address).version


def _sorted(members: Iterable[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.instance_id))
