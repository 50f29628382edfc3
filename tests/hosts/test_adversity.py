"""A wrong clock, a crash loop, a configuration that cannot work."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from exoip.core.events import EventName
from tests.hosts.cluster import DEAD, FILE, INTERVAL, UNIT, Cluster
from tests.hosts.host import Host
from tests.hosts.zone import now
from tests.support.waiting import until

CLOCK = "/etc/exoip/clock"  # by how much the daemon's clock is wrong
DROP_IN = f"""[Service]
Environment=LD_PRELOAD=LIBRARY FAKETIME_TIMESTAMP_FILE={CLOCK} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
"""
RIGHT, WRONG = "+0", "-1h"
BEATS = 5
BEHIND = r"this host's clock is 3[56]\d\d s behind the API's"
LOOKS = 2  # seconds between two looks of a holder


@pytest.fixture(scope="module")
def clocks(formed: Cluster) -> Cluster:
    """The cluster, with a clock of its own for each daemon: a kernel has only one. It goes right."""

    def give(host: Host) -> None:
        library = host.sh("find /usr/lib -name libfaketime.so.1").strip()
        host.run("mkdir", "-p", f"/etc/systemd/system/{UNIT}.d")
        host.write(f"/etc/systemd/system/{UNIT}.d/clock.conf", DROP_IN.replace("LIBRARY", library))
        host.write(CLOCK, RIGHT)
        host.append(FILE, f"verify-interval = {LOOKS}\n")
        host.run("systemctl", "daemon-reload")
        host.run("systemctl", "restart", UNIT)

    formed.each(give)
    return formed


@pytest.fixture
def clocked(clocks: Cluster) -> Iterator[Cluster]:
    """The same, all well before and after a test."""
    clocks.recover()
    yield clocks
    for host in clocks.hosts.values():
        host.write(CLOCK, RIGHT)


def test_a_holders_clock_that_goes_wrong_is_named_and_nothing_moves(clocked: Cluster) -> None:
    a, since = clocked.hosts["a"], now()
    a.write(CLOCK, WRONG)
    degraded = clocked.event("a", EventName.API_DEGRADED, since)
    assert re.search(BEHIND, degraded["MESSAGE"])
    assert degraded["PRIORITY"] == "3"
    assert degraded["EXOIP_FAILURE"] == "refused"
    clocked.status("a", "degraded")
    # Its heartbeats need no clock.
    told = now()
    until(
        lambda: len(clocked.beats.of("a", told, now())) > 2 * BEATS, f"{BEATS} further beats", BEATS * INTERVAL + DEAD
    )
    clocked.punctual("a", since, "bc")
    clocked.moves(since)

    a.write(CLOCK, RIGHT)
    clocked.event("a", EventName.API_RECOVERED, since, most=60.0)
    clocked.settled("a")
    clocked.moves(since)


def test_with_a_wrong_clock_a_daemon_that_starts_says_so_and_waits_until_it_is_right(clocked: Cluster) -> None:
    c, since = clocked.hosts["c"], now()
    c.run("systemctl", "stop", UNIT)
    c.write(CLOCK, WRONG)
    c.run("systemctl", "start", "--no-block", UNIT)
    clocked.line("c", BEHIND, since)
    assert c.show("ActiveState", UNIT) == "activating"
    assert "waiting for the right time" in c.show("StatusText", UNIT)
    clocked.settled("a", "ab")
    clocked.moves(since)

    c.write(CLOCK, RIGHT)
    clocked.settled("a", most=60.0)
    clocked.moves(since)


def test_a_daemon_that_crashes_again_and_again_stands_aside(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    a.run("systemctl", "restart", UNIT)
    cluster.settled("a")
    since = now()
    for crash in (1, 2):
        a.signal("KILL", UNIT)
        until(lambda n=crash: restarted(a, n), f"systemd restarts it after crash {crash}", DEAD)
    unfit = cluster.event("a", EventName.UNFIT, since)
    assert "too often" in unfit["EXOIP_REASON"]
    cluster.settled("b", "bca")
    cluster.moves(since, ("ab", "a .* is now stepping aside.*, was at priority 10"), ("b", "holds and is heard"))
    cluster.status("a", "stepping aside")

    since = now()
    a.run("systemctl", "restart", UNIT)  # a person looked after it
    cluster.settled("a")
    cluster.moves(
        since, ("ab", "this node is at priority 10, the best peer at priority 20"), ("a", "holds and is heard")
    )


def restarted(host: Host, times: int) -> bool:
    return host.show("NRestarts", UNIT) == str(times) and host.show("ActiveState", UNIT) == "active"


def test_a_wrong_configuration_waits_for_a_person(cluster: Cluster) -> None:
    c, since = cluster.hosts["c"], now()
    good = c.path(FILE).read_text()
    c.run("systemctl", "stop", UNIT)
    c.write(FILE, good + "dead-ratio = none\n")
    c.ask("systemctl", "start", UNIT)
    assert (c.show("ActiveState", UNIT), c.show("ExecMainStatus", UNIT), c.show("NRestarts", UNIT)) == (
        "failed",
        "78",
        "0",
    )
    assert c.journal(f"--since=@{since:.6f}", "-u", UNIT, "--grep=dead-ratio.*none")
    cluster.moves(since)
    c.write(FILE, good)
