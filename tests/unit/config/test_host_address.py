"""Whether the host accepts traffic for the Elastic IP."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from pathlib import Path

import pytest

from exoip.config.host_address import cure, is_here, routes_here


def test_an_address_is_here_if_it_can_be_bound() -> None:
    """All of 127.0.0.0/8 is local to a host; what is reserved for documents is not."""
    assert is_here("127.8.9.10")
    assert not is_here("198.51.100.9")


def test_the_cure_names_the_unit() -> None:
    assert cure("198.51.100.9") == "systemctl enable --now exoip-address@198.51.100.9.service"
    assert cure("2001:db8:0:1::/96") == "systemctl enable --now exoip-address@2001:db8:0:1::-96.service"


@pytest.mark.parametrize(
    ("prefix", "here"),
    [
        ("2001:db8:0:1::/96", True),  # an address of it
        ("2001:db8:0:2::/96", True),  # the whole of it, by a local route
        ("2001:db8:0:3::/96", False),  # routed to somewhere else
        ("fd00::/96", False),
    ],
)
def test_a_prefix_is_here_if_the_kernel_takes_its_traffic_in(tmp_path: Path, prefix: str, here: bool) -> None:
    """As the kernel writes its routes: the default and rejecting ones are there too."""
    none, rest = "00000000000000000000000000000000 00", "00000400 00000001 00000000"
    rows = [
        f"20010db8000000010000000000000001 80 {none} {none[:32]} {rest} 80200001       lo",
        f"20010db8000000020000000000000000 60 {none} {none[:32]} {rest} 80000001       lo",
        f"20010db8000000030000000000000000 60 {none} {none[:32]} {rest} 00000001     eth0",
        f"{none[:32]} 00 {none} {none[:32]} ffffffff 00000001 00000000 00200200       lo",
    ]
    file = tmp_path / "ipv6_route"
    file.write_text("".join(f"{row}\n" for row in rows))
    assert routes_here(ip_network(prefix), file) is here
    assert not routes_here(ip_network(prefix), tmp_path / "no IPv6")


def test_this_machine_has_its_loopback_address() -> None:
    assert routes_here(ip_network("::1/128")) is socket.has_dualstack_ipv6()
