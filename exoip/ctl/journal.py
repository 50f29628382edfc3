"""Read journal entries: from journalctl, or from files with its output from any number of hosts.

Shown by tests/unit/ctl/test_journal.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

from exoip.errors import ExoipError


class JournalError(ExoipError):
    """The journal cannot be read."""


def from_journal(
    name: str | None, since: str | None, until: str | None, program: str = "journalctl"
) -> Iterator[dict[str, str]]:
    """Yield this host's entries of one daemon, or of all.

    `since` and `until`: see journalctl(1). Raises JournalError.
    """
    words = [program, "--output=json", "--all", "--no-pager", "--identifier=exoip"]
    words += [f"--unit=exoip@{name}.service"] if name else []
    words += [f"--since={since}"] if since else []
    words += [f"--until={until}"] if until else []
    try:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)  # noqa: S603
    except OSError as error:
        raise JournalError(f"cannot run {program}: {error.strerror or error}; --input reads a file instead") from error
    with process:
        assert process.stdout is not None  # noqa: S101
        yield from entries(process.stdout)
    if process.returncode:
        raise JournalError(f"{program} failed with exit status {process.returncode}, see above")


def from_files(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the entries in the files; `-` is standard input. Raises JournalError."""
    for name in names:
        with ExitStack() as stack:
            try:
                stream = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))
            except OSError as error:
                raise JournalError(f"--input {name}: {error.strerror}") from error
            yield from entries(stream)


def entries(lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """Yield the entries in lines of JSON, with only their text fields; skip all other lines."""
    for line in lines:
        if not line.startswith(b"{"):
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        yield {name: value for name, value in entry.items() if isinstance(value, str)}
