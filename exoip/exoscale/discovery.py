"""Find out what a node must know: its own instance, the zone, the Elastic IP and the other members.

All of it comes from the configuration, the metadata service or the API, nothing from other nodes.
What cannot work, as far as the API says, raises ConfigError. An API that does not answer, or that
forbids a call, raises ApiError: try again later. Shown by tests/unit/exoscale/test_discovery.py.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from exoip.config.model import Mode
from exoip.config.options import Config
from exoip.core.calls import LONGEST_TIMEOUT
from exoip.errors import ApiError, ApiNotFound, ConfigError
from exoip.exoscale import metadata
from exoip.exoscale.client import Client
from exoip.exoscale.member_sources import member_source
from exoip.exoscale.models import ElasticIp, InstanceRecord
from exoip.exoscale.topology import Member, Topology

Connect = Callable[[str], Client]  # from an endpoint's URL


def client_for(config: Config, endpoint: str, read_timeout: float = LONGEST_TIMEOUT) -> Client:
    """Return a client for the API at `endpoint` with the configured key. Not thread-safe."""
    return Client(endpoint, config.api_key, config.api_secret.reveal(), read_timeout=read_timeout)


def discover(
    config: Config,
    connect: Connect | None = None,
    files: Sequence[Path] = metadata.IDENTITY_FILES,
    sleep: metadata.Sleep = time.sleep,
    known: Sequence[Member] = (),
) -> Topology:
    """Find out everything, in several calls, with a client from `connect`, which is then closed.

    `sleep` waits between two tries of the metadata service. `known`: the members so far.

    Raises ConfigError if the metadata service is out of reach, the Elastic IP or the group is
    unknown, or this instance or a peer is not in the zone; and ApiError.
    """
    connect = connect or (lambda endpoint: client_for(config, endpoint))
    own_id = own_instance_id(config, files, sleep)
    zone, endpoint = zone_and_endpoint(config, sleep)
    with contextlib.closing(connect(endpoint)) as client:
        zone = zone or next((one.name for one in client.zones() if one.api_endpoint == endpoint), "")
        where = _where(zone, endpoint)
        eip = _elastic_ip(config.address, client, where, connect)
        own = _own_instance(own_id, client, where)
        source = member_source(config)
        members: list[Member] = []
        warnings: list[str] = []
        if ":" in eip.ip and not own.ipv6_address:
            warnings.append(f"this instance has no IPv6 address: {eip.label} needs one, so enable IPv6 for {own}")
        if config.mode is Mode.WATCH:  # -A and -D concern only this instance: a vanished peer must not stop them
            members, found = source.find(client, own, where, known)
            warnings += found
        warnings += filter(None, client.skipped.values())
    known_to_api = (source.shut_out, own.name, next(iter(own.addresses), ""), source.asked)
    return Topology(own.id, zone, endpoint, eip.ip, eip.id, _by_id(members), tuple(warnings), *known_to_api)


def members_change(config: Config) -> bool:
    """Return whether the members can change, so that the daemon must call `refresh`."""
    return member_source(config).changes


def refresh(config: Config, client: Client, topology: Topology) -> Topology:
    """Return `topology` with the members as they are now; the same one if they cannot change.

    Raises as `discover` does; the old topology then stays valid.
    """
    source = member_source(config)
    if not source.changes:
        return topology
    own = InstanceRecord(topology.instance_id)
    where = _where(topology.zone, topology.endpoint)
    members, warnings = source.find(client, own, where, topology.members, topology.asked)
    warnings += filter(None, client.skipped.values())
    return replace(
        topology, members=_by_id(members), warnings=tuple(warnings), shut_out=source.shut_out, asked=source.asked
    )


def own_instance_id(
    config: Config, files: Sequence[Path] = metadata.IDENTITY_FILES, sleep: metadata.Sleep = time.sleep
) -> str:
    """Return the id from -i, else the metadata service, else `files`. Raises ConfigError."""
    return config.instance_id or metadata.instance_id(config.metadata_url, files, sleep)


def zone_and_endpoint(config: Config, sleep: metadata.Sleep = time.sleep) -> tuple[str, str]:
    """Return the zone ("" if only the endpoint is given) and the API's URL. Raises ConfigError."""
    zone = config.zone or ("" if config.api_endpoint else metadata.zone(config.metadata_url, sleep))
    return zone, config.api_endpoint or f"https://api-{zone}.exoscale.com/v2"


def _where(zone: str, endpoint: str) -> str:
    return f"zone {zone} ({endpoint})" if zone else f"the zone of {endpoint}"


def _by_id(members: list[Member]) -> tuple[Member, ...]:
    return tuple(sorted(members, key=lambda member: member.instance_id))


def _elastic_ip(address: str, client: Client, where: str, connect: Connect) -> ElasticIp:
    eips = client.elastic_ips(needed=address)
    for eip in eips:
        if eip.is_meant_by(address):
            return eip
    elsewhere = _other_zone_of(address, client, connect)
    if elsewhere:
        raise ConfigError(
            f"-xi {address}: this Elastic IP is in zone {elsewhere}, not in {where}: an Elastic IP works only for "
            "instances of its own zone"
        )
    listed = ", ".join(sorted(eip.label for eip in eips if eip.label)) or "none"
    raise ConfigError(f"-xi {address}: no such Elastic IP in {where}; there are: {listed}")


def _other_zone_of(address: str, client: Client, connect: Connect) -> str:
    """Return the name of another zone that has the Elastic IP, or "": for an error message."""
    with contextlib.suppress(ApiError):
        for zone in client.zones():
            if zone.api_endpoint == client.endpoint or not zone.same_operator_as(client.endpoint):
                continue
            with contextlib.suppress(ApiError, ConfigError), contextlib.closing(connect(zone.api_endpoint)) as other:
                if any(eip.is_meant_by(address) for eip in other.elastic_ips()):
                    return zone.name
    return ""


def _own_instance(own_id: str, client: Client, where: str) -> InstanceRecord:
    try:
        return client.instance(own_id)
    except ApiNotFound as error:
        raise ConfigError(
            f"-i {own_id}: this instance is not in {where}: give the id of this instance itself, "
            "and its zone, which must be the zone of the Elastic IP"
        ) from error
