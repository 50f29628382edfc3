"""What a daemon that crashed begins with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exoip.config.parse import Config, parse
from exoip.daemon.remembered import Remembered
from exoip.exoscale.discovery import Member, Topology

SECRET = "sEcReT-that-nobody-sees"
A, B, EIP_ID = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")
TOPOLOGY = Topology(
    A, "ch-gva-2", "https://api-ch-gva-2.exoscale.com/v2", "198.51.100.50", EIP_ID,
    (Member(B, "192.0.2.2", 12345, "wéb"),), ("odd",),
)  # fmt: skip


def config(*words: str) -> Config:
    base = ["-W", "-xi", "198.51.100.50", "-xk", "EXOx", "-xs", SECRET, "-xz", "ch-gva-2"]
    return parse([*base, *(words or ("-G", "web"))], {})


def remembered(folder: Path) -> Remembered:
    return Remembered({"RUNTIME_DIRECTORY": str(folder)})


class TestSaved:
    def test_it_comes_back_as_it_was(self, tmp_path):
        remembered(tmp_path).save(config(), TOPOLOGY)
        found = remembered(tmp_path).load(config())
        assert found == TOPOLOGY
        assert found.warnings == TOPOLOGY.warnings

    def test_the_last_one_counts(self, tmp_path):
        one = remembered(tmp_path)
        one.save(config(), TOPOLOGY)
        newer = dataclasses.replace(TOPOLOGY, members=())
        one.save(config(), newer)
        assert one.load(config()) == newer

    def test_nothing_was_saved(self, tmp_path, caplog):
        assert remembered(tmp_path).load(config()) is None
        assert caplog.records == []

    def test_forgotten(self, tmp_path):
        one = remembered(tmp_path)
        one.save(config(), TOPOLOGY)
        one.forget()
        one.forget()
        assert one.load(config()) is None
        assert list(tmp_path.iterdir()) == []

    def test_without_a_runtime_directory_nothing_is_kept(self):
        one = Remembered({})
        one.save(config(), TOPOLOGY)
        assert one.load(config()) is None
        one.forget()

    def test_no_secret_and_no_key_is_written(self, tmp_path):
        remembered(tmp_path).save(config(), TOPOLOGY)
        text = "".join(path.read_text() for path in tmp_path.iterdir())
        assert SECRET not in text
        assert "EXOx" not in text


class TestAnotherConfiguration:
    @pytest.mark.parametrize(
        "words",
        [
            ("-G", "db"),
            ("-p", "192.0.2.2"),
            ("-G", "web", "-xi", "198.51.100.51"),
            ("-G", "web", "-xz", "de-fra-1"),
            ("-G", "web", "-xe", "https://example.com/v2"),
            ("-G", "web", "-i", B),
            ("-G", "web", "-l", ":5"),
            ("-G", "web", "-l", "127.0.0.1:12345"),
            ("-G", "web", "-xm", "http://192.0.2.9"),
        ],
    )
    def test_what_was_found_for_another_question_is_no_answer(self, tmp_path, words):
        remembered(tmp_path).save(config(), TOPOLOGY)
        assert remembered(tmp_path).load(config(*words)) is None

    @pytest.mark.parametrize("words", [("-G", "web", "-P", "77"), ("-G", "web", "-v"), ("-G", "web", "-t", "2")])
    def test_what_does_not_matter_does_not_matter(self, tmp_path, words):
        remembered(tmp_path).save(config(), TOPOLOGY)
        assert remembered(tmp_path).load(config(*words)) == TOPOLOGY


class TestTrouble:
    def only_file(self, folder: Path) -> Path:
        remembered(folder).save(config(), TOPOLOGY)
        (path,) = folder.iterdir()
        return path

    def changed(self, folder: Path, change: Any) -> Topology | None:
        path = self.only_file(folder)
        path.write_bytes(change(path.read_bytes()))
        return remembered(folder).load(config())

    @pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"7", b'"x"', b"{}", b'{"for": 1}', b"\xff\xfe"])
    def test_nonsense_is_of_no_use(self, tmp_path, content):
        assert self.changed(tmp_path, lambda _: content) is None

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b'"topology"', b'"topologie"'),
            (b'"eip_id"', b'"eip_ID"'),
            (b'"port": 12345', b'"port": 0'),
            (b'"port": 12345', b'"port": "x"'),
            (b'"members": [', b'"members": [7, '),
            (b'"members": [', b'"members": 7, "x": ['),
            (B.encode(), b"no-uuid"),
            (b"192.0.2.2", b"192.0.2.999"),
            (b'"warnings": ["odd"]', b'"warnings": 7'),
        ],
    )
    def test_what_can_not_be_is_of_no_use(self, tmp_path, old, new):
        assert old in self.only_file(tmp_path).read_bytes()
        assert self.changed(tmp_path, lambda text: text.replace(old, new)) is None

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, 2000), st.integers(0, 255))
    def test_a_flipped_byte_never_breaks_it(self, tmp_path, at, byte):
        def flip(text: bytes) -> bytes:
            return text[:at] + bytes([byte]) + text[at + 1 :]

        found = self.changed(tmp_path, flip)
        assert found is None or isinstance(found, Topology)

    def test_a_directory_that_is_not_there(self, tmp_path):
        one = remembered(tmp_path / "missing")
        one.save(config(), TOPOLOGY)
        assert one.load(config()) is None
        one.forget()

    def test_a_write_that_fails_leaves_the_old_one(self, tmp_path):
        one = remembered(tmp_path)
        path = self.only_file(tmp_path)
        (tmp_path / path.with_suffix(".new").name).mkdir()
        one.save(config(), dataclasses.replace(TOPOLOGY, members=()))
        assert one.load(config()) == TOPOLOGY
