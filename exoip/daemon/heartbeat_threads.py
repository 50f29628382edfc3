"""The sender and the receiver: two threads on one blocking UDP socket.

They wait for nothing but the socket and the node.

The receiver also decides when peers expire: at their deadline, unless a datagram still waits in the
socket. The kernel holds a bounded number of datagrams. After reading that many, the receiver has
seen everything that waited at the start of its turn, even during a flood. As long as a flood lasts,
the kernel drops what cannot come from a member (`heartbeat/flood_filter.py`).
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exoip.core.events import Event, EventName
from exoip.core.node import Node
from exoip.errors import WireError
from exoip.heartbeat.authentication import AuthPolicy, StampSource
from exoip.heartbeat.flood_filter import FLOOD_THRESHOLD, FloodDetector, bpf_program
from exoip.heartbeat.socket_address import SocketAddress
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.heartbeat.wire import decode, encode, split
from exoip.thread import ROUND_TIME, SupervisedThread


@dataclass(slots=True)
class HeartbeatLink:
    """What the sender and the receiver share.

    `auth_policy` sign and verify, and may be replaced at any time. `wall` gives Unix time.
    """

    channel: HeartbeatSocket
    node: Node
    emit: Callable[[Event], None]
    auth_policy: AuthPolicy
    clock: Callable[[], float]
    wall: Callable[[], float] = time.time


class Sender(SupervisedThread):
    """Sends this node's heartbeats to all peers, signed once if `auth_policy` have a key.

    A peer that cannot be reached does not delay the others. An event reports when that begins and
    when it ends. `sent` and `failures` count datagrams.
    """

    def __init__(self, link: HeartbeatLink, round_time: float = ROUND_TIME) -> None:
        super().__init__("sender", link.clock, round_time)
        self._link, self._node, self._channel = link, link.node, link.channel
        self._stamp_source = StampSource()
        self._failing: dict[SocketAddress, str] = {}
        self.sent = self.failures = 0

    def turn(self) -> None:
        """Wait until a heartbeat is due and send it to every member."""
        advert = self._node.wait_advert(self._clock, self._round_time)
        if advert is None:
            return
        datagram = self._link.auth_policy.sign(encode(advert.heartbeat), self._stamp_source.next(self._link.wall()))
        for place in advert.targets:
            try:
                self._channel.send(datagram, *place)
            except OSError as error:
                self.failures += 1
                self._report(place, error.strerror or str(error))
            else:
                self.sent += 1
                if self._failing:
                    self._report(place, "")

    def _report(self, place: SocketAddress, problem: str) -> None:
        if self._failing.get(place, "") == problem:
            return
        if problem:
            self._failing[place] = problem
            self._link.emit(Event(EventName.SEND_FAILED, self._clock(), "", problem, {"address": str(place)}))
        else:
            del self._failing[place]
            self._link.emit(Event(EventName.SEND_RECOVERED, self._clock(), "", "", {"address": str(place)}))


class Receiver(SupervisedThread):
    """Hands verified heartbeats to the node, and lets silent peers expire when no more wait.

    `received` counts datagrams.
    """

    def __init__(self, link: HeartbeatLink, round_time: float = ROUND_TIME) -> None:
        super().__init__("receiver", link.clock, round_time)
        self._link, self._node, self._channel = link, link.node, link.channel
        self._flood = FloodDetector()
        self._refused = 0  # datagrams in this turn
        self._filter: tuple[Mapping[str, SocketAddress], AuthPolicy] | None = (
            None  # what the kernel's filter was made from
        )
        self._dropped_before = 0  # by the kernel until the flood began
        self.received = 0

    def turn(self) -> None:
        """Wait for a datagram or a deadline, read what waits, then expire overdue peers."""
        wait = min(self._node.next_death() - self._clock(), self._round_time)
        select.select([self._channel.socket], (), (), max(0.0, wait))
        started = self._clock()
        for _ in range(self._channel.capacity):
            received = self._channel.receive()
            if received is None:
                break
            self.accept(*received)
        self._node.tick(started)
        self._filter_flood(started)

    def accept(self, datagram: bytes, address: str) -> None:
        """Hand a heartbeat to the node; of any other datagram the node counts what is wrong."""
        self.received += 1
        head, trailer = split(datagram)
        try:
            heartbeat = decode(head)
        except WireError as error:
            self._node.drop(address, error.cause, self._clock())
            self._refused += 1
        else:
            proof = self._link.auth_policy.verify(head, trailer, self._link.wall())
            self._refused += not self._node.heard(heartbeat, address, self._clock(), proof)

    def _filter_flood(self, now: float) -> None:
        """Have the kernel filter while a flood lasts; report its beginning and end."""
        flood, began = self._flood, self._flood.began
        if flood.look(self._refused, now) and flood.began != began:
            self._report(now)
        self._refused = 0
        wanted = (self._node.admission.members, self._link.auth_policy) if flood.filtering else None
        if wanted == self._filter:
            return
        self._filter = wanted
        if wanted is None:
            self._channel.set_filter(None)
            return
        eip, (members, auth_policy) = self._node.admission.eip, wanted
        if not self._channel.set_filter(
            bpf_program(eip, members, signed=auth_policy.strict)
        ):  # too many members for the kernel
            self._channel.set_filter(bpf_program(eip, None, signed=auth_policy.strict))

    def _report(self, now: float) -> None:
        dropped = self._channel.dropped()
        if self._flood.began is not None:
            self._dropped_before = dropped
            self._link.emit(
                Event(EventName.FLOODED, now, "", f"{FLOOD_THRESHOLD} datagrams were dropped within a second")
            )
        else:
            reason = f"the kernel dropped {(dropped - self._dropped_before) % 2**32} datagrams"
            self._link.emit(Event(EventName.FLOOD_OVER, now, "", reason))
