"""Changes while it runs: reloads, good and bad, priorities by signal, and an upgrade of the
package.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from exoip import __version__
from exoip.core.events import EventName
from exoip.sandbox.output import key_name
from tests.hosts import history
from tests.hosts.beats import Beat
from tests.hosts.cluster import FILE, INTERVAL, SETTLES, UNIT, Cluster
from tests.hosts.network import ADDRESSES
from tests.hosts.zone import now
from tests.support.waiting import until

IN_FORCE = "the configuration was read again and is in force"
MANY = 16  # heartbeats to two peers: a master that does not know that it holds would have stepped aside before
STAYS = "the configuration stays as it was: .*"


def configure(cluster: Cluster, name: str, peers: str, **options: object) -> None:
    """Write a host's file, with peers by address."""
    addresses = ", ".join(ADDRESSES[peer] for peer in peers)
    cluster.hosts[name].write(FILE, cluster.zone.configuration(name, exoscale_peers=addresses, **options))


def reload(cluster: Cluster, name: str, told: str) -> None:
    """Have a daemon read its file again, and wait for its words about it."""
    since = now()
    cluster.hosts[name].run("systemctl", "reload", UNIT)
    cluster.line(name, told, since)
    until(lambda: cluster.hosts[name].show("ActiveState", UNIT) == "active", "the reload is over", 5.0)


def two_beats(cluster: Cluster, since: float) -> list[Beat]:
    """The first two beats of a to b since then, once there are two."""
    beats = [beat for beat in cluster.beats.of("a", since, now()) if beat.receiver == "b"]
    return beats[:2] if len(beats) > 1 else []


@pytest.fixture(scope="module")
def pair(hosts: Cluster) -> Cluster:
    """Hosts a and b as a cluster, peers of each other by address; c is installed, and nobody knows
    it.
    """
    hosts.install()
    for name, peers in (("a", "b"), ("b", "a"), ("c", "ab")):
        configure(hosts, name, peers)
    hosts.each(lambda host: host.run("systemctl", "enable", "--now", UNIT), "ab")
    hosts.settled("a", "ab")
    return hosts


@pytest.fixture(scope="module")
def three(pair: Cluster) -> Cluster:
    """All three as a cluster."""
    for name, peers in (("a", "bc"), ("b", "ac")):
        configure(pair, name, peers)
        reload(pair, name, IN_FORCE)
    pair.hosts["c"].run("systemctl", "enable", "--now", UNIT)
    pair.settled("a")
    return pair


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"host_priority": 300}, "host-priority.*300"),
        ({"dead_ratio": "many"}, "dead-ratio.*many"),
        ({"no_such_option": 1}, "no-such-option"),
        ({"bind_address": ":12346"}, "bind-address cannot be changed by a reload: restart instead"),
        ({"exoscale_api_secret": "wrong"}, "key"),
    ],
    ids=["priority", "ratio", "unknown", "fixed", "secret"],
)
def test_a_bad_file_is_rejected_as_a_whole_and_nothing_changes(
    pair: Cluster, wrong: dict[str, object], told: str
) -> None:
    a, since = pair.hosts["a"], now()
    status = a.show("StatusText", UNIT)
    configure(pair, "a", "bc", advertisement_interval=0.2, **wrong)
    reload(pair, "a", STAYS + told)
    assert a.show("StatusText", UNIT) == status
    pair.punctual("a", since, "b")
    # Neither the new peer nor the new interval was taken over, though they are right.
    assert not pair.events("a", EventName.PEER_ADDED, since)
    told_at = now()
    one, other = until(lambda: two_beats(pair, told_at), "two more beats", 4 * INTERVAL)
    assert other.at - one.at > INTERVAL / 2
    pair.moves(since)
    assert a.show("NRestarts", UNIT) == "0"
    configure(pair, "a", "b")


def test_a_new_peer_is_taken_in_without_a_move_or_a_late_beat(pair: Cluster, request: pytest.FixtureRequest) -> None:
    since = now()
    main = pair.hosts["a"].show("MainPID", UNIT)
    three = request.getfixturevalue("three")
    for name in "ab":
        added = three.event(name, EventName.PEER_ADDED, since)
        assert added["EXOIP_PEER_INSTANCE"] == three.zone.ids["c"]
    three.punctual("a", since, "b")
    three.punctual("b", since, "a")
    three.moves(since)
    assert pair.hosts["a"].show("MainPID", UNIT) == main


