"""The daemon's clock."""

from __future__ import annotations

import time


def clock() -> float:
    """Return the seconds of CLOCK_BOOTTIME: steady, never set, and it counts the time that a machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall(at: float) -> float:
    """Return the Unix time of a moment of `clock`."""
    return time.time() - (clock() - at)
