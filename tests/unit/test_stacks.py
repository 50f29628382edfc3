"""The stacks that SIGABRT writes: true ones, of all threads, while none of them runs."""

from __future__ import annotations

import fcntl
import mmap
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.slow

COUNTING = """
import itertools, mmap, sys, threading, time
from exoip.__main__ import show_stacks

file = open(sys.argv[1], "r+b")
counter = mmap.mmap(file.fileno(), 8)

def count():
    for number in itertools.count(1):
        counter[:] = number.to_bytes(8, "big")

def dive_as_deep_as_stacks_are_shown(depth):
    if depth:
        dive_as_deep_as_stacks_are_shown(depth - 1)
    print("ready", flush=True)
    time.sleep(60)

show_stacks()
threading.Thread(target=count, daemon=True).start()
dive_as_deep_as_stacks_are_shown(99)
"""
PIPE = 4096  # bytes that it holds; the stacks take more


def test_no_thread_runs_while_the_stacks_are_written(tmp_path: Path) -> None:
    shared = tmp_path / "counter"
    shared.write_bytes(bytes(8))
    with (
        shared.open("r+b") as file,
        mmap.mmap(file.fileno(), 8) as counter,
        subprocess.Popen(
            [sys.executable, "-c", COUNTING, shared],
            bufsize=0,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, PIPE)
        process.stdout.readline()
        until(lambda: counter[:] != counter[:], "the main thread sleeps, and the other one counts")
        process.send_signal(signal.SIGABRT)
        stacks = process.stderr.read(1)
        before = counter[:]
        with pytest.raises(AssertionError, match="it counts on"):  # it waits for somebody to read
            until(lambda: counter[:] != before, "it counts on", patience=0.2)
        while piece := process.stderr.read(PIPE):
            stacks += piece
        assert process.wait() == -signal.SIGABRT
    text = stacks.decode()
    assert "in count" in text
    assert text.count("in dive_as") >= 99
