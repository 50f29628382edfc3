"""A program that is slow to load, as on a disk that hangs: no thread of the daemon waits for it."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

COUNTING = """
import sys, threading, time
from exoip.operator import child_process

def count():
    while True:
        print(flush=True)
        time.sleep(0.001)

child_process.SHELL = sys.argv[1]
threading.Thread(target=count, daemon=True).start()
child_process.Child(["/bin/true"], {})
"""
CONTENT, ADD, OPEN_TO_EXECUTE, HERE = 0x04, 0x01, 0x40000, -100  # fanotify(7): its class, flag and event; AT_FDCWD


@pytest.fixture
def held(tmp_path: Path):
    """Returns a shell, and a descriptor with the attempts to load it, which wait until it is closed."""
    libc = ctypes.CDLL(None, use_errno=True)
    attempts = libc.fanotify_init(CONTENT, os.O_RDONLY)
    if attempts < 0 and ctypes.get_errno() == errno.EPERM:
        pytest.skip("only root may hold up a program, and not in a container")
    assert attempts >= 0, os.strerror(ctypes.get_errno())
    shell = shutil.copy("/bin/sh", tmp_path / "sh")
    event = ctypes.c_uint64(OPEN_TO_EXECUTE)
    assert libc.fanotify_mark(attempts, ADD, event, HERE, os.fsencode(shell)) == 0, os.strerror(ctypes.get_errno())
    yield shell, attempts
    os.close(attempts)


def test_no_thread_waits_for_it(held) -> None:
    shell, attempts = held
    command = [sys.executable, "-c", COUNTING, shell]
    with subprocess.Popen(command, bufsize=0, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert select.select([attempts], [], [], PATIENCE)[0], "the program is loaded"
            os.set_blocking(process.stdout.fileno(), False)
            process.stdout.read(1 << 20)  # what came before
            until(lambda: process.stdout.read(1), "the other thread goes on", 5)
        finally:
            process.kill()
