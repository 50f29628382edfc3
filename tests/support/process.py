"""One real `exoip -W` process: start it, signal it, read what it logs and its state."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from exoip.sandbox.model import Instance
from tests.support.launcher import Child, launch
from tests.support.node import ENTRIES
from tests.support.node_state import Entry, NodeState
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE

_FOREIGN = re.compile(
    r"IF_|EXOSCALE_|JOURNAL_STREAM|NOTIFY_SOCKET|WATCHDOG_|RUNTIME_DIRECTORY|STATE_DIRECTORY|CREDENTIALS_DIRECTORY|PYTHONWARNINGS"
)


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without what exoip would read, and with `settings`."""
    # A virtual environment may mix versions of requests and urllib3 that warn of each other
    clean = {name: text for name, text in os.environ.items() if not _FOREIGN.match(name)}
    return clean | {"PYTHONWARNINGS": "ignore:urllib3"} | settings


class Tail:
    """A file without a name to which a process writes lines; `lines` are those that are complete."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it is open as long as the process may write
        self._at = 0
        self._lines: list[str] = []

    def fileno(self) -> int:
        return self._file.fileno()

    @property
    def lines(self) -> list[str]:
        """Everything written so far."""
        if not self._file.closed and (size := os.fstat(self.fileno()).st_size) > self._at:
            whole, end, _ = os.pread(self.fileno(), size - self._at, self._at).rpartition(b"\n")
            self._at += len(whole) + len(end)
            self._lines += whole.decode("utf-8", "replace").split("\n") if end else []
        return self._lines

    def close(self) -> None:
        """Read the rest."""
        _ = self.lines
        self._file.close()


NODE = (sys.executable, "-m", "tests.support.node")


class Process:
    """One `exoip -W` process; `lines` is everything that it logged, also before a restart."""

    def __init__(self, name: str, instance: Instance, words: Sequence[str], env: Mapping[str, str]) -> None:
        self.name = name
        self.instance = instance
        self.words, self.env = list(words), dict(env)
        self.exits: list[int] = []
        self.program = list(NODE)
        self.executed = False  # True: even this program is executed, not forked by the launcher
        self._output, self._recorded = Tail(), Tail()
        self._since = 0  # the first line of this start
        self._entries: list[Entry] = []  # of this start
        self._read = 0  # recorded entries that were read
        self._state = NodeState()
        self._process: subprocess.Popen[bytes] | Child | None = None

    @property
    def address(self) -> str:
        return self.instance.public_ip or ""

    @property
    def id(self) -> str:
        return self.instance.id

    @property
    def pid(self) -> int:
        """Its process id, also when it has ended; RuntimeError if it was never started."""
        return self._started().pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def failed(self) -> int | None:
        """The exit code if it ended by itself with an error, else None."""
        code = None if self._process is None else self._process.poll()
        return code if code is not None and code > 0 else None

    # -- what it logs -------------------------------------------------------------------------------------------------

    @property
    def lines(self) -> list[str]:
        return self._output.lines

    @property
    def log(self) -> list[str]:
        """The lines since its last start."""
        return self.lines[self._since :]

    def logged(self, text: str) -> list[str]:
        """Return the lines since its last start that contain `text`."""
        return [line for line in self.log if text in line]

    @property
    def entries(self) -> list[Entry]:
        """The entries since its last start: LEVEL, MESSAGE, and the journal fields of an event."""
        recorded = self._recorded.lines
        while self._read < len(recorded):
            entry: Entry = json.loads(recorded[self._read])
            self._read += 1
            self._entries.append(entry)
            self._state.update(entry)
        return self._entries

    def events(self, *names: str, peer: Process | None = None) -> list[Entry]:
        """Return the entries since its last start of these events, about `peer` if given."""
        return [
            entry
            for entry in self.entries
            if entry.get("EXOIP_EVENT") in names and (peer is None or entry.get("EXOIP_PEER_INSTANCE") == peer.id)
        ]

    @property
    def state(self) -> NodeState:
        """What it told since its last start."""
        _ = self.entries
        return self._state

    @property
    def role(self) -> str:
        return self.state.role

    @property
    def holds(self) -> bool:
        """Whether it knows that it holds."""
        return self.state.holds

    def hears(self, other: Process) -> bool:
        """Return whether the other is alive for it."""
        return other.id in self.state.alive

    # -- what is done to it -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it (again)."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        self._reap()
        self._since, self._entries, self._state = len(self.lines), [], NodeState()
        if self.program == list(NODE) and not self.executed:
            self._process = launch(
                self.words, self.env, self._output.fileno(), self._output.fileno(), self._recorded.fileno()
            )
            return
        env = self.env | {ENTRIES: str(self._recorded.fileno())}
        self._process = subprocess.Popen([*self.program, *self.words], stdin=subprocess.DEVNULL, stdout=self._output,
                                         stderr=subprocess.STDOUT, env=env, cwd=ROOT,
                                         pass_fds=[self._recorded.fileno()])  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._started().send_signal(number)

    def wait(self) -> int:
        """Wait for its end and return its exit code, that of a signal negative."""
        try:
            return self._started().wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {PATIENCE:g} s") from None

    def kill(self) -> None:
        """Send SIGKILL and wait until it is gone."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def close(self, *, gently: bool) -> None:
        """Wait for its end if `gently` (it was sent SIGTERM), then send SIGKILL if it still runs."""
        if self.running and gently:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._started().wait(PATIENCE)
        if self.running:
            self.send(signal.SIGKILL)
        self._reap()
        self._output.close()
        _ = self.entries
        self._recorded.close()

    def forget(self) -> None:
        """Forget how it ended and all that it logged."""
        self._reap()
        self.exits.clear()
        self.lines[:] = ["(forgotten)"]

    def _started(self) -> subprocess.Popen[bytes] | Child:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    def _reap(self) -> None:
        """Note how it ended, with every entry that it wrote until then."""
        if self._process is not None:
            self.exits.append(self.wait())
            self._process = None
        _ = self.entries
