"""Faults to inject: which calls they hit, how often or how long, and what they do; keys with their
rights.

`when` says whether a fault acts before the zone or after it:

    instead  the call does not reach the zone; nothing takes effect
    before   the call waits, then reaches the zone (hang only)
    after    the call reaches the zone and takes effect; the fault then hits its response
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from exoip.sandbox.model import REASONS, Call, Forbidden, Invalid, Key, NotFound
from exoip.sandbox.record import Record

# kind: the values of `when` it allows, its default first
KINDS: dict[str, tuple[str, ...]] = {
    "status": ("instead", "after"),  # responds with `status`, in `form`, with Retry-After if `retry_after` is set
    "hang": ("instead", "before", "after"),  # holds for `seconds`; "instead" then drops the connection
    "drop": ("instead", "after"),  # closes the connection without a response; "after" loses the response
    "garbage": ("instead", "after"),  # 200 with a body that is not JSON
    "half": ("after", "instead"),  # a response cut off in the middle of its body
    "operation-failure": ("after",),  # the call is accepted, its operation fails with `reason`
    "operation-timeout": ("after",),  # the call is accepted, its operation ends in the state timeout
    "operation-slow": ("after",),  # the operation takes `seconds`
    "operation-never": ("after",),  # the operation stays pending for good
}
FORMS = ("message", "problem", "text")  # {"message"}, RFC 9457, plain text


@dataclass(frozen=True, slots=True)
class Match:
    """Which calls a fault hits: those that match every field that is set.

    `path` is a regular expression to search.
    """

    method: str = ""
    path: str = ""
    key: str = ""
    service: str = "api"

    def __post_init__(self) -> None:
        try:
            re.compile(self.path)
        except re.error as error:
            raise Invalid(f"path {self.path!r} is not a regular expression: {error}") from None

    def hits(self, call: Call) -> bool:
        return (
            call.service == self.service
            and self.method.upper() in ("", call.method)
            and self.key in ("", call.key)
            and re.search(self.path, call.path) is not None
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. It skips the first `skip` matching calls, then hits `count` (None: all) until
    `until` (seconds of the zone's clock). `seconds` is for hang, operation-slow and
    operation-failure.
    """

    kind: str
    match: Match = field(default_factory=Match)
    count: int | None = None
    until: float = math.inf
    skip: int = 0
    when: str = ""
    status: int = 503
    form: str = "message"
    message: str = ""
    retry_after: float | None = None
    seconds: float | None = None
    reason: str = "unknown"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise Invalid(f"fault kind {self.kind!r} is none of {', '.join(KINDS)}")
        if not self.when:
            object.__setattr__(self, "when", KINDS[self.kind][0])
        if self.when not in KINDS[self.kind]:
            raise Invalid(f"a {self.kind} fault can be {' or '.join(KINDS[self.kind])}, not {self.when!r}")
        if not 400 <= self.status <= 599:
            raise Invalid(f"fault status {self.status} is not within 400..599")
        if self.form not in FORMS:
            raise Invalid(f"fault form {self.form!r} is none of {', '.join(FORMS)}")
        if self.reason not in REASONS:
            raise Invalid(f"fault reason {self.reason!r} is none of {', '.join(sorted(REASONS))}")
        if self.kind in ("hang", "operation-slow") and self.seconds is None:
            raise Invalid(f"a {self.kind} fault needs seconds")
        if self.seconds is not None and not 0 <= self.seconds < math.inf:
            raise Invalid(f"fault seconds {self.seconds} must be 0 or more, and finite")
        if self.skip < 0 or (self.count is not None and self.count < 1):
            raise Invalid(f"fault skip {self.skip} must be 0 or more, its count {self.count} 1 or more")

    def as_dict(self) -> dict[str, Any]:
        """Return the fault as the control interface takes it, without an infinite `until`."""
        data = asdict(self)
        if math.isinf(self.until):
            del data["until"]
        return data


@dataclass(slots=True)
class _Ordered:
    fault: Fault
    seen: int = 0


class FaultBook:
    """The active faults, oldest first; the first that matches a call hits it."""

    def __init__(self) -> None:
        self._ordered: dict[int, _Ordered] = {}
        self._next = 1

    def add(self, fault: Fault) -> int:
        """Add a fault; return its number, for `clear`."""
        number = self._next
        self._next += 1
        self._ordered[number] = _Ordered(fault)
        return number

    def clear(self, number: int | None = None) -> None:
        """Remove one fault, or all. A number that is gone is not an error."""
        if number is None:
            self._ordered.clear()
        else:
            self._ordered.pop(number, None)

    def active(self, now: float) -> dict[int, Fault]:
        """Return the active faults by number."""
        self._expire(now)
        return {number: ordered.fault for number, ordered in self._ordered.items()}

    def pick(self, call: Call, now: float) -> Fault | None:
        """Return the fault that hits this call, and count the hit; None if there is none."""
        self._expire(now)
        for number, ordered in self._ordered.items():
            fault = ordered.fault
            if not fault.match.hits(call):
                continue
            ordered.seen += 1
            if ordered.seen <= fault.skip:
                continue
            if fault.count is not None and ordered.seen >= fault.skip + fault.count:
                del self._ordered[number]
            return fault
        return None

    def _expire(self, now: float) -> None:
        for number in [number for number, ordered in self._ordered.items() if ordered.fault.until <= now]:
            del self._ordered[number]


class CallPolicy:
    """What a zone applies to calls: keys with their rights, latencies and faults.

    `keys` are by name.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.keys: dict[str, Key] = {}
        self.faults = FaultBook()
        self._latency: dict[str, float] = {}

    def add_key(self, name: str, secret: str, refused: tuple[str, ...] = ()) -> Key:
        """Add or replace an API key, whose role forbids the operations in `refused` (OpenAPI
        names).
        """
        self.keys[name] = Key(name, secret, frozenset(refused))
        return self.keys[name]

    def permit(self, key: str, operation: str) -> None:
        """Raise Forbidden if the key's role forbids the operation. An unknown key has no role."""
        if key in self.keys and operation in self.keys[key].refused:
            raise Forbidden(f"Forbidden by role policy for compute: {operation}")

    def set_latency(self, seconds: float, key: str = "") -> None:
        """Set how long each call of a key takes, or of all others; half before it takes effect,
        half after.
        """
        if not 0 <= seconds < math.inf:
            raise Invalid(f"a latency of {seconds} s is not allowed: 0 or more, and finite")
        self._latency[key] = seconds

    def latency(self, key: str = "") -> float:
        """Return how many seconds a call of this key takes."""
        return self._latency.get(key, self._latency.get("", 0.0))

    def latencies(self) -> dict[str, float]:
        """Return the latencies in seconds by key; "" is that of all other keys."""
        return dict(self._latency)

    def add_fault(self, fault: Fault, now: float) -> int:
        """Add a fault; return its number."""
        number = self.faults.add(fault)
        self.record.add("fault", now, outcome=f"{number}: {fault.kind} {fault.when}", detail=str(fault.match))
        return number

    def clear_faults(self, now: float, number: int | None = None) -> None:
        """Remove one fault, or all; raise NotFound if the one is not active."""
        if number is not None and number not in self.faults.active(now):
            raise NotFound(f"no fault {number} is active: `exoip-sandbox state` lists those that are")
        self.faults.clear(number)
        self.record.add("fault", now, outcome="all lifted" if number is None else f"{number}: lifted")
