"""Levels, exit codes, and text for a terminal."""

from __future__ import annotations

import io
import time

import pytest

from exoip.ctl import terminal
from exoip.ctl.terminal import CODES, CRITICAL, DEGRADED, HEALTHY, UNKNOWN
from exoip.telemetry.assessment import Level


def test_a_level_that_is_good_enough_exits_with_0() -> None:
    assert [terminal.exit_code(one) for one in (HEALTHY, DEGRADED, CRITICAL, UNKNOWN)] == [0, 1, 2, 3]
    assert [terminal.exit_code(one, CRITICAL) for one in (HEALTHY, DEGRADED, CRITICAL, UNKNOWN)] == [0, 0, 2, 3]


def test_the_daemons_levels_have_the_exit_codes_of_monitoring_plugins() -> None:
    assert {str(level) for level in Level} | {UNKNOWN} == CODES.keys()
    assert [CODES[level] for level in (HEALTHY, DEGRADED, CRITICAL, UNKNOWN)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("levels", "level"),
    [
        ([], UNKNOWN),
        ([HEALTHY, HEALTHY], HEALTHY),
        ([DEGRADED, UNKNOWN, HEALTHY], UNKNOWN),
        ([UNKNOWN, CRITICAL, HEALTHY], CRITICAL),
    ],
)
def test_the_worst_level(levels: list[str], level: str) -> None:
    assert terminal.worst(levels) == level


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (60, "1 min"),
        (61, "1 min 1 s"), (3600, "1 h"), (3661, "1 h 1 min"), (3605, "1 h"), (86399, "23 h 59 min"), (86400, "1 d"),
        (3 * 86400 + 4 * 3600 + 59, "3 d 4 h"), (90061, "1 d 1 h"),
    ],
)  # fmt: skip
def test_a_duration_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert terminal.duration(seconds) == words


def test_a_time_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    try:
        assert terminal.local_time(1_700_000_000.9) == "2023-11-14 23:13:20"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_columns_are_aligned() -> None:
    assert terminal.columns([]) == []
    assert terminal.columns([["a", "bbb", ""], ["cc", "d", "e"]]) == ["a   bbb", "cc  d    e"]


def test_long_lines_are_wrapped_between_words() -> None:
    first, second = terminal.wrap("  title     " + "word " * 16)
    assert (len(first), second) == (76, " " * 12 + "word word word")
    assert terminal.wrap("  file      /" + "x" * 90) == ["  file", " " * 12 + "/" + "x" * 90]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "styled"),
    [
        (Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colors_are_for_terminals_that_want_them(stream: io.StringIO, environ: dict[str, str], styled: bool) -> None:
    assert terminal.style_for(stream, environ) is (terminal.colored if styled else terminal.unstyled)
    assert terminal.colored("text", "31") == "\x1b[31mtext\x1b[0m"
    assert terminal.colored("", "31") == ""
