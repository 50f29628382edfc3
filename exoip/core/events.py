"""Describe what happens inside a node as data: pure modules return it, telemetry reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class EventName(StrEnum):
    """The names of events, as users see them in EXOIP_EVENT and metrics."""

    ROLE = "role"  # own role or master changed
    PEER_ALIVE = "peer-alive"  # heard for the first time, or again
    PEER_DEAD = "peer-dead"  # not heard for one dead time
    NEVER_HEARD = "never-heard"  # a running peer was not heard once since this node knows it
    PEER_PRIORITY = "peer-priority"  # advertises another priority
    PEER_ADDED = "peer-added"  # new in the group
    PEER_REMOVED = "peer-removed"  # left the group
    ADVERTISED = "advertised"  # own advertised priority changed
    STALLED = "stalled"  # this node did not run for a while
    LEAVING = "leaving"  # this node was asked to stop
    ATTACHING = "attaching"  # this node sends its own attach
    ATTACHED = "attached"  # that attach is done
    CLEARING = "clearing"  # this node sends the detach of another
    CLEARED = "cleared"  # that detach is done
    LETTING_GO = "letting-go"  # this node sends its own detach
    LET_GO = "let-go"  # that detach is done
    FAILED = "failed"  # a call or its operation failed
    API_DEGRADED = "api-degraded"  # a kind of call begins to fail
    API_RECOVERED = "api-recovered"  # that kind of call works again, or is no longer wanted
    UNFIT = "unfit"  # this node cannot do its job
    FIT = "fit"  # this node can do its job again
    HOLDS = "holds"  # a read shows that this node holds, and it did not know; or it did before a restart
    LOST = "lost"  # a read shows that this node no longer holds
    YIELDED = "yielded"  # a node that cannot be heard holds; this one stands back
    STAND_BACK_OVER = "stand-back-over"  # the node takes part again
    OUTSIDER_HOLDS = "outsider-holds"  # an instance that is not a member holds
    FLAPPING = "flapping"  # the role changed too often; a better node has to wait
    CALM = "calm"  # a better node no longer has to wait
    CHECK_FAILING = "check-failing"  # a health check fails
    CHECK_PASSING = "check-passing"  # a health check passes, for the first time or again
    HOOK_DONE = "hook-done"  # the operator's hook ran
    HOOK_FAILED = "hook-failed"  # the hook could not run, or failed
    SAME_ID = "same-id"  # heartbeats with this node's own id arrive: two hosts have it
    DATAGRAM_DROPPED = "datagram-refused"  # a datagram was dropped
    FLOODED = "flooded"  # too many datagrams are dropped; the kernel filters from now on
    FLOOD_OVER = "flood-over"  # the kernel no longer filters
    SEND_FAILED = "send-failed"  # a heartbeat could not be sent to a peer
    SEND_RECOVERED = "send-recovered"  # heartbeats to that peer can be sent again


class Cause(StrEnum):
    """What caused an event, if the cause is not an event itself."""

    TIME = "time"  # a deadline has passed: LISTENING, a preemption delay, a stand-back
    DOUBT = "doubt"  # this node began or ceased to doubt whether it holds
    MEMBERS = "members"  # the members changed
    CONFIGURATION = "configuration"  # a reload, or another priority
    NOBODY_HOLDS = "nobody-holds"  # no silent, running instance holds
    HEARD = "heard"  # a holder is heard and has not detached itself
    SILENT = "silent"  # a holder is silent, and held before this node attached
    SILENT_RIVAL = "silent-rival"  # a holder is silent, and attached later
    BLIND = "blind"  # a holder attaches again, because it cannot read itself; or it held before a restart


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    `at`: seconds of the node's clock. `instance_id`: the instance it is about, or "". `reason`: a
    sentence for people. `details`: values for programs, each of which becomes a journal field.
    """

    name: EventName
    at: float
    instance_id: str = ""
    reason: str = ""
    details: Mapping[str, object] = field(default_factory=dict)
