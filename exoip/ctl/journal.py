"""Reads journal entries: from journalctl, in a process of its own, or from files with what it printed elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

from exoip.errors import ExoipError

PROGRAM = "journalctl"


class NoJournal(ExoipError):
    """The journal can not be read."""


def from_journal(name: str | None, since: str | None, until: str | None) -> Iterator[dict[str, str]]:
    """Yield what this host's journal has of one daemon, or of all. `since` and `until` are journalctl's. Raises NoJournal."""
    words = [PROGRAM, "--output=json", "--all", "--no-pager", "--identifier=exoip"]
    words += [f"--unit=exoip@{name}.service"] if name else []
    words += [f"--since={since}"] if since else []
    words += [f"--until={until}"] if until else []
    try:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)  # noqa: S603  its words are its own
    except OSError as error:
        raise NoJournal(f"{PROGRAM} can not be run: {error.strerror or error}; with --input a file is read") from error
    with process:
        assert process.stdout is not None  # noqa: S101
        yield from entries(process.stdout)
    if process.returncode:
        raise NoJournal(f"{PROGRAM} ended with {process.returncode}, see above")


def from_files(names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield what is in the files, of which `-` is the standard input. Raises NoJournal."""
    for name in names:
        with ExitStack() as stack:
            try:
                stream = sys.stdin.buffer if name == "-" else stack.enter_context(open(name, "rb"))
            except OSError as error:
                raise NoJournal(f"--input {name}: {error.strerror}") from error
            yield from entries(stream)


def entries(lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """Yield the entries in lines of JSON, with their texts only; lines that are none are left out."""
    for line in lines:
        if not line.startswith(b"{"):
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        yield {name: value for name, value in entry.items() if isinstance(value, str)}