def test_priorities_change_by_reload_and_by_signal(three: Cluster) -> None:
    since = now()
    configure(three, "b", "ac", host_priority=11)
    reload(three, "b", IN_FORCE)
    three.moves(since)
    for priority in (11, 12):
        asked = now()
        three.hosts["a"].signal("USR2", UNIT)
        three.line("a", f"is now {priority}, requested by a signal", asked)
    three.settled("b")
    three.moves(since, ("ab", "a .* is now at priority 12, was at priority 11"), ("b", "holds and is heard"))

    since = now()
    reload(three, "a", IN_FORCE)  # the file says 10
    three.settled("a")
    three.moves(since, ("ab", "this node is at priority 10, the best peer at priority 11"), ("a", "holds and is heard"))
    three.punctual("a", since, "bc")


@pytest.fixture(scope="module")
def newer(deb: Path, work: Path) -> Path:
    """The package with a higher version, and code that says so."""
    tree, package = work / "newer", work / "exoip_newer_all.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control, module = tree / "DEBIAN/control", tree / "usr/lib/python3/dist-packages/exoip/__init__.py"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 1000:"))
    old = hashlib.md5(module.read_bytes(), usedforsecurity=False).hexdigest()
    module.write_text(module.read_text().replace(f'"{__version__}"', '"1000"'))
    new = hashlib.md5(module.read_bytes(), usedforsecurity=False).hexdigest()
    sums = tree / "DEBIAN/md5sums"
    sums.write_text(sums.read_text().replace(old, new))
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, package], check=True, stdout=subprocess.DEVNULL)
    return package


@pytest.mark.parametrize("name", ["b", "a"])
def test_an_upgrade_moves_nothing(three: Cluster, newer: Path, name: str) -> None:
    host = three.hosts[name]
    since, kept = now(), (host.path(FILE).read_bytes(), host.run("stat", "-c", "%a %U %G", FILE))
    main = host.show("MainPID", UNIT)
    three.bring(host, newer)
    host.run("apt-get", "install", "-q", "-y", f"./{newer.name}")
    three.settled("a")
    assert "1000" in host.run("exoip", "--version")
    assert host.show("MainPID", UNIT) not in (main, "0")
    assert (host.path(FILE).read_bytes(), host.run("stat", "-c", "%a %U %G", FILE)) == kept
    three.moves(since)


def test_a_restart_while_the_api_is_away_moves_nothing(three: Cluster) -> None:
    """As an upgrade at night does: the daemon that starts cannot read that it holds."""
    since = now()
    three.zone.control.fault("status", status=503, match={"key": key_name("a")})
    three.hosts["a"].run("systemctl", "restart", UNIT)
    three.status("a", "MASTER of", SETTLES)
    master = now()
    until(lambda: len(three.beats.of("a", master, now())) >= MANY, "it lasts", SETTLES)
    three.zone.control.clear()
    three.settled("a")
    three.moves(since)


def test_the_journals_alone_give_the_history(three: Cluster) -> None:
    assert history.differences(three.zone.changes(), three.journals(), three.zone.names) == []


def test_an_upgrade_ends_while_the_daemon_waits_for_the_api(three: Cluster, newer: Path) -> None:
    """Else no other package could be installed for as long as that lasts."""
    c, since = three.hosts["c"], now()
    three.bring(c, newer)
    known = c.path("/etc/hosts").read_text()
    c.run("systemctl", "stop", UNIT)
    c.write("/etc/hosts", "127.0.0.1 localhost\n")
    c.run("systemctl", "start", "--no-block", UNIT)
    until(lambda: c.show("StatusText", UNIT).startswith("waiting for "), "it waits", SETTLES)
    assert "has not started again yet" in c.ask("dpkg", "-i", f"/root/{newer.name}")
    assert c.show("ActiveState", UNIT) == "activating"
    assert c.run("dpkg-query", "--show", "--showformat=${Status}", "exoip") == "install ok installed"
    c.write("/etc/hosts", known)
    three.settled("a")
    three.moves(since)
