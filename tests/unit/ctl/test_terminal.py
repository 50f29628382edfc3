"""Words of exoipctl for a terminal."""

from __future__ import annotations

import io
import time

import pytest

from exoip.ctl.terminal import Paint, columns, moment, paint_for, plain, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"), (0, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (60, "1 min"),
        (61, "1 min 1 s"), (3600, "1 h"), (3661, "1 h 1 min"), (3605, "1 h"), (86399, "23 h 59 min"), (86400, "1 d"),
        (3 * 86400 + 4 * 3600 + 59, "3 d 4 h"), (90061, "1 d 1 h"),
    ],
)  # fmt: skip
def test_a_span_of_time(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_moment_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    try:
        assert moment(1_700_000_000.9) == "2023-11-14 23:13:20"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_steers_a_terminal_is_taken_out() -> None:
    assert plain("a\x1b[31mb\nc\u202ed\u00e9") == "a?[31mb?c?d\u00e9"


def test_columns_stand_below_each_other() -> None:
    assert columns([]) == []
    assert columns([["a", "bbb", ""], ["cc", "d", "e"]]) == ["a   bbb", "cc  d    e"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(stream: io.StringIO, environ: dict[str, str], coloured: bool) -> None:
    paint = paint_for(stream, environ)
    assert paint.coloured is coloured
    assert paint("text", "31") == ("\x1b[31mtext\x1b[0m" if coloured else "text")
    assert Paint(True)("", "31") == ""
