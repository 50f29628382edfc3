"""Watch which kinds of API call fail, and report when each begins to fail and when that is over.

A failure is over if such a call works, and if this node no longer asks for it: a read shows what
the attach or detach was to do, or its role has changed, or its stand-back is over. A mutation works
only when its operation is done; a refresh works if a reload reads the members. Shown by
tests/unit/telemetry/test_api_health.py and tests/unit/daemon/test_running_node.py.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from exoip.core.calls import Call, Failure, Kind, Outcome, Purpose
from exoip.core.events import Event, EventName
from exoip.core.peers import Role

MUTATIONS = (Kind.ATTACH, Kind.DETACH, Kind.POLL)  # one of these is under way at a time
NO_LONGER = "it is no longer wanted"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A kind of call that fails: the last failure, since when (seconds), and what the API said."""

    failure: Failure
    since: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ApiView:
    """What the API does at one moment.

    `trouble`: the kinds of call that fail. `answered_at`: when it last answered, in seconds of the
    node's clock; -inf for never.
    """

    trouble: Mapping[Kind, Trouble] = field(default_factory=dict)
    answered_at: float = -math.inf

    @property
    def degraded(self) -> str:
        """The calls that fail at present, with their failures; "" if all is well."""
        return ", ".join(f"{kind} {trouble.failure}" for kind, trouble in self.trouble.items())


WELL = ApiView()  # nothing fails


class ApiHealth:
    """Gets each call with its outcome, and each event of the node; any thread may call it.

    Its events go to `emit`, which must not block.
    """

    def __init__(self, own_id: str, emit: Callable[[Event], None]) -> None:
        self._own_id, self._emit, self._lock = own_id, emit, threading.Lock()
        self._trouble: dict[Kind, Trouble] = {}
        self._answered_at = -math.inf
        self._role = Role.LISTENING
        self._mutation = ("", False)  # the last one: its instance, and whether that is to hold
        self._refreshes = True

    def view(self) -> ApiView:
        """Return a copy of what is known."""
        with self._lock:
            return ApiView(dict(self._trouble), self._answered_at)

    def on_event(self, event: Event) -> None:
        """Take note of an event of the node."""
        with self._lock:
            old = self._role
            if event.name is EventName.ROLE:
                self._role = Role(str(event.details["role"]))
            if self._role is not old or event.name is EventName.STAND_BACK_OVER:
                self._recovered((*MUTATIONS, Kind.HOLDERS), NO_LONGER, event.at)

    def on_discovery(self, now: float, *, refreshes: bool) -> None:
        """Take note that a reload read the members, and whether they are to be read again."""
        with self._lock:
            self._refreshes = refreshes
            self._recovered((Kind.REFRESH,), "it works again" if refreshes else NO_LONGER, now)

    def note(self, call: Call, outcome: Outcome) -> None:
        """Take note of a call and its outcome, before the node does."""
        now, read = outcome.ended, call.kind is Kind.READ
        gone = read and outcome.failure is Failure.NOT_SO and call.instance_id != self._own_id  # which is an answer
        with self._lock:
            if call.kind in (Kind.ATTACH, Kind.DETACH):
                self._mutation = call.instance_id, call.kind is Kind.ATTACH
            if outcome.failure is not None and not gone:
                self._failed(call, outcome.failure, outcome)
                return
            self._answered_at = now
            if not outcome.operation_id:
                self._recovered(MUTATIONS if call.kind in MUTATIONS else (call.kind,), "it works again", now)
            if read and (call.instance_id, outcome.holds) == self._mutation:
                self._recovered(MUTATIONS, NO_LONGER, now)

    def _failed(self, call: Call, failure: Failure, outcome: Outcome) -> None:
        before = self._trouble.get(call.kind)
        if (before is None or before.failure is not failure) and self._wanted(call):
            since = outcome.ended if before is None else before.since
            self._trouble[call.kind] = Trouble(failure, since, outcome.detail)
            details = {"call": call.kind, "failure": failure}
            self._emit(Event(EventName.API_DEGRADED, outcome.ended, call.instance_id, outcome.detail, details))

    def _wanted(self, call: Call) -> bool:
        """Return whether a node of this role asks for it, or its role changed under way."""
        if call.kind in MUTATIONS:
            return (self._role is Role.MASTER) == (self._mutation != (self._own_id, False))
        if call.kind is Kind.REFRESH:
            return self._refreshes
        return call.kind is not Kind.HOLDERS or self._role is not Role.BACKUP or call.purpose is Purpose.HOLDER

    def _recovered(self, kinds: tuple[Kind, ...], why: str, now: float) -> None:
        for kind in kinds:
            if self._trouble.pop(kind, None) is not None:
                self._emit(Event(EventName.API_RECOVERED, now, "", why, {"call": kind}))
