"""A child process: its end, what it may see, and its output. Real programs, real signals."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exoip.operator import child_process
from exoip.operator.child_process import LONGEST_LINE, READ_PAUSE, Child, environment, last_line
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE, until

NEVER = threading.Event()
PATH = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}


@pytest.fixture
def start() -> Iterator[object]:
    children: list[Child] = []

    def make(line: str, **more: str) -> Child:
        children.append(Child(["/bin/sh", "-c", line], PATH | more))
        return children[-1]

    yield make
    for child in children:
        until(lambda child=child: child.end(NEVER), "the child ends")


def finished(child: Child) -> int:
    assert child.wait(PATIENCE, NEVER)
    assert child.end(NEVER)
    assert child.code is not None
    return child.code


PAUSED = """
import threading
from exoip.operator.child_process import Child

child = Child(["sleep", "0.5"], {"PATH": "/usr/bin:/bin"})
print(child._process.pid, flush=True)
print(child.wait(1.0, threading.Event()), flush=True)
"""


def test_a_pause_of_the_machine_is_no_time_of_the_program() -> None:
    with subprocess.Popen([sys.executable, "-c", PAUSED], cwd=ROOT, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        program = int(daemon.stdout.readline())
        for number in (signal.SIGSTOP, signal.SIGCONT):
            os.kill(daemon.pid, number)
            os.killpg(program, number)
            time.sleep(1.5 if number is signal.SIGSTOP else 0.0)  # longer than the program has
        assert daemon.stdout.readline() == "True\n"


def test_the_program_starts_with_its_own_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's is high; a program that is quick must not run with it, nor start others so."""
    runs: list[str] = []

    def look(which: int, pid: int, value: int) -> None:
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S", "it waits")
        runs.append(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0])
        assert (which, value) == (os.PRIO_PROCESS, 0)

    monkeypatch.setattr(os, "setpriority", look)
    child = Child(["sleep", "60"], PATH)
    assert runs == [child_process.SHELL]
    until(lambda: child.end(NEVER), "it ends")


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def said(path: Path) -> int:
    """The number that a child writes into a file."""
    until(lambda: path.exists() and path.read_text().endswith("\n"), f"{path.name} is written")
    return int(path.read_text())


@pytest.mark.slow
class TestEnd:
    @pytest.mark.parametrize(
        ("line", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -9 $$", -signal.SIGKILL)]
    )
    def test_the_code_is_its_exit_status_or_minus_its_signal(self, start, line, code):
        child = start(line)
        assert finished(child) == code
        assert child.end(NEVER), "a second time"
        assert child.code == code

    def test_a_program_that_does_not_exist_gives_an_exit_status_and_words(self):
        child = Child(["/nowhere/program"], PATH)
        assert finished(child) == 127
        assert "/nowhere/program" in child.last_line

    @pytest.mark.parametrize(
        ("on_term", "stopping", "code"),
        [("echo asked; exit 3", False, 3), ("", False, -signal.SIGKILL), ("echo asked; exit 3", True, -signal.SIGKILL)],
    )
    def test_it_is_asked_to_end_and_then_killed_but_only_killed_if_the_daemon_stops(
        self, start, on_term, stopping, code
    ):
        child = start(f"trap '{on_term}' TERM; echo ready; while :; do sleep 0.05; done")
        until(lambda: child.wait(0.05, NEVER) or child.last_line == "ready", "it is ready")
        stop = threading.Event()
        if stopping:
            stop.set()
            assert not child.wait(PATIENCE, stop)
        assert child.end(stop)
        assert child.code == code
        assert child.last_line == ("asked" if code == 3 else "ready")

    @pytest.mark.parametrize("mine", ["exit 0", "sleep 1000", "kill -9 $$"])
    def test_its_children_are_killed_with_it(self, start, tmp_path, mine):
        deaf = f"(trap '' TERM; sh -c 'echo $PPID' >{tmp_path}/pid; while :; do sleep 0.05; done) &"
        child = start(f"{deaf} while [ ! -s {tmp_path}/pid ]; do sleep 0.01; done; {mine}")
        pid = said(tmp_path / "pid")
        assert alive(pid)
        child.wait(0.3, NEVER)
        until(lambda: child.end(NEVER), "the child ends")
        until(lambda: not alive(pid), "its child is killed")

    def test_a_program_that_forks_without_end_is_killed_whole(self, start, tmp_path):
        """Up to sixty processes that ignore SIGTERM: bounded here, as TasksMax bounds it in the
        unit.
        """
        bomb = tmp_path / "bomb"
        bomb.write_text(
            f"#!/bin/sh\ntrap '' TERM\necho $$ >>{tmp_path}/pids\n"
            f'while :; do [ "$(wc -l <{tmp_path}/pids)" -lt 60 ] && {bomb} &\nsleep 0.05; done\n'
        )
        bomb.chmod(0o755)
        child = start(str(bomb))
        pids = tmp_path / "pids"
        until(lambda: child.wait(0.02, NEVER) or (pids.exists() and len(pids.read_text().split()) >= 30), "it forks")
        assert child.end(NEVER)
        until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()), "all are gone")

    def test_a_process_that_left_the_group_does_not_delay_it(self, start, tmp_path):
        child = start(f"setsid sh -c 'echo $$ >{tmp_path}/pid; exec sleep 1000' & exit 0")
        pid = said(tmp_path / "pid")
        try:
            assert finished(child) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def test_no_descriptor_is_left(self, start):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            finished(start("echo a; sleep 0 & exit 1"))
        assert len(os.listdir("/proc/self/fd")) == before


