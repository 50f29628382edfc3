"""Take a snapshot of a node, for the status, the metrics and the operator.

All times are seconds of the node's clock; inf and -inf mean never. Shown by
tests/unit/core/test_snapshot.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from exoip.core.election import Election
from exoip.core.flap_damping import Damping
from exoip.core.mutations import JOB_TIME
from exoip.core.observed import InstanceState
from exoip.core.ownership import Ownership
from exoip.core.peers import Role
from exoip.core.unfit import UnfitReason
from exoip.heartbeat.admission import Admission
from exoip.heartbeat.socket_address import SocketAddress

READS_COUNT = 2.0  # verify intervals that a read counts, if neither role nor master has changed since


@dataclass(frozen=True, slots=True)
class PeerView:
    """One other node.

    `holds`: None if unknown, see `READS_COUNT`. `presumed`: it was the master before, and has not
    been read since. `read_at`: when the last read of it began. `listed`: it is a member at present;
    one that is not is kept until a read shows that it does not hold. `denied`: why the heartbeats
    that it sends at present are not authenticated, or "". `never_heard`: it runs, and was reported
    as never heard. `elsewhere`: the address of no member that sends heartbeats with its id at
    present, or "".
    """

    instance_id: str
    address: str
    alive: bool
    priority: int
    last_seen: float
    holds: bool | None
    listed: bool
    denied: str = ""
    port: int = 0
    presumed: bool = False
    read_at: float = -math.inf
    never_heard: bool = False
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A node at one moment.

    `stand_back_until`: -inf if it does not stand back. `preempt_delay`: seconds that a better node
    has to wait at present, damping included. `again`: when a job that has failed is tried again.
    `same_id`: the address from which heartbeats with this node's own id come, or "".
    `attaching`: it does not hold, but an attach of its own is under way. `protected`: it holds, in
    doubt at most because a peer was heard. `relieved`: the better node in whose place it is master,
    because that one does not hold, or "". `outsiders`: who holds and is no member, as a master that
    holds, or a node that stands back, reads. `mute`: why none of the last heartbeats could be sent,
    or ""; a stand-back goes on meanwhile.
    """

    at: float
    role: Role
    reason: str
    since: float
    master: str | None
    advertised: int
    holds: bool
    in_doubt: bool
    unfit: bool
    yielded: bool
    leaving: bool
    peers: tuple[PeerView, ...]
    dropped: Mapping[str, int]
    priority: int = 0
    known_at: float = -math.inf
    unfit_reasons: tuple[UnfitReason, ...] = ()
    stand_back_until: float = -math.inf
    preempt_delay: float = 0.0
    damping: Damping = field(default_factory=Damping)
    again: Mapping[str, float] = field(default_factory=dict)
    outsiders: tuple[str, ...] = ()
    same_id: str = ""
    attaching: bool = False
    protected: bool = False
    relieved: str = ""
    mute: str = ""


def take_snapshot(
    election: Election, ownership: Ownership, admission: Admission, dropped: Mapping[str, int], now: float
) -> Snapshot:
    """Return a snapshot. The caller holds the node's lock."""
    own = ownership.observed.own
    reads = (election.role is Role.MASTER and own.held) or ownership.stand_back.active  # who holds
    return Snapshot(
        at=now,
        role=election.role,
        reason=election.reason,
        since=election.since,
        master=election.master,
        advertised=election.advertised,
        holds=own.held,
        in_doubt=own.doubt,
        protected=own.protected,
        attaching=not own.held and ownership.mutations.touching(ownership.observed.own_id),
        unfit=ownership.unfit_reasons.unfit(now),
        yielded=ownership.stand_back.active,
        leaving=ownership.mutations.leaving,
        relieved=election.local_state.relieved,
        mute=ownership.stand_back.mute,
        peers=tuple(
            _view(other, election, ownership, admission, now) for _, other in sorted(ownership.observed.others.items())
        ),
        dropped=dict(dropped),
        priority=election.config.priority,
        known_at=own.known_at,
        unfit_reasons=ownership.unfit_reasons.reasons(now),
        stand_back_until=ownership.stand_back.until,
        preempt_delay=election.preempt_delay,
        damping=replace(election.damping) if election.config.flap_damping else Damping(),
        again=_again(ownership, election.role, now),
        outsiders=tuple(sorted(ownership.reads.outsiders - ownership.observed.others.keys())) if reads else (),
        same_id=_recent(admission.elsewhere, admission.own_id, now - election.config.dead_time),
    )


def _again(ownership: Ownership, role: Role, now: float) -> dict[str, float]:
    mutations, reads = ownership.mutations, ownership.reads
    detach = "detach of another" if role is Role.MASTER else "detach of this instance"
    backoffs = (mutations.attach_backoff, mutations.detach_backoff, reads.backoff, reads.list_backoff)
    return {job: b.at for job, b in zip(("attach", detach, "read", "list"), backoffs, strict=True) if b.at > now}


def _view(other: InstanceState, election: Election, ownership: Ownership, admission: Admission, now: float) -> PeerView:
    """Combine what members, election and API show about another node.

    What is old shows nothing, nor does a read from before the present master, or that a new master,
    which may yet come to hold, does not.
    """
    name, peer = other.instance_id, election.peer(other.instance_id)
    recent, oldest = now - election.config.dead_time, now - READS_COUNT * ownership.reads.relief.verify_interval
    settled = ownership.mutations.since + (JOB_TIME if name == election.master and not other.holds else 0.0)
    address, port = admission.members.get(name, SocketAddress("", 0))
    return PeerView(
        name,
        address,
        peer.alive,
        peer.priority,
        peer.last_seen,
        other.holds if other.read_at >= max(oldest, settled) else None,
        other.listed,
        _recent(admission.denied, name, recent),
        port,
        other.holding and not other.holds,
        other.read_at,
        never_heard=other.running and admission.unheard.get(name) == math.inf,
        elsewhere=_recent(admission.elsewhere, name, recent),
    )


def _recent(seen: Mapping[str, tuple[str, float]], instance_id: str, since: float) -> str:
    what, at = seen.get(instance_id, ("", -math.inf))
    return what if at > since else ""
