"""One instance of the demo: an exoip daemon and a web server beside it, both real processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from exoip.sandbox import model
from tests.support.node_state import Entry, NodeState
from tests.support.paths import ROOT
from tests.support.process import Process, environment

KILL_SECONDS = 5.0  # until a killed process is gone
# A Ctrl-C at the terminal does not reach a child, but it dies with this process, however that ends
_WRAPPER = ["setsid", "setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


class InstanceError(Exception):
    """A child process ended unexpectedly; the message says which."""


class Instance:
    """An instance of the zone.

    `words` and `env` are those of the daemon. Times are monotonic seconds.
    """

    def __init__(self, instance: model.Instance, priority: int, words: Sequence[str], env: Mapping[str, str]) -> None:
        self.name, self.id, self.address = instance.name, instance.id, instance.public_ip or ""
        self.priority = priority
        self.daemon = Process(instance.name, instance, words, environment(**env))
        self.daemon.program = [*_WRAPPER, *self.daemon.program]
        self.web: subprocess.Popen[bytes] | None = None
        self.web_port: int | None = None
        self.frozen = False
        self.stopped_at: float | None = None  # SIGTERM was sent to the daemon
        self.exited_at: float | None = None  # the daemon ended after that
        self._unread: list[Entry] = []  # of daemons before this one
        self._read = 0  # entries of this daemon

    # Actions

    def start(self) -> None:
        """Start the web server and the daemon."""
        command = [*_WRAPPER, sys.executable, "-m", "tests.demo.web", self.name, self.address]
        self.web = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.web.stdout is not None
        os.set_blocking(self.web.stdout.fileno(), False)
        self.start_daemon()

    def start_daemon(self) -> None:
        """Start the daemon alone."""
        self._unread, self._read = self.news(), 0
        self.frozen, self.stopped_at, self.exited_at = False, None, None
        self.daemon.start()

    def kill(self) -> None:
        """Send SIGKILL to all processes, as if the host died."""
        if self.web is not None:
            self.web.kill()
            self.web.wait(KILL_SECONDS)
            if self.web.stdout is not None:
                self.web.stdout.close()
        if self.daemon.running:
            self.daemon.kill()
        self.web = self.web_port = None

    def stop_daemon(self) -> None:
        """Send SIGTERM to the daemon, as `systemctl stop` does; the web server goes on."""
        self.stopped_at = time.monotonic()
        self.daemon.send(signal.SIGTERM)

    def freeze(self) -> None:
        """Send SIGSTOP to the daemon; the web server goes on."""
        self.frozen = True
        self.daemon.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT to the daemon."""
        self.frozen = False
        self.daemon.send(signal.SIGCONT)

    def close(self) -> None:
        """End all processes. Closing it again does nothing."""
        self.kill()
        self.daemon.close(gently=False)

    # State

    def check(self) -> None:
        """Read the web server's port and see what has ended.

        Raises InstanceError if a process ended unexpectedly.
        """
        if self.web is None:
            return
        if self.web_port is None and self.web.stdout is not None:
            with contextlib.suppress(BlockingIOError):
                self.web_port = int(os.read(self.web.stdout.fileno(), 64) or b"0")
        if self.web.poll() is not None:
            raise InstanceError(f"the web server of {self.name} ended with exit code {self.web.returncode}")
        if not self.daemon.running and self.exited_at is None:
            if self.stopped_at is None:
                raise InstanceError(f"the daemon of {self.name} ended with exit code {self.daemon.wait()}")
            self.exited_at = time.monotonic()

    def news(self) -> list[Entry]:
        """Return the entries of events since the last call."""
        entries = self.daemon.entries
        found = [*self._unread, *(entry for entry in entries[self._read :] if "EXOIP_EVENT" in entry)]
        self._unread, self._read = [], len(entries)
        return found

    @property
    def ready(self) -> bool:
        """Whether the daemon takes part, which its first event shows, and the web server serves."""
        return self.web_port is not None and any("EXOIP_EVENT" in entry for entry in self.daemon.entries)

    @property
    def node(self) -> NodeState:
        """The daemon's state; an empty one unless it runs undisturbed."""
        if not self.daemon.running or self.frozen or self.stopped_at is not None:
            return NodeState()
        return self.daemon.state

    @property
    def description(self) -> str:
        """Its state in words."""
        if not self.daemon.running:
            return "dead" if self.web is None else "daemon stopped"
        if self.frozen:
            return "daemon frozen"
        if self.stopped_at is not None:
            return "stopping"
        return f"{self.node.role}, hears {len(self.node.alive)} peers" if self.ready else "starting"
