"""One instance of the demo: `exoip -W` as systemd would run it, and a web server beside it, both real processes.

The daemon's log goes to one file and its events as JSON lines to another, which `news` reads. What
it says to systemd (ready, its status) arrives on a socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.demo.view import Entry, View
from tests.support.paths import ROOT
from tests.support.process import environment

DIES = 5.0  # seconds


class InstanceError(Exception):
    """A child process did not do what it must; the message says which, and what it did instead."""


@dataclass(slots=True)
class Daemon:
    """One run of the daemon. Seconds are monotonic."""

    process: subprocess.Popen[bytes]
    ready_at: float | None = None
    status: str = ""
    view: View = field(default_factory=View)
    stopped_at: float | None = None  # SIGTERM was sent
    frozen: bool = False


@dataclass(slots=True)
class Instance:
    """One instance. `arguments` and `environment` are the daemon's; `folder` takes its log, events and socket."""

    name: str
    id: str
    address: str
    priority: int
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    web: subprocess.Popen[bytes] | None = None
    web_port: int | None = None
    daemon: Daemon | None = None
    exit_code: int | None = None  # of the last daemon, once it has ended by itself
    exited_at: float | None = None
    _notifications: socket.socket = field(init=False)
    _events_read: int = 0

    def __post_init__(self) -> None:
        self._notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notifications.bind(str(self._socket_path))
        self._notifications.setblocking(False)
        self.log_path.touch()
        self._events_path.touch()

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def _events_path(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def _socket_path(self) -> Path:
        return self.folder / f"{self.name}.notify"

    # What is done to it

    def start(self) -> None:
        """Start the whole instance."""
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "tests.demo.web", self.name, self.address]
            self.web = _spawn(command, {}, subprocess.PIPE, log)
        if self.web.stdout is not None:
            os.set_blocking(self.web.stdout.fileno(), False)
        self.start_daemon()

    def start_daemon(self) -> None:
        """Start the daemon alone."""
        settings = {**self.environment, "NOTIFY_SOCKET": str(self._socket_path)}
        self._drain_notifications()
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "tests.demo.node", str(self._events_path.resolve()), *self.arguments]
            self.daemon = Daemon(_spawn(command, settings, subprocess.DEVNULL, log))
        self.exit_code = self.exited_at = None

    def kill(self) -> None:
        """SIGKILL for the whole instance, as when its host dies."""
        for process in self._processes():
            process.kill()
        for process in self._processes():
            process.wait(DIES)
            if process.stdout is not None:
                process.stdout.close()
        self.web = self.daemon = self.web_port = None

    def stop_daemon(self) -> None:
        """SIGTERM for the daemon, as `systemctl stop` does; the instance goes on."""
        if self.daemon is not None:
            self.daemon.stopped_at = time.monotonic()
            self.daemon.process.terminate()

    def freeze(self) -> None:
        """SIGSTOP for the daemon; the instance goes on."""
        if self.daemon is not None:
            self.daemon.frozen = True
            self.daemon.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT for the daemon."""
        if self.daemon is not None:
            self.daemon.frozen = False
            self.daemon.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End everything. A second time is no error."""
        self.kill()
        self._notifications.close()
        self._socket_path.unlink(missing_ok=True)

    # What it tells

    def listen(self) -> None:
        """Take in what the web server and the daemon said, and whether they ended. Raises InstanceError if one did so unasked."""
        if self.web is not None and self.web.stdout is not None and self.web_port is None:
            with contextlib.suppress(BlockingIOError):
                self.web_port = int(os.read(self.web.stdout.fileno(), 64) or b"0")
        if self.web is not None and self.web.poll() is not None:
            raise InstanceError(f"the web server of {self.name} ended unasked with exit code {self.web.returncode}")
        if self.daemon is not None:
            self._listen_to(self.daemon)

    def _listen_to(self, daemon: Daemon) -> None:
        for text in self._drain_notifications():
            for line in text.split("\n"):
                name, _, value = line.partition("=")
                if name == "READY" and daemon.ready_at is None:
                    daemon.ready_at = time.monotonic()
                elif name == "STATUS":
                    daemon.status = value
        code = daemon.process.poll()
        if code is None:
            return
        if daemon.stopped_at is None:
            raise InstanceError(f"the daemon of {self.name} ended unasked with exit code {code}")
        self.daemon, self.exit_code, self.exited_at = None, code, time.monotonic()

    def news(self) -> list[Entry]:
        """Return the journal entries of its daemons since the last call, and update the view with them."""
        with self._events_path.open("rb") as events:
            events.seek(self._events_read)
            whole, end, _ = events.read().rpartition(b"\n")
        self._events_read += len(whole) + len(end)
        entries = [json.loads(line) for line in whole.splitlines()]
        if self.daemon is not None:
            for entry in entries:
                self.daemon.view.take(entry)
        return entries

    @property
    def ready_at(self) -> float | None:
        """Since when the daemon is ready, with a web server beside it; None: one of them is not."""
        return self.daemon.ready_at if self.daemon is not None and self.web_port is not None else None

    @property
    def view(self) -> View:
        """The daemon's state; an empty one if it does not run, is frozen or stops."""
        if self.daemon is None or self.daemon.frozen or self.daemon.stopped_at is not None:
            return View()
        return self.daemon.view

    @property
    def state(self) -> str:
        """What it does at present, in words for people."""
        if self.daemon is None:
            return "dead" if self.web is None else "daemon stopped"
        if self.daemon.frozen:
            return "daemon frozen"
        if self.daemon.stopped_at is not None:
            return f"stopping: {self.daemon.status}"
        return self.daemon.status if self.daemon.ready_at is not None else f"starting {self.daemon.status}".strip()

    def _processes(self) -> list[subprocess.Popen[bytes]]:
        return [one for one in (self.web, self.daemon.process if self.daemon else None) if one is not None]

    def _drain_notifications(self) -> list[str]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._notifications.recv(65536).decode("utf-8", "replace"))
        return found


def _spawn(command: Sequence[str], settings: Mapping[str, str], output: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a child that a Ctrl-C at the terminal does not reach, and that dies with this process whatever that dies of."""
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    return subprocess.Popen(
        [*prefix, *command],
        env=environment(**settings),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=log,
        start_new_session=True,
    )
