"""Show something again and again: in place on a terminal, one after the other elsewhere.

On a terminal each picture is written over the one before, in one write, and marks what has changed
within MARK_TIME, apart from durations: with a star, and in reverse video where there are colors. It
never exceeds the window. Nothing of the terminal's state outlives a write, so that Ctrl-C, Ctrl-Z
and a kill leave it in order. Shown by tests/unit/ctl/test_watch.py.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from exoip.ctl.status import Block
from exoip.ctl.terminal import FAINT, Style, colored, local_time, style_for

MARK_TIME = 10.0  # seconds that a change is marked
REVERSE = "7"  # a parameter of the escape sequence SGR
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"  # cut long lines; the picture's height must be known
CLEAR, END_LINE, END_SCREEN = "\x1b[H\x1b[2J", "\x1b[K\n", "\x1b[J"
_SPAN = re.compile(r"\d+(?:\.\d+)? (?:s|min|h|d)(?: \d+ (?:s|min|h))?\b")

Take = Callable[[], Sequence[Block]]


def watch(take: Take, seconds: float, out: TextIO, environ: Mapping[str, str]) -> None:
    """Show what `take` returns, every so many seconds, until interrupted with Ctrl-C."""
    screen = _Screen(out, style_for(out, environ)) if out.isatty() and environ.get("TERM", "dumb") != "dumb" else None
    try:
        while True:
            blocks, now = take(), time.time()
            if screen is not None:
                screen.draw(blocks, f"every {seconds:g} s, {local_time(now)}, Ctrl-C ends", now)
            else:
                out.writelines(f"{line}\n" for line in (local_time(now), *_plain(blocks), ""))
            out.flush()
            time.sleep(seconds)
    except KeyboardInterrupt:
        out.write("\n" * (screen is not None))  # after the ^C that the terminal shows


def _plain(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        yield from block.lines


class Marks:
    """Remembers what has changed lately."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}  # text without durations, since when it is shown

    def changed(self, blocks: Sequence[Block], now: float) -> list[bool]:
        """Return which blocks are new since the first picture, and for how long they are marked."""
        texts = [_SPAN.sub("", " ".join(" ".join(block.lines).split())).removeprefix("events ") for block in blocks]
        first = not self._known
        self._known = {text: self._known.get(text, 0.0 if first else now) for text in texts}
        return [now - self._known[text] < MARK_TIME for text in texts]


class _Screen:
    def __init__(self, out: TextIO, style: Style) -> None:
        self._out, self._style = out, style
        self._marks, self._height, self._size = Marks(), 0, os.terminal_size((0, 0))

    def draw(self, blocks: Sequence[Block], title: str, now: float) -> None:
        """Write the blocks over the picture before."""
        size = os.get_terminal_size(self._out.fileno())
        lines = [self._style(title, FAINT), *self._lines(blocks, now)]
        if len(lines) > (room := max(2, size.lines - 1)):
            more = len(lines) - room + 1
            lines[room - 1 :] = [self._style(f"  … {more} more lines, see exoipctl status", FAINT)]
        back = f"\x1b[{self._height}A\r" if self._height and size == self._size else CLEAR
        self._height, self._size = len(lines), size
        self._out.write(f"{NO_WRAP}{back}{''.join(f'{line}{END_LINE}' for line in lines)}{END_SCREEN}{WRAP}")

    def _lines(self, blocks: Sequence[Block], now: float) -> Iterator[str]:
        for block, changed in zip(blocks, self._marks.changed(blocks, now), strict=True):
            if not changed:
                yield from block.styled(self._style)
                continue
            first, *rest = block.lines
            marked = f"* {first[2:]}" if first.startswith("  ") else f"{first}  *"
            for line in (marked, *rest):
                yield self._style(line, REVERSE if self._style is colored else "")
