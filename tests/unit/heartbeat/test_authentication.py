"""The trailer, the modes, and the stamps: what is believed, when, and what a recording can do at
most.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exoip.heartbeat.authentication import (
    QUICK_TRIAL,
    TAKEOVER,
    TRIAL,
    UNPROVEN,
    WINDOW,
    AuthMode,
    AuthPolicy,
    Proof,
    ReplayGuard,
    StampSource,
)
from exoip.heartbeat.wire import SIGNED, SIGNED_V6, SIZE, SIZE_V6, TRAILER, Heartbeat, encode, split

KEY, OLD, OTHER = b"a key of sixteen", b"an older one of it", b"somebody else's key"
BEAT = encode(Heartbeat(10, "198.51.100.50", "01234567-89ab-cdef-0123-456789abcdef"))
NOW = 1_800_000_000.0  # Unix time
DEAD = 3.0

keys = st.binary(min_size=16, max_size=80)
beats = st.binary(min_size=SIZE, max_size=SIZE) | st.binary(min_size=SIZE_V6, max_size=SIZE_V6)
stamps = st.integers(0, 2**64 - 1)


def verified(rules: AuthPolicy, datagram: bytes, wall: float = NOW) -> Proof:
    return rules.verify(*split(datagram), wall)


class TestTheTrailer:
    def test_it_is_the_stamp_and_half_an_hmac_over_all_before(self):
        datagram = AuthPolicy((KEY,)).sign(BEAT, 0x0102030405060708)
        text = BEAT + bytes.fromhex("0102030405060708")
        assert datagram == text + hmac.new(KEY, text, hashlib.sha256).digest()[:16]
        assert len(datagram) == SIGNED == SIZE + TRAILER

    def test_an_ipv6_heartbeat_has_the_same_trailer(self):
        beat = encode(Heartbeat(10, "2001:db8:0:1::1", "01234567-89ab-cdef-0123-456789abcdef"))
        datagram = AuthPolicy((KEY,)).sign(beat, 7)
        text = beat + (7).to_bytes(8)
        assert datagram == text + hmac.new(KEY, text, hashlib.sha256).digest()[:16]
        assert len(datagram) == SIGNED_V6
        assert verified(AuthPolicy((KEY,)), datagram).stamp == 7
        assert verified(AuthPolicy((OTHER,)), datagram) == Proof("signature")

    @given(st.lists(keys, min_size=1, max_size=2, unique=True), beats, stamps, st.floats(0, 4e9))
    def test_what_is_signed_verifies_and_says_how_far_off_the_clock_it_is(self, ring, beat, stamp, wall):
        proof = verified(AuthPolicy(tuple(ring)), AuthPolicy((ring[-1],)).sign(beat, stamp), wall)
        assert (proof.cause, proof.stamp) == ("", stamp)
        assert math.isclose(proof.ahead, stamp / 1e6 - wall, abs_tol=1e-3)

    @given(beats, stamps, st.integers(0, SIGNED - 1) | st.integers(-SIGNED, -1), st.integers(1, 255))
    def test_one_changed_byte_anywhere_is_noticed(self, beat, stamp, place, flip):
        damaged = bytearray(AuthPolicy((KEY,)).sign(beat, stamp))
        damaged[place] ^= flip
        assert verified(AuthPolicy((KEY,)), bytes(damaged)).cause == "signature"

    @given(beats, st.binary(min_size=TRAILER, max_size=TRAILER))
    def test_nobody_guesses_one(self, beat, trailer):
        for mode in (AuthMode.ACCEPT, AuthMode.REQUIRE):
            assert AuthPolicy((KEY, OLD), mode).verify(beat, trailer, NOW) == Proof("signature")

    def test_no_key_no_trailer(self):
        assert AuthPolicy().sign(BEAT, 1) == BEAT

    def test_the_key_is_not_shown(self):
        assert KEY.decode() not in repr(AuthPolicy((KEY,)))


SIGNED_BEAT, FOREIGN, BARE = AuthPolicy((KEY,)).sign(BEAT, 7), AuthPolicy((OTHER,)).sign(BEAT, 7), BEAT


@pytest.mark.parametrize(
    ("rules", "bare", "signed", "foreign"),
    [
        (AuthPolicy(), "", "", ""),
        (AuthPolicy((KEY,), AuthMode.SEND), "", "", ""),
        (AuthPolicy((KEY,), AuthMode.ACCEPT), "", "", "signature"),
        (AuthPolicy((KEY,), AuthMode.REQUIRE), "unsigned", "", "signature"),
        (AuthPolicy((OLD, KEY), AuthMode.REQUIRE), "unsigned", "", "signature"),
        (AuthPolicy((OLD,), AuthMode.REQUIRE), "unsigned", "signature", "signature"),
    ],
)
def test_what_each_mode_takes_in(rules, bare, signed, foreign):
    assert [verified(rules, each).cause for each in (BARE, SIGNED_BEAT, FOREIGN)] == [bare, signed, foreign]


def test_where_no_proof_is_asked_for_no_stamp_counts():
    for rules in (AuthPolicy(), AuthPolicy((KEY,), AuthMode.SEND)):
        assert verified(rules, SIGNED_BEAT) is verified(rules, FOREIGN) is UNPROVEN


STEPS = {
    "begin": [AuthPolicy(), AuthPolicy((KEY,), AuthMode.ACCEPT), AuthPolicy((KEY,))],
    "begin carefully": [
        AuthPolicy(),
        AuthPolicy((KEY,), AuthMode.SEND),
        AuthPolicy((KEY,), AuthMode.ACCEPT),
        AuthPolicy((KEY,)),
    ],
    "change the key": [AuthPolicy((OLD,)), AuthPolicy((OLD, KEY)), AuthPolicy((KEY, OLD)), AuthPolicy((KEY,))],
    "end": [AuthPolicy((KEY,)), AuthPolicy((KEY,), AuthMode.ACCEPT), AuthPolicy()],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_each_step_may_be_taken_by_one_node_after_the_other(steps):
    """Whoever is a step ahead and whoever is a step behind hear each other."""
    for one, other in [pair for step in range(len(steps) - 1) for pair in [(steps[step], steps[step + 1])]]:
        for sender, receiver in ((one, other), (other, one), (one, one), (other, other)):
            assert verified(receiver, sender.sign(BEAT, 7)).cause == ""


class TestStamper:
    @given(st.lists(st.floats(-1e9, 4e9), min_size=1, max_size=50))
    def test_whatever_the_clock_does_stamps_rise(self, walls):
        stamper = StampSource()
        given_ = [stamper.next(wall) for wall in walls]
        assert all(one < other for one, other in pairwise(given_))
        assert all(stamp >= wall * 1e6 - 1 for stamp, wall in zip(given_, walls, strict=True))

    def test_it_follows_a_right_clock(self):
        stamper = StampSource()
        assert [stamper.next(NOW + n) for n in range(3)] == [int((NOW + n) * 1e6) for n in range(3)]

    def test_the_last_one_fits_into_its_bytes(self):
        stamper = StampSource()
        assert len(AuthPolicy((KEY,)).sign(BEAT, stamper.next(1e300))) == SIGNED
        assert len(AuthPolicy((KEY,)).sign(BEAT, stamper.next(1e300))) == SIGNED
        assert struct.unpack(">Q", AuthPolicy((KEY,)).sign(BEAT, stamper.next(0))[SIZE:32]) == (2**64 - 1,)


class Receiver:
    """Stamps as one receiver judges them; `wrong`: seconds that its wall clock is ahead of the
    right time.
    """

    def __init__(self, wrong: float = 0.0) -> None:
        self.stamps, self.wrong = ReplayGuard(), wrong

    def __call__(self, seconds: float, now: float, sender: str = "a") -> str:
        """What is said of the stamp of that Unix time, less NOW, `now` seconds after NOW."""
        stamp = int((NOW + seconds) * 1e6)
        return self.stamps.judge(sender, stamp, stamp / 1e6 - (NOW + now + self.wrong), DEAD, now)

    def stream(self, first: float, now: float, until: float, step: float = 1.0) -> list[str]:
        """One beat a second from `now` on, the first with that stamp."""
        count = round((until - now) / step)
        return [self(first + n * step, now + n * step) for n in range(count)]


class TestFirstContact:
    @pytest.mark.parametrize("off", [0.0, WINDOW - 1, 1 - WINDOW])
    def test_within_the_window_it_is_believed_at_once(self, off):
        assert Receiver()(off, 0.0) == ""

    def test_behind_the_clock_it_has_to_rise_for_two_dead_times(self):
        assert Receiver().stream(-1000.0, 0.0, 8.0) == ["clock"] * 6 + [""] * 2

    def test_ahead_of_it_for_a_third_of_one(self):
        assert Receiver().stream(1000.0, 0.0, 4.0) == ["clock"] + [""] * 3

    @pytest.mark.parametrize("step", [0.9, 2.9])
    def test_before_the_listening_is_over_where_the_own_clock_is_behind(self, step):
        """At the usual ratio of 3 and anything above it a node hears everybody before it acts."""
        said = Receiver(wrong=-5000.0).stream(0.0, 0.0, 10.0, step)
        assert said.index("") * step < DEAD if step < 1 else said.index("") == 1

    def test_the_same_packet_again_and_again_is_not_enough(self):
        one = Receiver()
        assert {one(-1000.0, n * 0.5) for n in range(100)} == {"clock"}

    def test_a_break_of_a_dead_time_begins_it_again(self):
        one = Receiver()
        assert one.stream(-1000.0, 0.0, 5.0) == ["clock"] * 5
        assert one.stream(-990.0, 4.0 + DEAD, 4.0 + DEAD + 7) == ["clock"] * 6 + [""]

    def test_each_sender_for_itself(self):
        one = Receiver()
        assert one(0.0, 0.0, "a") == ""
        assert one(-1000.0, 0.1, "b") == "clock"
        assert one(-1.0, 0.2, "c") == ""


class TestKnownSenders:
    def test_a_higher_stamp_counts_and_no_other(self):
        one = Receiver()
        assert [one(s, n) for n, s in enumerate([0.0, 1.0, 1.0, 0.5, 1.1])] == ["", "", "replay", "replay", ""]

    @given(st.lists(st.floats(1e-5, 1e9), min_size=1, max_size=30))
    def test_between_nodes_that_run_no_clock_matters(self, jumps):
        """However the sender's clock leaps forward (back it cannot leap: see Stamper)."""
        one, at = Receiver(), 0.0
        assert one(at, 0.0) == ""
        for n, jump in enumerate(jumps):
            at = max(at + jump, math.nextafter(at, math.inf))
            assert one(at, n * 1.0) == ""

    def test_a_small_set_back_ends_when_the_clock_has_caught_up(self):
        """Restarted, its clock meanwhile set back by 2 s."""
        one = Receiver()
        assert one.stream(0.0, 0.0, 10.0) == [""] * 10
        assert one.stream(8.1, 10.1, 14.1) == ["replay", "", "", ""]

    def test_a_large_one_after_two_dead_times_and_a_takeover_then_twice_and_four_times_that(self):
        one = Receiver()
        assert one.stream(0.0, 0.0, 10.0) == [""] * 10
        now = 10.0
        for times in (1, 2, 4):
            wait = round(times * (TRIAL * DEAD + TAKEOVER))
            assert one.stream(-5000.0 * times, now, now + wait + 5) == ["replay"] * wait + [""] * 5
            now += wait + 5

    def test_while_the_true_one_is_heard_nothing_else_gets_through(self):
        one = Receiver()
        for n in range(100):
            assert one(float(n), float(n)) == ""
            assert one(-1000.0 + n, n + 0.5) == "replay"

    def test_a_recording_that_begins_at_the_death_does_not_hide_it(self):
        """The dead one is silent for longer than a dead time: who takes over has noticed."""
        one = Receiver()
        said = [(n * 0.1, one(n * 0.1 - 100.0, n * 0.1)) for n in range(1, 1000)]
        died = [(at, cause) for at, cause in said if at <= TRIAL * DEAD]
        assert {cause for _, cause in died[1:]} == {"clock"}
        known = Receiver()
        assert known(0.0, 0.0) == ""
        heard = next(n for n in range(1, 1000) if known(n * 0.1 - 100.0, n * 0.1) == "") * 0.1
        assert heard > DEAD + TAKEOVER, "by then its successor has taken over"

    def test_forgotten_with_its_membership(self):
        one = Receiver()
        one(0.0, 0.0)
        one.stamps.keep(["b"])
        assert one.stamps._senders == {}
        assert one(0.0, 0.1) == ""


