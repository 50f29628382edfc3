"""The sender and the receiver on loopback: what counts, floods, deaths, unreachable peers."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exoip.core.events import Event, EventName
from exoip.core.node import Node
from exoip.core.peers import ElectionConfig, Role
from exoip.daemon.heartbeat_threads import RECOVERED_AFTER, HeartbeatLink, Receiver, Sender
from exoip.heartbeat.authentication import AuthMode, AuthPolicy
from exoip.heartbeat.flood_filter import FILTER_TIME, FLOOD_THRESHOLD, bpf_program
from exoip.heartbeat.socket_address import SocketAddress
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.heartbeat.wire import SIZE, Heartbeat, decode, encode
from tests.simulation.world import EIP, instance_id
from tests.support.udp import plain_socket, wait_readable
from tests.support.waiting import PATIENCE, until

ROUND = 0.2
OWN, PEER = instance_id("m"), instance_id("a")
KEY = b"a key for the test"
NOW_STAMP = 1_800_000_000_000_000
HEARTBEAT = encode(Heartbeat(5, EIP, PEER))


@pytest.fixture
def channel() -> Iterator[HeartbeatSocket]:
    one = HeartbeatSocket("127.0.0.1", 0)
    yield one
    one.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Fixture:
    """The node m and its master a: both are alive, and the next heartbeat of m is not due for long."""

    def __init__(
        self, channel: Any, address: str = "127.0.0.1", interval: float = 1000.0, auth_policy: AuthPolicy | None = None
    ) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        members = {PEER: (address, 9)}
        self.config = ElectionConfig(OWN, 10, interval, 3.0)
        self.node = Node(self.config, EIP, members, self.clock.now, emit=self.events.append)
        wall = NOW_STAMP / 1e6
        self.link = HeartbeatLink(
            channel, self.node, self.events.append, auth_policy or AuthPolicy(), self.clock, lambda: wall
        )
        self.receiver = Receiver(self.link, ROUND)
        self.node.next_advert(self.clock.now)
        self.node.heard(Heartbeat(5, EIP, PEER), address, self.clock.now)
        self.heard_at = self.clock.now
        self.death = self.node.next_death()

    def walk(self, end: float) -> None:
        """Let time pass in small steps, so that it is no stall."""
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + self.config.interval)
            self.node.next_advert(self.clock.now)

    @property
    def alive(self) -> bool:
        return self.node.snapshot(self.clock.now).peers[0].alive

    def dropped(self) -> dict[str, int]:
        return dict(self.node.snapshot(self.clock.now).dropped)


class TestReceiver:
    def test_a_heartbeat_reaches_the_node(self, channel):
        one = Fixture(channel)
        one.clock.now += 7.0
        with plain_socket() as peer:
            peer.sendto(encode(Heartbeat(77, EIP, PEER)), channel.socket.getsockname())
            wait_readable(channel)
            one.receiver.turn()
        (view,) = one.node.snapshot(one.clock.now).peers
        assert (view.priority, view.last_seen) == (77, one.clock.now)

    @pytest.mark.parametrize(
        ("datagram", "cause"),
        [
            (b"", "short"),
            (HEARTBEAT[:-1], "short"),
            (HEARTBEAT + b"x", "long"),
            (HEARTBEAT * 50, "long"),
            (encode(Heartbeat(5, "2001:db8:0:1::1", PEER)), "eip"),
            (b"\x02\x02" + HEARTBEAT[2:], "version"),
            (HEARTBEAT[:3] + b"\x09" + HEARTBEAT[4:], "priority"),
            (encode(Heartbeat(5, "192.0.2.9", PEER)), "eip"),
            (encode(Heartbeat(5, EIP, OWN)), "same-id"),
            (encode(Heartbeat(5, EIP, instance_id("q"))), "identity"),
            (HEARTBEAT, "address"),
        ],
    )
    def test_anything_else_is_dropped_and_counted(self, channel, datagram, cause):
        one = Fixture(channel, address="127.0.0.200" if cause == "address" else "127.0.0.1")
        with plain_socket() as peer:
            peer.sendto(datagram, channel.socket.getsockname())
            wait_readable(channel)
            one.receiver.turn()
        assert one.dropped() == {cause: 1}
        (told,) = [event for event in one.events if event.name in (EventName.DATAGRAM_DROPPED, EventName.SAME_ID)]
        assert told.details["address"] == "127.0.0.1"

    @pytest.mark.parametrize(
        ("auth_policy", "datagram", "cause"),
        [
            (AuthPolicy((KEY,)), AuthPolicy((KEY,)).sign(HEARTBEAT, NOW_STAMP), ""),
            (AuthPolicy((KEY,)), HEARTBEAT, "unsigned"),
            (AuthPolicy((KEY,)), HEARTBEAT * 2, "signature"),
            (AuthPolicy((KEY,)), AuthPolicy((KEY[1:],)).sign(HEARTBEAT, NOW_STAMP), "signature"),
            (AuthPolicy((KEY,)), AuthPolicy((KEY,)).sign(HEARTBEAT, NOW_STAMP - 61_000_000), "clock"),
            (AuthPolicy((KEY,)), AuthPolicy((KEY,)).sign(HEARTBEAT, NOW_STAMP) + b"x", "long"),
            (AuthPolicy((KEY,)), AuthPolicy((KEY,)).sign(b"\3" + HEARTBEAT[1:], NOW_STAMP), "version"),
            (AuthPolicy((KEY,), AuthMode.ACCEPT), HEARTBEAT, ""),
            (AuthPolicy((KEY,), AuthMode.SEND), HEARTBEAT * 2, ""),
            (AuthPolicy(), HEARTBEAT * 2, ""),
        ],
    )
    def test_signed_ones(self, channel, auth_policy, datagram, cause):
        one = Fixture(channel, auth_policy=auth_policy)
        one.clock.now += 7.0
        with plain_socket() as peer:
            peer.sendto(datagram, channel.socket.getsockname())
            wait_readable(channel)
            one.receiver.turn()
        assert one.dropped() == ({cause: 1} if cause else {})
        (view,) = one.node.snapshot(one.clock.now).peers
        assert view.last_seen == one.clock.now - (7.0 if cause else 0.0)

    def test_another_key_counts_from_the_next_datagram_on(self, channel):
        one = Fixture(channel, auth_policy=AuthPolicy((KEY,)))
        with plain_socket() as peer:
            for stamp in range(3):
                peer.sendto(AuthPolicy((KEY[1:],)).sign(HEARTBEAT, NOW_STAMP + stamp), channel.socket.getsockname())
                wait_readable(channel)
                one.receiver.turn()
                one.link.auth_policy = AuthPolicy((KEY[1:],))
        assert one.dropped() == {"signature": 1}

    def test_a_peer_dies_at_its_deadline(self, channel):
        one = Fixture(channel)
        one.walk(one.death - 1e-3)
        one.receiver._round_time = 0.0
        one.receiver.turn()
        assert one.alive
        one.clock.now = one.death
        one.receiver.turn()
        assert not one.alive
        assert one.node.snapshot(one.clock.now).role is Role.MASTER

    def test_not_while_a_datagram_of_it_waits_in_the_socket(self, channel):
        one = Fixture(channel)
        with plain_socket() as peer:
            for _ in range(50):
                peer.sendto(b"?", channel.socket.getsockname())
            peer.sendto(HEARTBEAT, channel.socket.getsockname())
            wait_readable(channel)
            one.walk(one.death + 5)
            one.receiver.turn()
        assert one.alive
        assert not [event for event in one.events if event.name is EventName.PEER_DEAD]

    def test_it_wakes_at_the_next_death_though_nothing_comes(self, channel):
        """With a real clock; otherwise it would sleep for PATIENCE."""
        events: list[Event] = []
        config = ElectionConfig(OWN, 10, 0.2, 1.0)
        node = Node(config, EIP, {PEER: ("127.0.0.1", 9)}, time.monotonic(), emit=events.append)
        receiver = Receiver(HeartbeatLink(channel, node, events.append, AuthPolicy(), time.monotonic), PATIENCE)
        node.next_advert(time.monotonic())
        node.heard(Heartbeat(5, EIP, PEER), "127.0.0.1", time.monotonic())
        started = time.monotonic()
        receiver.turn()
        assert time.monotonic() - started < PATIENCE / 2
        told = {event.name: event.at for event in events}
        if EventName.STALLED not in told:  # a machine that stood still
            assert told[EventName.PEER_DEAD] >= told[EventName.PEER_ALIVE] + config.dead_time

    def test_it_goes_round_when_nothing_happens(self, channel):
        one = Fixture(channel)
        one.receiver.turn()  # returns after ROUND

    def test_a_descriptor_above_1023_is_no_trouble(self):
        """As if a program with many open files had started it: select() takes no such descriptor."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare: list[int] = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(2000, limits[1]), limits[1]))
            spare += (os.dup(0) for _ in range(1100))
            with contextlib.closing(HeartbeatSocket("127.0.0.1", 0)) as channel, plain_socket() as peer:
                one = Fixture(channel)
                peer.sendto(HEARTBEAT, channel.socket.getsockname())
                one.receiver.turn()
            assert one.receiver.received == 1
        finally:
            for each in spare:
                os.close(each)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


