"""The daemon's clock: seconds since the boot, time in suspension included."""

from __future__ import annotations

import time


def clock() -> float:
    """Return the seconds of CLOCK_BOOTTIME. Nobody sets it; suspensions count."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall(at: float) -> float:
    """Return the Unix time of the moment `at` of `clock`."""
    return time.time() - (clock() - at)
