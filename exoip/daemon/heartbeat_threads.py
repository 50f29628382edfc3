"""The sender and the receiver: two threads on one plain blocking UDP socket.

Neither waits for anything but the socket and the node. The receiver is also the one that lets deaths happen: a peer dies at its
deadline, unless a datagram still waits in the socket. The kernel holds a bounded number of datagrams, so after
taking that many out, everything that waited at the start of a round has been read, even under a flood. During one the kernel sifts
(`flood_filter`).
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping

from exoip.core.admission import Place
from exoip.core.events import Event, EventName
from exoip.core.node import Node
from exoip.errors import WireError
from exoip.heartbeat.authentication import Rules, Stamper
from exoip.heartbeat.flood_filter import FLOODED, Flood, program
from exoip.heartbeat.socket_address import SocketAddress
from exoip.heartbeat.udp import Channel
from exoip.heartbeat.wire import decode, encode, split
from exoip.thread import SupervisedThread


class Sender(SupervisedThread):
    """Sends this node's heartbeats, signed once for all peers where `rules` have a key.

    A peer that can not be sent to costs the others nothing; told of when it begins and ends.
    """

    def __init__(
        self,
        channel: Channel,
        node: Node,
        clock: Callable[[], float],
        round_time: float,
        emit: Callable[[Event], None],
        rules: Callable[[], Rules] = Rules,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("sender", clock, round_time)
        self._channel, self._node = channel, node
        self._emit, self._rules, self._wall = emit, rules, wall
        self._stamper = Stamper()
        self._failing: dict[tuple[str, int], str] = {}
        self.sent = self.failures = 0

    def turn(self) -> None:
        """Wait for the next heartbeat and send it to every member."""
        beat = self._node.wait_beat(self._clock, self._round_time)
        if beat is None or beat.heartbeat is None:
            return
        datagram = self._rules().sign(encode(beat.heartbeat), self._stamper.next(self._wall()))
        for place in beat.targets:
            try:
                self._channel.send(datagram, *place)
            except OSError as error:
                self.failures += 1
                self._note(place, error.strerror or str(error))
            else:
                self.sent += 1
                if self._failing:
                    self._note(place, "")

    def _note(self, place: tuple[str, int], problem: str) -> None:
        if self._failing.get(place, "") == problem:
            return
        address = str(SocketAddress(*place))
        if problem:
            self._failing[place] = problem
            self._emit(Event(EventName.SEND_FAILED, self._clock(), "", problem, {"address": address}))
        else:
            del self._failing[place]
            self._emit(Event(EventName.SEND_RECOVERED, self._clock(), "", "", {"address": address}))


class Receiver(SupervisedThread):
    """Hears the others' heartbeats, verified by `rules`, and lets the silent die."""

    def __init__(
        self,
        channel: Channel,
        node: Node,
        clock: Callable[[], float],
        round_time: float,
        emit: Callable[[Event], None],
        rules: Callable[[], Rules] = Rules,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__("receiver", clock, round_time)
        self._channel, self._node = channel, node
        self._emit, self._rules, self._wall = emit, rules, wall
        self._flood = Flood()
        self._refused = 0  # in this turn
        # whom the filter in place lets through
        self._sifted_for: tuple[Mapping[str, Place] | None, Rules | None] = (None, None)
        self._dropped = 0  # by the kernel, before the flood
        self.received = 0

    def turn(self) -> None:
        """Wait for datagrams or for the next death, take out what waits, then let die who is due."""
        wait = min(self._node.next_death() - self._clock(), self._round_time)
        select.select([self._channel.socket], (), (), max(0.0, wait))
        started = self._clock()
        for _ in range(self._channel.capacity):
            received = self._channel.receive()
            if received is None:
                break
            self._take(*received)
        self._node.tick(started)
        self._sift(started)

    def _take(self, datagram: bytes, address: str) -> None:
        self.received += 1
        head, trailer = split(datagram)
        try:
            heartbeat = decode(head)
        except WireError as error:
            self._node.refuse(address, error.cause, self._clock())
            self._refused += 1
        else:
            proof = self._rules().verify(head, trailer, self._wall())
            self._refused += not self._node.heard(heartbeat, address, self._clock(), proof)

    def _sift(self, now: float) -> None:
        """Let the kernel sift while there is a flood, by the members and rules of now; tell of the flood's beginning and end."""
        flood, began = self._flood, self._flood.began
        if flood.look(self._refused, now) and flood.began != began:
            self._tell(now)
        self._refused = 0
        members, rules = (self._node.admission.members, self._rules()) if flood.sifting else (None, None)
        if members is not self._sifted_for[0] or rules != self._sifted_for[1]:
            self._sifted_for = members, rules
            if members is None or rules is None:
                self._channel.sift(None)
            elif not self._channel.sift(program(self._node.admission.eip, members, signed=rules.strict)):
                self._channel.sift(program(self._node.admission.eip, None, signed=rules.strict))

    def _tell(self, now: float) -> None:
        dropped = self._channel.dropped()
        if self._flood.began is not None:
            self._dropped = dropped
            self._emit(Event(EventName.FLOODED, now, "", f"{FLOODED} datagrams were refused within a second"))
        else:
            reason = f"the kernel dropped {(dropped - self._dropped) % 2**32} datagrams"
            self._emit(Event(EventName.FLOOD_OVER, now, "", reason))
