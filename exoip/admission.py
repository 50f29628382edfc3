"""Whether a heartbeat counts: for our Elastic IP, from a member at its own address, and proven as the rules ask. Pure.

It knows the members, since they are who is admitted. A heartbeat that is not admitted changes nothing but what `denied` tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from exoip.authentication import Proof, Stamps
from exoip.wire import Heartbeat

Place = tuple[str, int]  # the address and port that a member beats from and is beaten to


class Admission:
    """`members`: the other nodes' places by instance id; replaced as a whole, so that any thread may read it.

    `denied`: whose heartbeats were refused last for want of a proof, and why.
    """

    def __init__(self, eip: str) -> None:
        self.eip = eip
        self.members: dict[str, Place] = {}
        self.addresses: frozenset[str] = frozenset()
        self.denied: dict[str, str] = {}
        self._stamps = Stamps()

    def set_members(self, members: Mapping[str, Place]) -> None:
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
