"""The objects of a simulated zone (instances, Elastic IPs, security groups, operations, keys),
calls, and errors.

All objects are frozen: the zone replaces them. Ids are lower-case UUIDs. States and reasons are
spelled as in the official OpenAPI description.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

PREFIX_LENGTH = 96  # of an IPv6 Elastic IP
INSTANCE_STATES = frozenset(
    ("running", "starting", "stopping", "stopped", "migrating", "destroying", "destroyed", "error", "expunging")
)
REASONS = frozenset(
    ("busy", "conflict", "fault", "forbidden", "incorrect", "interrupted", "not-found", "partial", "unavailable")
) | {"unknown", "unsupported"}
NAMESPACE = uuid.UUID(
    "0c5d8a3e-6f57-4b1c-9d0e-5b1f0e7a2c11"
)  # of this simulation, so that ids are the same in every run


class ZoneError(Exception):
    """The zone rejects a call; the message is that of its API."""


class Invalid(ZoneError):
    """The request is malformed (400)."""


class Unauthenticated(ZoneError):
    """The signature is missing or malformed (401)."""


class Forbidden(ZoneError):
    """The key is unknown, its signature is wrong or expired, or its role forbids the operation
    (403).
    """


class NotFound(ZoneError):
    """There is no such object, or (detach) it is not attached (404)."""


class Conflict(ZoneError):
    """The request does not fit the present state (409)."""


def make_id(*parts: object) -> str:
    """Return a UUID that depends only on its parts, so that all runs of a scenario have the same
    ids.
    """
    return str(uuid.uuid5(NAMESPACE, "/".join(str(part) for part in parts)))


def canonical_id(text: str, what: str) -> str:
    """Return `text` as a lower-case UUID. Raises Invalid, which names `what` it identifies."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        raise Invalid(f"{what} id {text!r} is not a UUID") from None


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """Return `text` as an address. Raises Invalid."""
    try:
        return ip_address(text)
    except ValueError:
        raise Invalid(f"{text!r} is not an IP address") from None


def parse_elastic_ip(text: str) -> str:
    """Return the `ip` of an Elastic IP given as an address or as an IPv6 prefix. Raises Invalid.

    The real API lists the first address behind the prefix's own: 2001:db8:0:1::1 for
    2001:db8:0:1::/96.
    """
    if "/" not in text:
        return str(parse_address(text))
    try:
        network = ip_network(text)
    except ValueError as error:
        raise Invalid(str(error)) from None
    if network.version == 4 or network.prefixlen != PREFIX_LENGTH:
        raise Invalid(f"{text!r} is no Elastic IP: an IPv6 one is a /{PREFIX_LENGTH}, an IPv4 one an address")
    return str(network[1])


@dataclass(frozen=True, slots=True)
class Rule:
    """What a security group allows: traffic from the members of `group` (its id), or from
    `network`.
    """

    protocol: str
    first: int
    last: int
    group: str = ""
    network: str = ""


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    id: str
    name: str
    rules: tuple[Rule, ...] = ()
    external_sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ElasticIp:
    """An Elastic IP. An IPv6 one is a /96 prefix, of which `ip` is one address.

    As in the real API it does not name its holders; each instance names its Elastic IPs.
    """

    id: str
    ip: str
    description: str = ""

    def __post_init__(self) -> None:
        parse_address(self.ip)

    @property
    def version(self) -> int:
        return parse_address(self.ip).version

    @property
    def cidr(self) -> str:
        """Its addresses, in CIDR notation."""
        return str(ip_network(f"{self.ip}/{32 if self.version == 4 else PREFIX_LENGTH}", strict=False))

    @property
    def label(self) -> str:
        """The address, or the prefix if it is IPv6."""
        return self.ip if self.version == 4 else self.cidr


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance. `elastic_ips`, `security_groups` and `private_networks` hold ids; `public_ip`
    is None on a private instance; `pool` is the id of the instance pool that manages it, or empty.
    """

    id: str
    name: str
    state: str = "running"
    public_ip: str | None = None
    ipv6: str | None = None
    private_networks: frozenset[str] = frozenset()
    security_groups: frozenset[str] = frozenset()
    elastic_ips: frozenset[str] = frozenset()
    labels: tuple[tuple[str, str], ...] = ()
    pool: str = ""

    def __post_init__(self) -> None:
        canonical_id(self.id, "instance")
        if self.state not in INSTANCE_STATES:
            raise Invalid(f"instance state {self.state!r} is none of {', '.join(sorted(INSTANCE_STATES))}")
        if self.public_ip is not None and parse_address(self.public_ip).version != 4:
            raise Invalid(f"the public address of {self.name} must be IPv4, not {self.public_ip}")
        if self.ipv6 is not None:
            parse_address(self.ipv6)


@dataclass(frozen=True, slots=True)
class Operation:
    """A mutation. It takes effect at `completes` (seconds; infinite: never), not before.

    `reason`: why it will fail; the API shows it once `state` is failure or timeout.
    """

    id: str
    action: str  # attach or detach
    eip: str
    instance: str
    started: float
    completes: float
    key: str = ""
    state: str = "pending"  # pending, success, failure, timeout
    reason: str = ""
    expires: bool = False  # ends in the state timeout instead of failure

    def __post_init__(self) -> None:
        if self.reason and self.reason not in REASONS:
            raise Invalid(f"reason {self.reason!r} is none of {', '.join(sorted(REASONS))}")
        if math.isnan(self.completes) or self.completes < self.started:
            raise Invalid(f"an operation cannot complete at {self.completes}, before it started at {self.started}")


@dataclass(frozen=True, slots=True)
class Key:
    """An API key.

    Its role forbids the operations in `refused` (OpenAPI names); repr does not show the secret.
    """

    name: str
    secret: str = field(repr=False)
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the zone's API, without its transport.

    `path` has no `/v2` and no query: `/elastic-ip/…:attach`. `query` holds decoded (name, value)
    pairs. `service` is "api", or "metadata" for the metadata service, whose calls carry no key.
    """

    method: str
    path: str
    key: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    service: str = "api"

    @property
    def mutates(self) -> bool:
        return self.method not in ("GET", "HEAD")
