"""The demo as a process: to its end with the output in a pipe, and on a terminal until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.cluster import EIP, PREFIX
from tests.demo.report import HEADINGS
from tests.support.paths import ROOT
from tests.support.process import environment
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.long  # it judges times, which takes a quiet machine

COMMAND = [sys.executable, "-m", "tests.demo"]
ACTS = [
    *("the cluster forms", "node-1 stopped", "node-1 back", "node-1 killed", "node-1 back"),
    *("API away, node-1 killed", "API back", "node-1 back", "node-1 frozen", "node-1 thawed"),
]
CUT = ["node-1 cut off", "network healed"]  # only for root, with nftables


@pytest.mark.parametrize(("option", "eip"), [((), EIP), (("--ipv6",), PREFIX)], ids=["IPv4", "IPv6"])
def test_in_a_pipe_from_start_to_end(tmp_path: Path, option: tuple[str, ...], eip: str) -> None:
    command = [*COMMAND, *option, "--keep-logs", str(tmp_path)]
    done = subprocess.run(command, env=environment(), cwd=ROOT, capture_output=True, text=True, timeout=4 * PATIENCE)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "\x1b" not in done.stdout
    assert all(f"{eip} is on node-{number}" in done.stdout for number in (1, 2))
    head, _, *lines = done.stdout[done.stdout.index("event  ") :].splitlines()
    assert re.split(r"  +", head) == list(HEADINGS)
    rows = [re.split(r"  +", line)[0] for line in lines]
    skipped = "the network is not cut in two" in done.stdout
    expected = ACTS if skipped else ACTS + CUT
    assert rows[: len(expected)] == expected
    for name in ("node-1", "node-2", "node-3"):
        log = (tmp_path / f"{name}.log").read_text()
        assert log
        assert "Traceback" not in log


def test_on_a_terminal_until_ctrl_c() -> None:
    ours, theirs = pty.openpty()
    env = environment(TERM="xterm", COLUMNS="100")
    process = subprocess.Popen(COMMAND, env=env, cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = bytearray()

    def holds() -> bool:
        with contextlib.suppress(BlockingIOError):
            shown.extend(os.read(ours, 65536))
        return b"127.0.0.100 is on node-" in shown

    try:
        until(holds, "a node holds the address")
        children = descendants(process.pid)
        assert len(children) == 6, "three daemons, three web servers"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        os.close(ours)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert b"\x1b[J" in shown, "the state at the bottom is redrawn"
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def descendants(pid: int) -> list[int]:
    """Return the children of all threads of a process."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