class FloodedChannel:
    """A channel that is never empty: garbage, and as number `hidden` a heartbeat of the peer."""

    def __init__(self, capacity: int, hidden: int | None = None, on_take: Callable[[], None] = lambda: None) -> None:
        self.capacity, self.hidden, self.on_take = capacity, hidden, on_take
        self.taken = 0
        self.socket, self._other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._other.send(b"always readable")
        self.filters: list[bytes | None] = []
        self.longest = 4096

    def set_filter(self, steps: bytes | None) -> bool:
        self.filters.append(steps)
        return steps is None or len(steps) < self.longest

    def dropped(self) -> int:
        return 7 * len(self.filters)

    def receive(self) -> tuple[bytes, str]:
        self.taken += 1
        self.on_take()
        return (HEARTBEAT if self.taken == self.hidden else b"?"), "127.0.0.1"

    def close(self) -> None:
        self.socket.close()
        self._other.close()


class TestFlood:
    CAPACITY = 500

    @pytest.fixture
    def flood(self) -> Iterator[FloodedChannel]:
        one = FloodedChannel(self.CAPACITY)
        yield one
        one.close()

    def test_it_cannot_postpone_a_death_for_ever(self, flood):
        one = Fixture(flood)
        one.walk(one.death)
        one.receiver.turn()
        assert flood.taken <= self.CAPACITY
        assert not one.alive

    def test_what_waited_when_the_turn_began_counts(self, flood):
        flood.hidden = self.CAPACITY
        one = Fixture(flood)
        one.walk(one.death)
        one.receiver.turn()
        assert one.alive

    def test_time_that_the_flood_takes_does_not_kill(self, flood):
        """The deadline passes while it reads: only what was due at the start of the turn counts."""
        one = Fixture(flood)
        one.walk(one.death - 1.0)

        def slow() -> None:
            one.clock.now += 2.0 / self.CAPACITY

        flood.on_take = slow
        one.receiver.turn()
        assert one.clock.now > one.death
        assert one.alive
        one.receiver.turn()
        assert not one.alive

    def test_it_is_reported_once(self, flood):
        one = Fixture(flood)
        for _ in range(5):
            one.receiver.turn()
        assert one.dropped() == {"short": 5 * self.CAPACITY}
        assert len([event for event in one.events if event.name is EventName.DATAGRAM_DROPPED]) == 1

    def test_the_kernel_sifts_until_it_is_over_and_by_the_members_of_now(self, flood):
        one = Fixture(flood)
        for _ in range(5):
            one.receiver.turn()
        (first,) = flood.filters
        itself = [(OWN, "127.0.0.1")]  # a member's address is of this machine: a clone is to hear itself
        assert first == bpf_program(EIP, {PEER: ("127.0.0.1", 9)}, signed=False, also=itself)
        one.node.set_members({PEER: ("198.51.100.9", 9)}, one.clock.now)
        one.receiver.turn()
        second = bpf_program(EIP, {PEER: ("198.51.100.9", 9)}, signed=False)
        assert flood.filters == [first, second]
        flood.hidden = flood.taken + 1  # the flood has ended
        flood.receive = lambda: None
        for _ in range(4):
            one.walk(one.clock.now + FILTER_TIME / 2)
            one.receiver.turn()
        assert flood.filters == [first, second, None]
        told = [
            (event.name, event.reason)
            for event in one.events
            if event.name in (EventName.FLOODED, EventName.FLOOD_OVER)
        ]
        assert told == [
            (EventName.FLOODED, f"{FLOOD_THRESHOLD} datagrams were dropped within a second"),
            (EventName.FLOOD_OVER, "the kernel dropped 21 datagrams"),
        ]

    def test_a_group_that_is_too_large_for_the_kernel_is_not_looked_at(self, flood):
        one = Fixture(flood)
        flood.longest = 100
        for _ in range(5):
            one.receiver.turn()
        members, itself = {PEER: ("127.0.0.1", 9)}, [(OWN, "127.0.0.1")]
        assert flood.filters == [bpf_program(EIP, one, signed=False, also=itself) for one in (members, None)]

    def test_what_members_say_is_no_flood(self, channel):
        one = Fixture(channel)
        with plain_socket() as peer:
            for _ in range(3 * FLOOD_THRESHOLD):
                peer.sendto(HEARTBEAT, channel.socket.getsockname())
                one.receiver.turn()
        assert not [event for event in one.events if event.name is EventName.FLOODED]


