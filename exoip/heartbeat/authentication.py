"""Heartbeats that only a holder of the cluster's key can make: the trailer, the stamps, and who is believed. Pure.

Behind the 24 bytes of a heartbeat (see `wire`) stand 24 more, which the Go tool takes no notice of:

    offset  24                   32                                        48
            +--------------------+-----------------------------------------+
            | stamp              | HMAC-SHA256, its first 16 bytes         |
            +--------------------+-----------------------------------------+

The stamp is an unsigned big-endian number, the HMAC is over all 32 bytes before it. The first key signs, every key verifies: so a key
can be exchanged node by node. The Elastic IP is among the signed bytes, so two clusters may share a key.

`AuthPolicy` judges what a datagram proves by itself, without a lock and without memory:

    mode     a node with a key    takes in
    -        (has none)           anything; a trailer is not looked at, so that keys can be given node by node
    send     signs                anything
    accept   signs                what is not signed ("unsigned" is fine), or signed with one of the keys
    require  signs                only what is signed with one of the keys

Refused are "unsigned" and "signature" (another key, or damaged). What was signed once can be sent again by whoever has heard it, which
would keep a dead node alive and so nobody in its place. Stamps are against that, and `ReplayGuard` has the memory.

**A stamp only rises.** The sender takes microseconds of its wall clock, or one more than its last stamp if the clock has not gone on
(`StampSource`). A receiver that has heard a sender takes a higher stamp only, whatever any clock says: an NTP step, a clock that is a year
wrong or one that stands still change nothing between nodes that run. Clocks matter in two moments, and there they may cost time but
never the Elastic IP:

- *First contact* (the receiver has just started, or the sender is a new member): a stamp within WINDOW of the receiver's own clock is
  believed at once. So an old recording is not.
- *A stamp that does not rise*: the sender was restarted and its clock set back.

In both cases the stream is put **on trial**: it is believed when its stamps have risen, with no break of a dead time and with nothing
believed of that sender meanwhile, for

    a third of a dead time      at first contact, with stamps ahead of the receiver's clock
    2 dead times                otherwise; doubled by each trial that this sender has passed before

Until then it is refused, as "clock" (first contact) or "replay". Why these:

- Ahead of the clock no recording can be, unless the sender's clock was wrong when it was made. So a receiver whose own clock is behind
  hears the others before its own listening is over, and nothing moves.
- Two dead times are longer than one: a recording that is played from the moment of a death on can not hide that death, and who takes
  over has taken over. (The sender who really restarts with a clock set back by less than that is heard when its clock has caught up.)
- It must end some time: two nodes that refuse each other for as long as a clock is wrong both hold, as in a cut network.
- The doubling: each pass of one recording of length R costs twice the last, so it can be of use some log2(R / dead time) times and not
  for ever. A sender whose clock is set back at each restart waits longer each time; the journal says why, and setting its clock heals it.

What this leaves to an attacker who can forge a member's address and has recorded it: against a node that heard this member after the
recording, to pretend after two dead times that it is alive, fewer and fewer times, each for R x dead ratio at most (a packet is good for
a dead time); against one that has just started, the same. A holder never lets go of the Elastic IP to a node that the API does not show
to hold it, so what is at stake is a *second* failure during that time. An attacker who can also hold packets back can play them later
like such a recording.
"""

from __future__ import annotations

import hmac
import math
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

TRAILER = 24  # bytes
WINDOW = 60.0  # seconds that a first stamp may be off the receiver's clock
TRIAL, QUICK_TRIAL = 2.0, 1 / 3  # dead times that a trial takes
_STAMP = struct.Struct(">Q")
_HIGHEST = 2**64 - 1


class AuthMode(StrEnum):
    """What a node with a key takes in; see above."""

    SEND = "send"
    ACCEPT = "accept"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a datagram proves by itself: nothing if refused for `cause`; else that a holder of a key made it.

    `stamp`: None where no proof was asked for. `ahead`: the seconds that it is ahead of the receiver's clock.
    """

    cause: str = ""
    stamp: int | None = None
    ahead: float = 0.0


UNPROVEN = Proof()  # fine where no proof is asked for
_UNSIGNED = Proof("unsigned")
_FORGED = Proof("signature")


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """The keys, the first of which signs, and the mode. Without a key nothing is signed and nothing verified."""

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    mode: AuthMode = AuthMode.REQUIRE

    @property
    def strict(self) -> bool:
        """Whether nothing that is unsigned counts."""
        return bool(self.keys) and self.mode is AuthMode.REQUIRE

    def sign(self, heartbeat: bytes, stamp: int) -> bytes:
        """Return the datagram to send: the 24 bytes of `heartbeat`, and the trailer where there is a key."""
        if not self.keys:
            return heartbeat
        text = heartbeat + _STAMP.pack(stamp)
        return text + _mac(self.keys[0], text)

    def verify(self, heartbeat: bytes, trailer: bytes, wall: float) -> Proof:
        """Return what a datagram proves whose trailer has 24 bytes, or none where it is unsigned. `wall`: the Unix time."""
        if not self.keys or self.mode is AuthMode.SEND:
            return UNPROVEN
        if not trailer:
            return _UNSIGNED if self.mode is AuthMode.REQUIRE else UNPROVEN
        text, mac = heartbeat + trailer[: _STAMP.size], trailer[_STAMP.size :]
        for key in self.keys:
            if hmac.compare_digest(_mac(key, text), mac):
                stamp = int.from_bytes(trailer[: _STAMP.size])
                return Proof("", stamp, stamp / 1e6 - wall)
        return _FORGED


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")[: TRAILER - _STAMP.size]


class StampSource:
    """Gives the stamps of one sender, each higher than the last."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, wall: float) -> int:
        """Return a stamp for something that is sent at the Unix time `wall`."""
        self._last = min(max(self._last + 1, int(wall * 1e6)), _HIGHEST)
        return self._last


@dataclass(slots=True)
class _Sender:
    """What is known of one sender. On trial: since when, the highest stamp, and when that came."""

    last: int | None = None  # the highest stamp that was believed
    passed: int = 0  # trials
    since: float = -math.inf
    risen: int = -1
    at: float = -math.inf


class ReplayGuard:
    """The memory of one receiver: which stamps it believed, by sender. It keeps the members only."""

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}

    def keep(self, senders: Collection[str]) -> None:
        """Forget all but these."""
        self._senders = {name: one for name, one in self._senders.items() if name in senders}

    def judge(self, sender: str, stamp: int, ahead: float, dead_time: float, now: float) -> str:
        """Take in the stamp of a verified heartbeat, `ahead` seconds off this machine's clock; return why it is refused, or ""."""
        one = self._senders.get(sender)
        if one is None:
            one = self._senders[sender] = _Sender()
        if stamp > one.last if one.last is not None else abs(ahead) <= WINDOW:
            pass
        elif self._passes(one, stamp, ahead, dead_time, now):
            one.passed += 1
        else:
            return "clock" if one.last is None else "replay"
        one.last = stamp
        one.at = -math.inf  # a trial that was under way is void
        return ""

    @staticmethod
    def _passes(one: _Sender, stamp: int, ahead: float, dead_time: float, now: float) -> bool:
        if now - one.at >= dead_time:
            one.since = now
        elif stamp <= one.risen:
            return False
        one.risen, one.at = stamp, now
        quick = one.last is None and ahead > 0
        return now - one.since >= dead_time * (QUICK_TRIAL if quick else TRIAL * 2.0**one.passed)
