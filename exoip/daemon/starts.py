"""How often the daemon was started lately: a daemon in a crash loop must neither keep the EIP from a node that works nor take a processor.

Stamps are kept in the runtime directory, which the unit preserves over a restart; a planned stop forgets them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exoip.telemetry.log import log

CRASHES, WINDOW = 3, 60.0  # the third start within a minute
SLOW, PAUSE = 5, 1.0  # from the fifth on it pauses first: it stands aside, so nobody waits for its heartbeats


@dataclass(frozen=True, slots=True)
class Start:
    """The node is to stand aside until `aside_until`, and to do nothing at all until `works_from`; the start itself where all is well."""

    aside_until: float
    works_from: float


def judge(recent: int, now: float) -> Start:
    """What follows from a start at `now` if there were `recent` others within the last minute."""
    return Start(
        aside_until=now + WINDOW if recent + 1 >= CRASHES else now,
        works_from=now + PAUSE if recent + 1 >= SLOW else now,
    )


class Starts:
    """The stamps of one instance of the daemon, in $RUNTIME_DIRECTORY; nothing is kept without one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        self._path = Path(folder, "starts") if folder else None

    def count(self, now: float) -> Start:
        """Note a start, and judge it; a pause is told."""
        if self._path is None:
            return judge(0, now)
        try:
            stamps = [float(line) for line in self._path.read_text().split()]
        except (OSError, ValueError):
            stamps = []
        recent = [stamp for stamp in stamps if now - WINDOW < stamp <= now]
        try:
            self._path.write_text("".join(f"{stamp:.3f}\n" for stamp in [*recent[-10:], now]))
        except OSError as error:
            log(logging.WARNING, "can not note this start in %s: %s", self._path, error.strerror)
        start = judge(len(recent), now)
        if start.works_from > now:
            log(logging.WARNING, "start %d within a minute: pausing for %g s", len(recent) + 1, PAUSE)
        return start

    def forget(self) -> None:
        """A planned stop is no crash."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
