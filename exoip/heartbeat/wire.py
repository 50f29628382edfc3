"""The heartbeat on the wire: 24 bytes, the same ones that the Go exoip sends.

    offset  0    2     3     4                    8                                     24
            +----+-----+-----+--------------------+-------------------------------------+
            |0201| prio| prio| Elastic IP (IPv4)  | instance id (a UUID, 16 bytes)      |
            +----+-----+-----+--------------------+-------------------------------------+

Big-endian. The first two bytes are the protocol (2) and its version (1). The priority, 0 (best) to 255, stands twice and
must be the same both times. The Go tool wrote the id of a network interface into the last 16 bytes; API v2 has no
such ids, so exoip writes the instance's own. A signed heartbeat has a trailer of 24 bytes more, see `authentication`.

`decode` takes any bytes at all and raises nothing but `WireError`. A node says the same 24 bytes again and again: they are taken apart
and checked when they first come, and known from then on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from uuid import UUID

from exoip.errors import WireError

SIZE = 24
SIGNED = 48  # with its trailer
PROTOCOL = b"\x02\x01"
DECODE_CACHE_SIZE = 2048  # heartbeats that are told apart without another look: more than a group has; whoever sends, it is 1 MiB at most
_LAYOUT = struct.Struct(">2sBB4s16s")


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What one node says: `priority` 0..255 (lowest wins), `eip` in dotted decimals, `instance_id` a lower-case UUID."""

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
    """Return the heartbeat and the trailer of a signed datagram; any other as it is, with no trailer."""
    return (datagram[:SIZE], datagram[SIZE:]) if len(datagram) == SIGNED else (datagram, b"")


@lru_cache(DECODE_CACHE_SIZE)
def decode(datagram: bytes) -> Heartbeat:
    """Return the heartbeat in `datagram`, of which `split` took the trailer off.

    Raise `WireError` when it is none, whose `cause` is short, long, version or priority.
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
