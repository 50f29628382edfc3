"""What happens inside a node, as data: the pure modules return it, `journal` tells it.

One `Event` is one thing that a person may want to read of later. `EventName` names it; the journal gives each name a
MESSAGE_ID, a priority and a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from exoip.heartbeat.wire import UUID_PATTERN


class EventName(StrEnum):
    """The names of the events."""

    ROLE = "role"  # own role or master changed
    PEER_ALIVE = "peer-alive"  # heard for the first time, or again
    PEER_DEAD = "peer-dead"  # not heard for one dead time
    PEER_PRIORITY = "peer-priority"  # advertises another priority
    PEER_ADDED = "peer-added"  # new in the group
    PEER_REMOVED = "peer-removed"  # left the group
    ADVERTISED = "advertised"  # own advertised priority changed
    STALLED = "stalled"  # this node slept past its own schedule
    LEAVING = "leaving"  # stop was asked for
    ATTACHING = "attaching"  # the attach of this node goes out
    ATTACHED = "attached"  # it is seen done
    CLEARING = "clearing"  # the detach of another node goes out
    CLEARED = "cleared"  # it is seen done
    LETTING_GO = "letting-go"  # the detach of this node goes out
    LET_GO = "let-go"  # it is seen done
    FAILED = "failed"  # a call or its operation failed
    API_DEGRADED = "api-degraded"  # the first failure after good calls
    API_RECOVERED = "api-recovered"  # the first good call after failures
    UNFIT = "unfit"  # this node steps aside
    FIT = "fit"  # and is back
    HOLDS = "holds"  # a read shows that this node holds, which was not known
    LOST = "lost"  # a read shows that this node does not hold what it held
    YIELDED = "yielded"  # another node, cut off from this one, holds: stand back
    STAND_BACK_OVER = "stand-back-over"
    OUTSIDER_HOLDS = "outsider-holds"  # an instance that is no member holds
    FLAPPING = "flapping"  # the role changed too often: a better node has to wait
    CALM = "calm"  # and no longer
    CHECK_FAILING = "check-failing"  # a health check fails
    CHECK_PASSING = "check-passing"  # and passes (again)
    HOOK_DONE = "hook-done"  # the operator's program was told of a change
    HOOK_FAILED = "hook-failed"  # and could not be, or said so
    DATAGRAM_DROPPED = "datagram-refused"  # a datagram was dropped
    FLOODED = "flooded"  # so many are dropped that the kernel does it from now on
    FLOOD_OVER = "flood-over"
    SEND_FAILED = "send-failed"  # a heartbeat could not be sent to a peer
    SEND_RECOVERED = "send-recovered"


class Cause(StrEnum):
    """What caused an event, where that is no event itself."""

    TIME = "time"  # a deadline: the end of LISTENING, of a preemption delay, of a stand-back …
    DOUBT = "doubt"  # whether this node still holds is in doubt, or no longer
    MEMBERS = "members"  # the group changed
    CONFIGURATION = "configuration"  # a reload, or another priority
    NOBODY_HOLDS = "nobody-holds"  # no silent, running instance holds
    HEARD = "heard"  # a holder is heard and has not let go
    SILENT = "silent"  # a holder is silent, and held when this node attached
    SILENT_RIVAL = "silent-rival"  # a holder is silent, and came to hold later


_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Event:
    """One event: what, at which monotonic second, about which instance (an id, or ""), why, and further details by name.

    `reason` is for people only. What a program goes by is a detail, which the journal gives a field.
    """

    name: EventName
    at: float
    instance_id: str = ""
    reason: str = ""
    details: Mapping[str, object] = field(default_factory=lambda: _NOTHING)


def replace_ids(text: str, label: Callable[[str], str]) -> str:
    """Put people's words in the place of the instance ids in a text."""
    return UUID_PATTERN.sub(lambda found: label(found[0]), text)
