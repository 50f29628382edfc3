"""Whether a heartbeat counts: for our Elastic IP, from a member at its own address, and proven as the rules ask. Pure.

It knows the members, since they are who is admitted. A heartbeat that is not admitted changes nothing but what `denied` tells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from exoip.core.events import Event, EventName
from exoip.heartbeat.authentication import Proof, ReplayGuard
from exoip.heartbeat.wire import Heartbeat

REPORT_INTERVAL = 60.0  # seconds between two reports of one sender and cause
MAX_STRANGERS = 100  # that are no members and are told apart

Endpoint = tuple[str, int]  # the address and port that a member beats from and is beaten to


class Admission:
    """`members`: the other nodes' places by instance id; replaced as a whole, so that any thread may read it.

    `denied`: whose heartbeats were refused last for want of a proof, and why.
    """

    def __init__(self, eip: str) -> None:
        self.eip = eip
        self.members: dict[str, Endpoint] = {}
        self.addresses: frozenset[str] = frozenset()
        self.denied: dict[str, str] = {}
        self._stamps = ReplayGuard()

    def set_members(self, members: Mapping[str, Endpoint]) -> None:
        """Admit these, whatever was before."""
        self.members = dict(members)
        self.addresses = frozenset(address for address, _ in members.values())
        self.denied = {name: cause for name, cause in self.denied.items() if name in members}
        self._stamps.keep(members)

    def judge(self, heartbeat: Heartbeat, address: str, proof: Proof, dead_time: float, now: float) -> str:
        """Return why a heartbeat that came from `address` is refused, or "" when it counts."""
        if heartbeat.eip != self.eip:
            return "eip"
        sender = heartbeat.instance_id
        member = self.members.get(sender)
        if member is None or member[0] != address:
            return "identity" if address in self.addresses else "unknown"
        cause = proof.cause
        if not cause and proof.stamp is not None:
            cause = self._stamps.judge(sender, proof.stamp, proof.ahead, dead_time, now)
        if cause:
            self.denied[sender] = cause
        elif self.denied:
            self.denied.pop(sender, None)
        return cause


class DroppedDatagrams:
    """Counts dropped datagrams by cause, and reports each sender and cause once a minute at most.

    What is kept stays small: at most `MAX_STRANGERS` that are no members are told apart. Members are as
    many as the group has, so a flood of false senders never hides what a member does wrong.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._members: dict[tuple[str, str], float] = {}  # when a sender and cause was told of last
        self._others: dict[tuple[str, str], float] = {}
        self._pruned = -math.inf

    def note(self, address: str, cause: str, now: float, *, member: bool = False) -> Event | None:
        """Count one refusal, of something that came from a member's address or not; return the event when it is time to tell of it."""
        self.counts[cause] += 1
        told = self._members if member else self._others
        if now - told.get((address, cause), -math.inf) < REPORT_INTERVAL:
            return None
        if len(told) >= MAX_STRANGERS and (member or now - self._pruned >= REPORT_INTERVAL):
            self._pruned = now
            for old in [key for key, at in told.items() if now - at >= REPORT_INTERVAL]:
                del told[old]
        if len(told) >= MAX_STRANGERS and not member:
            return None
        told[address, cause] = now
        details = {"address": address, "count": self.counts[cause], "cause": cause}
        return Event(EventName.DATAGRAM_DROPPED, now, "", cause, details)
