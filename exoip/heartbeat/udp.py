"""The UDP sockets for heartbeats, for both address families: one hears, one for each peer sends.

The kernel holds a bounded number of datagrams (`capacity`). After reading that many, a receiver has
read everything that waited when it began, even during a flood.

**A peer that cannot be reached costs the others nothing.** A datagram to a host that does not
answer ARP waits in the kernel for up to 3 s, and is charged to the send buffer of its socket. Five
such peers at 0.05 s fill the buffer of one socket. So each peer has a socket of its own (above
MOST_OUTLETS peers they share), and a send never waits: if the buffer is full, that datagram is
lost. All of them have the address and port of the one that hears, which firewalls take for one
flow. They form a group (SO_REUSEPORT, see socket(7)) with a program that gives whatever arrives to
the first. Cost: a descriptor a peer. The kernel refuses a second daemon on the port as before,
because the first socket is bound without that option. Shown by tests/unit/heartbeat/test_udp.py.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import resource
import socket
import struct
from collections.abc import Collection
from typing import Any

from exoip.heartbeat.socket_address import SocketAddress, bind_error
from exoip.heartbeat.wire import SIGNED_V6

RECEIVE_BUFFER = 1 << 20  # bytes asked of the kernel
SMALLEST_COST = 256  # bytes of the receive buffer that even an empty datagram takes
MOST_OUTLETS = 256  # sockets that send; a quarter of the 1024 descriptors that a service usually has
NETWORK_CONTROL = 0xC0  # the DSCP class CS6, as VRRP daemons mark their adverts
_V4_MAPPED = "::ffff:"
# Linux; the module `socket` has no names for these.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("9I")  # the last number is the count of dropped datagrams
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_SO_ATTACH_REUSEPORT_CBPF = 51
_TO_THE_FIRST = struct.pack("=HBBI", 0x06, 0, 0, 0)  # BPF_RET: the number of the socket in its group


class HeartbeatSocket:
    """A UDP socket bound to `host` ("": every address, of both families if possible) and `port`.

    Raises ConfigError if it cannot be bound.
    """

    def __init__(self, host: str, port: int) -> None:
        self._dual = not host and socket.has_dualstack_ipv6()
        self._v6 = self._dual or ":" in host
        self.socket = self._open()
        self._peers: dict[tuple[str, int], socket.socket] = {}  # the outlet of each peer
        self._outlets: dict[socket.socket, int] = {}  # and how many peers use it
        self._most_outlets = _most_outlets()
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            self.socket.bind((host, port))
        except OSError as error:
            self.socket.close()
            raise bind_error("bind-address", SocketAddress(host, port), error) from error
        self._place = self.socket.getsockname()
        self._source = _source(self._place) if self._v6 and self._place[0] != "::" else []
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # not before: the port is to be ours alone
        room = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.capacity = room // SMALLEST_COST  # more datagrams than the kernel can hold for us

    def _open(self) -> socket.socket:
        opened = socket.socket(socket.AF_INET6 if self._v6 else socket.AF_INET, socket.SOCK_DGRAM)
        if self._dual:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if self._v6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, NETWORK_CONTROL)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, NETWORK_CONTROL)
        return opened

    def send(self, datagram: bytes, address: str, port: int) -> None:
        """Send to an IP literal, without waiting. Raises OSError."""
        outlet = self._peers.get((address, port)) or self._outlet_for((address, port))
        if self._v6 and ":" not in address:
            address = _V4_MAPPED + address
        try:
            outlet.sendmsg([datagram], self._source, socket.MSG_DONTWAIT, (address, port))
        except OSError as error:
            if self._source and error.errno == errno.EINVAL:
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)) from error
            raise

    def keep(self, peers: Collection[tuple[str, int]]) -> None:
        """Forget all peers but these; others get their sockets."""
        for gone in self._peers.keys() - set(peers):
            self._outlets[self._peers.pop(gone)] -= 1

    def _outlet_for(self, peer: tuple[str, int]) -> socket.socket:
        """Return the socket for a new peer, or that which hears if there is no other at present."""
        outlet = min(self._outlets, key=self._outlets.__getitem__, default=None)
        if len(self._outlets) < self._most_outlets and (outlet is None or self._outlets[outlet]):
            with contextlib.suppress(OSError):  # no descriptors, or the address is gone for now
                outlet = self._opened_outlet()
        if outlet is None:
            return self.socket
        self._outlets[outlet] = self._outlets.get(outlet, 0) + 1
        self._peers[peer] = outlet
        return outlet

    def _opened_outlet(self) -> socket.socket:
        outlet = self._open()
        try:
            outlet.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            outlet.bind(self._place)
            if not self._outlets:
                most, self._most_outlets = self._most_outlets, 0
                self._attach(_SO_ATTACH_REUSEPORT_CBPF, _TO_THE_FIRST)
                self._most_outlets = most  # a kernel without this would spread over them what arrives
        except OSError:
            outlet.close()
            raise
        return outlet

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
                self._attach(_SO_ATTACH_FILTER, steps)
        except OSError:
            return False
        return True

    def _attach(self, option: int, steps: bytes) -> None:
        kept = array.array("B", steps)  # alive until the kernel has copied it
        self.socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("@HP", len(steps) // 8, kept.buffer_info()[0]))

    def dropped(self) -> int:
        """Return how many datagrams the kernel has dropped so far, modulo 2**32."""
        try:
            return int(_MEMINFO.unpack(self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1])
        except (OSError, struct.error):
            return 0

    def close(self) -> None:
        """Close the sockets."""
        for each in (*self._outlets, self.socket):
            each.close()


def is_local(address: str) -> bool:
    """Whether it is an address of this machine: what is sent to it would leave from it.

    (Or from 127.0.0.1, to another such address. To bind it shows nothing with ip_nonlocal_bind.)
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.connect((address, 9))
            return one.getsockname()[0] in (address, "127.0.0.1")
    except OSError:
        return False


def _source(place: tuple[Any, ...]) -> list[tuple[int, int, bytes]]:
    """Return what names the source of a datagram, see ipv6(7): only then does the kernel check that
    this host still has the IPv6 address to which the socket is bound.
    """
    address = socket.inet_pton(socket.AF_INET6, place[0].partition("%")[0])
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, address + struct.pack("@I", place[3]))]


def _most_outlets() -> int:
    """Return how many outlets there may be, so that descriptors are left for other things."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_OUTLETS if limit == resource.RLIM_INFINITY else min(MOST_OUTLETS, limit // 4)
