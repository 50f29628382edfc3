"""Encode and decode heartbeats: for an IPv4 Elastic IP the same 24 bytes that the Go exoip sends.

    offset  0    2     3     4                    8                                     24
            +----+-----+-----+--------------------+-------------------------------------+
            |0201| prio| prio| Elastic IP (IPv4)  | instance id (a UUID, 16 bytes)      |
            +----+-----+-----+--------------------+-------------------------------------+

    offset  0    2     3     4                    20                                    36
            +----+-----+-----+--------------------+-------------------------------------+
            |0202| prio| prio| Elastic IP (IPv6)  | instance id (a UUID, 16 bytes)      |
            +----+-----+-----+--------------------+-------------------------------------+

Integers are big-endian. The first two bytes are the protocol (2) and its version: 1 for IPv4, 2 for
IPv6. An IPv6 Elastic IP is a prefix; its heartbeats carry the address that the API lists as its
`ip`. The priority, 0 (best) to 255, stands twice and must be the same both times. The Go tool put
the id of a network interface in the last 16 bytes; API v2 has no such ids, so exoip puts the
instance id there. A signed heartbeat has a trailer of 24 more bytes, see `authentication`.

`decode` accepts any bytes and raises only `WireError`. A node repeats the same bytes, so decoded
heartbeats are cached. Shown by tests/unit/heartbeat/test_wire.py.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from uuid import UUID

from exoip.errors import WireError

SIZE = 24  # bytes of a heartbeat for an IPv4 Elastic IP
SIZE_V6 = 36  # bytes of a heartbeat for an IPv6 Elastic IP
TRAILER = 24  # bytes that follow if it is signed
SIGNED = SIZE + TRAILER
SIGNED_V6 = SIZE_V6 + TRAILER
PROTOCOL = b"\x02\x01"  # protocol 2, version 1: IPv4
PROTOCOL_V6 = b"\x02\x02"  # protocol 2, version 2: IPv6
DECODE_CACHE_SIZE = 2048  # decoded heartbeats: more than a group has; 1 MiB at most
UUID_PATTERN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # as the API writes ids
_LAYOUT = struct.Struct(">2sBB4s16s")
_LAYOUT_V6 = struct.Struct(">2sBB16s16s")
_FORMS = {SIZE: (_LAYOUT, PROTOCOL), SIZE_V6: (_LAYOUT_V6, PROTOCOL_V6)}


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One heartbeat.

    `priority`: 0..255, the lowest wins. `eip`: an IPv4 or IPv6 address in canonical form.
    `instance_id`: a lower-case UUID. Raises ValueError for anything else.
    """

    priority: int
    eip: str
    instance_id: str

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= 255:
            raise ValueError(f"a priority is 0..255, not {self.priority}")
        if str(ip_address(self.eip)) != self.eip or "%" in self.eip:
            raise ValueError(f"an Elastic IP is an address in canonical form, not {self.eip!r}")
        if str(UUID(self.instance_id)) != self.instance_id:
            raise ValueError(f"an instance id is a lower-case UUID, not {self.instance_id!r}")


def encode(heartbeat: Heartbeat) -> bytes:
    """Return the 24 bytes of `heartbeat`, or 36 for an IPv6 Elastic IP."""
    eip = ip_address(heartbeat.eip)
    layout, protocol = _FORMS[SIZE if eip.version == 4 else SIZE_V6]
    return layout.pack(protocol, heartbeat.priority, heartbeat.priority, eip.packed, UUID(heartbeat.instance_id).bytes)


def split(datagram: bytes) -> tuple[bytes, bytes]:
    """Split a signed datagram into heartbeat and trailer; the trailer of any other is empty."""
    if len(datagram) < SIGNED:
        return datagram, b""
    if len(datagram) == SIGNED:
        return datagram[:SIZE], datagram[SIZE:]
    return (datagram[:SIZE_V6], datagram[SIZE_V6:]) if len(datagram) == SIGNED_V6 else (datagram, b"")


@lru_cache(DECODE_CACHE_SIZE)
def decode(datagram: bytes) -> Heartbeat:
    """Decode a datagram without its trailer.

    Raises WireError, whose `cause` is short, long, version or priority.
    """
    if len(datagram) not in _FORMS:
        cause = "short" if len(datagram) < SIZE else "long"
        wanted = f"{SIZE} bytes, or {SIGNED} if signed (for IPv6 {SIZE_V6} or {SIGNED_V6})"
        raise WireError(cause, f"a heartbeat has {wanted}, this datagram {len(datagram)}")
    layout, wanted_protocol = _FORMS[len(datagram)]
    protocol, priority, again, eip, instance = layout.unpack(datagram)
    if protocol != wanted_protocol:
        raise WireError("version", f"protocol {protocol.hex()}, expected {wanted_protocol.hex()}")
    if priority != again:
        raise WireError("priority", f"its two priorities differ: {priority} and {again}")
    return Heartbeat(priority, str(ip_address(eip)), str(UUID(bytes=instance)))
