"""Accept or drop heartbeats: Elastic IP, member, its address, and authentication must be right.

A dropped heartbeat changes only counters and what operators see: `denied`, `unheard` and
`elsewhere`. One of an unknown sender has the group read at once, and again after 5, 10, 20 s…,
because the group may have grown. A member that a list lacks, but that is heard, stays until a
second list, 30 s later, agrees that it is gone. A heartbeat with this node's own id means that two
hosts have one id. A clone sends its heartbeats to itself, because the group has its address under
its true id, so it hears its own id from an address of this machine that is a member's. On any other
node no address of the machine is a member's, whatever is forged. The clone reports it as critical,
and does not take part if it starts. Without a signature anything else with the own id is reported
as well; with one it is an echo. `core.node` asks, and holds the lock. Shown by 42, 29a, 29b, 29c,
61b, 62a, 63, 63b, TestMembersThatAreNotHeard, TestSameId.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container, Hashable, Mapping

from exoip.heartbeat.authentication import Proof, ReplayGuard
from exoip.heartbeat.socket_address import SocketAddress
from exoip.heartbeat.wire import Heartbeat

REPORT_INTERVAL = 60.0  # seconds between two reports of one address and cause
NEVER_HEARD = 5.0  # dead times after which a member that was not heard once is reported
SAME_ID = "same-id"  # the cause for dropping a heartbeat with this node's own id
ECHO = "echo"  # the same, if it is signed, and this node is no clone: anyone may send it back
ADDRESS = "address"  # the cause for dropping a heartbeat with a member's id from another address
MAX_STRANGERS = 100  # addresses of non-members that are reported
CONFIRM_TIME = 30.0  # seconds until a second list has to agree that a member which is heard is gone
FIRST_LOOK_AGAIN = 5.0  # seconds in which a sender does not have the group read a second time; then doubled
LOOK_WINDOW = 300.0  # seconds after which senders are forgotten …
MOST_LOOKS = 20  # … so many of them have the group read meanwhile


class Admission:
    """Decides which heartbeats count.

    `members`: the other nodes' addresses by instance id, for sending and receiving; replaced as a
    whole, so any thread may read it. `denied`: members whose last heartbeat was not authenticated,
    the cause, and when that was. `unheard`: members of which nothing has arrived yet, and when that
    is reported; inf: it was. `elsewhere`: the last address of no member that sent a member's id,
    and when; under `own_id` any address that sent that. `looks`: which unknown senders have the
    group read.
    """

    def __init__(self, eip: str, own_id: str = "") -> None:
        self.eip, self.own_id = eip, own_id
        self.members: dict[str, SocketAddress] = {}
        self.addresses: frozenset[str] = frozenset()
        self.denied: dict[str, tuple[str, float]] = {}
        self.unheard: dict[str, float] = {}
        self.elsewhere: dict[str, tuple[str, float]] = {}
        self._missing: dict[str, float] = {}  # members that are heard, but not listed since then
        self._stamps = ReplayGuard()
        self.looks = RateLimit(FIRST_LOOK_AGAIN, LOOK_WINDOW, MOST_LOOKS, doubling=True)

    def set_members(self, members: Mapping[str, SocketAddress], report_at: float) -> None:
        """Replace the members. New ones that are not heard by `report_at` are reported then."""
        heard = self.members.keys() - self.unheard.keys()
        self.unheard = {name: self.unheard.get(name, report_at) for name in members if name not in heard}
        self.elsewhere = {name: seen for name, seen in self.elsewhere.items() if name in {*members, self.own_id}}
        self.members = dict(members)
        self.addresses = frozenset(address for address, _ in members.values())
        self.denied = {name: seen for name, seen in self.denied.items() if name in members}
        self._stamps.keep(members)

    def still_heard(
        self, listed: Mapping[str, SocketAddress], alive: Callable[[str], bool], now: float
    ) -> dict[str, SocketAddress]:
        """Return the members that a list lacks, and that stay until a second list agrees.

        One whose address the list gives to another instance was replaced by it.
        """
        lacked = [one for one, place in self.members.items() if one not in listed and place not in listed.values()]
        self._missing = {one: self._missing.get(one, now) for one in lacked if alive(one)}
        return {one: self.members[one] for one, since in self._missing.items() if now < since + CONFIRM_TIME}

    def judge(self, heartbeat: Heartbeat, address: str, proof: Proof, dead_time: float, now: float) -> str:
        """Return the cause for dropping a heartbeat from `address`, or "" to accept it."""
        if heartbeat.eip != self.eip:
            return "eip"
        sender = heartbeat.instance_id
        member, same = self.members.get(sender), sender == self.own_id
        if not same and (member is None or member[0] != address):
            return self._misplaced(sender, address, proof, now)
        self.unheard.pop(sender, None)
        cause = proof.cause
        if same and not cause:
            if proof.stamp is not None and not self.two_hosts(address, proof):
                return ECHO
            self.elsewhere[sender] = address, now
        if same:
            return cause or SAME_ID
        if not cause and proof.stamp is not None:
            cause = self._stamps.judge(sender, proof.stamp, proof.ahead, dead_time, now)
        if cause:
            self.denied[sender] = cause, now
        elif self.denied:
            self.denied.pop(sender, None)
        return cause

    def two_hosts(self, address: str, proof: Proof) -> bool:
        """Whether a heartbeat with this node's own id shows that this node is a clone."""
        return proof.local and address in self.addresses

    def _misplaced(self, sender: str, address: str, proof: Proof, now: float) -> str:
        if address in self.addresses:
            return "identity"
        if sender not in self.members or proof.cause:
            return "unknown"
        self.elsewhere[sender] = address, now
        return ADDRESS

    def due_unheard(self, running: Container[str], wait: float, now: float) -> list[str]:
        """Return each running member to report; look at the others again in `wait` seconds."""
        due = [name for name, at in self.unheard.items() if now >= at]
        self.unheard |= {name: math.inf if name in running else now + wait for name in due}
        return [name for name in due if self.unheard[name] == math.inf]


