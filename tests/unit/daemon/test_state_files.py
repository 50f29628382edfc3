"""The files that outlive a restart: what they keep, and that damage to them never stops a start."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exoip.config.parse import Config, parse
from exoip.core.calls import Failure, Kind
from exoip.daemon.state_files import (
    DRAINED_FOR_UNKNOWN_REASON,
    PAUSED_STARTS,
    START_PAUSE,
    START_WINDOW,
    UNFIT_STARTS,
    CheckResults,
    DrainedFile,
    HeldFile,
    StartHistory,
    StateFile,
    TopologyCache,
)
from exoip.exoscale.topology import Member, Topology
from tests.support.single_node import DEAD, SingleNode, backup, master

SECRET = "sEcReT-that-nobody-sees"
A, B, EIP_ID = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")
TOPOLOGY = Topology(
    A, "ch-gva-2", "https://api-ch-gva-2.exoscale.com/v2", "198.51.100.50", EIP_ID,
    (Member(B, "192.0.2.2", 12345, "wéb"),), ("odd",),
)  # fmt: skip


def config(*words: str) -> Config:
    base = ["-W", "-xi", "198.51.100.50", "-xk", "EXOtest", "-xs", SECRET, "-xz", "ch-gva-2"]
    return parse([*base, *(words or ("-G", "web"))], {})


def starts(folder: Path) -> StartHistory:
    return StartHistory({"RUNTIME_DIRECTORY": str(folder)})


def cache(folder: Path) -> TopologyCache:
    return TopologyCache({"RUNTIME_DIRECTORY": str(folder)})


def drained(folder: Path) -> DrainedFile:
    return DrainedFile({"STATE_DIRECTORY": str(folder)})


def unfit(folder: Path, *times: float) -> list[bool]:
    """Record these starts; return for each whether it makes the node unfit."""
    return [starts(folder).record(now).unfit_until > now for now in times]


class TestCheckResults:
    def test_what_was_saved_is_loaded(self, tmp_path):
        kept = CheckResults({"RUNTIME_DIRECTORY": str(tmp_path)})
        assert kept.load() is None
        kept.save({"0a": True, "0b": False})
        assert kept.load() == {"0a": True, "0b": False}
        kept.save({})
        assert kept.load() == {}

    def test_what_cannot_be_kept_is_not_known_any_more(self, tmp_path, caplog):
        kept = CheckResults({"RUNTIME_DIRECTORY": str(tmp_path)})
        kept.save({})
        (tmp_path / "checks.new").mkdir()  # so no file can be written there
        kept.save({"0a": True})
        assert (kept.load(), len(caplog.messages)) == (None, 1)

    def test_damage_is_reported_and_stops_nothing(self, tmp_path, caplog):
        (tmp_path / "checks").mkdir()
        kept = CheckResults({"RUNTIME_DIRECTORY": str(tmp_path)})
        assert kept.load() is None
        kept.save({"0a": True})
        assert len(caplog.messages) == 2

    def test_without_a_directory_nothing_is_kept(self, caplog):
        kept = CheckResults({})
        kept.save({"0a": True})
        assert (kept.load(), caplog.messages) == (None, [])


class TestHeld:
    """A holder that is stopped for a restart at 100 s, and knew at 98 s that it holds."""

    def saved(self, folder: Path, **changes: object) -> HeldFile:
        kept = HeldFile({"RUNTIME_DIRECTORY": str(folder)})
        held: dict[str, Any] = {"at": 100.0, "known_at": 98.0} | changes
        self.why = kept.save(dataclasses.replace(master(peers="z").view, **held), 102.0)
        return kept

    def test_it_counts_once_and_within_the_dead_time(self, tmp_path):
        kept = self.saved(tmp_path)
        assert [kept.take(101.5), kept.take(101.5)] == [(98.0, False), None]

    @pytest.mark.parametrize("now", [99.9, 102.0, 1e6])
    def test_at_another_time_it_does_not(self, tmp_path, now):
        assert self.saved(tmp_path).take(now) is None

    @pytest.mark.parametrize("changes", [{"protected": False}, {"advertised": 254}, {"at": 102.0}, {"mute": "down"}])
    def test_nothing_is_kept_that_is_not_certain(self, tmp_path, changes):
        self.saved(tmp_path, **changes)
        assert self.why
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("heard", [True, False])
    def test_a_doubt_is_kept_if_a_peer_that_was_heard_is_its_only_cause(self, tmp_path, heard):
        bench = master(peers="z", preempt_delay=math.inf)
        bench.failing = dict.fromkeys((Kind.READ, Kind.HOLDERS), Failure.UNAVAILABLE)
        if heard:
            bench.heard("z", 5)
        else:
            bench.now += 2 * DEAD  # it was paused
        bench.pump()
        assert (bench.view.holds, bench.view.in_doubt) == (True, True)
        kept = HeldFile({"RUNTIME_DIRECTORY": str(tmp_path)})
        assert bool(kept.save(bench.view, bench.now + 2.0)) is not heard
        taken = kept.take(bench.now + 1.0)
        assert (taken and taken[1]) is (True if heard else None)

    def test_a_node_that_does_not_hold_has_nothing_to_keep_if_it_knows_that(self, tmp_path):
        kept, bench = HeldFile({"RUNTIME_DIRECTORY": str(tmp_path)}), backup()
        assert kept.save(bench.view, bench.now + 2.0) == ""
        assert kept.save(SingleNode().view, 2.0), "it has not read itself yet"
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "content",
        ["", "100", "a b c d", "100 102 98", "nan nan nan 0", "100 nan 98 0", "100 102 inf 0", "inf 102 98 0", "\0"],
    )
    def test_nonsense_is_ignored(self, tmp_path, content):
        (tmp_path / "held").write_text(content)
        assert HeldFile({"RUNTIME_DIRECTORY": str(tmp_path)}).take(101.0) is None
        assert list(tmp_path.iterdir()) == []

    def test_what_cannot_be_read_or_kept_stops_nothing(self, tmp_path):
        (tmp_path / "held").mkdir()
        kept = self.saved(tmp_path)
        assert kept.take(101.0) is None
        assert "cannot be written" in self.why
        assert self.saved(tmp_path / "missing").take(101.0) is None


class TestStateFile:
    def test_is_replaced_as_a_whole_and_forgotten(self, tmp_path):
        one = StateFile({"WHERE": f"{tmp_path}:/elsewhere"}, "WHERE", "name")
        assert one.read() is None
        assert [one.write("wéb\n"), one.write("newer\n")] == ["", ""]
        assert (one.read(), one.read(3)) == ("newer\n", "new")
        assert [path.name for path in tmp_path.iterdir()] == ["name"]
        assert [one.forget(), one.forget()] == ["", ""]
        assert one.read() is None

    @pytest.mark.parametrize("environ", [{}, {"WHERE": ""}])
    def test_without_a_directory_nothing_is_kept(self, environ):
        one = StateFile(environ, "WHERE", "name")
        assert one.write("text") == "$WHERE is not set"
        assert (one.read(), one.forget()) == (None, "")

    def test_a_failure_is_named_and_leaves_the_old_text(self, tmp_path):
        one = StateFile({"WHERE": str(tmp_path)}, "WHERE", "name")
        one.write("old")
        (tmp_path / "name.new").mkdir()
        assert "name cannot be written: Is a directory" in one.write("new")
        assert one.read() == "old"
        gone = StateFile({"WHERE": str(tmp_path / "gone")}, "WHERE", "name")
        assert "No such file" in gone.write("new")
        (tmp_path / "folder").mkdir()
        assert "cannot be removed" in StateFile({"WHERE": str(tmp_path)}, "WHERE", "folder").forget()

    def test_a_file_that_is_not_there_is_forgotten_even_in_a_read_only_directory(self, tmp_path, monkeypatch):
        def read_only(_path: Path, missing_ok: bool = False) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(Path, "unlink", read_only)
        assert StateFile({"WHERE": str(tmp_path)}, "WHERE", "name").forget() == ""

    def test_files_of_earlier_versions_still_count(self, tmp_path):
        """An upgrade must understand their names and contents."""
        (tmp_path / "drained").write_text("drained by ann\n")
        assert drained(tmp_path).load() == "drained by ann"
        (tmp_path / "starts").write_text("100.000\n110.000\n")
        assert unfit(tmp_path, 120.0) == [True]
        cache(tmp_path).save(config(), TOPOLOGY)
        kept = json.loads((tmp_path / "topology.json").read_text())
        assert (set(kept), set(kept["topology"])) == ({"for", "topology"}, {
            "instance_id", "zone", "endpoint", "eip", "eip_id", "members", "warnings", "shut_out", "name", "address", "asked",
        })  # fmt: skip


@pytest.mark.slow
class TestStarts:
    def test_the_third_within_a_minute_is_unfit_for_a_minute(self, tmp_path):
        assert unfit(tmp_path, 100.0, 110.0, 120.0, 130.0) == [False, False, True, True]
        assert starts(tmp_path).record(140.0).unfit_until == 140.0 + START_WINDOW

    def test_from_the_fifth_within_a_minute_on_it_pauses_a_second(self, tmp_path):
        found = [starts(tmp_path).record(now).pause_until - now for now in (100.0, 110.0, 120.0, 130.0, 140.0, 150.0)]
        assert found == [0.0, 0.0, 0.0, 0.0, START_PAUSE, START_PAUSE]

    def test_a_planned_stop_forgets(self, tmp_path):
        assert unfit(tmp_path, 100.0, 101.0) == [False, False]
        starts(tmp_path).forget()
        assert unfit(tmp_path, 102.0, 103.0) == [False, False]

    def test_without_a_runtime_directory_every_start_is_the_first(self):
        assert [StartHistory({}).record(now).unfit_until for now in (1.0, 2.0, 3.0, 4.0)] == [1.0, 2.0, 3.0, 4.0]

    def test_stamps_of_the_future_do_not_count(self, tmp_path):
        """The clock counts from the boot, and the directory may have outlived one."""
        unfit(tmp_path, 1000.0, 1001.0, 1002.0)
        assert unfit(tmp_path, 5.0) == [False]

    def test_a_long_crash_loop_does_not_grow_the_file(self, tmp_path):
        unfit(tmp_path, *(100.0 + number / 10 for number in range(500)))
        assert (tmp_path / "starts").stat().st_size < 500

    @pytest.mark.parametrize(
        "content", [b"", b"\n\n", b"nonsense", b"\xff\xfe", b"1.0\nx\n", b"nan\ninf\n-inf\n", b"0" * 9999]
    )
    def test_nonsense_counts_for_nothing(self, tmp_path, content):
        (tmp_path / "starts").write_bytes(content)
        assert unfit(tmp_path, 101.0, 102.0, 103.0) == [False, False, True]

    @pytest.mark.parametrize("name", [".", "missing"])
    def test_a_file_that_cannot_be_written_counts_nothing(self, tmp_path, name):
        (tmp_path / "starts").mkdir()
        assert unfit(tmp_path / name, 1.0, 2.0, 3.0) == [False, False, False]

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(0, 400), max_size=15))
    def test_it_is_the_third_and_the_fifth_within_any_minute(self, tmp_path_factory, waits):
        """Only an unfit node pauses: no peer waits for one that it relies on."""
        folder, now, history = tmp_path_factory.mktemp("run"), 100.0, list[float]()
        for wait in waits:
            now += wait / 8  # stamps have three places
            history.append(now)
            recent = [at for at in history if now - at < START_WINDOW]
            verdict = starts(folder).record(now)
            assert (verdict.unfit_until > now, verdict.pause_until > now) == (
                len(recent) >= UNFIT_STARTS,
                len(recent) >= PAUSED_STARTS,
            )
            assert verdict.pause_until <= verdict.unfit_until


class TestTopology:
    def test_it_comes_back_as_it_was_saved_last(self, tmp_path):
        cache(tmp_path).save(config(), dataclasses.replace(TOPOLOGY, members=()))
        cache(tmp_path).save(config(), TOPOLOGY)
        found = cache(tmp_path).load(config())
        assert found == TOPOLOGY
        assert found.warnings == TOPOLOGY.warnings

    def test_it_does_not_count_after_a_boot(self, tmp_path):
        """A copy of the disk may bring the directory to another instance."""
        boot = tmp_path / "boot_id"
        one = {"RUNTIME_DIRECTORY": str(tmp_path)}
        boot.write_text("first\n")
        TopologyCache(one, boot).save(config(), TOPOLOGY)
        assert TopologyCache(one, boot).load(config()) == TOPOLOGY
        boot.write_text("second\n")
        assert TopologyCache(one, boot).load(config()) is None
        assert TopologyCache(one, tmp_path / "none").load(config()) is None

    def test_nothing_saved_is_no_reason_for_a_warning(self, tmp_path, caplog):
        assert cache(tmp_path).load(config()) is None
        TopologyCache({}).save(config(), TOPOLOGY)
        assert TopologyCache({}).load(config()) is None
        assert caplog.records == []

    def test_no_secret_and_no_key_is_written(self, tmp_path):
        cache(tmp_path).save(config(), TOPOLOGY)
        text = "".join(path.read_text() for path in tmp_path.iterdir())
        assert SECRET not in text
        assert "EXOtest" not in text

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
    def test_it_does_not_count_for_a_configuration_that_would_find_another(self, tmp_path, words):
        cache(tmp_path).save(config(), TOPOLOGY)
        assert cache(tmp_path).load(config(*words)) is None

    @pytest.mark.parametrize("words", [("-G", "web", "-P", "77"), ("-G", "web", "-v"), ("-G", "web", "-t", "2")])
    def test_it_counts_whatever_else_changed(self, tmp_path, words):
        cache(tmp_path).save(config(), TOPOLOGY)
        assert cache(tmp_path).load(config(*words)) == TOPOLOGY

    def damaged(self, folder: Path, change: Any) -> Topology | None:
        """Save, change the bytes, and load."""
        cache(folder).save(config(), TOPOLOGY)
        path = folder / "topology.json"
        path.write_bytes(change(path.read_bytes()))
        return cache(folder).load(config())

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b"7",
            b'"x"',
            b"{}",
            b'{"for": 1}',
            b"\xff\xfe",
            pytest.param(b"[" * 99_999, id="deep"),
        ],
    )
    def test_nonsense_is_ignored(self, tmp_path, content):
        assert self.damaged(tmp_path, lambda _: content) is None

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b'"topology"', b'"topologi"'),
            (b'"topology": {', b'"topology": "x", "old": {'),
            (b'"topology": {', b'"topology": null, "old": {'),
            (b'"eip_id"', b'"eip_ID"'),
            (b'"port": 12345', b'"port": 0'),
            (b'"port": 12345', b'"port": "x"'),
            (b'"members": [', b'"members": [7, '),
            (b'"members": [', b'"members": 7, "x": ['),
            (B.encode(), b"no-uuid"),
            (b"192.0.2.2", b"192.0.2.999"),
            (b'"warnings": ["odd"]', b'"warnings": 7'),
            (b'"port": 12345', b'"port": 5.5'),
            (b'"asked": [', b'"asked": [{}'),
            (b'"endpoint": "https', b'"endpoint": "garb age'),
        ],
    )
    def test_an_impossible_topology_is_ignored(self, tmp_path, old, new):
        def change(text: bytes) -> bytes:
            assert old in text
            return text.replace(old, new)

        assert self.damaged(tmp_path, change) is None

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, 2000), st.integers(0, 255))
    @pytest.mark.slow
    def test_a_flipped_byte_never_breaks_it(self, tmp_path, at, byte):
        found = self.damaged(tmp_path, lambda text: text[:at] + bytes([byte]) + text[at + 1 :])
        assert found in (None, TOPOLOGY)

    def test_a_directory_that_is_not_there(self, tmp_path):
        one = cache(tmp_path / "missing")
        one.save(config(), TOPOLOGY)
        assert one.load(config()) is None


class TestDrained:
    def test_it_is_kept_until_it_is_forgotten(self, tmp_path):
        assert drained(tmp_path).load() == DrainedFile({}).load() == ""
        assert drained(tmp_path).save("drained by bob: new kernel") == ""
        assert drained(tmp_path).load() == "drained by bob: new kernel"
        assert drained(tmp_path).forget() == ""
        assert drained(tmp_path).load() == ""

    def test_an_older_one_lasts_though_it_cannot_be_replaced(self, tmp_path):
        (tmp_path / "drained.new").mkdir()
        assert "cannot be written" in drained(tmp_path).save("drained by bob")
        (tmp_path / "drained").write_text("drained by ann\n")
        assert drained(tmp_path).save("drained by bob") == ""
        assert drained(tmp_path).load() == "drained by ann"

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00", b"a\nb\n", b"\x1b[2J"])
    def test_whatever_is_in_it_it_is_drained(self, tmp_path, content):
        (tmp_path / "drained").write_bytes(content)
        assert drained(tmp_path).load() == DRAINED_FOR_UNKNOWN_REASON

    def test_of_a_large_one_little_is_read(self, tmp_path):
        (tmp_path / "drained").write_bytes(b"x" * 10_000_000)
        assert drained(tmp_path).load() == "x" * 1000

    def test_one_that_cannot_be_read_counts(self, tmp_path):
        (tmp_path / "drained").mkdir()
        assert drained(tmp_path).load() == DRAINED_FOR_UNKNOWN_REASON
