"""How it is, in words and as an exit code: those of monitoring plugins. Pure."""

from __future__ import annotations

from collections.abc import Iterable

HEALTHY, DEGRADED, CRITICAL, UNKNOWN = "healthy", "degraded", "critical", "unknown"
CODES = {HEALTHY: 0, DEGRADED: 1, CRITICAL: 2, UNKNOWN: 3}

_MILD_TO_BAD = (HEALTHY, DEGRADED, UNKNOWN, CRITICAL)


def worst(levels: Iterable[str]) -> str:
    """Return the worst of the levels; a daemon that does not answer is worse than one of which nothing is known."""
    return max(levels, key=_MILD_TO_BAD.index, default=UNKNOWN)
