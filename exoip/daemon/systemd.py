"""Notifications to systemd (sd_notify), and what it means to be started by it.

Shown by tests/process/test_daemon.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import sdnotify


def starts_at_boot(environ: Mapping[str, str]) -> bool:
    """Whether a unit, ifupdown or a container starts it, perhaps before the network is up."""
    return "NOTIFY_SOCKET" in environ or "IFACE" in environ or os.getpid() == 1


class Systemd:
    """Sends notifications; does nothing if no service manager listens."""

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier()
        self._unsent: dict[str, str] = {}  # the last text of each first word, the oldest first
        if self._notifier.socket is not None:
            self._notifier.socket.setblocking(False)
            self._notifier.debug = True  # so that it raises what goes wrong
        self._status = ""

    def close(self) -> None:
        """Send no more."""
        if self._notifier.socket is not None:
            self._notifier.socket.close()
            self._notifier.socket, self._notifier.debug = None, False

    def notify(self, *lines: str) -> None:
        """Send assignments such as READY=1, after those that found the queue of systemd full.

        This never blocks: what cannot be sent now is sent before the next ones, in their order.
        """
        name = lines[0].partition("=")[0]
        self._unsent.pop(name, None)
        self._unsent[name] = "\n".join(lines)
        with contextlib.suppress(OSError):
            while self._unsent:
                self._notifier.notify(next(iter(self._unsent.values())))
                del self._unsent[next(iter(self._unsent))]
        self._unsent.pop("WATCHDOG", None)  # which says that all is well now, not later

    def status(self, text: str) -> None:
        """Set the status line if it changed.

        ASCII only: the library silently drops any other text.
        """
        if text != self._status:
            self._status = text
            self.notify("STATUS=" + text.encode("ascii", "replace").decode().replace("\n", " "))
