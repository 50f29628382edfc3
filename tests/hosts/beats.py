"""Every heartbeat that leaves a host, seen on its cable, with the time at which the kernel saw it."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from tests.hosts.network import ADDRESSES, PORT, cable

SO_TIMESTAMPNS = 35
ETH_P_ALL, ETH_P_IP = 3, 0x0800  # a bridge takes its ports' frames before those of one protocol are handed out
HEARTBEATS = (24, 48)  # bytes of an unsigned one, and of a signed one
TURN = 0.2


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat from one host to another (names), at `at` (Unix time), and the priority in it."""

    at: float
    sender: str
    receiver: str
    priority: int


class Beats(threading.Thread):
    """Writes down the heartbeats on all cables, from the moment it is made until `close`."""

    def __init__(self) -> None:
        super().__init__(name="beats", daemon=True)
        self._names = {address: name for name, address in ADDRESSES.items()}
        self._selector = selectors.DefaultSelector()
        self._seen: list[Beat] = []
        self._end = threading.Event()
        for name in ADDRESSES:
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            wire.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            wire.bind((cable(name), ETH_P_ALL))
            wire.setblocking(False)
            self._selector.register(wire, selectors.EVENT_READ)
        self.start()

    def run(self) -> None:
        """Read until closed."""
        while not self._end.is_set():
            for key, _ in self._selector.select(TURN):
                wire = key.fileobj
                assert isinstance(wire, socket.socket)
                try:
                    packet, ancillary, _, origin = wire.recvmsg(2048, 64)
                except OSError:  # the cable was pulled; it may be plugged in again
                    continue
                if (
                    origin[1] == ETH_P_IP
                    and origin[2] != socket.PACKET_OUTGOING
                    and (beat := self._beat(packet, ancillary)) is not None
                ):
                    self._seen.append(beat)

    def close(self) -> None:
        """Stop reading."""
        self._end.set()
        self.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def of(self, sender: str, since: float, until: float) -> list[Beat]:
        """A host's heartbeats within a time, oldest first."""
        return [beat for beat in list(self._seen) if beat.sender == sender and since <= beat.at <= until]

    def longest_gap(self, sender: str, since: float, until: float, receivers: Iterable[str]) -> float:
        """The longest time within [since, until] in which the host sent nothing to one of the
        receivers.
        """
        times = {
            receiver: [since, *(beat.at for beat in self.of(sender, since, until) if beat.receiver == receiver), until]
            for receiver in receivers
        }
        return max(later - earlier for one in times.values() for earlier, later in pairwise(one))

    def _beat(self, packet: bytes, ancillary: list[tuple[int, int, bytes]]) -> Beat | None:
        header = (packet[0] & 15) * 4
        if packet[9] != socket.IPPROTO_UDP or len(packet) < header + 8:
            return None
        _, port, length = struct.unpack_from("!HHH", packet, header)
        if port != PORT or length - 8 not in HEARTBEATS:
            return None
        sender, receiver = (self._names.get(socket.inet_ntoa(packet[at : at + 4]), "") for at in (12, 16))
        seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
        return Beat(seconds + nanoseconds / 1e9, sender, receiver, packet[header + 8 + 2])
