"""The one UDP socket for heartbeats: plain, blocking, for both address families.

The kernel holds a bounded number of datagrams (`capacity`). After reading that many, a receiver has
read everything that waited when it began, even during a flood.
"""

from __future__ import annotations

import array
import socket
import struct

from exoip.heartbeat.socket_address import SocketAddress, bind_error
from exoip.heartbeat.wire import SIGNED_V6

RECEIVE_BUFFER = 1 << 20  # bytes asked of the kernel
SMALLEST_COST = 256  # bytes of the receive buffer that even an empty datagram takes
NETWORK_CONTROL = 0xC0  # the DSCP class CS6, as VRRP daemons mark their adverts
_V4_MAPPED = "::ffff:"
# Linux; the module `socket` has no names for these.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")  # the last number is the count of dropped datagrams
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27


class HeartbeatSocket:
    """A UDP socket bound to `host` ("": every address, of both families if possible) and `port`.

    Raises ConfigError if it cannot be bound.
    """

    def __init__(self, host: str, port: int) -> None:
        dual = not host and socket.has_dualstack_ipv6()
        self._v6 = dual or ":" in host
        self.socket = socket.socket(socket.AF_INET6 if self._v6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if dual:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            if self._v6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, NETWORK_CONTROL)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, NETWORK_CONTROL)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self.socket.bind((host, port))
        except OSError as error:
            self.socket.close()
            raise bind_error("bind-address", SocketAddress(host, port), error) from error
        room = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.capacity = room // SMALLEST_COST  # more datagrams than the kernel can hold for us

    def send(self, datagram: bytes, address: str, port: int) -> None:
        """Send to an IP literal. Raises OSError."""
        if self._v6 and ":" not in address:
            address = _V4_MAPPED + address
        self.socket.sendto(datagram, (address, port))

    def receive(self) -> tuple[bytes, str] | None:
        """Return the first bytes of a waiting datagram and its sender's address, or None.

        It reads one byte more than the longest heartbeat has: enough to see that a datagram is too
        long.
        """
        try:
            datagram, source = self.socket.recvfrom(SIGNED_V6 + 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        return datagram, str(source[0]).removeprefix(_V4_MAPPED)

    def set_filter(self, steps: bytes | None) -> bool:
        """Attach a filter (`flood_filter`), or detach it (None); return whether that worked."""
        try:
            if steps is None:
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            else:
                kept = array.array("B", steps)  # alive until the kernel has copied it
                filled = struct.pack("@HP", len(steps) // 8, kept.buffer_info()[0])
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filled)
        except OSError:
            return False
        return True

    def dropped(self) -> int:
        """Return how many datagrams the kernel has dropped so far, modulo 2**32."""
        try:
            return int(_MEMINFO.unpack(self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1])
        except (OSError, struct.error):
            return 0

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