class TestView:
    def test_it_has_no_input_no_file_no_terminal_and_a_group_of_its_own(self, start, tmp_path):
        kept = (tmp_path / "kept").open("w")
        os.set_inheritable(kept.fileno(), False)
        child = start(
            f"cat; ls /proc/self/fd >{tmp_path}/fds; pwd; umask; cut -d' ' -f5,6 /proc/$$/stat; echo $$ >{tmp_path}/pid"
        )
        assert finished(child) == 0
        kept.close()
        numbers = {int(number) for number in (tmp_path / "fds").read_text().split()}
        assert numbers <= {0, 1, 2, 3}  # 3 is that of ls itself
        assert (tmp_path / "fds").stat().st_mode & 0o777 == 0o600
        pid = said(tmp_path / "pid")
        assert child.last_line == f"{pid} {pid}"

    def test_variables_of_the_daemon_are_hidden(self):
        foreign = {"PATH": "/bin", "LANG": "C.UTF-8", "HTTP_PROXY": "http://p", "MY_IF_X": "1"}
        names = """IF_EXOSCALE_API_SECRET IF_ADDRESS EXOSCALE_API_KEY EXOSCALE_API_SECRET NOTIFY_SOCKET
            WATCHDOG_USEC WATCHDOG_PID CREDENTIALS_DIRECTORY RUNTIME_DIRECTORY JOURNAL_STREAM LISTEN_FDS PYTHONPATH
            PYTHONNODEBUGRANGES MALLOC_ARENA_MAX"""
        own = dict.fromkeys(names.split(), "x")
        assert environment(foreign | own, ()) == foreign

    def test_no_variable_with_a_secret_in_it(self):
        environ = {"A": "s3cret", "B": "https://k:s3cret@host/", "C": "s3cre", "D": ""}
        assert environment(environ, ("s3cret", "")) == {"C": "s3cre", "D": ""}

    def test_it_sees_the_variables_it_is_given_and_nothing_else(self, start):
        child = start("env | cut -d= -f1 | grep -v -e PWD -e SHLVL -e '^_$' | sort | tr '\\n' ' '", EXTRA="1")
        assert finished(child) == 0
        assert child.last_line == "EXTRA PATH"


@pytest.mark.slow
class TestOutput:
    def test_the_last_line(self, start):
        child = start("echo first; echo 'last one' >&2; echo")
        assert finished(child) == 0
        assert child.last_line == "last one"

    @pytest.mark.parametrize("pause", ["", "sleep 0.001; "])
    def test_a_flood_is_read_slowly_and_ends_in_time(self, start, pause, monkeypatch):
        child = start(f"while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; {pause}done; ")
        reads, read, began = [], os.read, time.monotonic()
        monkeypatch.setattr(os, "read", lambda *words: reads.append(words) or read(*words))
        assert not child.wait(1.0, NEVER)
        assert len(reads) <= (time.monotonic() - began) / READ_PAUSE + 1, "it keeps the daemon busy"
        assert child.end(NEVER)
        assert set(child.last_line) <= {"y"}

    def test_megabytes_do_not_delay_it(self, start):
        child = start("head -c 3000000 /dev/zero | tr '\\0' 'a'; echo; echo done")
        assert finished(child) == 0
        assert child.last_line == "done"

    @given(st.binary(max_size=600))
    def test_any_output_is_one_printable_line_of_some_length(self, output):
        line = last_line(output)
        assert line.isprintable() or line == ""
        assert len(line) <= LONGEST_LINE

    @pytest.mark.parametrize(
        ("output", "line"),
        [(b"", ""), (b"\n\n", ""), (b"a\nb", "b"), (b"a\nb\n \n", "b"), (b"a\tb\x1b[31m\r\n", "a b?[31m"), (b"\xff", "\ufffd"),
         (b"x" * 201, "x" * 199 + "…")],
    )  # fmt: skip
    def test_examples(self, output, line):
        assert last_line(output) == line


def test_a_child_that_cannot_be_watched_is_not_left_running(monkeypatch):
    """No descriptor is left for it."""
    started = []

    def none_left(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    with pytest.raises(OSError, match="Too many open files"):
        Child(["/bin/sleep", "60"], {})
    with pytest.raises(ChildProcessError):
        os.waitpid(started[0], os.WNOHANG)
    assert started[0] not in child_process._children
