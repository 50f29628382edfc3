"""Where exoipctl reads entries: journalctl, which is run for real where it is there, and files."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from exoip.ctl.journal import JournalError, entries, from_files, from_journal


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A journalctl of the test's own: it prints its words, and what the file `prints` beside it
    has, and ends with `ends`.
    """
    path = tmp_path / "journalctl"
    here = f"open({str(tmp_path)!r} + '/%s').read()"
    path.write_text(
        f"#!{sys.executable}\nimport json, sys\nprint(json.dumps({{'WORDS': ' '.join(sys.argv[1:])}}))\n"
        f"sys.stdout.write({here % 'prints'})\nsys.exit(int({here % 'ends'}))\n"
    )
    path.chmod(0o755)
    (tmp_path / "prints").write_text("")
    (tmp_path / "ends").write_text("0")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "since", "until", "words"),
    [
        (None, None, None, []),
        ("web", None, None, ["--unit=exoip@web.service"]),
        ("web", "-2h", "now", ["--unit=exoip@web.service", "--since=-2h", "--until=now"]),
        (None, "2026-11-24 02:00", None, ["--since=2026-11-24 02:00"]),
    ],
)
def test_what_journalctl_is_asked(
    program: Path, name: str | None, since: str | None, until: str | None, words: list[str]
) -> None:
    (asked,) = from_journal(name, since, until, str(program / "journalctl"))
    always = ["--output=json", "--all", "--no-pager", "--identifier=exoip"]
    assert asked["WORDS"] == " ".join([*always, *words])


def test_what_it_prints_is_read_until_its_end(program: Path) -> None:
    (program / "prints").write_text('{"A": "1"}\n{"A": "2"}\n')
    (program / "ends").write_text("3")
    read = from_journal(None, None, None, str(program / "journalctl"))
    assert [next(read).get("A") for _ in range(3)] == [None, "1", "2"]
    with pytest.raises(JournalError, match="failed with exit status 3, see above"):
        next(read)


def test_without_it_there_is_another_way() -> None:
    with pytest.raises(JournalError, match=r"cannot run /nowhere/journalctl: No such file or directory; --input"):
        list(from_journal(None, None, None, "/nowhere/journalctl"))


def test_the_real_one_understands_the_words(capfd: pytest.CaptureFixture[str]) -> None:
    if shutil.which("journalctl") is None:
        pytest.skip("needs journalctl, of the package systemd")
    assert list(from_journal("no-such-instance-of-exoip", "2 hours ago", "now")) == []
    with pytest.raises(JournalError, match="see above"):
        list(from_journal(None, "no time at all", None))
    assert "no time at all" in capfd.readouterr().err


def test_lines_that_are_no_entries_are_left_out_and_so_is_what_is_no_text() -> None:
    lines = [b"-- No entries --\n", b"\n", b'{"A": "1", "B": null, "C": [1, 2], "D": 3}\n', b'{"A"\n', b"[1]\n"]
    assert list(entries(lines)) == [{"A": "1"}]
    assert list(entries([b'{"A": ' + b"[" * 100_000 + b"\n"])) == []


def test_files_one_after_the_other_and_the_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(json.dumps({"FROM": name}) + "\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"FROM": "-"}\n')))
    names = [str(tmp_path / "a"), "-", str(tmp_path / "b")]
    assert [entry["FROM"] for entry in from_files(names)] == ["a", "-", "b"]
    with pytest.raises(JournalError, match="--input /nowhere: No such file"):
        list(from_files(["/nowhere"]))
    with pytest.raises(JournalError, match="Is a directory"):
        list(from_files([str(tmp_path)]))
