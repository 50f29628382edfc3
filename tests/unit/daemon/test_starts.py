"""Crash loops: how often the daemon was started lately."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exoip.daemon.starts import CRASHES, PAUSE, SLOW, WINDOW, Start, Starts, judge

MANY = 20


def starts(folder) -> Starts:
    return Starts({"RUNTIME_DIRECTORY": str(folder)})


def test_a_start_is_judged_by_how_many_others_there_were():
    """It stands aside first, and pauses only when it does: a node that others rely on never keeps them waiting."""
    for others in range(MANY):
        start = judge(others, 100.0)
        assert start == Start(
            aside_until=100.0 + (WINDOW if others + 1 >= CRASHES else 0.0),
            works_from=100.0 + (PAUSE if others + 1 >= SLOW else 0.0),
        )
        assert start.works_from <= start.aside_until


class TestCount:
    def test_the_third_within_a_minute_stands_aside_for_a_minute(self, tmp_path):
        assert [starts(tmp_path).count(now).aside_until > now for now in (100.0, 110.0, 120.0, 130.0)] == [
            False,
            False,
            True,
            True,
        ]
        assert starts(tmp_path).count(140.0).aside_until == 140.0 + WINDOW

    def test_from_the_fifth_within_a_minute_on_it_pauses_a_second(self, tmp_path):
        found = [starts(tmp_path).count(now).works_from - now for now in (100.0, 110.0, 120.0, 130.0, 140.0, 150.0)]
        assert found == [0.0, 0.0, 0.0, 0.0, PAUSE, PAUSE]

    def test_a_minute_later_it_is_forgotten(self, tmp_path):
        for now in (100.0, 110.0):
            starts(tmp_path).count(now)
        assert starts(tmp_path).count(100.0 + WINDOW).aside_until == 100.0 + WINDOW  # the first is a minute ago
        assert starts(tmp_path).count(165.0).aside_until > 165.0  # 110, 160 and 165

    def test_a_planned_stop_forgets(self, tmp_path):
        for now in (100.0, 101.0):
            starts(tmp_path).count(now)
        starts(tmp_path).forget()
        assert starts(tmp_path).count(102.0).aside_until == 102.0
        assert starts(tmp_path).count(103.0).aside_until == 103.0

    def test_a_forgotten_nothing_is_no_error(self, tmp_path):
        starts(tmp_path).forget()
        Starts({}).forget()

    def test_without_a_runtime_directory_nothing_is_kept(self, tmp_path):
        for environ in ({}, {"RUNTIME_DIRECTORY": ""}):
            assert [Starts(environ).count(now).aside_until for now in (1.0, 2.0, 3.0, 4.0)] == [1.0, 2.0, 3.0, 4.0]

    def test_the_first_of_several_directories(self, tmp_path):
        Starts({"RUNTIME_DIRECTORY": f"{tmp_path}:/elsewhere"}).count(1.0)
        assert [path.parent for path in tmp_path.rglob("*")] == [tmp_path]

    def test_stamps_of_the_future_do_not_count(self, tmp_path):
        """The clock counts from the boot; the directory may have survived one."""
        for now in (1000.0, 1001.0, 1002.0):
            starts(tmp_path).count(now)
        assert starts(tmp_path).count(5.0).aside_until == 5.0

    def test_a_long_crash_loop_does_not_grow_the_file(self, tmp_path):
        for number in range(500):
            assert (starts(tmp_path).count(100.0 + number / 10).aside_until > 100.0 + number / 10) is (
                number >= CRASHES - 1
            )
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
        assert starts(tmp_path).count(101.0).aside_until == 101.0
        assert starts(tmp_path).count(102.0).aside_until == 102.0
        assert starts(tmp_path).count(103.0).aside_until > 103.0

    def test_a_directory_that_is_not_there(self, tmp_path):
        one = starts(tmp_path / "missing")
        assert [one.count(now).aside_until for now in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]
        one.forget()

    def test_a_directory_in_the_place_of_the_file(self, tmp_path):
        starts(tmp_path).count(1.0)
        (path,) = tmp_path.iterdir()
        path.unlink()
        path.mkdir()
        one = starts(tmp_path)
        assert [one.count(now).aside_until for now in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]
        one.forget()
        assert stat.S_ISDIR(path.stat().st_mode)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=15))
def test_it_is_the_third_and_the_fifth_within_any_minute(tmp_path_factory, waits):
    folder, now, history = tmp_path_factory.mktemp("run"), 100.0, list[float]()
    for wait in waits:
        now += wait / 8  # stamps have three places
        history.append(now)
        recent = [at for at in history if now - at < WINDOW]
        start = starts(folder).count(now)
        assert (start.aside_until > now, start.works_from > now) == (len(recent) >= CRASHES, len(recent) >= SLOW)
