"""The file that says that a node is drained."""

from __future__ import annotations

from pathlib import Path

import pytest

from exoip.daemon.drained import Drained


def drained(folder: Path) -> Drained:
    return Drained({"STATE_DIRECTORY": f"{folder}:/elsewhere"})


def test_it_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    assert drained(tmp_path).load() == ""
    assert drained(tmp_path).save("drained by ann") == ""
    assert drained(tmp_path).save("drained by bob: new kernel") == ""
    assert drained(tmp_path).load() == "drained by bob: new kernel"
    assert [path.name for path in tmp_path.iterdir()] == ["drained"]
    assert drained(tmp_path).forget() == ""
    assert drained(tmp_path).load() == ""
    assert drained(tmp_path).forget() == ""


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00", b"a\nb\n", b"\x1b[2J"])
def test_whatever_is_in_it_it_is_drained(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "drained").write_bytes(content)
    assert drained(tmp_path).load() == "drained, nobody knows why"


def test_of_a_large_one_little_is_read(tmp_path: Path) -> None:
    (tmp_path / "drained").write_bytes(b"x" * 10_000_000)
    assert drained(tmp_path).load() == "x" * 1000


def test_one_that_can_not_be_read_counts(tmp_path: Path) -> None:
    (tmp_path / "drained").mkdir()
    assert drained(tmp_path).load() == "drained, nobody knows why"
    assert "can not be written" in drained(tmp_path).save("drained by ann")
    assert "can not be removed" in drained(tmp_path).forget()


def test_without_a_folder_it_says_so(tmp_path: Path) -> None:
    for environ in ({}, {"STATE_DIRECTORY": ""}):
        assert Drained(environ).save("drained by ann") == "there is no state directory"
        assert Drained(environ).load() == ""
        assert Drained(environ).forget() == ""
    assert "can not be written: No such file" in drained(tmp_path / "gone").save("drained by ann")
