"""That an operator drained this node, kept in the state directory, so that it stays aside across restarts and boots.

The file is there or not: whatever is in it, a node with one is drained. It holds the reason, for people.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

from exoip.telemetry.log import log

_LONGEST = 1000  # bytes that are read


class Drained:
    """The file `drained` in $STATE_DIRECTORY; nothing is kept without one. Its methods may wait for the disk."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("STATE_DIRECTORY", "").split(":")[0]
        self._path = Path(folder, "drained") if folder else None

    def load(self) -> str:
        """Return why this node is drained, "" when it is not."""
        if self._path is None:
            return ""
        try:
            with self._path.open("rb") as file:
                text = file.read(_LONGEST).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            log(
                logging.WARNING, "%s can not be read (%s): this node is taken to be drained", self._path, error.strerror
            )
            text = ""
        return text if text.isprintable() and text else "drained, nobody knows why"

    def save(self, why: str) -> str:
        """Keep it; return why it will not outlive a restart, "" when it will."""
        if self._path is None:
            return "there is no state directory"
        new = self._path.with_suffix(".new")
        try:
            new.write_text(why + "\n")
            new.replace(self._path)
        except OSError as error:
            return f"{self._path} can not be written: {error.strerror}"
        return ""

    def forget(self) -> str:
        """Keep it no longer; return why it comes back at the next start, "" when it does not."""
        if self._path is None:
            return ""
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
        except OSError as error:
            return f"{self._path} can not be removed: {error.strerror}"
        return ""
