"""Real nodes on an Ethernet segment: unreachable peers, failing sends, lost addresses."""

from __future__ import annotations

import re

import pytest

from exoip.heartbeat.udp import HeartbeatSocket
from tests.support.segment import PORT, Segment

pytestmark = pytest.mark.slow

BEATS = 90  # for four seconds and a half; an unanswered ARP holds a datagram for three


def test_a_hundred_peers_that_cannot_be_reached_cost_the_live_ones_nothing() -> None:
    """Datagrams to them wait for ARP: more than the send buffer of one socket can hold."""
    with Segment(dead=100, ratio=40) as segment:
        segment.start()
        segment.settle("a")
        a, b = segment.nodes["a"], segment.nodes["b"]
        host = segment.hosts["b"]
        host.count("input", f"ip saddr {a.address} udp dport {PORT}")
        segment.until(lambda: host.counted("input") >= BEATS, "heartbeats of a arrive")
        for node in (a, b):
            assert not node.events("peer-dead", "stalled", "send-failed")
        assert segment.holders() == {"a"}


def test_sends_that_fail_now_and_then_are_reported_once_a_minute() -> None:
    with Segment(interval=0.05, ratio=40) as segment:
        segment.start()
        segment.settle("a")
        a, host = segment.nodes["a"], segment.hosts["a"]
        host.count("output", f"udp dport {PORT} numgen random mod 2 0", "drop")
        segment.until(lambda: host.counted("output") > 40, "heartbeats are lost")
        (said,) = a.events("send-failed", "send-recovered")
        assert said["EXOIP_EVENT"] == "send-failed"
        assert "Operation not permitted" in said["MESSAGE"]


def test_a_kept_connection_that_a_nat_forgot_delays_no_failover() -> None:
    """From now on b's open connections to the API are dead; new ones work."""
    with Segment(interval=0.1, ratio=20) as segment:
        segment.start()
        segment.settle("a")
        b, host = segment.nodes["b"], segment.hosts["b"]
        segment.until(lambda: b.role == "BACKUP", "b is ready")
        ports = re.findall(r"127\.0\.0\.1:(\d+) +127\.0\.0\.1:8099", host.run("ss", "-tn"))
        assert ports
        host.count("input", f"tcp dport 8099 tcp sport {{ {', '.join(ports)} }}", "drop")
        segment.nodes["a"].kill()
        segment.until(lambda: b.holds, "b takes over")
        assert host.counted("input")
        assert not b.events("failed"), "the call did not fail, it took another connection"


def test_a_backup_without_its_own_address_takes_nothing_from_the_holder() -> None:
    with Segment(interval=0.1, ratio=20) as segment:
        segment.start()
        segment.settle("a")
        b, host = segment.nodes["b"], segment.hosts["b"]
        host.run("ip", "address", "del", f"{host.address}/24", "dev", "eth0")
        segment.until(lambda: b.events("yielded", "attaching"), "b notices")
        (said,) = b.events("yielded", "attaching")
        assert said["EXOIP_EVENT"] == "yielded"
        assert "(Network is unreachable): the fault is here" in said["MESSAGE"]
        host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        segment.settle("a")
        assert not b.events("attaching")


@pytest.mark.parametrize(
    ("own", "network", "other", "peer"),
    [
        ("10.77.0.1", "10.77.0.0/24", "10.78.0.1/24", "10.77.0.2"),
        ("fd00:77::1", "fd00:77::/64", "fd00:78::1/64", "fd00:77::2"),
    ],
)
def test_no_heartbeat_leaves_from_an_address_that_is_gone(own: str, network: str, other: str, peer: str) -> None:
    """Although another address, and a route to the peer, are left."""
    with Segment() as segment:
        host, address = segment.hosts["a"], f"{own}/{network.partition('/')[2]}"
        host.run("ip", "address", "replace", address, "dev", "eth0", "nodad")
        host.run("ip", "address", "add", other, "dev", "eth0", "nodad")
        host.run("ip", "route", "add", network, "dev", "eth0", "metric", "5000")
        with host.inside():
            channel = HeartbeatSocket(own, PORT)
        channel.send(b"x", peer, PORT)
        host.run("ip", "address", "del", address, "dev", "eth0")
        with pytest.raises(OSError, match=r"unreachable|Cannot assign requested address"):
            channel.send(b"x", peer, PORT)
        channel.close()
