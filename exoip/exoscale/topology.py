"""Define what discovery finds out: this instance, its zone, its Elastic IP, the other members."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from exoip.config.addresses import elastic_ip_label
from exoip.exoscale.models import check_uuid
from exoip.heartbeat.socket_address import SocketAddress


@dataclass(frozen=True, slots=True)
class Member:
    """Another node of the cluster, never this one.

    `address`: the IP literal, in canonical form, to which heartbeats for it go. `running`: whether
    it can serve, as far as the API says; it may be heard in any state.
    """

    instance_id: str
    address: str
    port: int
    name: str = ""
    running: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        check_uuid(self.instance_id)
        if str(ip_address(self.address)) != self.address:
            raise ValueError(f"an address is an IP literal in canonical form, not {self.address!r}")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"a port is 1 to 65535, not {self.port}")

    def __str__(self) -> str:
        return f"{self.name or self.instance_id} at {SocketAddress(self.address, self.port)}"


@dataclass(frozen=True, slots=True)
class Topology:
    """The result of discovery. `members` are sorted by instance id.

    `zone` is "" if only the endpoint is known. `eip`: the address that the heartbeats carry; for a
    prefix the one that the API lists as its `ip`, so that all nodes agree. `warnings` are sentences
    to log once; they do not count in comparisons. `shut_out`: ids of members whose heartbeats no
    rule lets in, as far as the API shows the rules. `name`: of this instance. `address`: its first
    public one, or "". `asked`: instances whose groups no list shows, so they were asked for by
    their ids, the longest ago first.
    """

    instance_id: str
    zone: str
    endpoint: str
    eip: str
    eip_id: str
    members: tuple[Member, ...]
    warnings: tuple[str, ...] = field(default=(), compare=False)
    shut_out: tuple[str, ...] = field(default=(), compare=False)
    name: str = field(default="", compare=False)
    address: str = field(default="", compare=False)
    asked: tuple[str, ...] = field(default=(), compare=False)

    @property
    def eip_label(self) -> str:
        """The Elastic IP as people read it: an IPv4 address, or an IPv6 prefix."""
        return elastic_ip_label(self.eip)

    @property
    def stopped(self) -> frozenset[str]:
        """The ids of the members that do not run: nobody expects to hear them."""
        return frozenset(member.instance_id for member in self.members if not member.running)

    def __post_init__(self) -> None:
        check_uuid(self.instance_id)
        check_uuid(self.eip_id)
        if str(ip_address(self.eip)) != self.eip:
            raise ValueError(f"an Elastic IP is an IP literal in canonical form, not {self.eip!r}")
        ids = [member.instance_id for member in self.members]
        if self.instance_id in ids:
            raise ValueError(f"{self.instance_id} is this instance and cannot be one of its peers")
        if ids != sorted(set(ids)):
            raise ValueError("members must be sorted by instance id, each once")
        if len({(member.address, member.port) for member in self.members}) != len(ids):
            raise ValueError("two members have the same address and port")
