"""Sign heartbeats, verify them, and reject replayed ones. Pure.

A signed heartbeat has 24 more bytes behind those of `wire`; the Go tool ignores them:

    offset  24 (IPv6: 36)        32 (44)                                   48 (60)
            +--------------------+-----------------------------------------+
            | stamp              | HMAC-SHA256, its first 16 bytes         |
            +--------------------+-----------------------------------------+

The stamp is an unsigned big-endian number. The HMAC covers all bytes before it, the Elastic IP
included, so two clusters may share a key. The first key signs and every key verifies, so a key can
be exchanged node by node.

`AuthPolicy` says what a single datagram proves. It has no state and needs no lock:

    mode     a node with a key    accepts
    -        (has no key)         anything, and ignores trailers: nodes can get keys one by one
    send     signs                anything
    accept   signs                unsigned heartbeats, and those signed with one of the keys
    require  signs                only heartbeats signed with one of the keys

It drops a datagram as "unsigned" or as "signature" (another key, or damaged). An attacker could
still replay a recorded heartbeat to keep a dead node alive. Stamps prevent that, and `ReplayGuard`
remembers them.

**A stamp only rises.** The sender uses the microseconds of its wall clock, or its last stamp plus
one if the clock has not advanced (`StampSource`). A receiver accepts a higher stamp from a known
sender whatever any clock says. So an NTP step, a clock that is a year wrong or a clock that stands
still has no effect between running nodes. Clocks matter in two cases; there they may cost time, but
never the Elastic IP:

- *First contact* (the receiver has just started, or the sender is a new member): a stamp within
  WINDOW of the receiver's clock is accepted at once. An old recording is not.
- *A stamp that does not rise*: the sender restarted after its clock was set back.

In both cases the stream is put **on trial**. It is accepted after its stamps have risen without a
break of a dead time, and with no other stamp of that sender accepted meanwhile, for

    a third of a dead time      at first contact, if the stamps are ahead of the receiver's clock
    2 dead times                at first contact otherwise
    2 dead times and TAKEOVER   if the stamp does not rise

The last two double by each trial that this sender has passed before.

Until then its heartbeats are dropped as "clock" (first contact) or "replay". The reasons:

- No recording is ahead of the clock, unless the sender's clock was wrong when it was made. So a
  receiver whose own clock is behind hears the others before its LISTENING is over, and nothing
  moves.
- Two dead times are longer than one. A recording that is played from the moment of a death cannot
  hide the death from a node that had heard the dead one. TAKEOVER is what the successor needs to
  attach and to detach the dead one, if the API needs no more than a second for each call. If it
  took that one, which still holds, for alive before that, it would detach itself. (A sender that
  really restarts with its clock set back by less than that is heard once its clock has caught up.)
- A trial must end: two nodes that dropped each other's heartbeats for as long as a clock is wrong
  would both hold, as in a split.
- Doubling: each pass of one recording of length R costs twice the last, so it helps an attacker
  about log2(R / dead time) times. A sender whose clock is set back at each restart waits longer
  each time; the journal says why, and setting its clock fixes it.

An attacker who can forge a member's address and has a recording can still do this: against a node
that heard the member after the recording, pretend after such a trial that the member is alive,
fewer and fewer times, each for R x dead ratio at most (one packet is good for a dead time); against
a node that has just started the same, and at once if the recording is less than WINDOW old. A
holder detaches itself only after the API shows that the successor holds, so only a *second* failure
during that time is at stake: a death that a node which has just started does not notice, or one
after which the dead node could not be detached within TAKEOVER. Packets that an attacker holds back
and plays later are such a recording. Shown by tests/unit/heartbeat/test_authentication.py.
"""

from __future__ import annotations

import hmac
import math
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from exoip.heartbeat.wire import TRAILER

