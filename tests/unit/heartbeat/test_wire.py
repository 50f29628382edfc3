"""The 24 and the 36 bytes, and that no bytes at all raise anything but WireError."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exoip.errors import WireError
from exoip.heartbeat.wire import (
    DECODE_CACHE_SIZE,
    SIGNED,
    SIGNED_V6,
    SIZE,
    SIZE_V6,
    TRAILER,
    Heartbeat,
    decode,
    encode,
    split,
)

ID = "01234567-89ab-cdef-0123-456789abcdef"
GOLDEN = bytes.fromhex("0201 0a0a c6336432 0123456789abcdef0123456789abcdef")
GOLDEN_V6 = bytes.fromhex("0202 0a0a 20010db8000000010000000000000001 0123456789abcdef0123456789abcdef")

heartbeats = st.builds(Heartbeat, st.integers(0, 255), st.ip_addresses().map(str), st.uuids().map(str))


def test_the_bytes_are_those_of_the_go_tool():
    assert encode(Heartbeat(10, "198.51.100.50", ID)) == GOLDEN
    assert decode(GOLDEN) == Heartbeat(10, "198.51.100.50", ID)


def test_the_bytes_for_an_ipv6_elastic_ip():
    assert encode(Heartbeat(10, "2001:db8:0:1::1", ID)) == GOLDEN_V6
    assert decode(GOLDEN_V6) == Heartbeat(10, "2001:db8:0:1::1", ID)


@given(heartbeats)
def test_round_trip(heartbeat):
    assert len(encode(heartbeat)) == (SIZE_V6 if ":" in heartbeat.eip else SIZE)
    assert decode(encode(heartbeat)) == heartbeat


@given(
    st.binary(max_size=64)
    | st.binary(min_size=SIZE, max_size=SIZE)
    | st.binary(min_size=SIZE_V6, max_size=SIZE_V6)
    | st.tuples(st.sampled_from([b"\2\1", b"\2\2"]), st.binary(max_size=60)).map(b"".join)
)
def test_any_bytes_give_a_heartbeat_or_a_wire_error(datagram):
    try:
        heartbeat = decode(datagram)
    except WireError as error:
        assert error.cause in {"short", "long", "version", "priority"}
    else:
        assert encode(heartbeat) == datagram


@given(heartbeats, st.integers(0, SIZE - 1) | st.integers(-SIZE, -1), st.integers(1, 255))
def test_one_changed_byte_never_passes_for_the_same_heartbeat(heartbeat, place, flip):
    damaged = bytearray(encode(heartbeat))
    damaged[place] ^= flip
    try:
        assert decode(bytes(damaged)) != heartbeat
    except WireError as error:
        assert (error.cause == "version") == (place % len(damaged) < 2)


@given(
    st.binary(max_size=64) | st.binary(min_size=SIGNED, max_size=SIGNED) | st.binary(min_size=SIGNED_V6, max_size=62)
)
def test_a_trailer_is_taken_off_where_there_is_one(datagram):
    head, trailer = split(datagram)
    assert head + trailer == datagram
    assert len(trailer) == (TRAILER if len(datagram) in (SIGNED, SIGNED_V6) else 0)


def test_the_same_bytes_are_taken_apart_once():
    """Nothing is made for each heartbeat, and whatever comes, little is kept."""
    assert decode(GOLDEN) is decode(bytes(bytearray(GOLDEN)))
    for number in range(DECODE_CACHE_SIZE + 100):
        decode(encode(Heartbeat(1, "192.0.2.1", str(UUID(int=number)))))
    assert decode.cache_info().currsize == DECODE_CACHE_SIZE


@pytest.mark.parametrize(
    ("datagram", "cause"),
    [
        (b"", "short"),
        (GOLDEN[:-1], "short"),
        (GOLDEN + b"\0", "long"),
        (GOLDEN + bytes(SIGNED - SIZE - 1), "long"),
        (GOLDEN + bytes(SIGNED - SIZE + 1), "long"),
        (b"\1\1" + GOLDEN[2:], "version"),
        (b"\2\2" + GOLDEN[2:], "version"),
        (GOLDEN_V6[:-1], "long"),
        (GOLDEN_V6 + b"\0", "long"),
        (GOLDEN_V6 + bytes(TRAILER), "long"),
        (b"\2\1" + GOLDEN_V6[2:], "version"),
        (b"\2\3" + GOLDEN_V6[2:], "version"),
        (GOLDEN_V6[:3] + b"\x0b" + GOLDEN_V6[4:], "priority"),
        (GOLDEN[:3] + b"\x0b" + GOLDEN[4:], "priority"),
    ],
)
def test_what_is_wrong_has_a_name(datagram, cause):
    with pytest.raises(WireError) as caught:
        decode(datagram)
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    "wrong",
    [
        (-1, "192.0.2.1", ID),
        (256, "192.0.2.1", ID),
        (1, "2001:DB8::1", ID),
        (1, "2001:db8:0::1", ID),
        (1, "fe80::1%eth0", ID),
        (1, "2001:db8::/96", ID),
        (1, "192.0.2.1/32", ID),
        (1, "192.0.2.1", ID.upper()),
        (1, "192.0.2.1", "nonsense"),
    ],
)
def test_an_invalid_heartbeat_cannot_be_made(wrong):
    with pytest.raises(ValueError):  # noqa: PT011
        Heartbeat(*wrong)
