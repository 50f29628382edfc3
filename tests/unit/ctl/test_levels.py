"""Levels and exit codes of exoipctl."""

from __future__ import annotations

import pytest

from exoip.ctl.levels import CODES, CRITICAL, DEGRADED, HEALTHY, UNKNOWN, worst
from exoip.telemetry.assessment import Level


def test_the_daemons_levels_have_codes_and_the_codes_are_those_of_monitoring() -> None:
    assert {str(level) for level in Level} | {UNKNOWN} == CODES.keys()
    assert [CODES[level] for level in (HEALTHY, DEGRADED, CRITICAL, UNKNOWN)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("levels", "level"),
    [
        ([], UNKNOWN),
        ([HEALTHY, HEALTHY], HEALTHY),
        ([HEALTHY, DEGRADED], DEGRADED),
        ([DEGRADED, UNKNOWN, HEALTHY], UNKNOWN),
        ([UNKNOWN, CRITICAL, HEALTHY], CRITICAL),
    ],
)
def test_the_worst(levels: list[str], level: str) -> None:
    assert worst(levels) == level
