"""What stands between a caller and a simulated zone: API keys and their roles, latency, faults. Pure state."""

from __future__ import annotations

import math

from exoip.sandbox.faults import Fault, FaultBook
from exoip.sandbox.model import Forbidden, Invalid, Key
from exoip.sandbox.record import Record


class Gate:
    """The keys, latencies and faults of one zone. `keys` by name; an unknown key has no secret to sign with."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.keys: dict[str, Key] = {}
        self.faults = FaultBook()
        self._latency: dict[str, float] = {}

    def add_key(self, name: str, secret: str, refused: tuple[str, ...] = ()) -> Key:
        """An API key (made, or replaced), whose role refuses the operations in `refused` (their OpenAPI names)."""
        self.keys[name] = Key(name, secret, frozenset(refused))
        return self.keys[name]

    def permit(self, key: str, operation: str) -> None:
        """Raise Forbidden if the key's role refuses the operation. A key that is not known here has no role."""
        if key in self.keys and operation in self.keys[key].refused:
            raise Forbidden(f"Forbidden by role policy for compute: {operation}")

    def set_latency(self, seconds: float, key: str = "") -> None:
        """What each call takes, of one key or (no key) of all others; half before it takes effect, half after."""
        if not 0 <= seconds < math.inf:
            raise Invalid(f"a latency of {seconds} s is not possible: 0 or more, and finite")
        self._latency[key] = seconds

    def latency(self, key: str = "") -> float:
        """Seconds that a call of this key takes, there and back."""
        return self._latency.get(key, self._latency.get("", 0.0))

    def latencies(self) -> dict[str, float]:
        """Every latency that was set, by key; "" is that of all other keys."""
        return dict(self._latency)

    def add_fault(self, fault: Fault, now: float) -> int:
        """Put a fault in force; returns its number."""
        number = self.faults.add(fault)
        self.record.add("fault", now, outcome=f"{number}: {fault.kind} {fault.when}", detail=str(fault.match))
        return number

    def clear_faults(self, now: float, number: int | None = None) -> None:
        """Lift one fault, or all."""
        self.faults.clear(number)
        self.record.add("fault", now, outcome="all lifted" if number is None else f"{number}: lifted")
