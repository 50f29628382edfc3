"""Start a daemon without loading it once more: fork it from a process that has loaded exoip.

Loading takes a tenth of a second of processor time, and the tests start hundreds of daemons. What
is forked is a process of its own, with its own environment, descriptors and signals. Only a test of
the program's start itself, or of the memory that it takes, has to execute it.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from tests.support import node
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE

_LONGEST = 1 << 17  # bytes of a request
_launching = threading.Lock()  # some tests start daemons in a thread


class Child:
    """A process that was forked by the launcher, with what is needed of subprocess.Popen."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid, self.returncode, self._status = pid, None, status

    def wait(self, timeout: float) -> int:
        """Return its exit code, that of a signal negative. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            self.returncode = int(os.read(self._status, 100))
            os.close(self._status)
        return self.returncode

    def poll(self) -> int | None:
        """Return its exit code if it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


def launch(words: Sequence[str], env: Mapping[str, str], output: int, errors: int, *entries: int) -> Child:
    """Fork exoip with that command line and environment, and these descriptors.

    `entries`: that of the file for its journal entries, if they are wanted.
    """
    status, end = os.pipe()
    request = json.dumps([words, dict(env)]).encode()
    try:
        with _launching:
            socket.send_fds(_launcher(), [request], [output, errors, *entries, end])
            return Child(int(_launcher().recv(100)), status)
    finally:
        os.close(end)


@functools.cache
def _launcher() -> socket.socket:
    """Start the launcher of this process, which ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    command = [sys.executable, "-m", "tests.support.launcher", str(theirs.fileno())]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    theirs.close()
    atexit.register(process.wait)
    atexit.register(ours.close)  # called first
    return ours


def _serve(channel: socket.socket) -> None:
    """Fork what is asked for until nobody is there to ask; return in each child."""
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    ended: dict[int, int] = {}  # who wants to know, by process
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    while True:
        ready, _, _ = select.select([channel, waking], [], [])
        if waking in ready:
            os.read(waking, 1000)
            _reap(ended)
        if channel not in ready:
            continue
        request, descriptors, _, _ = socket.recv_fds(channel, _LONGEST, 4)
        if not request:
            sys.exit()
        pid = os.fork()
        if pid == 0:
            channel.detach()
            return _become(request, *descriptors[:-1])
        channel.send(str(pid).encode())
        *passed, ended[pid] = descriptors
        for descriptor in passed:
            os.close(descriptor)


def _reap(ended: dict[int, int]) -> None:
    """Say of each process that has ended how it did."""
    while ended:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        descriptor = ended.pop(pid)
        os.write(descriptor, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(descriptor)


def _become(request: bytes, *descriptors: int) -> None:
    """Make this process what a new one would be."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    above = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in descriptors]
    for number, descriptor in enumerate(above, start=1):
        os.dup2(descriptor, number)
    os.closerange(1 + len(descriptors), os.sysconf("SC_OPEN_MAX"))
    words, env = json.loads(request)
    os.environ.clear()
    os.environ.update(env | ({node.ENTRIES: "3"} if len(descriptors) == 3 else {}))
    sys.argv = ["exoip", *words]


if __name__ == "__main__":
    import exoip.daemon.command  # noqa: F401 - this is what takes the time

    _serve(socket.socket(fileno=int(sys.argv[1])))
    node.main()
