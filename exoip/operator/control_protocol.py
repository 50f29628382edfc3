"""Parse the requests of the control socket. Pure.

A request is one line with one JSON object, and so is its answer. Version 1:

    {"version": 1, "request": "status"}
    {"version": 1, "request": "metrics"}
    {"version": 1, "request": "drain", "why": "new kernel", "by": "ann"}
    {"version": 1, "request": "undrain", "by": "ann"}
    {"version": 1, "request": "failover", "for": 600, "force": false, "by": "ann"}
    {"version": 1, "request": "priority", "priority": 30, "by": "ann"}

`by` is the user's name as the client gives it; the daemon logs it beside the user id from the
kernel. An answer is {"version": 1, "ok": true, …} or {"version": 1, "ok": false, "error": "…"}.
Shown by tests/unit/operator/test_control_protocol.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from exoip.config.model import HIGHEST_PRIORITY, LOWEST_PRIORITY
from exoip.errors import ControlRequestError

VERSION = 1
LONGEST_TEXT = 200  # characters of `why` and `by`
SHORTEST_FAILOVER = 10.0  # seconds that a failover keeps the node aside, at least …
FAILOVER_TIME = 600.0  # … by default …
LONGEST_FAILOVER = 86400.0  # … and at most


@dataclass(frozen=True, slots=True)
class Status:
    """Return the state."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Return the metrics in the text format of Prometheus."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Step aside, and stay aside across restarts."""

    why: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Undrain:
    """Take part again: after a drain, or before the end of a failover."""

    by: str = ""


@dataclass(frozen=True, slots=True)
class Failover:
    """Hand over now and stay aside for `seconds`; `force`: even if no other node can take over."""

    seconds: float = FAILOVER_TIME
    force: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class Priority:
    """Use this priority until the next reload or restart."""

    priority: int
    by: str = ""


Change = Drain | Undrain | Failover | Priority
Request = Status | Metrics | Change

_KINDS: dict[str, type[Request]] = {
    kind.__name__.lower(): kind for kind in (Status, Metrics, Drain, Undrain, Failover, Priority)
}


def rejection(why: str) -> bytes:
    """Return the answer, a line, that rejects a request."""
    return json.dumps({"version": VERSION, "ok": False, "error": why}).encode() + b"\n"


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"must be a printable text of at most {LONGEST_TEXT} characters")
    return value


def _seconds(value: object) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not SHORTEST_FAILOVER <= number <= LONGEST_FAILOVER:
        raise ValueError(f"must be a number of seconds from {SHORTEST_FAILOVER:g} to {LONGEST_FAILOVER:g}")
    return number


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _priority(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        raise ValueError(f"must be a whole number from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}, the lowest wins")
    return value


# name in a request: field of its class, and the function that reads the value
_READERS: Mapping[str, tuple[str, Callable[[object], object]]] = {
    "why": ("why", _text),
    "by": ("by", _text),
    "for": ("seconds", _seconds),
    "force": ("force", _flag),
    "priority": ("priority", _priority),
}


def parse(line: bytes) -> Request:
    """Return the request in a line. Raises ControlRequestError, and nothing else."""
    try:
        asked: Any = json.loads(line)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise ControlRequestError("a request is one line with one JSON object")
    version, name = asked.pop("version", None), asked.pop("request", None)
    if version != VERSION or isinstance(version, bool):
        raise ControlRequestError(f"this daemon speaks version {VERSION}: use the exoipctl that belongs to it")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ControlRequestError(f"unknown request; there are {', '.join(_KINDS)}")
    known = {field.name for field in fields(kind)}
    values: dict[str, object] = {}
    for key, value in asked.items():
        field, read = _READERS.get(key, ("", _text))
        if field not in known:
            raise ControlRequestError(f"{name}: unknown name in the request")
        try:
            values[field] = read(value)
        except (ValueError, OverflowError) as error:
            raise ControlRequestError(f"{name}: {key} {error}") from None
    if kind is Priority and "priority" not in values:
        raise ControlRequestError("priority: the number is missing")
    return kind(**values)  # type: ignore[arg-type]
