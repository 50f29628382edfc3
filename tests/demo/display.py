"""Show the timeline as lines and, on a terminal, the state of each node below them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TextIO

REFRESH = 0.2  # seconds
_UP_AND_CLEAR = "\x1b[{}F\x1b[J"


class Display:
    """Writes to `stream`.

    On a terminal (`live`) the lines of `block` stay at the bottom; in a pipe there are plain lines
    only.
    """

    def __init__(
        self, stream: TextIO, block: Callable[[], Sequence[str]] | None = None, live: bool | None = None
    ) -> None:
        self._stream = stream
        self.block = block
        self.live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" if live is None else live
        self._shown: list[str] = []
        self._due = 0.0

    def say(self, line: str = "") -> None:
        """Add a line to the timeline."""
        self._stream.write(self._erase() + line + "\n" + self._draw())
        self._stream.flush()

    def refresh(self) -> None:
        """Update the state at the bottom if it changed, at most every REFRESH seconds."""
        now = time.monotonic()
        if not self.live or self.block is None or now < self._due:
            return
        self._due = now + REFRESH
        if self._lines() != self._shown:
            self._stream.write(self._erase() + self._draw())
            self._stream.flush()

    def end(self) -> None:
        """Remove the state; from now on there are lines only."""
        self._stream.write(self._erase())
        self._stream.flush()
        self.block = None

    def _lines(self) -> list[str]:
        if not self.live or self.block is None:
            return []
        width = shutil.get_terminal_size().columns - 1
        return ["", *(line[:width] for line in self.block())]

    def _erase(self) -> str:
        shown, self._shown = self._shown, []
        return _UP_AND_CLEAR.format(len(shown)) if shown else ""

    def _draw(self) -> str:
        self._shown = self._lines()
        return "".join(line + "\n" for line in self._shown)
