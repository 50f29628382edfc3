"""Find out whether this host accepts traffic for the Elastic IP, and name the unit that sees to it.

An IPv4 one must be an address of the host. Of a prefix it is enough that one address is on an
interface, or that a local route covers it. Shown by tests/unit/config/test_host_address.py.
"""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from exoip.config.addresses import elastic_network

IPV6_ROUTES = Path("/proc/net/ipv6_route")  # destination and its length, ..., flags and device; all in hex
RTF_LOCAL = 0x80000000  # the flag of a route to this host itself, see linux/ipv6_route.h


def is_here(eip: str) -> bool:
    """Return whether this host accepts traffic for the Elastic IP. `eip`: an IPv4 address, or an
    IPv6 prefix.
    """
    return routes_here(elastic_network(eip)) if ":" in eip else _can_bind(eip)


def missing(eip: str) -> str:
    """Return a sentence about an Elastic IP that is not here."""
    return f"{eip} is not an address of this host, which therefore would not accept its traffic"


def cure(eip: str) -> str:
    """Return the command that puts the Elastic IP on `lo`."""
    return f"systemctl enable --now exoip-address@{eip.replace('/', '-')}.service"


def routes_here(prefix: IPv4Network | IPv6Network, routes: Path = IPV6_ROUTES) -> bool:
    """Return whether the kernel accepts traffic for an address of the prefix: one on an interface,
    or a local route.
    """
    with contextlib.suppress(OSError):
        for line in routes.read_text().splitlines():
            destination, length, *_, flags, _device = line.split()
            route = IPv6Network((bytes.fromhex(destination), int(length, 16)))
            if int(flags, 16) & RTF_LOCAL and prefix.overlaps(route):
                return True
    return False


def _can_bind(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.bind((address, 0))
        return True
    return False
