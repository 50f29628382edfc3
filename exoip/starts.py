"""How often the daemon was started lately: a daemon in a crash loop must not keep the EIP from a node that works.

Stamps are kept in the runtime directory, which the unit preserves over a restart; a planned stop forgets them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

from exoip.journal import say

CRASHES, WINDOW = 3, 60.0  # the third start within a minute


class Starts:
    """The stamps of one instance of the daemon, in $RUNTIME_DIRECTORY; nothing is kept without one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        self._path = Path(folder, "starts") if folder else None

    def count(self, now: float) -> float:
        """Note a start; return until when the node is to stand aside: in the past, unless it was started too often."""
        if self._path is None:
            return now
        try:
            stamps = [float(line) for line in self._path.read_text().split()]
        except (OSError, ValueError):
            stamps = []
        recent = [stamp for stamp in stamps if now - WINDOW < stamp <= now]
        try:
            self._path.write_text("".join(f"{stamp:.3f}\n" for stamp in [*recent[-10:], now]))
        except OSError as error:
            say(logging.WARNING, "can not note this start in %s: %s", self._path, error.strerror)
        return now + WINDOW if len(recent) + 1 >= CRASHES else now

    def forget(self) -> None:
        """A planned stop is no crash."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
