"""Notifications to systemd (sd_notify).

Shown by tests/process/test_daemon.py.
"""

from __future__ import annotations

import sdnotify


class Systemd:
    """Sends notifications; does nothing if no service manager listens."""

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier()
        if self._notifier.socket is not None:  # a notification may be lost, but must never block
            self._notifier.socket.setblocking(False)
        self._status = ""

    @property
    def listens(self) -> bool:
        """Whether a service manager started this process and listens."""
        return self._notifier.socket is not None

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
