"""exoipctl, run for the daemons in a folder."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema

from exoip.ctl.__main__ import run
from tests.support.paths import ROOT
from tests.support.process import environment
from tests.support.waiting import PATIENCE
from tests.unit.telemetry.test_status import SCHEMA, strict


class Ctl:
    """Run exoipctl for the daemons in a folder.

    `executed`: run it as a program; otherwise its command runs in this process, which is quicker.
    """

    def __init__(self, folder: Path, *, executed: bool = False) -> None:
        self.executed = executed
        self.runtime = folder / "run"
        self.program = [sys.executable, "-m", "exoip.ctl", "--runtime-dir", str(self.runtime)]
        self.env = environment(SUDO_USER="ann")

    def __call__(self, *words: str, code: int | None = 0, errors: bool = False) -> str:
        """Return what it prints, or its `errors`; it must exit with the code, and print errors only
        if wanted.
        """
        ended, out, complaint = self._execute(words) if self.executed else self._call(words)
        said = f"exoipctl {' '.join(words)}: {out}{complaint}"
        assert "Traceback" not in said, said
        if code is not None:
            assert ended == code, said
        assert bool(complaint) is errors, said
        return complaint if errors else out

    def _execute(self, words: Sequence[str]) -> tuple[int, str, str]:
        command = [*self.program, *words]
        done = subprocess.run(command, env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout, done.stderr

    def _call(self, words: Sequence[str]) -> tuple[int, str, str]:
        out, errors = io.StringIO(), io.StringIO()
        code = run([*self.program[3:], *words], self.env, out, errors)
        return code, out.getvalue(), errors.getvalue()

    def json(self, *words: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self("status", "--json", *words, code=None))
        jsonschema.validate(told, strict(SCHEMA))
        return told

    def level(self, name: str) -> str:
        return str(self.json(name)["level"])


def on_a_terminal(ctl: Ctl, env: dict[str, str]) -> str:
    """Return what exoipctl writes to a terminal."""
    ours, theirs = pty.openpty()
    subprocess.run(ctl.program, env=ctl.env | env, cwd=ROOT, stdout=theirs, timeout=PATIENCE, check=False)
    os.close(theirs)
    came = b""
    try:
        while part := os.read(ours, 65536):
            came += part
    except OSError:  # EIO: the other side is closed, and all is read
        pass
    os.close(ours)
    return came.decode()
