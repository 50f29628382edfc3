"""Words of the terminal: colours, spans of time, moments, columns. Pure but for the time zone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from exoip.ctl.levels import CRITICAL, DEGRADED, HEALTHY, UNKNOWN

GREEN, YELLOW, RED, FAINT, BOLD = "32", "33", "31", "2", "1"
COLOURS = {HEALTHY: GREEN, DEGRADED: YELLOW, CRITICAL: RED, UNKNOWN: RED}


class Paint:
    """Colours what it is given, or nothing."""

    def __init__(self, coloured: bool) -> None:
        self.coloured = coloured

    def __call__(self, text: str, colour: str) -> str:
        """Return the text in a colour."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.coloured and text else text


def paint_for(stream: TextIO, environ: Mapping[str, str]) -> Paint:
    """Return colours for a terminal that has them, unless NO_COLOR says otherwise (no-color.org)."""
    return Paint(stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb")


def span(seconds: float) -> str:
    """Return a span of time in the two largest units that say something."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    left = round(seconds)
    parts: list[str] = []
    for unit, size in units:
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append(f"{amount} {unit}" if amount else "")
    return " ".join(part for part in parts[:2] if part)


def moment(at: float) -> str:
    """Return a moment (Unix time) in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def plain(text: str) -> str:
    """Return the text without what could steer a terminal: names come from the cloud, reasons from people."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def columns(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    """Return the rows as lines, with their columns below each other. The cells are not coloured yet."""
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))] if rows else []
    return ["".join(cell.ljust(width + gap) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
