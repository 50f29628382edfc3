"""The heartbeat socket on loopback: binding, both families, reading, and the kernel's filter."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator

import pytest

from exoip.errors import ConfigError
from exoip.heartbeat import udp
from exoip.heartbeat.flood_filter import bpf_program
from exoip.heartbeat.udp import HeartbeatSocket, is_local
from exoip.heartbeat.wire import SIGNED, SIGNED_V6, SIZE, SIZE_V6, Heartbeat, encode
from tests.simulation.world import EIP, instance_id
from tests.support.udp import plain_socket, wait_readable

PEER = instance_id("a")
HEARTBEAT = encode(Heartbeat(5, EIP, PEER))
needs_v6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def channel() -> Iterator[HeartbeatSocket]:
    one = HeartbeatSocket("127.0.0.1", 0)
    yield one
    one.close()


def port_of(channel: HeartbeatSocket) -> int:
    return int(channel.socket.getsockname()[1])


class TestBinding:
    @pytest.mark.parametrize("host", ["127.0.0.1", ""])  # the same address, and one that overlaps
    def test_a_port_in_use_is_named_and_no_socket_is_left_behind(self, channel, host):
        """A warning of an unclosed socket would be an error here."""
        for _ in range(20):
            with pytest.raises(ConfigError, match=f"--bind-address {host}:{port_of(channel)} is in use"):
                HeartbeatSocket(host, port_of(channel))

    @pytest.mark.parametrize(
        ("host", "text"),
        [
            ("192.0.2.1", r"192\.0\.2\.1:12345 is not an address of this machine"),
            pytest.param("2001:db8::1", r"\[2001:db8::1\]:12345", marks=needs_v6),
            ("no.such.host.invalid", "--bind-address"),
            ("127.0.0.1.5", "--bind-address"),
            ("::zz", "--bind-address"),
        ],
    )
    def test_an_address_that_is_not_of_this_machine(self, host, text):
        with pytest.raises(ConfigError, match=text):
            HeartbeatSocket(host, 12345)

    @needs_v6
    @pytest.mark.parametrize(
        ("host", "peer"),
        [("::", "127.0.0.1"), ("::", "::1"), ("::1", "::1"), ("::ffff:127.0.0.1", "127.0.0.1"), ("", "::1")],
    )
    def test_it_sends_from_whatever_it_is_bound_to(self, host, peer):
        with contextlib.closing(HeartbeatSocket(host, 0)) as sender, contextlib.closing(HeartbeatSocket(peer, 0)) as to:
            sender.send(HEARTBEAT, peer, port_of(to))
            wait_readable(to)
            assert to.receive() == (HEARTBEAT, peer)

    def test_the_datagrams_are_marked_as_network_control(self, channel):
        assert channel.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xC0


class TestBothFamilies:
    @pytest.mark.parametrize(
        ("host", "other"),
        [("", "127.0.0.1"), pytest.param("", "::1", marks=needs_v6), pytest.param("::1", "::1", marks=needs_v6)],
    )
    def test_there_and_back(self, host, other):
        channel, peer = HeartbeatSocket(host, 0), plain_socket(other)
        peer.sendto(HEARTBEAT, (other, port_of(channel)))
        wait_readable(channel)
        assert channel.receive() == (HEARTBEAT, other)
        channel.send(b"back", *peer.getsockname()[:2])
        data, source = peer.recvfrom(99)
        assert (data, source[:2]) == (b"back", (other, port_of(channel)))
        channel.close()
        peer.close()

    def test_a_v6_address_cannot_be_sent_to_from_a_v4_socket(self, channel):
        with pytest.raises(OSError):  # noqa: PT011 - the kernel and the resolver word it as they like
            channel.send(b"x", "::1", 9)

    def test_one_address_of_loopback_only(self):
        channel, peer = HeartbeatSocket("127.0.0.9", 0), plain_socket()
        peer.sendto(b"x", ("127.0.0.1", port_of(channel)))
        peer.sendto(HEARTBEAT, ("127.0.0.9", port_of(channel)))
        wait_readable(channel)
        assert [channel.receive(), channel.receive()] == [(HEARTBEAT, "127.0.0.1"), None]
        channel.close()
        peer.close()


class TestSending:
    """Each peer has a socket of its own; all have one address and port, and one hears."""

    @pytest.fixture
    def peers(self) -> Iterator[list[socket.socket]]:
        opened = [plain_socket(f"127.0.0.{number}") for number in range(20, 30)]
        yield opened
        for each in opened:
            each.close()

    @pytest.mark.parametrize("host", ["", "127.0.0.1"])
    def test_each_hears_from_our_port_and_all_that_they_say_is_heard(self, host, peers):
        with contextlib.closing(HeartbeatSocket(host, 0)) as channel:
            for peer in peers:
                channel.send(HEARTBEAT, *peer.getsockname())
                assert peer.recvfrom(99)[1][1] == port_of(channel)
            assert len(channel._outlets) == len(peers)
            for peer in peers:
                for _ in range(10):
                    peer.sendto(HEARTBEAT, ("127.0.0.1", port_of(channel)))
                    wait_readable(channel)
                    assert channel.receive() is not None
                    assert channel.receive() is None

    def test_the_sockets_of_former_peers_are_used_again_and_beyond_a_number_shared(self, channel, peers, monkeypatch):
        monkeypatch.setattr(channel, "_most_outlets", 4)
        places = [peer.getsockname() for peer in peers]
        for _ in range(3):
            for place in places[:2]:
                channel.send(HEARTBEAT, *place)
            for place in places[2:4]:
                channel.keep(places[:2])
                channel.send(HEARTBEAT, *place)
            assert len(channel._outlets) == 3
        for place in places:
            channel.send(HEARTBEAT, *place)
        assert sorted(channel._outlets.values()) == [2, 2, 3, 3]
        assert all(peer.recv(99) == HEARTBEAT for peer in peers)

    def test_without_a_descriptor_that_which_hears_sends(self, channel, peers):
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            channel.send(HEARTBEAT, *peers[0].getsockname())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert peers[0].recv(99) == HEARTBEAT
        assert not channel._outlets

    def test_a_low_limit_of_descriptors_leaves_most_of_them_to_others(self, peers):
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
        try:
            with contextlib.closing(HeartbeatSocket("127.0.0.1", 0)) as channel:
                for port in range(1, 201):
                    channel.send(HEARTBEAT, "127.0.0.1", port)
                assert len(channel._outlets) == 25
                socket.socket().close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    def test_a_kernel_that_cannot_steer_has_one_socket_for_all(self, channel, peers, monkeypatch):
        monkeypatch.setattr(udp, "_SO_ATTACH_REUSEPORT_CBPF", 999)
        for peer in peers:
            channel.send(HEARTBEAT, *peer.getsockname())
            assert peer.recv(99) == HEARTBEAT
            peer.sendto(HEARTBEAT, channel.socket.getsockname())
            wait_readable(channel)
            assert channel.receive() == (HEARTBEAT, peer.getsockname()[0])
        assert not channel._outlets

    def test_the_port_stays_ours_alone(self, channel, peers):
        channel.send(HEARTBEAT, *peers[0].getsockname())
        with pytest.raises(ConfigError, match="is in use"):
            HeartbeatSocket("127.0.0.1", port_of(channel))


class TestReceiving:
    @pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE, SIZE_V6, SIGNED, SIGNED_V6, SIGNED_V6 + 1, 1500, 60_000])
    def test_any_size(self, channel, size):
        with plain_socket() as peer:
            peer.sendto(b"\x02" * size, channel.socket.getsockname())
            wait_readable(channel)
            received = channel.receive()
        assert received is not None
        assert len(received[0]) == min(size, SIGNED_V6 + 1)
        assert channel.receive() is None  # the rest of a long one is gone

    @pytest.mark.parametrize("size", [0, 1, 24])
    def test_the_kernel_never_holds_more_than_the_capacity(self, channel, size):
        with plain_socket() as peer:
            for _ in range(channel.capacity + 1000):
                peer.sendto(b"x" * size, channel.socket.getsockname())
        count = 0
        while channel.receive() is not None:
            count += 1
        assert 100 < count <= channel.capacity


@pytest.mark.parametrize(
    ("address", "local"), [("127.0.0.1", True), ("::1", True), ("198.51.100.9", False), ("x", False)]
)
def test_which_addresses_are_of_this_machine(address, local):
    assert is_local(address) is local


class TestFilter:
    def test_the_kernel_counts_what_it_drops(self, channel):
        assert channel.set_filter(bpf_program(EIP, {PEER: ("127.0.0.1", 9)}, signed=False))
        before = channel.dropped()
        with plain_socket() as peer:
            for data in (HEARTBEAT, b"?", HEARTBEAT[:-1] + b"x", HEARTBEAT):
                peer.sendto(data, channel.socket.getsockname())
            wait_readable(channel)
        assert [channel.receive(), channel.receive(), channel.receive()] == [(HEARTBEAT, "127.0.0.1")] * 2 + [None]
        assert channel.dropped() == before + 2
        assert channel.set_filter(None)
        with plain_socket() as peer:
            peer.sendto(b"?", channel.socket.getsockname())
            wait_readable(channel)
        assert channel.receive() == (b"?", "127.0.0.1")

    def test_a_kernel_that_cannot_filter_is_no_trouble(self, channel):
        assert channel.set_filter(None) is False  # there is none to take away
        assert channel.set_filter(b"\0" * 8 * 5000) is False
        assert channel.set_filter(b"\xff" * 8) is False
        channel.close()
        assert channel.set_filter(bpf_program(EIP, {}, signed=True)) is False
        assert channel.dropped() == 0
