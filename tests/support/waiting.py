"""Wait for a condition with a deadline; no test sleeps for luck."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = float(os.environ.get("EXOIP_TEST_PATIENCE", "60"))  # seconds before a test gives up, on the slowest machine
POLL = 0.01  # seconds between two looks

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    what: str,
    patience: float = PATIENCE,
    *,
    poll: float = POLL,
    why: Callable[[], str] = str,
) -> T:
    """Return the first true value of `condition`.

    Raises AssertionError after `patience` seconds; it names `what` was awaited and `why` it is not
    so.
    """
    deadline = time.monotonic() + patience
    while not (found := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {patience:g} s: {what} {why()}".rstrip())
        time.sleep(poll)
    return found
