"""The sender and the receiver: two threads on the UDP sockets of this node.

The receiver waits for nothing but its socket, and the sender for nothing but the node.

The receiver also decides when peers expire: at their deadline, unless a datagram still waits in the
socket. The kernel holds a bounded number of datagrams. After reading that many, the receiver has
seen everything that waited at the start of its turn, even during a flood. As long as a flood lasts,
the kernel drops what cannot come from a member (`heartbeat/flood_filter.py`). Shown by
tests/unit/daemon/test_heartbeat_threads.py.
"""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from exoip.core.events import Event, EventName
from exoip.core.node import Node
from exoip.errors import WireError
from exoip.heartbeat.admission import REPORT_INTERVAL
from exoip.heartbeat.authentication import AuthPolicy, StampSource
from exoip.heartbeat.flood_filter import FLOOD_THRESHOLD, FloodDetector, bpf_program
from exoip.heartbeat.socket_address import SocketAddress
from exoip.heartbeat.udp import HeartbeatSocket, is_local
from exoip.heartbeat.wire import decode, encode, split
from exoip.thread import ROUND_TIME, SupervisedThread

RECOVERED_AFTER = 10  # heartbeats in a row that were sent, after which a failure is over


@dataclass(slots=True)
class HeartbeatLink:
    """What the sender and the receiver share.

    `auth_policy` signs and verifies, and may be replaced at any time. `wall` gives Unix time.
    """

    channel: HeartbeatSocket
    node: Node
    emit: Callable[[Event], None]
    auth_policy: AuthPolicy
    clock: Callable[[], float]
    wall: Callable[[], float] = time.time


@dataclass(slots=True)
class _Trouble:
    """Heartbeats to one peer that cannot be sent, or could not lately.

    `problem`: why, as reported at `reported_at`, or "" if it was reported to be over. `lost`: how
    many since. `sent`: how many were sent in a row after the last failure.
    """

    problem: str = ""
    reported_at: float = -math.inf
    lost: int = 0
    sent: int = 0


class Sender(SupervisedThread):
    """Sends this node's heartbeats to all peers, signed once if `auth_policy` has a key.

    A peer that cannot be reached does not delay the others. Events report the first failure and the
    recovery, which takes RECOVERED_AFTER heartbeats in a row: at most one a REPORT_INTERVAL for
    each peer, one for all with the same news, and with the number of heartbeats that were lost.
    `sent` and `failures` count datagrams. `sent_at`: when a heartbeat was last sent, or was due
    and there was no peer, in seconds; -inf before.
    """

    def __init__(self, link: HeartbeatLink, round_time: float = ROUND_TIME) -> None:
        super().__init__("sender", link.clock, round_time)
        self._link, self._node, self._channel = link, link.node, link.channel
        self._stamp_source = StampSource()
        self._targets: tuple[SocketAddress, ...] = ()
        self._troubles: dict[SocketAddress, _Trouble] = {}
        self._news: dict[tuple[EventName, str], list[SocketAddress]] = {}  # what is to be reported, of whom
        self.sent = self.failures = 0
        self.sent_at = -math.inf

    def turn(self) -> None:
        """Wait until a heartbeat is due and send it to every member."""
        advert = self._node.wait_advert(self._clock, self._round_time)
        if advert is None:
            return
        if advert.targets != self._targets:
            self._targets = advert.targets
            self._channel.keep(self._targets)
            self._troubles = {peer: one for peer, one in self._troubles.items() if peer in self._targets}
        datagram = self._link.auth_policy.sign(encode(advert.heartbeat), self._stamp_source.next(self._link.wall()))
        sent_before, problem = self.sent, ""
        for place in advert.targets:
            try:
                self._channel.send(datagram, *place)
            except OSError as error:
                self.failures += 1
                problem = _in_words(error)
                self._failed(place, problem)
            else:
                self.sent += 1
                if self._troubles:
                    self._succeeded(place)
        if self._news:
            self._report()
        now = self._clock()
        mute = problem if self.sent == sent_before else ""
        self.sent_at = self.sent_at if mute else now
        self._node.set_mute(mute, now)

    def _failed(self, place: SocketAddress, problem: str) -> None:
        trouble = self._troubles.setdefault(place, _Trouble())
        trouble.lost, trouble.sent = trouble.lost + 1, 0
        if problem != trouble.problem and self._may_report(trouble):
            trouble.problem = problem
            self._news.setdefault((EventName.SEND_FAILED, problem), []).append(place)

    def _succeeded(self, place: SocketAddress) -> None:
        if (trouble := self._troubles.get(place)) is None:
            return
        trouble.sent += 1
        if trouble.problem and trouble.sent >= RECOVERED_AFTER and self._may_report(trouble):
            self._news.setdefault((EventName.SEND_RECOVERED, ""), []).append(place)

    def _may_report(self, trouble: _Trouble) -> bool:
        return self._clock() - trouble.reported_at >= REPORT_INTERVAL

    def _report(self) -> None:
        """Emit one event for all peers with the same news."""
        now = self._clock()
        for (name, reason), places in self._news.items():
            lost = 0
            for place in places:
                trouble = self._troubles[place]
                lost, trouble.reported_at = lost + trouble.lost, now
                if name is EventName.SEND_RECOVERED:
                    self._troubles[place] = _Trouble(reported_at=now)
            others = f" and {more} other{'s' * (more > 1)}" if (more := len(places) - 1) else ""
            details = {"address": str(places[0]), "others": others, "count": lost}
            self._link.emit(Event(name, now, "", reason, details))
        self._news.clear()


def _in_words(error: OSError) -> str:
    if isinstance(error, BlockingIOError):
        return "its send buffer is full: nobody answers ARP there, or the network is too slow"
    return error.strerror or str(error)


class Receiver(SupervisedThread):
    """Hands verified heartbeats to the node, and lets silent peers expire when no more wait.

    `received` counts datagrams.
    """

    def __init__(self, link: HeartbeatLink, round_time: float = ROUND_TIME) -> None:
        super().__init__("receiver", link.clock, round_time)
        self._link, self._node, self._channel = link, link.node, link.channel
        self._poll = select.poll()  # not select(), which takes no descriptor above 1023
        self._poll.register(self._channel.socket, select.POLLIN)
        self._flood = FloodDetector()
        self._refused = 0  # datagrams in this turn
        # What the kernel's filter was made from
        self._filter: tuple[Mapping[str, SocketAddress], AuthPolicy] | None = None
        self._dropped_before = 0  # by the kernel until the flood began
        self.received = 0

    def turn(self) -> None:
        """Wait for a datagram or a deadline, read what waits, then expire overdue peers."""
        self._wait(max(0.0, min(self._node.next_death() - self._clock(), self._round_time)))
        started = self._clock()
        for _ in range(self._channel.capacity):
            received = self._channel.receive()
            if received is None:
                break
            self.accept(*received)
        self._node.tick(started)
        self._filter_flood(started)

    def _wait(self, seconds: float) -> None:
        """Wait for a datagram. poll() counts whole milliseconds, and a death is due to the µs."""
        milliseconds = int(seconds * 1000)
        if not self._poll.poll(milliseconds) and milliseconds < seconds * 1000:
            select.select((), (), (), seconds - milliseconds / 1000)

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
            if heartbeat.instance_id == self._node.admission.own_id:
                proof = replace(proof, local=is_local(address))
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
        own_id = self._node.admission.own_id
        itself = [(own_id, address) for address, _ in members.values() if is_local(address)]  # a clone hears itself
        program = bpf_program(eip, members, signed=auth_policy.strict, also=itself)
        if not self._channel.set_filter(program):  # too many members for the kernel
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