class FailingChannel:
    """A channel on which sends to some addresses fail."""

    def __init__(self) -> None:
        self.failing: dict[str, OSError] = {}
        self.sent: list[tuple[bytes, str, int]] = []

    def send(self, datagram: bytes, address: str, port: int) -> None:
        if address in self.failing:
            raise self.failing[address]
        self.sent.append((datagram, address, port))

    def keep(self, peers: object) -> None:
        self.kept = peers


class TestSender:
    def sender(self, channel: Any, addresses: list[str], port: int = 9) -> tuple[Sender, Clock, list[Event]]:
        clock, events = Clock(), list[Event]()
        members = {instance_id(f"p{n}"): SocketAddress(address, port) for n, address in enumerate(addresses)}
        node = Node(ElectionConfig(OWN, 10), EIP, members, clock.now, emit=lambda event: None)
        return Sender(HeartbeatLink(channel, node, events.append, AuthPolicy(), clock), ROUND), clock, events

    def test_to_every_member(self, channel):
        with plain_socket() as peer:
            sender, _, events = self.sender(channel, ["127.0.0.1"], peer.getsockname()[1])
            sender.turn()
            datagram, source = peer.recvfrom(99)
        assert decode(datagram) == Heartbeat(10, EIP, OWN)
        assert source == channel.socket.getsockname()
        assert events == []

    def test_signed_once_for_all_and_with_rising_stamps(self):
        channel = FailingChannel()
        sender, clock, _ = self.sender(channel, ["192.0.2.1", "192.0.2.2"])
        walls = [1e9, 1e9 + 1, 5.0, 5.0]  # the clock is set back
        sender._link.auth_policy, sender._link.wall = AuthPolicy((KEY,)), lambda: walls[0]
        stamps = []
        while walls:
            channel.sent.clear()
            sender.turn()
            clock.now += 1.0
            walls.pop(0)
            (datagram,) = {datagram for datagram, _, _ in channel.sent}
            assert len(channel.sent) == 2
            proof = AuthPolicy((KEY,)).verify(datagram[:SIZE], datagram[SIZE:], 0.0)
            assert proof.cause == ""
            stamps.append(proof.stamp)
        last = 1_000_000_001_000_000
        assert stamps == [10**15, last, last + 1, last + 2]

    def test_a_peer_that_cannot_be_sent_to_costs_the_others_nothing(self):
        channel = FailingChannel()
        sender, clock, _ = self.sender(channel, ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
        for code in (
            errno.ENETUNREACH,
            errno.EPERM,
            errno.ENOBUFS,
            errno.EINVAL,
            errno.EHOSTUNREACH,
            errno.ECONNREFUSED,
        ):
            channel.failing = {"192.0.2.1": OSError(code, "no"), "192.0.2.3": OSError(code, "no")}
            channel.sent.clear()
            sender.turn()
            assert [address for _, address, _ in channel.sent] == ["192.0.2.2"]
            clock.now += 1.0
        assert sender.failures == 12

    def beat(self, sender: Sender, clock: Clock, problems: str, times: int = 1) -> None:
        """Send to each address; `problems` has what goes wrong for each, or "-"."""
        for _ in range(times):
            failing = zip(("192.0.2.1", "2001:db8::2"), problems.split(), strict=True)
            channel: Any = sender._channel
            channel.failing = {address: OSError(1, problem) for address, problem in failing if problem != "-"}
            sender.turn()
            clock.now += 1.0

    def test_failures_are_reported_when_they_begin_and_end_at_most_once_a_minute(self):
        """For each peer, and for another reason again; no recovery while some sends still fail."""
        sender, clock, events = self.sender(FailingChannel(), ["192.0.2.1", "2001:db8::2"])
        self.beat(sender, clock, "- -")
        self.beat(sender, clock, "- down", 2)
        for _ in range(30):
            self.beat(sender, clock, "down -")
            self.beat(sender, clock, "- denied")
        self.beat(sender, clock, "- -", RECOVERED_AFTER)
        failed, recovered = EventName.SEND_FAILED, EventName.SEND_RECOVERED
        assert [(e.name, e.at - 1000.0, e.details["address"], e.details["count"], e.reason) for e in events] == [
            (failed, 1.0, "[2001:db8::2]:9", 1, "down"),
            (failed, 3.0, "192.0.2.1:9", 1, "down"),
            (failed, 62.0, "[2001:db8::2]:9", 32, "denied"),
            (recovered, 71.0, "192.0.2.1:9", 30, ""),
        ]

    def test_the_node_knows_why_none_can_be_sent(self):
        sender, clock, _ = self.sender(FailingChannel(), ["192.0.2.1", "2001:db8::2"])
        why = []
        for problems in ("- -", "down -", "down gone", "- gone"):
            self.beat(sender, clock, problems)
            why.append(sender._node._ownership.stand_back.mute)
        assert why == ["", "", "gone", ""]

    @pytest.mark.parametrize(("addresses", "late"), [([], False), (["192.0.2.1"], True)])
    def test_when_it_last_sent_all_that_there_was_to_send(self, addresses, late):
        """That is nothing, if the group has no other member."""
        channel = FailingChannel()
        sender, clock, _ = self.sender(channel, addresses)
        sender.turn()
        assert sender.sent_at == clock.now
        clock.now += 1.0
        channel.failing = {"192.0.2.1": OSError(1, "down")}
        sender.turn()
        assert (sender.sent_at < clock.now) is late

    def test_what_happens_to_many_is_reported_once(self):
        """If the route is gone, all fail at once, and the log holds only a thousand entries."""
        addresses = [f"192.0.2.{n}" for n in range(100)]
        sender, clock, events = self.sender(FailingChannel(), addresses)
        sender._channel.failing = {one: OSError(1, "no route" if n else "denied") for n, one in enumerate(addresses)}
        for _ in range(60):
            sender.turn()
            clock.now += 1.0
        sender._channel.failing = {}
        for _ in range(RECOVERED_AFTER):
            sender.turn()
            clock.now += 1.0
        assert [(e.name, e.details["address"], e.details["others"], e.details["count"], e.reason) for e in events] == [
            (EventName.SEND_FAILED, "192.0.2.0:9", "", 1, "denied"),
            (EventName.SEND_FAILED, "192.0.2.1:9", " and 98 others", 99, "no route"),
            (EventName.SEND_RECOVERED, "192.0.2.0:9", " and 99 others", 60 * 100, ""),
        ]

    def test_a_peer_that_fails_again_within_a_minute_is_reported_with_its_next_failure(self):
        channel = FailingChannel()
        sender, clock, events = self.sender(channel, ["192.0.2.1"])

        def send(heartbeats: int, problem: str = "") -> None:
            channel.failing = {"192.0.2.1": OSError(1, problem)} if problem else {}
            for _ in range(heartbeats):
                sender.turn()
                clock.now += 1.0

        send(3, "down")
        send(90)
        assert [e.name for e in events] == [EventName.SEND_FAILED, EventName.SEND_RECOVERED]
        send(3, "down")
        send(90)
        assert len(events) == 2, "it was over before a minute had passed"
        send(61, "down")
        assert [(e.name, e.details["count"]) for e in events[2:]] == [(EventName.SEND_FAILED, 4)]

    def test_members_that_left_are_forgotten(self):
        sender, clock, _ = self.sender(FailingChannel(), [f"192.0.2.{n}" for n in range(9)])
        sender._channel.failing = {f"192.0.2.{n}": OSError(1, "no") for n in range(9)}
        sender.turn()
        assert len(sender._troubles) == 9
        left = {instance_id("p1"): SocketAddress("192.0.2.1", 9)}
        sender._node.set_members(left, clock.now)
        clock.now += 1.0
        sender.turn()
        assert {*sender._troubles} == {*left.values()} == {*sender._channel.kept}

    @pytest.mark.parametrize("bad", ["255.255.255.255", "::1", "0.0.0.256"])
    def test_real_errors_of_the_kernel(self, channel, bad):
        """Broadcast (EACCES), the other family, no address at all; the peer between them is served."""
        with plain_socket() as peer:
            port = peer.getsockname()[1]
            sender, _, events = self.sender(channel, [bad, "127.0.0.1", bad], port)
            sender.turn()
            assert decode(peer.recv(99)).instance_id == OWN
        assert len(events) == 1
        assert events[0].name is EventName.SEND_FAILED
        assert events[0].reason

    def test_a_refused_port_is_no_error(self, channel):
        """An ICMP error of one peer must not come back as an error of the next send."""
        with plain_socket() as closed:
            port = closed.getsockname()[1]
        sender, clock, events = self.sender(channel, ["127.0.0.1"], port)
        for _ in range(5):
            sender.turn()
            clock.now += 1.0
        assert events == []
        assert channel.receive() is None


class TestThreads:
    def test_two_nodes_hear_each_other_and_one_is_master(self):
        """The threads of both nodes run: loopback, real time, a short interval."""
        with contextlib.ExitStack() as stack:
            channels = [
                stack.enter_context(contextlib.closing(HeartbeatSocket(f"127.0.0.{host}", 0))) for host in (21, 22)
            ]
            nodes, threads = [], []
            for number, name in enumerate("am"):
                other = channels[1 - number]
                members = {instance_id("ma"[number]): other.socket.getsockname()}
                config = ElectionConfig(instance_id(name), 10, 0.05, 10.0)
                node = Node(config, EIP, members, time.monotonic(), emit=lambda event: None)
                nodes.append(node)
                link = HeartbeatLink(channels[number], node, lambda event: None, AuthPolicy(), time.monotonic)
                threads += [Sender(link, ROUND), Receiver(link, ROUND)]
            for thread in threads:
                thread.start()

            def roles() -> list[Role]:
                return [node.snapshot(time.monotonic()).role for node in nodes]

            try:
                until(lambda: roles() == [Role.MASTER, Role.BACKUP], "one master")
                progress = [thread.progress for thread in threads]
                until(lambda: all(t.progress > p for t, p in zip(threads, progress, strict=True)), "progress")
            finally:
                for thread in threads:
                    thread.stopping.set()
                for thread in threads:
                    thread.join(PATIENCE)
            assert not any(thread.is_alive() for thread in threads)