class TestProperties:
    @given(
        st.floats(-1e8, 1e8),
        st.floats(-1e8, 1e8),
        st.lists(st.tuples(st.floats(-1e8, 1e8), st.floats(0.1, 60.0)), max_size=5),
        st.floats(0.05, 1.0),
    )
    def test_no_clock_keeps_a_live_node_unheard(self, receivers, senders, restarts, interval):
        """Whatever the two clocks say and however the sender's is set at each restart: it is heard,
        within the stated bound.
        """
        one, now = Receiver(wrong=receivers), 0.0
        for count, (wrong, down) in enumerate([(senders, 0.0), *restarts]):
            now += down
            stamper, started = StampSource(), now
            while one(stamper.next(now + wrong + 2e8) / 1e6, now) != "":
                now += interval
            assert now - started <= (DEAD * TRIAL + TAKEOVER) * 2**count + interval + 1e-6
            one(stamper.next(now + interval + wrong + 2e8) / 1e6, now + interval)
            now += interval

    @given(st.integers(2, 400), st.floats(0.1, 2.9))
    def test_one_recording_is_of_no_use_in_the_end(self, length, pace):
        """Played time and again, at any pace: believed of it are fewer and fewer packets, and some
        time none any more.
        """
        one = Receiver()
        for n in range(length):
            assert one(float(n), float(n)) == ""
        now, believed = float(length), []
        for _ in range(12):
            now += DEAD
            said = [one(float(n), now + n * pace) for n in range(length)]
            now += length * pace
            believed.append(said.count(""))
        assert believed[-1] == 0
        assert believed == sorted(believed, reverse=True)
        assert sum(map(bool, believed)) <= 1 + math.log2(max(1.0, length * pace / DEAD))

    @given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.floats(0, 2.0)), max_size=60))
    def test_nothing_is_believed_twice_without_a_trial(self, packets):
        """Any stamps at any times: a stamp that is not the highest so far is believed only after a
        trial, and little is kept.
        """
        stamps, now, last, since_believed = ReplayGuard(), 0.0, -1, 0.0
        for stamp, wait in packets:
            now += wait
            if stamps.judge("a", stamp, stamp / 1e6 - NOW, DEAD, now) == "":
                assert stamp > last or now - since_believed >= TRIAL * DEAD + TAKEOVER
                last, since_believed = stamp, now
        assert len(stamps._senders) <= 1

    def test_the_quick_trial_is_for_the_first_contact_only(self):
        one = Receiver()
        assert one(1000.0, 0.0) == "clock"
        assert one(1001.0, DEAD * QUICK_TRIAL) == ""
        assert one(500.0, DEAD) == "replay"
        assert one(501.0, DEAD + DEAD * QUICK_TRIAL) == "replay"