class RateLimit:
    """Lets each key pass once in `wait` seconds; doubled each time up to `window`, if `doubling`.

    Memory is bounded: no more than `most` new keys pass until others are forgotten, which happens
    every `window` seconds to those that may pass again.
    """

    def __init__(self, wait: float, window: float, most: float = math.inf, *, doubling: bool = False) -> None:
        self._wait, self._window, self._most, self._growth = wait, window, most, 2 if doubling else 1
        self._kept: dict[Hashable, tuple[float, float]] = {}  # not before, and then how long not
        self._forget_at = -math.inf

    def __len__(self) -> int:
        return len(self._kept)

    def passes(self, key: Hashable, now: float) -> bool:
        """Whether it passes now; if so, it counts."""
        if now >= self._forget_at:
            self._kept = {key: (at, wait) for key, (at, wait) in self._kept.items() if now < at}
            self._forget_at = now + self._window
        at, wait = self._kept.get(key, (-math.inf, self._wait))
        if now < at or (key not in self._kept and len(self._kept) >= self._most):
            return False
        self._kept[key] = now + wait, min(self._growth * wait, self._window)
        return True


class DroppedDatagrams:
    """Counts dropped datagrams by cause; each address and cause is reported once a minute at most.

    Members have a limit of their own, so a flood of false senders never hides a member's fault.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._members = RateLimit(REPORT_INTERVAL, REPORT_INTERVAL)
        self._others = RateLimit(REPORT_INTERVAL, REPORT_INTERVAL, MAX_STRANGERS)

    def count(self, address: str, cause: str, now: float, *, member: bool = False) -> bool:
        """Count one datagram from `address`; return whether to report it."""
        self.counts[cause] += 1
        return (self._members if member else self._others).passes((address, cause), now)
