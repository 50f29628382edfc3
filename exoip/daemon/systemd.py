"""Notifications to systemd (sd_notify), and what it means to be started by it.

Shown by tests/process/test_daemon.py.
"""

from __future__ import annotations

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
        if self._notifier.socket is not None:  # a notification may be lost, but must never block
            self._notifier.socket.setblocking(False)
        self._status = ""

    def close(self) -> None:
        """Send no more."""
        if self._notifier.socket is not None:
            self._notifier.socket.close()
            self._notifier.socket = None

    def notify(self, *lines: str) -> None:
        """Send assignments such as READY=1."""
        self._notifier.notify("\n".join(lines))

    def status(self, text: str) -> None:
        """Set the status line if it changed.

        ASCII only: the library silently drops any other text.
        """
        if text != self._status:
            self._status = text
            self.notify("STATUS=" + text.encode("ascii", "replace").decode().replace("\n", " "))
