"""The kernel's filter: what it lets through, asked of the real kernel and of an interpreter of our
own, and when it is wanted.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exoip.errors import WireError
from exoip.heartbeat.admission import Admission
from exoip.heartbeat.authentication import UNPROVEN, AuthPolicy
from exoip.heartbeat.flood_filter import FILTER_TIME, FLOOD_THRESHOLD, FloodDetector, bpf_program
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.heartbeat.wire import TRAILER, Heartbeat, decode, encode, split

EIP, EIP_V6, DEAD = "198.51.100.50", "2001:db8:0:1::1", 3.0
EIPS = (EIP, EIP_V6)
A, B, C = (f"00000000-0000-4000-8000-00000000000{n}" for n in "abc")
MEMBERS = {A: ("192.0.2.1", 1), B: ("2001:db8::b", 1), C: ("192.0.2.3", 1)}
SOURCES = ["192.0.2.1", "192.0.2.3", "192.0.2.9", "2001:db8::b", "2001:db8::9", "::ffff:192.0.2.1"]


def packet(source: str, data: bytes) -> tuple[bytes, bytes]:
    """The IP header and what is behind it, as the kernel has them."""
    address = ipaddress.ip_address(source)
    head = (
        b"\x45" + bytes(11) + address.packed + bytes(4) if address.version == 4 else b"\x60" + bytes(7) + address.packed
    )
    return head + bytes(16), struct.pack(">4H", 12345, 12345, 8 + len(data), 0) + data


def passes(steps: bytes, source: str, data: bytes) -> bool:
    """What socket(7)'s classic BPF says, in a few lines; nothing but what the sieve uses."""
    header, rest = packet(source, data)
    at = value = 0
    kept: dict[int, int] = {}
    for _ in range(len(steps)):
        code, if_so, if_not, operand = struct.unpack_from("=HBBI", steps, 8 * at)
        at += 1
        if code in (0x20, 0x28, 0x30):
            where, start = (header, operand - 0xFFF00000) if operand >= 0xFFF00000 else (rest, operand)
            size = {0x20: 4, 0x28: 2, 0x30: 1}[code]
            if start + size > len(where):
                return False
            value = int.from_bytes(where[start : start + size])
        elif code == 0x80:
            value = len(rest)
        elif code == 0x02:
            assert operand < 16
            kept[operand] = value
        elif code == 0x60:
            value = kept[operand]
        elif code == 0x54:
            value &= operand
        elif code == 0x15:
            at += if_so if value == operand else if_not
        elif code == 0x05:
            at += operand
        else:
            assert code == 0x06
            return operand != 0
    raise AssertionError("it does not end")


def counts(eip: str, source: str, data: bytes, members: Mapping[str, tuple[str, int]], *, signed: bool) -> bool:
    """Whether the daemon would take it in, whatever is in a trailer."""
    admission = Admission(eip)
    admission.set_members(members, 0.0)
    head, trailer = split(data)
    try:
        heartbeat = decode(head)
    except WireError:
        return False
    return not admission.judge(heartbeat, source, UNPROVEN, DEAD, 0.0) and (bool(trailer) or not signed)


beats = st.builds(
    Heartbeat,
    st.integers(0, 255),
    st.sampled_from([*EIPS, "192.0.2.77", "2001:db8:0:1::2"]),
    st.sampled_from([A, B, C, A[:-1] + "0"]),
)
trailers = st.sampled_from([b"", b"", bytes(TRAILER), bytes(range(TRAILER)), b"x", bytes(25)])
datagrams = st.builds(lambda beat, trailer: encode(beat) + trailer, beats, trailers) | st.binary(max_size=60)


@given(st.sampled_from(EIPS), st.sampled_from(SOURCES), datagrams, st.booleans(), st.sets(st.sampled_from([A, B, C])))
def test_it_drops_nothing_that_counts_and_passes_little_else(eip, source, data, signed, present):
    """What passes and does not count has two different priorities at most: the filter does not look
    at those.
    """
    members = {name: MEMBERS[name] for name in present}
    passed = passes(bpf_program(eip, members, signed=signed), source, data)
    if counts(eip, source, data, members, signed=signed):
        assert passed
    elif passed:
        assert data[2] != data[3]


@given(
    st.sampled_from(EIPS), st.sampled_from(SOURCES[:5]), beats, st.floats(0, 1, exclude_max=True), st.integers(1, 255)
)
def test_one_changed_byte_does_not_pass_for_another(eip, source, beat, where, flip):
    """But for the priority, which is free."""
    steps = bpf_program(eip, MEMBERS, signed=False)
    data = bytearray(encode(beat))
    place = int(where * len(data))
    if passes(steps, source, bytes(data)) and place not in (2, 3):
        data[place] ^= flip
        assert not passes(steps, source, bytes(data))


@pytest.mark.parametrize("eip", EIPS)
def test_pairs_beside_the_members_pass_and_no_mixture(eip):
    """A clone sends heartbeats with another's id from the address that its own id has."""
    (address, _), (other, _) = MEMBERS[A], MEMBERS[B]
    steps = bpf_program(eip, {A: MEMBERS[A]}, signed=False, also=[(C, address)])
    beats = {name: encode(Heartbeat(7, eip, name)) for name in (A, B, C)}
    assert [name for name in beats if passes(steps, address, beats[name])] == [A, C]
    assert not any(passes(steps, other, beat) for beat in beats.values())