WINDOW = 60.0  # seconds that a first stamp may be off the receiver's clock
TRIAL = 2.0  # dead times that a trial takes
TAKEOVER = 30.0  # seconds that it takes in addition, if the sender is known
QUICK_TRIAL = 1 / 3  # the same, at first contact, for stamps ahead of the receiver's clock
_STAMP = struct.Struct(">Q")
_HIGHEST = 2**64 - 1  # the largest stamp that fits


class AuthMode(StrEnum):
    """Which heartbeats a node with a key accepts; see above."""

    SEND = "send"
    ACCEPT = "accept"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class Proof:
    """What one datagram proves: nothing if dropped for `cause`, else that the sender has a key.

    `stamp`: None if no proof was required. `ahead`: seconds that it is ahead of the receiver's
    clock. `local`: the datagram has this node's id, and comes from an address of this machine.
    """

    cause: str = ""
    stamp: int | None = None
    ahead: float = 0.0
    local: bool = False


UNPROVEN = Proof()  # accepted where no proof is required
_UNSIGNED = Proof("unsigned")
_FORGED = Proof("signature")


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """The keys, the first of which signs, and the mode. No keys: no signatures."""

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    mode: AuthMode = AuthMode.REQUIRE

    @property
    def strict(self) -> bool:
        """Whether unsigned heartbeats are dropped."""
        return bool(self.keys) and self.mode is AuthMode.REQUIRE

    def sign(self, heartbeat: bytes, stamp: int) -> bytes:
        """Return the datagram to send: the heartbeat, with a trailer if there is a key."""
        if not self.keys:
            return heartbeat
        text = heartbeat + _STAMP.pack(stamp)
        return text + _mac(self.keys[0], text)

    def verify(self, heartbeat: bytes, trailer: bytes, wall: float) -> Proof:
        """Return what a datagram proves. `trailer`: TRAILER bytes or none. `wall`: Unix time."""
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
    """Produces the stamps of one sender, each higher than the last."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, wall: float) -> int:
        """Return the stamp of a heartbeat sent at Unix time `wall`."""
        self._last = min(max(self._last + 1, int(wall * 1e6)), _HIGHEST)
        return self._last


@dataclass(slots=True)
class _Sender:
    """The stamps of one sender, and its trial if one is under way."""

    last: int | None = None  # the highest accepted stamp
    passed: int = 0  # trials passed so far
    trial_since: float = -math.inf
    trial_stamp: int = -1  # the highest stamp of the trial
    trial_heard: float = -math.inf  # when that stamp came


class ReplayGuard:
    """Remembers which stamps of which sender one receiver has accepted. It keeps members only."""

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}

    def keep(self, senders: Collection[str]) -> None:
        """Forget all senders but these."""
        self._senders = {name: sender for name, sender in self._senders.items() if name in senders}

    def judge(self, name: str, stamp: int, ahead: float, dead_time: float, now: float) -> str:
        """Accept or drop a verified heartbeat by its stamp; return the cause of a drop, or "".

        `ahead`: seconds between the stamp and this machine's clock. `dead_time` and `now` in
        seconds.
        """
        sender = self._senders.get(name)
        if sender is None:
            sender = self._senders[name] = _Sender()
        if not (stamp > sender.last if sender.last is not None else abs(ahead) <= WINDOW):
            if not self._passes_trial(sender, stamp, ahead, dead_time, now):
                return "clock" if sender.last is None else "replay"
            sender.passed += 1
        sender.last = stamp
        sender.trial_heard = -math.inf  # ends a trial that was under way
        return ""

    @staticmethod
    def _passes_trial(sender: _Sender, stamp: int, ahead: float, dead_time: float, now: float) -> bool:
        if now - sender.trial_heard >= dead_time:
            sender.trial_since = now
        elif stamp <= sender.trial_stamp:
            return False
        sender.trial_stamp, sender.trial_heard = stamp, now
        known = sender.last is not None
        whole = (TRIAL * dead_time + (TAKEOVER if known else 0.0)) * 2.0**sender.passed
        return now - sender.trial_since >= (whole if known or ahead <= 0 else QUICK_TRIAL * dead_time)
