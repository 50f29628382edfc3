"""The sender and the receiver: two threads on one plain blocking UDP socket.

Neither waits for anything but the socket and the node. The receiver is also the one that lets deaths happen: a peer dies at its
deadline, unless a datagram still waits in the socket. The kernel holds a bounded number of datagrams, so after
taking that many out, everything that waited at the start of a round has been read, even under a flood. During one the kernel sifts
(`sieve`).
"""

from __future__ import annotations

import array
import socket
import struct

from exoip.heartbeat.socket_address import SocketAddress, bind_error
from exoip.heartbeat.wire import SIGNED

RECEIVE_BUFFER = 1 << 20
SMALLEST_COST = 256  # bytes of the receive buffer that even an empty datagram takes
NETWORK_CONTROL = 0xC0  # the DSCP class CS6, as VRRP daemons mark their adverts
_V4_MAPPED = "::ffff:"
_SO_MEMINFO, _MEMINFO = (
    55,
    struct.Struct("9I"),
)  # Linux; the module `socket` has no names for these. The last is what was dropped
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27


class HeartbeatSocket:
    """A UDP socket bound to `host` ("" for every address, both families where the machine has both) and `port`.

    Raises ConfigError when it can not be bound, naming the address and the cure.
    """

    def __init__(self, host: str, port: int) -> None:
        dual = not host and socket.has_dualstack_ipv6()
        self._v6 = dual or ":" in host
        self.socket = socket.socket(socket.AF_INET6 if self._v6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if dual:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self._mark()
            self.socket.bind((host, port))
        except OSError as error:
            self.socket.close()
            raise bind_error("bind-address", SocketAddress(host, port), error) from error
        room = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.capacity = room // SMALLEST_COST  # more datagrams than the kernel can hold for us

    def _mark(self) -> None:
        if self._v6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, NETWORK_CONTROL)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, NETWORK_CONTROL)

    def send(self, datagram: bytes, address: str, port: int) -> None:
        """Send to an IP literal; raises OSError."""
        if self._v6 and ":" not in address:
            address = _V4_MAPPED + address
        self.socket.sendto(datagram, (address, port))

    def receive(self) -> tuple[bytes, str] | None:
        """Return a waiting datagram (its first bytes: enough to see that it is too long) and who sent it; None when none waits."""
        try:
            datagram, source = self.socket.recvfrom(SIGNED + 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        return datagram, str(source[0]).removeprefix(_V4_MAPPED)

    def set_filter(self, steps: bytes | None) -> bool:
        """Have the kernel drop what does not pass this filter (`sieve.program`), or nothing; return whether it does as asked."""
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
        """How many datagrams the kernel dropped so far, since they did not pass the filter or no longer fitted (it wraps at 2**32)."""
        try:
            return int(_MEMINFO.unpack(self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1])
        except (OSError, struct.error):
            return 0

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
