"""What a node's log tells: its lines, when it made itself master, how long a dead peer had been silent. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

DAY = 86400.0
_LINE = re.compile(r"(\d\d):(\d\d):(\d\d\.\d{3}) exoip (\w+) (.*)")
_MASTER = re.compile(r"MASTER now, was ")
_SILENCE = re.compile(r"^(?P<peer>\S+).* is dead: not heard for (?P<seconds>[0-9.]+) s")
_TOLD = re.compile(
    r" now, was | is dead: |listening anew|yielding|standing back|stepping aside|^gone|^waiting for the API"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a log; `at` is Unix time."""

    at: float
    level: str
    text: str

    @property
    def worth_telling(self) -> bool:
        """Whether it belongs in the demo's timeline: what the node decided, not all it did and saw."""
        return _TOLD.search(self.text) is not None

    @property
    def makes_master(self) -> bool:
        """Whether the node makes itself master."""
        return _MASTER.search(self.text) is not None

    def silence(self, peer: str) -> float | None:
        """How many seconds the node `peer` had been silent when this line declared it dead; None: it does not."""
        found = _SILENCE.search(self.text)
        return float(found["seconds"]) if found and found["peer"] == peer else None


def parse(text: str, midnight: float, now: float) -> Line:
    """Read a line as the daemon writes it to stderr: a local time of day, exoip, the level, a sentence; anything else is all sentence.

    `midnight` is the Unix time of a local midnight; the line's day is the one that brings it closest to the Unix time `now`.
    """
    found = _LINE.fullmatch(text)
    if found is None:
        return Line(now, "", text)
    hours, minutes, seconds, level, sentence = found.groups()
    at = midnight + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return Line(at + DAY * round((now - at) / DAY), level, sentence)
