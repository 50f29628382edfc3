"""Run one of the operator's programs as a child process and end everything that it started.

The child gets a session and a process group of its own, nothing to read, and nothing that is the
daemon's: no credential, no variable of exoip or systemd, no open file.

It starts with fork: vfork would let every thread of the daemon stand still, and miss heartbeats,
until the child gets a processor and its program is loaded. The program that is loaded is /bin/sh,
which executes the operator's own. So a disk that hangs holds up that child alone.

When a program ends, the rest of its process group is killed. A process that left the group
(setsid) is out of reach; under systemd the unit's TasksMax bounds these, and they end with the
service. In a container the daemon may be process 1, which inherits what children leave behind:
`reap_orphans` keeps these from staying as zombies. Shown by
tests/unit/operator/test_child_process.py, tests/unit/operator/test_held_program.py and
tests/process/test_start.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import threading
import time
from collections.abc import Mapping, Sequence

from exoip.exoscale.models import one_line

SHELL = "/bin/sh"
GRACE = 1.0  # seconds between SIGTERM and SIGKILL
SLICE = 0.1  # seconds after which a waiting thread checks whether it should stop
LONGEST_LINE = 200  # characters that are reported of a line of output
READ_PAUSE = 0.01  # seconds after each read: a program that floods must not keep the daemon busy
_TAIL = 4096  # bytes kept of the output
_PIECE = 1 << 16  # bytes read at once

_starting = threading.Lock()  # held while a child starts whose number is not known yet
_children: set[int] = set()  # the numbers of all that are not reaped yet

# The daemon is hard to kill when memory runs out; its children need not be. It has a high priority
# too: the program starts once its own is set and standard input is closed.
_LAUNCHER = '{ echo 0 >/proc/self/oom_score_adj; } 2>/dev/null; read -r _; exec "$@" </dev/null'
_PRIVATE = re.compile(r"(IF_|EXOSCALE_|EXOIP_|NOTIFY_|WATCHDOG_|LISTEN_|JOURNAL_|CREDENTIALS_|RUNTIME_|PYTHON|MALLOC_)")


def environment(environ: Mapping[str, str], secrets: Sequence[str]) -> dict[str, str]:
    """Return the part of an environment that a child may see.

    It has none of the daemon's own variables and none with a secret in it.
    """
    return {
        name: text
        for name, text in environ.items()
        if not _PRIVATE.match(name) and not any(secret in text for secret in secrets if secret)
    }


def last_line(output: bytes) -> str:
    """Return the last line that is not empty, printable and at most LONGEST_LINE characters."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return one_line(lines[-1], LONGEST_LINE) if lines else ""


def reap_orphans() -> None:
    """Reap the dead that process 1 inherits. Never takes the exit status of a `Child`."""
    if os.getpid() != 1 or not _starting.acquire(blocking=False):
        return
    try:
        with contextlib.suppress(ChildProcessError):
            while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if dead.si_pid in _children:
                    return  # its owner reaps it at once; the others come next time
                os.waitpid(dead.si_pid, os.WNOHANG)
    finally:
        _starting.release()


class Child:
    """A running program. Its owner calls `end` until that returns True.

    `code` is its exit status once `end` has returned True, negative after a signal. Raises OSError
    if it cannot be started.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        import subprocess  # here, to save memory in daemons that start no program

        subprocess._USE_VFORK = False  # type: ignore[misc]  # documented as safe
        with _starting:
            self._process = subprocess.Popen(  # noqa: S603  the operator's own command
                [SHELL, "-c", _LAUNCHER, "exoip", *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, bufsize=0, env=dict(environ), cwd="/", umask=0o077, start_new_session=True,
            )  # fmt: skip
            _children.add(self._process.pid)
        assert self._process.stdin is not None  # noqa: S101  it is a pipe
        assert self._process.stdout is not None  # noqa: S101  it is a pipe
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        with contextlib.suppress(OSError), self._process.stdin:  # closed whatever becomes of the priority
            os.setpriority(os.PRIO_PROCESS, self._process.pid, 0)
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError:  # no descriptor is left
            self._process.kill()
            self._reap()
            raise
        self._poll = select.poll()
        self._poll.register(self._pidfd, select.POLLIN)
        self._poll.register(self._output, select.POLLIN)
        self._tail = b""
        self._killed = False
        self.ended = False
        self.code: int | None = None

    @property
    def last_line(self) -> str:
        """The last line of its output so far."""
        return last_line(self._tail)

    def problem(self, *, timeout: float | None = None) -> str:
        """Return "" if it exited with 0, else why not; `timeout`: it did not end in time."""
        if timeout is not None:
            what = f"no end within {timeout:g} s"
        elif not self.code:
            return ""
        else:
            what = f"exit status {self.code}" if self.code > 0 else f"signal {-self.code}"
        return f"{what}: {self.last_line}" if self.last_line else what

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait until it ends, `stop` is set or the time is over; return whether it has ended.

        A pause of the machine or the daemon does not count: the program did not run either.
        """
        left, now = seconds, time.monotonic()
        while not self.ended and left > 0 and not stop.is_set():
            self._watch(min(left, SLICE))
            before, now = now, time.monotonic()
            left -= min(now - before, 2 * SLICE)
        return self.ended

    def end(self, stop: threading.Event) -> bool:
        """End it and its process group, with SIGTERM first; return whether it is gone.

        SIGKILL follows after GRACE. Waits 2 * GRACE at most. If the kernel does not release it yet
        (a disk that hangs), the result is False: call again. If `stop` is set there is no SIGTERM.
        """
        if not self.ended and not self._killed and not stop.is_set():
            self._signal(signal.SIGTERM)
            self.wait(GRACE, stop)
        self._killed = True
        self._signal(signal.SIGKILL)  # it is not reaped yet, so no other process has its number
        until = time.monotonic() + GRACE
        while not self.ended and (left := until - time.monotonic()) > 0:
            self._watch(left)
        if self.ended and self.code is None:
            self._read()
            os.close(self._pidfd)
            self.code = self._reap()
        return self.code is not None

    def _reap(self) -> int:
        self._output.close()
        code = self._process.wait()
        _children.discard(self._process.pid)
        return code

    def _signal(self, number: signal.Signals) -> None:
        if self.code is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, number)

    def _watch(self, seconds: float) -> None:
        """Wait for output or its end, that many seconds at most."""
        for which, _ in self._poll.poll(max(1, int(seconds * 1000))):
            if which == self._pidfd:
                self.ended = True
            else:
                self._read()
                time.sleep(READ_PAUSE)

    def _read(self) -> None:
        try:
            piece = os.read(self._output.fileno(), _PIECE)
        except BlockingIOError:
            return
        if not piece:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._output)
        self._tail = (self._tail + piece)[-_TAIL:]
