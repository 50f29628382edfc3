"""Against a flood: when the kernel is to sift what comes, and the program by which it does. Pure.

A datagram that Python looks at costs it 3 to 4 µs, so a flood of 275,000 a second takes a processor; and what does not fit into the
socket's buffer meanwhile is lost, heartbeats too. The kernel drops one before the buffer, at the sender's cost on loopback, by a socket
filter (classic BPF, see socket(7), SO_ATTACH_FILTER), which needs no privilege.

The filter lets through what a member may have sent: the right length, protocol and Elastic IP, from the address that belongs to the
instance id. Whoever is not on the path can not know the id, 122 random bits. What passes is judged as ever; a filter that were wrong
could only let too much through or, since all that it compares is what `admission` compares, drop what would be refused.

It is in place during a flood only, for without it more is told: of the peer that is not in the group, of the other cluster on this port,
and of the stranger who has the group read anew because it is a member by now. `FloodDetector` decides:
from FLOOD_THRESHOLD refused datagrams within a second on, for FILTER_TIME seconds; then without it again,
which costs FLOOD_THRESHOLD datagrams if the flood still lasts.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from exoip.heartbeat.wire import PROTOCOL, SIGNED, SIZE

FLOOD_THRESHOLD = 1000  # refused datagrams within a second
FILTER_TIME = 10.0  # seconds

_HEADER = 8  # bytes of UDP's header, where the kernel begins to count
_NETWORK = 0xFFF00000  # added to an offset: counts from the beginning of the IP header (SKF_NET_OFF)
_V4_SOURCE, _V6_SOURCE = _NETWORK + 12, _NETWORK + 8
_EIP, _ID = _HEADER + 4, _HEADER + 8
_WORD, _HALF, _BYTE, _LENGTH, _KEEP, _KEPT, _AND, _EQUAL, _GO, _END = (
    0x20,
    0x28,
    0x30,
    0x80,
    0x02,
    0x60,
    0x54,
    0x15,
    0x05,
    0x06,
)
_ALL = 0xFFFFFFFF
_Step = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
_DROP: _Step = (_END, 0, 0, 0)
_TAKE: _Step = (_END, 0, 0, _ALL)


class FloodDetector:
    """Whether the kernel is to sift. `filtering` is the answer; `began`: since when there is a flood, or None."""

    def __init__(self) -> None:
        self.filtering = False
        self.began: float | None = None
        self._since = 0.0
        self._refused = 0

    def look(self, refused: int, now: float) -> bool:
        """Take in how many datagrams were refused since the last look; return whether `filtering` or `began` changed."""
        before = (self.filtering, self.began)
        self._refused += refused
        passed = now - self._since
        if self.filtering:
            if passed >= FILTER_TIME:
                self.filtering, self._since, self._refused = False, now, 0
        elif self._refused >= FLOOD_THRESHOLD and passed <= 1.0:
            self.filtering, self._since = True, now
            self.began = now if self.began is None else self.began
        elif passed > 1.0:
            self.began, self._since, self._refused = None, now, refused
        return (self.filtering, self.began) != before


def bpf_program(eip: str, members: Mapping[str, tuple[str, int]] | None, *, signed: bool) -> bytes:
    """Return the filter, as the kernel's `struct sock_filter`s, for the members' places by instance id; `signed`: nothing else counts.

    Without members (None) it does not look at who sends: for a group that is too large for the kernel, which takes 365 members, and
    80 where net.core.optmem_max is 20 KiB, as it was before Linux 6.7.
    """
    head: list[_Step] = [
        (_LENGTH, 0, 0, 0),
        (_EQUAL, 2, 0, _HEADER + SIGNED),
        (_EQUAL, 0 if signed else 1, 0, _HEADER + SIZE),
        _DROP,
        (_HALF, 0, 0, _HEADER),
        (_EQUAL, 1, 0, int.from_bytes(PROTOCOL)),
        _DROP,
        (_WORD, 0, 0, _EIP),
        (_EQUAL, 1, 0, int(ipaddress.IPv4Address(eip))),
        _DROP,
    ]
    if members is None:
        return _packed([*head, _TAKE])
    v4, v6 = list(_kept(_V4_SOURCE, 1)), list(_kept(_V6_SOURCE, 4))
    for instance_id, (address, _) in members.items():
        source = ipaddress.ip_address(address)
        (v4 if source.version == 4 else v6).extend(_member(source.packed + UUID(instance_id).bytes))
    version: list[_Step] = [(_BYTE, 0, 0, _NETWORK), (_AND, 0, 0, 0xF0), (_EQUAL, 1, 0, 0x40), (_GO, 0, 0, len(v4) + 1)]
    return _packed([*head, *version, *v4, _DROP, *v6, _DROP])


def _packed(steps: Iterable[_Step]) -> bytes:
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _kept(source: int, words: int) -> Iterator[_Step]:
    """Keep the source's words and the id's for the comparisons: to load one from a datagram takes the kernel six times as long."""
    offsets = [source + 4 * at for at in range(words)] + [_ID + 4 * at for at in range(4)]
    for slot, offset in enumerate(offsets):
        yield (_WORD, 0, 0, offset)
        yield (_KEEP, 0, 0, slot)


def _member(wanted: bytes) -> Iterator[_Step]:
    """Take what has this source and id; go on behind these steps if it has not."""
    words = [int.from_bytes(wanted[at : at + 4]) for at in range(0, len(wanted), 4)]
    for slot, word in enumerate(words):
        yield (_KEPT, 0, 0, slot)
        yield (_EQUAL, 0, 2 * (len(words) - slot - 1) + 1, word)
    yield _TAKE
