"""An IPv6 prefix on real hosts: on `lo` by each of the ways that the package has, and served by
whichever host holds it.
"""

from __future__ import annotations

import socket

import pytest

from tests.hosts import network
from tests.hosts.cluster import FILE, SETTLES, TOLD, UNIT, Cluster
from tests.hosts.host import NETWORKD, Host
from tests.hosts.network import ADDRESSES_V6, PREFIX
from tests.hosts.zone import now
from tests.support.waiting import until

IP, OTHER = "2001:db8:0:1::1", "2001:db8:0:1:0:0:abcd:ef01"  # the one on lo, and any other of the prefix
ELASTIC_IP = PREFIX  # of the zone
LO = "exoip-address@2001:db8:0:1::-96.service"
PORT = 8000
SERVER = """
import socket
server = socket.create_server(("::", %d), family=socket.AF_INET6)
while True:
    client = server.accept()[0]
    client.sendall(b"%s")
    client.close()
"""


def on_lo(host: Host) -> tuple[bool, bool]:
    """Whether a host's loopback interface has the address, and the route for all others."""
    address = host.run("ip", "-o", "-6", "address", "show", "dev", "lo")
    routes = host.run("ip", "-6", "route", "show", "table", "local")
    return f" {IP}/128 " in address, any(line.startswith(f"local {PREFIX} dev lo ") for line in routes.splitlines())


def shows_it(host: Host, *, gone: bool = False) -> None:
    """Wait until `lo` has both, or neither."""
    until(lambda: on_lo(host) == (not gone, not gone), f"lo has{' not' * gone} it", TOLD, why=lambda: str(on_lo(host)))
    assert ADDRESSES_V6[host.name] in host.run("ip", "-o", "-6", "address", "show", "dev", "eth0")


@pytest.mark.parametrize(
    ("name", "example", "place", "apply"),
    [
        ("a", "lo-ipv6.network", "/etc/systemd/network/10-lo-ipv6.network", NETWORKD),
        ("b", "netplan-ipv6.yaml", "/etc/netplan/60-exoip-ipv6.yaml", f"netplan generate && {NETWORKD}"),
        ("c", "interfaces-ipv6", "/etc/network/interfaces.d/exoip-ipv6", "ifup lo:6"),
    ],
    ids=["networkd", "netplan", "ifupdown"],
)
def test_the_examples_give_it_at_once_and_at_boot(
    hosts: Cluster, name: str, example: str, place: str, apply: str
) -> None:
    host = hosts.hosts[name]
    host.follow(example, place, apply, shows_it)
    if apply.endswith(NETWORKD):
        host.run("systemctl", "disable", "systemd-networkd")  # else what waits for the network waits for it
    host.lose_power()
    host.boot()
    shows_it(host, gone=True)


def answer(address: str) -> str:
    """Who answers at an address of the prefix; "" if nobody does."""
    try:
        with socket.create_connection((address, PORT), 1.0) as client:
            return client.recv(9).decode()
    except OSError:
        return ""


def test_the_prefix_is_served_by_its_holder(hosts: Cluster) -> None:
    """The unit gives it to every host; heartbeats go over IPv6; the hub routes as the cloud does."""
    hosts.install()

    def prepare(host: Host) -> None:
        host.write(FILE, hosts.zone.configuration(host.name, exoscale_peers=", ".join(ADDRESSES_V6.values())))
        host.run("systemctl", "enable", "--now", LO)
        shows_it(host)
        serve(host)

    def serve(host: Host) -> None:
        host.run("systemd-run", "--unit=answers", "python3", "-c", SERVER % (PORT, host.name))

    def served_by(name: str) -> None:
        """By any address of the prefix, once the cloud routes it there."""
        assert hosts.zone.holders() == {name}
        network.route(name)
        until(lambda: {answer(IP), answer(OTHER)} == {name}, f"{name} answers", TOLD)

    hosts.each(prepare)
    hosts.form()
    served_by("a")
    for host in hosts.hosts.values():
        assert f"{PREFIX} is an address of this host" in host.ask("exoipctl", "check", "web")

    since = now()
    hosts.hosts["a"].lose_power()
    until(lambda: hosts.zone.holders() == {"b"}, "b holds", SETTLES)
    served_by("b")

    hosts.hosts["a"].boot()
    shows_it(hosts.hosts["a"])
    hosts.settled("a")
    serve(hosts.hosts["a"])
    served_by("a")
    assert [change.holders for change in hosts.zone.changes(since)] == [{"a", "b"}, {"b"}, {"a", "b"}, {"a"}]
    assert {entry["EXOIP_EIP"] for entry in hosts.lines("b", since) if "EXOIP_EIP" in entry} == {PREFIX}

    a = hosts.hosts["a"]
    assert "2001:db8::2" in a.ask("exoipctl", "status", "web")
    a.run("systemctl", "stop", LO)
    shows_it(a, gone=True)
    told = a.ask("exoipctl", "check", "web")
    assert f"{PREFIX} is not an address of this host" in told
    assert f"-> systemctl enable --now {LO}" in told
    a.run("systemctl", "start", LO)
    assert a.show("ActiveState", UNIT) == "active"
