"""Crash loops: how often the daemon was started lately."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exoip.starts import CRASHES, WINDOW, Starts


def starts(folder) -> Starts:
    return Starts({"RUNTIME_DIRECTORY": str(folder)})


class TestCount:
    def test_the_third_within_a_minute_stands_aside_for_a_minute(self, tmp_path):
        assert [starts(tmp_path).count(now) > now for now in (100.0, 110.0, 120.0, 130.0)] == [False, False, True, True]
        assert starts(tmp_path).count(140.0) == 140.0 + WINDOW

    def test_a_minute_later_it_is_forgotten(self, tmp_path):
        for now in (100.0, 110.0):
            starts(tmp_path).count(now)
        assert starts(tmp_path).count(100.0 + WINDOW) == 100.0 + WINDOW  # the first is a minute ago
        assert starts(tmp_path).count(165.0) > 165.0  # 110, 160 and 165

    def test_a_planned_stop_forgets(self, tmp_path):
        for now in (100.0, 101.0):
            starts(tmp_path).count(now)
        starts(tmp_path).forget()
        assert starts(tmp_path).count(102.0) == 102.0
        assert starts(tmp_path).count(103.0) == 103.0

    def test_a_forgotten_nothing_is_no_error(self, tmp_path):
        starts(tmp_path).forget()
        Starts({}).forget()

    def test_without_a_runtime_directory_nothing_is_kept(self, tmp_path):
        for environ in ({}, {"RUNTIME_DIRECTORY": ""}):
            assert [Starts(environ).count(now) for now in (1.0, 2.0, 3.0, 4.0)] == [1.0, 2.0, 3.0, 4.0]

    def test_the_first_of_several_directories(self, tmp_path):
        Starts({"RUNTIME_DIRECTORY": f"{tmp_path}:/elsewhere"}).count(1.0)
        assert [path.parent for path in tmp_path.rglob("*")] == [tmp_path]

    def test_stamps_of_the_future_do_not_count(self, tmp_path):
        """The clock counts from the boot; the directory may have survived one."""
        for now in (1000.0, 1001.0, 1002.0):
            starts(tmp_path).count(now)
        assert starts(tmp_path).count(5.0) == 5.0

    def test_a_long_crash_loop_does_not_grow_the_file(self, tmp_path):
        for number in range(500):
            assert (starts(tmp_path).count(100.0 + number / 10) > 100.0 + number / 10) is (number >= CRASHES - 1)
        (path,) = tmp_path.iterdir()
        assert path.stat().st_size < 500


class TestTrouble:
    @pytest.mark.parametrize(
        "content", [b"", b"\n\n", b"nonsense", b"\xff\xfe", b"1.0\nx\n", b"nan\ninf\n-inf\n", b"0" * 9999]
    )
    def test_a_file_of_nonsense(self, tmp_path, content):
        starts(tmp_path).count(100.0)
        (path,) = tmp_path.iterdir()
        path.write_bytes(content)
        assert starts(tmp_path).count(101.0) == 101.0
        assert starts(tmp_path).count(102.0) == 102.0
        assert starts(tmp_path).count(103.0) > 103.0

    def test_a_directory_that_is_not_there(self, tmp_path):
        one = starts(tmp_path / "missing")
        assert [one.count(now) for now in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]
        one.forget()

    def test_a_directory_in_the_place_of_the_file(self, tmp_path):
        starts(tmp_path).count(1.0)
        (path,) = tmp_path.iterdir()
        path.unlink()
        path.mkdir()
        one = starts(tmp_path)
        assert [one.count(now) for now in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]
        one.forget()
        assert stat.S_ISDIR(path.stat().st_mode)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=15))
def test_it_is_the_third_within_any_minute(tmp_path_factory, waits):
    folder, now, history = tmp_path_factory.mktemp("run"), 100.0, list[float]()
    for wait in waits:
        now += wait / 8  # stamps have three places
        history.append(now)
        recent = [at for at in history if now - at < WINDOW]
        assert (starts(folder).count(now) > now) is (len(recent) >= CRASHES)