def many(count: int) -> dict[str, tuple[str, int]]:
    return {f"00000000-0000-4000-8000-{n:012x}": (f"10.0.{n // 250}.{n % 250 + 1}", 1) for n in range(count)}


@pytest.mark.parametrize("eip", EIPS)
def test_the_last_of_many_is_found(eip):
    members = many(300)
    steps = bpf_program(eip, members, signed=False)
    last = list(members)[-1]
    assert passes(steps, members[last][0], encode(Heartbeat(1, eip, last)))
    assert not passes(steps, "10.0.0.1", encode(Heartbeat(1, eip, last)))


@pytest.mark.parametrize("eip", EIPS)
def test_without_members_nobody_is_looked_at(eip):
    steps = bpf_program(eip, None, signed=False)
    assert passes(steps, "10.0.0.1", encode(Heartbeat(1, eip, A)))
    assert not passes(steps, "10.0.0.1", encode(Heartbeat(1, "192.0.2.7", A)))
    assert not passes(steps, "10.0.0.1", b"?")


class TestTheKernel:
    """The same questions, asked of the real thing on loopback, in both families."""

    @pytest.fixture(params=[("127.0.0.1", "127.0.0.1"), ("", "127.0.0.1"), ("", "::1"), ("::1", "::1")], ids=str)
    def ends(self, request):
        host, source = request.param
        if ":" in host + source and not socket.has_dualstack_ipv6():
            pytest.skip("this machine has no IPv6")
        channel = HeartbeatSocket(host, 0)
        sender = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((source, 0))
        sender.connect((source, channel.socket.getsockname()[1]))
        yield channel, sender, source
        sender.close()
        channel.close()

    @pytest.mark.parametrize("eip", EIPS)
    @pytest.mark.parametrize("signed", [False, True])
    def test_it_says_what_we_say(self, ends, signed, eip):
        channel, sender, source = ends
        members = {A: (source, 1), B: ("192.0.2.1", 1), C: ("2001:db8::c", 1)}
        steps = bpf_program(eip, members, signed=signed)
        assert channel.set_filter(steps)
        good = encode(Heartbeat(1, eip, A))
        tried = [
            good,
            AuthPolicy((b"a key of sixteen",)).sign(good, 1),
            good + b"x",
            good[:-1],
            b"",
            b"?",
            b"\3" + good[1:],
            good * 40,
        ]
        tried += [encode(Heartbeat(1, eip, name)) for name in (B, C)] + [
            encode(Heartbeat(1, other, A)) for other in ("192.0.2.7", *EIPS)
        ]
        tried += [good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :] for place in range(len(good))]
        got = []
        for data in tried:
            sender.send(data)
            got.append(channel.receive() is not None)  # loopback delivers before send returns
        assert got == [passes(steps, source, data) for data in tried]
        assert True in got
        assert False in got

    @pytest.mark.parametrize("eip", EIPS)
    def test_it_takes_a_large_group(self, ends, eip):
        channel, sender, source = ends
        assert channel.set_filter(bpf_program(eip, many(150) | {A: (source, 1)}, signed=False))
        sender.send(encode(Heartbeat(1, eip, A)))
        assert channel.receive() is not None
        sender.send(encode(Heartbeat(1, eip, B)))
        assert channel.receive() is None

    @pytest.mark.parametrize("eip", EIPS)
    def test_one_that_is_too_large_for_it(self, ends, eip):
        assert not ends[0].set_filter(bpf_program(eip, many(1000), signed=False))
        assert ends[0].set_filter(bpf_program(eip, None, signed=False))


class TestFlood:
    def test_few_are_none(self):
        flood = FloodDetector()
        for tenths in range(1000):
            assert flood.look(FLOOD_THRESHOLD // 20, tenths / 10) is False
        assert not flood.filtering

    def test_many_within_a_second_are_one_until_a_second_without(self):
        flood, now = FloodDetector(), 100.0
        flood.look(0, now)
        assert flood.look(FLOOD_THRESHOLD, now + 0.1)
        assert (flood.filtering, flood.began) == (True, now + 0.1)
        assert not flood.look(0, now + FILTER_TIME)
        assert flood.look(0, now + FILTER_TIME + 0.2)
        assert (flood.filtering, flood.began) == (False, now + 0.1)
        assert flood.look(5, now + FILTER_TIME + 1.3)
        assert (flood.filtering, flood.began) == (False, None)

    def test_one_that_lasts_is_one(self):
        """It costs FLOOD_THRESHOLD datagrams every FILTER_TIME seconds to see that it lasts, and it
        began when it began.
        """
        flood, seen, sifted = FloodDetector(), 0, 0
        for ms in range(100_000):
            refused = 0 if flood.filtering else 100
            seen, sifted = seen + refused, sifted + flood.filtering
            flood.look(refused, ms / 1000)
            assert flood.began is None or flood.began < 0.1
        assert seen <= (1 + 100 / FILTER_TIME) * (FLOOD_THRESHOLD + 100)
        assert sifted > 98_000

    @given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 3)), max_size=50))
    def test_sifting_ends_without_a_flood(self, looks):
        flood, now = FloodDetector(), 0.0
        for refused, wait in looks:
            now += wait
            before = (flood.filtering, flood.began)
            assert flood.look(refused, now) is ((flood.filtering, flood.began) != before)
            assert not flood.filtering or flood.began is not None
        for _ in range(20):
            now += 1.5
            flood.look(0, now)
        assert (flood.filtering, flood.began) == (False, None)
