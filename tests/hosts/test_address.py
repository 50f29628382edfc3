"""The Elastic IP on `lo` by the files that the package has as examples, and the daemon started by
ifupdown, without a unit.
"""

from __future__ import annotations

import re

import pytest

from exoip.sandbox.output import key_name, key_secret
from tests.hosts.cluster import SETTLES, TOLD, UNIT, Cluster
from tests.hosts.host import EXAMPLES, NETWORKD, Host
from tests.hosts.network import EIP, cut
from tests.hosts.zone import GROUP, now
from tests.support.waiting import until

STANZA = "/etc/network/interfaces.d/exoip"


def addresses(host: Host) -> set[str]:
    """The IPv4 addresses of a host's loopback interface."""
    return set(re.findall(r" inet (\S+)", host.run("ip", "-o", "-4", "address", "show", "dev", "lo")))


def shows_it(host: Host) -> None:
    """Wait until `lo` has the Elastic IP beside what it had, and see that the host is still
    reachable.
    """
    until(lambda: addresses(host) == {"127.0.0.1/8", f"{EIP}/32"}, "lo has it", TOLD, why=lambda: str(addresses(host)))
    assert host.address in host.run("ip", "-o", "address", "show", "dev", "eth0")


@pytest.mark.parametrize(
    ("name", "example", "place", "apply"),
    [
        ("a", "lo.network", "/etc/systemd/network/10-lo.network", NETWORKD),
        ("b", "netplan.yaml", "/etc/netplan/60-exoip.yaml", f"netplan generate && {NETWORKD}"),  # `apply` wants udev
    ],
    ids=["networkd", "netplan"],
)
def test_networkd_and_netplan_give_it_at_once_and_at_boot(
    hosts: Cluster, name: str, example: str, place: str, apply: str
) -> None:
    host = hosts.hosts[name]
    host.follow(example, place, apply, shows_it)
    host.lose_power()
    host.boot()
    assert addresses(host) == {"127.0.0.1/8"}


@pytest.fixture(scope="module")
def stanzas(hosts: Cluster) -> Cluster:
    """The package installed, and the Go tool's stanza on all hosts: they have no other
    configuration.
    """
    hosts.install()

    def write(host: Host) -> None:
        text = (EXAMPLES / "interfaces").read_text()
        priority = 10 * (1 + "abc".index(host.name))
        values = {"exoscale-peer-group": GROUP, "exoscale-api-key": key_name(host.name)}
        values |= {"exoscale-api-secret": key_secret(host.name), "host-priority": str(priority)}
        for option, value in values.items():
            text, count = re.subn(rf"(?m)^  {option} .*", f"  {option} {value}", text)
            assert count == 1
        host.run("rm", "/etc/exoip/web.conf")
        host.lose_power()
        host.write(STANZA, text)
        host.boot()

    hosts.each(write)
    return hosts


def told(host: Host) -> str:
    """What ifupdown and all that it started told since the host was booted."""
    return host.ask("journalctl", "--no-pager", "-b", "-u", "networking.service")


def runs(host: Host) -> bool:
    """Whether a daemon runs on a host."""
    return host.ask("pgrep", "-x", "exoip") != ""


def test_the_stanza_starts_it_at_boot_and_stops_it_with_a_hand_over(stanzas: Cluster) -> None:
    a = stanzas.hosts["a"]
    until(lambda: stanzas.zone.holders() == {"a"}, "a holds", SETTLES, why=lambda: told(a))
    shows_it(a)
    assert a.show("ActiveState", UNIT) == "inactive"

    since = now()
    a.sh("ifdown lo:1 >/dev/null 2>&1")
    until(lambda: not runs(a), "its daemon has left", SETTLES)
    assert [change.holders for change in stanzas.zone.changes(since)] == [{"a", "b"}, {"b"}]
    assert addresses(a) == {"127.0.0.1/8"}

    since = now()
    a.sh("ifup lo:1 >/dev/null 2>&1")
    until(lambda: stanzas.zone.holders() == {"a"}, "a holds again", SETTLES)
    stanzas.never_without(since)
    assert f"attached {EIP} to this instance" in told(a)


def test_at_boot_it_waits_for_a_network_that_comes_later(stanzas: Cluster) -> None:
    """ifupdown brings up one interface after the other, and `lo:1` may be the first."""
    a = stanzas.hosts["a"]
    a.lose_power()
    until(lambda: stanzas.zone.holders() == {"b"}, "b holds", SETTLES)
    with cut("a", "bc", hub=True):
        a.boot()
        until(lambda: "metadata" in told(a), "it says what it lacks", SETTLES, why=lambda: told(a))
    until(lambda: stanzas.zone.holders() == {"a"}, "a holds again", 2 * SETTLES, why=lambda: told(a))
