"""Removing the package."""

from __future__ import annotations

from tests.hosts.cluster import FILE, UNIT, Cluster
from tests.hosts.host import Host
from tests.hosts.zone import now

# What the packaging system, the journal and the machine itself write.
OTHERS = "/proc /sys /dev /run /tmp /root /var/log /var/lib/dpkg /var/lib/apt /var/cache /var/lib/systemd /usr/lib/systemd/catalog"
# Caches of Python's, and copies that the tools for users keep of the state before their last
# change.
OWN_WAYS = ("/__pycache__", "/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-")


def files(host: Host) -> set[str]:
    """All files of a host that a package may have brought."""
    pruned = " -o ".join(f"-path {path}" for path in OTHERS.split())
    found = host.sh(f"find / -xdev \\( {pruned} \\) -prune -o -print").splitlines()
    return {path for path in found if not any(way in path for way in OWN_WAYS)}


def test_a_purge_hands_over_without_a_gap_and_leaves_nothing(hosts: Cluster) -> None:
    a = hosts.hosts["a"]
    before, users = files(a), a.run("cat", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
    hosts.install()
    hosts.form()
    assert {"/usr/bin/exoip", "/etc/exoip/web.conf"} < files(a) - before
    since = now()
    a.run("apt-get", "purge", "-q", "-y", "exoip")
    hosts.settled("b", "bc")
    hosts.never_without(since)
    assert [change.holders for change in hosts.zone.changes(since)] == [{"a", "b"}, {"b"}]

    assert files(a) - before == set()
    assert before - files(a) == set()
    assert a.run("cat", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow") == users
    assert a.show("LoadState", UNIT) == "not-found"
    assert not a.path("/run/exoip").exists()
    assert a.ask("dpkg-query", "-W", "exoip").startswith("dpkg-query: no packages found")
    assert a.run("systemctl", "--failed", "--no-legend", "--plain").strip() == ""


def test_a_removal_keeps_the_configuration_and_an_installation_takes_it_up_again(hosts: Cluster) -> None:
    b = hosts.hosts["b"]
    text = b.path(FILE).read_bytes()
    b.run("apt-get", "remove", "-q", "-y", "exoip")
    hosts.settled("c", "c")
    assert b.path(FILE).read_bytes() == text
    b.sh(f"apt-get install -q -y ./{hosts.deb.name}")
    b.run("systemctl", "start", UNIT)
    hosts.settled("b", "bc")
