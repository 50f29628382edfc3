"""Waiting for a condition, never for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

STEP = 0.05


def wait(condition: Callable[[], Any], most: float, what: str, why: Callable[[], str] = str) -> Any:
    """What `condition` returns as soon as that is true; fails after `most` seconds, saying `what` was awaited and `why` it is not."""
    deadline = time.monotonic() + most
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {most:g} s: {what} {why()}")
        time.sleep(STEP)
