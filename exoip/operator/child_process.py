"""One program of the operator's as a child process: what it said last, and an end to all that it started.

It gets a session and a process group of its own, nothing to read, and none of what the daemon knows: no credential, no variable of
exoip's or systemd's, no open file. Every program is started through /bin/sh: the daemon's threads stand still while a program
is being loaded, so what is loaded then must be a small local file, even where the program itself is on a disk that hangs.

After a program's end whatever is left of its process group is killed. Who leaves the group (setsid) is out of reach; under systemd
the unit's TasksMax bounds them, and they end with the service.
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

SHELL = "/bin/sh"
GRACE = 1.0  # seconds between SIGTERM and SIGKILL
SLICE = 0.1  # seconds after which a waiting thread looks whether it shall stop
LONGEST_LINE = 200  # characters that are told of a line
_TAIL, _PIECE = 4096, 1 << 16  # bytes kept of the output, and read at once
_BREATH = 0.01  # seconds between two looks at the output: a program that floods must not keep the daemon busy

# The daemon is hard to kill when memory runs out; its children need not be.
_ENTER = '{ echo 0 >/proc/self/oom_score_adj; } 2>/dev/null; exec "$@"'
_OURS = re.compile(r"(IF_|EXOSCALE_|EXOIP_|NOTIFY_|WATCHDOG_|LISTEN_|JOURNAL_|CREDENTIALS_|RUNTIME_|PYTHON|MALLOC_)")


def environment(environ: Mapping[str, str], secrets: Sequence[str]) -> dict[str, str]:
    """Return what a child may see of an environment: nothing that is the daemon's own, nothing in which a secret is."""
    return {
        name: text
        for name, text in environ.items()
        if not _OURS.match(name) and not any(secret in text for secret in secrets if secret)
    }


def last_line(output: bytes) -> str:
    """Return the last line that is not empty, printable and not endless."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    text = "".join(letter if letter.isprintable() else " " for letter in lines[-1]) if lines else ""
    return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 3] + "..."


class Child:
    """A program that runs. Whoever made one has to call `end` until it returns True. Raises OSError when it can not be started."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        import subprocess  # here, for the memory of all who start none

        self._process = subprocess.Popen(  # noqa: S603  the operator's own command
            [SHELL, "-c", _ENTER, "exoip", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, bufsize=0, env=dict(environ), cwd="/", umask=0o077, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None  # noqa: S101  it is a pipe
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        with contextlib.suppress(OSError):
            os.setpriority(
                os.PRIO_PGRP, self._process.pid, 0
            )  # the daemon goes before all others; its children need not
        self._lives = os.pidfd_open(self._process.pid)
        self._poll = select.poll()
        self._poll.register(self._lives, select.POLLIN)
        self._poll.register(self._output, select.POLLIN)
        self._tail = b""
        self._told_to_end = 0.0
        self.ended = False
        self.code: int | None = None  # once `end` has returned True; of a signal, negative

    @property
    def said(self) -> str:
        """The last line of its output so far."""
        return last_line(self._tail)

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait for its end, `seconds` at most and no longer than until `stop`; return whether it has ended."""
        until = time.monotonic() + seconds
        while not self.ended and (left := until - time.monotonic()) > 0 and not stop.is_set():
            self._look(min(left, SLICE))
        return self.ended

    def end(self, stop: threading.Event) -> bool:
        """See to its end, for GRACE seconds at most: SIGTERM, then SIGKILL, to all of its group; True when nothing is left of it.

        False: the kernel does not let go of it yet (a disk that hangs); call again. When `stop` is set there is no SIGTERM.
        """
        if not self.ended and not self._told_to_end and not stop.is_set():
            self._signal(signal.SIGTERM)
            self.wait(GRACE, stop)
        self._told_to_end = self._told_to_end or time.monotonic()
        self._signal(signal.SIGKILL)  # not yet waited for, so nobody else has its number
        until = time.monotonic() + GRACE
        while not self.ended and (left := until - time.monotonic()) > 0:
            self._look(left)
        if self.ended and self.code is None:
            self._read()
            self.code = self._process.wait()
            self._output.close()
            os.close(self._lives)
        return self.code is not None

    def _signal(self, number: signal.Signals) -> None:
        if self.code is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, number)

    def _look(self, seconds: float) -> None:
        """Take in what it says, and whether it has ended, for that many seconds at most."""
        for which, _ in self._poll.poll(max(1, int(seconds * 1000))):
            if which == self._lives:
                self.ended = True
            else:
                self._read()
                time.sleep(_BREATH)  # whatever it writes, line by line or in a flood, it does not keep the daemon busy

    def _read(self) -> int:
        """Read a piece of its output; return how much that was."""
        try:
            piece = os.read(self._output.fileno(), _PIECE)
        except BlockingIOError:
            return 0
        if not piece:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._output)
        self._tail = (self._tail + piece)[-_TAIL:]
        return len(piece)
