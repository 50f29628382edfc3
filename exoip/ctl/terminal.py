"""Format text for a terminal: health levels, colors, durations, local times, columns.

Shown by tests/unit/ctl/test_terminal.py.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from exoip.operator.control_protocol import VERSION

HEALTHY = "healthy"
DEGRADED = "degraded"
CRITICAL = "critical"
UNKNOWN = "unknown"  # no daemon of that name, or no right to ask it
CODES = {HEALTHY: 0, DEGRADED: 1, CRITICAL: 2, UNKNOWN: 3}  # exit codes, those of monitoring plugins
_SEVERITY = (HEALTHY, DEGRADED, UNKNOWN, CRITICAL)  # a daemon that hangs is worse than an unknown one

GREEN = "32"  # these are parameters of the escape sequence SGR
YELLOW = "33"
RED = "31"
FAINT = "2"
BOLD = "1"
COLORS = {HEALTHY: GREEN, DEGRADED: YELLOW, CRITICAL: RED, UNKNOWN: RED}

WIDTH = 80  # columns; longer lines are wrapped
INDENT = 12  # columns of the titles of `status`, which continuation lines leave empty

Style = Callable[[str, str], str]  # (text, SGR parameter) -> text


def worst(levels: Iterable[str]) -> str:
    """Return the worst of the levels; UNKNOWN if there are none."""
    return max(levels, key=_SEVERITY.index, default=UNKNOWN)


def exit_code(level: str, fail_on: str = DEGRADED) -> int:
    """Return the exit code for a level, 0 if it is not as bad as `fail_on`."""
    return CODES[level] if _SEVERITY.index(level) >= _SEVERITY.index(fail_on) or level == UNKNOWN else CODES[HEALTHY]


def unstyled(text: str, _sgr: str) -> str:
    """Return the text as it is."""
    return text


def colored(text: str, sgr: str) -> str:
    """Return the text in a color; an empty text stays empty."""
    return f"\x1b[{sgr}m{text}\x1b[0m" if text else text


def style_for(stream: TextIO, environ: Mapping[str, str]) -> Style:
    """Return `colored` for a terminal with colors, unless NO_COLOR forbids them (no-color.org)."""
    capable = stream.isatty() and environ.get("TERM", "dumb") != "dumb"
    return colored if capable and not environ.get("NO_COLOR") else unstyled


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as `1 h 5 min`; tenths below 10 s."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append(f"{amount} {unit}" if amount else "")
    return " ".join(part for part in parts[:2] if part)


def local_time(at: float) -> str:
    """Return a Unix time as date and time in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def wrap(text: str, indent: int = INDENT) -> list[str]:
    """Return the text as lines of at most WIDTH columns, if its words allow; all but the first are
    indented.
    """
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def columns(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    """Return the rows, all of one length, as lines with aligned columns.

    The cells must not be colored.
    """
    widths = [max(map(len, column)) + gap for column in zip(*rows, strict=True)]
    return ["".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def as_json(**fields: Any) -> str:
    """Return a JSON object with the version of the output and the fields."""
    return json.dumps({"version": VERSION, **fields}, indent=2) + "\n"
