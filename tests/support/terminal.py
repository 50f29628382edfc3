"""A pseudo-terminal of 80x24 with a program on it, and the screen that a person would see.

It understands only what exoipctl writes, and rejects every other escape sequence.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE, until

COLUMNS, LINES = 80, 24
_TOKEN = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|[^\x1b]", re.DOTALL)

_BEGUN = re.compile(r"\x1b(\[\??[\d;]*)?\Z")


class Screen:
    """The cells of a terminal. `reverse`: those in reverse video."""

    def __init__(self, columns: int = COLUMNS, lines: int = LINES) -> None:
        self.columns, self.lines = columns, lines
        self.cells = [[" "] * columns for _ in range(lines)]
        self.reverse = [[False] * columns for _ in range(lines)]
        self.row = self.column = 0
        self.wraps, self._reversed = True, False
        self._begun = ""  # the beginning of an escape sequence

    @property
    def text(self) -> list[str]:
        """The lines, without blanks at their ends."""
        return ["".join(line).rstrip() for line in self.cells]

    def marked(self) -> list[str]:
        """The lines with a cell in reverse video."""
        return [line for line, flags in zip(self.text, self.reverse, strict=True) if any(flags)]

    def feed(self, text: str) -> None:
        """Do what a program wrote. The rest of a sequence may follow in the next piece."""
        text = self._begun + text
        whole = _BEGUN.sub("", text)
        self._begun, text = text[len(whole) :], whole
        rest = _TOKEN.sub("", text)
        assert not rest, f"not understood: {rest!r}"
        for token in _TOKEN.finditer(text):
            if token[3]:
                self._escape(token[1], token[2], token[3])
            else:
                self._put(token[0])

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._line_feed()
        else:
            if self.column == self.columns:
                if self.wraps:
                    self.column = 0
                    self._line_feed()
                else:
                    self.column -= 1
            self.cells[self.row][self.column] = character
            self.reverse[self.row][self.column] = self._reversed
            self.column += 1

    def _line_feed(self) -> None:
        self.row += 1
        if self.row == self.lines:
            self.row -= 1
            self.cells = [*self.cells[1:], [" "] * self.columns]
            self.reverse = [*self.reverse[1:], [False] * self.columns]

    def _escape(self, private: str, numbers: str, letter: str) -> None:
        match private + letter:
            case "m":
                self._reversed = "7" in numbers.split(";")
            case "A":
                self.row = max(0, self.row - int(numbers))
            case "H":
                self.row = self.column = 0
            case "K":
                self._blank(self.row, self.column)
            case "J":
                self._blank(self.row, self.column)
                for row in range(0 if numbers == "2" else self.row + 1, self.lines):
                    self._blank(row, 0)
            case "?h" | "?l":
                assert numbers == "7", f"a mode that outlives the program: {numbers}"
                self.wraps = letter == "h"
            case other:
                raise AssertionError(f"an unknown escape sequence {other!r}")

    def _blank(self, row: int, start: int) -> None:
        for column in range(start, self.columns):
            self.cells[row][column], self.reverse[row][column] = " ", False


class Terminal:
    """A program on a terminal of its own, until the context is left."""

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str], columns: int = COLUMNS, lines: int = LINES
    ) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character
        self.screen = Screen(columns, lines)
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            list(words), env=dict(env) | {"TERM": "xterm"}, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
            preexec_fn=own_terminal,
        )  # fmt: skip
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._ours)

    def read(self) -> list[str]:
        """Return the screen's lines now."""
        while select.select([self._ours], (), (), 0.02)[0]:
            try:
                self.screen.feed(self._decoder.decode(os.read(self._ours, 1 << 16)))
            except OSError:  # the program is gone, and all is read
                break
        return self.screen.text

    def until(self, text: str) -> list[str]:
        """Wait until the screen shows `text`, and return its lines."""
        until(lambda: text in "\n".join(self.read()), f"{text!r} on the screen")
        return self.screen.text

    def press(self, key: bytes) -> None:
        """Type a key; b"\\x03" is Ctrl-C."""
        os.write(self._ours, key)

    def wait(self) -> int:
        """Wait for the program's end and return its exit code."""
        code = self.process.wait(PATIENCE)
        self.read()
        return code
