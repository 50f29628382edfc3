"""What systemd is told: sd_notify."""

from __future__ import annotations

import sdnotify


class Systemd:
    """What systemd is told; nothing where it does not listen."""

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier()
        if self._notifier.socket is not None:
            self._notifier.socket.setblocking(
                False
            )  # systemd that does not read must not stop us; a lost word is no loss
        self._status = ""

    @property
    def listens(self) -> bool:
        """Whether systemd (or another service manager) started this process and wants to be told."""
        return self._notifier.socket is not None

    def close(self) -> None:
        """Say no more."""
        if self._notifier.socket is not None:
            self._notifier.socket.close()
            self._notifier.socket = None

    def notify(self, *lines: str) -> None:
        """Send assignments like READY=1."""
        self._notifier.notify("\n".join(lines))

    def status(self, text: str) -> None:
        """Set the status line, when it is another than before. ASCII only: the library loses any other text silently."""
        if text != self._status:
            self._status = text
            self.notify("STATUS=" + text.encode("ascii", "replace").decode().replace("\n", " "))
