"""Decide when the kernel filters datagrams during a flood, and build the filter program. Pure.

Python needs 3 to 4 µs for each datagram, so a flood of 275,000 a second takes a whole processor.
Datagrams that no longer fit in the socket's buffer are lost, heartbeats too. A socket filter
(classic BPF, see socket(7), SO_ATTACH_FILTER) needs no privilege and drops a datagram before it
reaches the buffer, on loopback at the sender's cost. No library offers this, so the program is
written here.

The filter passes what a member may have sent: the right length, protocol and Elastic IP, from the
address that belongs to the instance id. An attacker who is not on the path cannot know the id, 122
random bits. What passes is checked as usual. The filter compares only what `heartbeat.admission`
compares, so it never drops a heartbeat that would have been accepted.

It is attached only during a flood, because more is reported without it: a peer that is not in the
group, another cluster on this port, and a stranger for whom the group is read again because it may
be a new member. `FloodDetector` attaches it after FLOOD_THRESHOLD dropped datagrams within a
second, for FILTER_TIME seconds. Then it detaches it; if the flood lasts, that costs FLOOD_THRESHOLD
datagrams. Shown by tests/unit/heartbeat/test_flood_filter.py.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator, Mapping
from uuid import UUID

from exoip.heartbeat.socket_address import SocketAddress
from exoip.heartbeat.wire import PROTOCOL, PROTOCOL_V6, SIZE, SIZE_V6, TRAILER

FLOOD_THRESHOLD = 1000  # dropped datagrams within a second
FILTER_TIME = 10.0  # seconds

_HEADER = 8  # bytes of UDP's header, where the kernel begins to count
_NETWORK = 0xFFF00000  # added to an offset: count from the beginning of the IP header (SKF_NET_OFF)
_V4_SOURCE = _NETWORK + 12  # the source address in an IPv4 header
_V6_SOURCE = _NETWORK + 8  # the source address in an IPv6 header
_EIP = _HEADER + 4  # the Elastic IP in the heartbeat; the instance id follows it
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_LOAD_HALF = 0x28  # BPF_LD | BPF_H | BPF_ABS
_LOAD_BYTE = 0x30  # BPF_LD | BPF_B | BPF_ABS
_LOAD_LENGTH = 0x80  # BPF_LD | BPF_W | BPF_LEN
_STORE = 0x02  # BPF_ST: into a slot of scratch memory
_LOAD_SLOT = 0x60  # BPF_LD | BPF_MEM: from a slot of scratch memory
_AND = 0x54  # BPF_ALU | BPF_AND
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ
_JUMP = 0x05  # BPF_JMP | BPF_JA
_RETURN = 0x06  # BPF_RET: the number of bytes to keep
_Step = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
_DROP: _Step = (_RETURN, 0, 0, 0)
_PASS: _Step = (_RETURN, 0, 0, 0xFFFFFFFF)


class FloodDetector:
    """Decides whether the kernel filters.

    `filtering` is the decision. `began`: when the present flood began, in seconds, or None.
    """

    def __init__(self) -> None:
        self.filtering = False
        self.began: float | None = None
        self._since = 0.0
        self._dropped = 0

    def look(self, dropped: int, now: float) -> bool:
        """Count datagrams dropped since the last look; return whether the state changed."""
        before = (self.filtering, self.began)
        self._dropped += dropped
        passed = now - self._since
        if self.filtering:
            if passed >= FILTER_TIME:
                self.filtering, self._since, self._dropped = False, now, 0
        elif self._dropped >= FLOOD_THRESHOLD and passed <= 1.0:
            self.filtering, self._since = True, now
            self.began = now if self.began is None else self.began
        elif passed > 1.0:
            self.began, self._since, self._dropped = None, now, dropped
        return (self.filtering, self.began) != before


def bpf_program(
    eip: str, members: Mapping[str, SocketAddress] | None, *, signed: bool, also: Iterable[tuple[str, str]] = ()
) -> bytes:
    """Return the filter as the kernel's `struct sock_filter`s.

    `members`: address and port by instance id. `signed`: drop unsigned heartbeats. `also`: further
    pairs of id and address that pass. With None as members it does not check the sender. That is
    for a group that is too large for the kernel, which accepts about 365 members, or 80 where
    net.core.optmem_max is 20 KiB, as before Linux 6.7.
    """
    elastic_ip = ipaddress.ip_address(eip)
    size, protocol = (SIZE, PROTOCOL) if elastic_ip.version == 4 else (SIZE_V6, PROTOCOL_V6)
    head: list[_Step] = [
        (_LOAD_LENGTH, 0, 0, 0),
        (_JUMP_EQUAL, 2, 0, _HEADER + size + TRAILER),
        (_JUMP_EQUAL, 0 if signed else 1, 0, _HEADER + size),
        _DROP,
        (_LOAD_HALF, 0, 0, _HEADER),
        (_JUMP_EQUAL, 1, 0, int.from_bytes(protocol)),
        _DROP,
    ]
    for at, word in enumerate(_words(elastic_ip.packed)):
        head += [(_LOAD_WORD, 0, 0, _EIP + 4 * at), (_JUMP_EQUAL, 1, 0, word), _DROP]
    if members is None:
        return _packed([*head, _PASS])
    instance = _EIP + len(elastic_ip.packed)
    v4, v6 = list(_stored(_V4_SOURCE, 1, instance)), list(_stored(_V6_SOURCE, 4, instance))
    for instance_id, address in (*((one, address) for one, (address, _) in members.items()), *also):
        source = ipaddress.ip_address(address)
        (v4 if source.version == 4 else v6).extend(_member(source.packed + UUID(instance_id).bytes))
    is_v4 = [(_LOAD_BYTE, 0, 0, _NETWORK), (_AND, 0, 0, 0xF0), (_JUMP_EQUAL, 1, 0, 0x40), (_JUMP, 0, 0, len(v4) + 1)]
    return _packed([*head, *is_v4, *v4, _DROP, *v6, _DROP])


def _words(octets: bytes) -> list[int]:
    return [int.from_bytes(octets[at : at + 4]) for at in range(0, len(octets), 4)]


def _packed(steps: Iterable[_Step]) -> bytes:
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _stored(source: int, words: int, instance: int) -> Iterator[_Step]:
    """Store source and id in slots: a load from the datagram takes six times as long."""
    offsets = [source + 4 * at for at in range(words)] + [instance + 4 * at for at in range(4)]
    for slot, offset in enumerate(offsets):
        yield (_LOAD_WORD, 0, 0, offset)
        yield (_STORE, 0, 0, slot)


def _member(wanted: bytes) -> Iterator[_Step]:
    """Pass a datagram with this source and id; continue behind these steps with any other."""
    words = _words(wanted)
    for slot, word in enumerate(words):
        yield (_LOAD_SLOT, 0, 0, slot)
        yield (_JUMP_EQUAL, 0, 2 * (len(words) - slot - 1) + 1, word)
    yield _PASS
