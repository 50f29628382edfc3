"""Encode and decode heartbeats: the same 24 bytes that the Go exoip sends.

    offset  0    2     3     4                    8                                     24
            +----+-----+-----+--------------------+-------------------------------------+
            |0201| prio| prio| Elastic IP (IPv4)  | instance id (a UUID, 16 bytes)      |
            +----+-----+-----+--------------------+-------------------------------------+

Integers are big-endian. The first two bytes are the protocol (2) and its version (1). The priority,
0 (best) to 255, stands twice and must be the same both times. The Go tool put the id of a network
interface in the last 16 bytes; API v2 has no such ids, so exoip puts the instance id there. A
signed heartbeat has a trailer of 24 more bytes, see `authentication`.

`decode` accepts any bytes and raises only `WireError`. A node repeats the same 24 bytes, so decoded
heartbeats are cached.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from uuid import UUID

from exoip.errors import WireError

SIZE = 24  # bytes of a heartbeat
SIGNED = 48  # bytes with the trailer
PROTOCOL = b"\x02\x01"  # protocol 2, version 1
DECODE_CACHE_SIZE = 2048  # decoded heartbeats: more than a group has; 1 MiB at most
UUID_PATTERN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # as the API writes ids
_LAYOUT = struct.Struct(">2sBB4s16s")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One heartbeat.

    `priority`: 0..255, the lowest wins. `eip`: dotted decimals. `instance_id`: a lower-case UUID.
    Raises ValueError for anything else.
    """

    priority: int
    eip: str
    instance_id: str

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= 255:
            raise ValueError(f"a priority is 0..255, not {self.priority}")
        if str(IPv4Address(self.eip)) != self.eip:
            raise ValueError(f"an Elastic IP is a dotted IPv4 address, not {self.eip!r}")
        if str(UUID(self.instance_id)) != self.instance_id:
            raise ValueError(f"an instance id is a lower-case UUID, not {self.instance_id!r}")


def encode(heartbeat: Heartbeat) -> bytes:
    """Return the 24 bytes of `heartbeat`."""
    eip = IPv4Address(heartbeat.eip).packed
    return _LAYOUT.pack(PROTOCOL, heartbeat.priority, heartbeat.priority, eip, UUID(heartbeat.instance_id).bytes)


def split(datagram: bytes) -> tuple[bytes, bytes]:
    """Split a signed datagram into heartbeat and trailer; the trailer of any other is empty."""
    return (datagram[:SIZE], datagram[SIZE:]) if len(datagram) == SIGNED else (datagram, b"")


@lru_cache(DECODE_CACHE_SIZE)
def decode(datagram: bytes) -> Heartbeat:
    """Decode a datagram without its trailer.

    Raises WireError, whose `cause` is short, long, version or priority.
    """
    if len(datagram) != SIZE:
        cause = "short" if len(datagram) < SIZE else "long"
        raise WireError(cause, f"a heartbeat has {SIZE} bytes, or {SIGNED} if signed, this datagram {len(datagram)}")
    protocol, priority, again, eip, instance = _LAYOUT.unpack(datagram)
    if protocol != PROTOCOL:
        raise WireError("version", f"protocol {protocol.hex()}, expected {PROTOCOL.hex()}")
    if priority != again:
        raise WireError("priority", f"the priority stands as {priority} and as {again}")
    return Heartbeat(priority, str(IPv4Address(eip)), str(UUID(bytes=instance)))
