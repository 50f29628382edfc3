"""What an option needs from the host, and what a reload hands over. tests/process/test_addons.py has
the rest.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from exoip.config.parse import Config, parse
from exoip.core.events import Event, EventName
from exoip.daemon import addons
from exoip.daemon.addons import Addons, require
from exoip.daemon.state_files import CheckResults
from exoip.errors import ConfigError, OutOfThreads
from exoip.exoscale.topology import Topology
from exoip.telemetry.addon_views import Health
from exoip.thread import Thread
from tests.support.waiting import PATIENCE, until

BASE = ["-W", "-xi", "198.51.100.50", "-xk", "EXOtest", "-xs", "secret", "-p", "192.0.2.1"]


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ([], ""),
        (["--notify", "/nowhere/hook"], "--notify /nowhere/hook"),
        (["--metrics-listen", ":9479"], "python3-prometheus-client"),
    ],
)
def test_what_an_option_needs_is_required_and_named(monkeypatch, words, missing):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    if not missing:
        require(parse(BASE, {}))
        return
    with pytest.raises(ConfigError, match=missing):
        require(parse([*BASE, *words], {}))


def test_an_installed_package_is_enough():
    require(parse([*BASE, "--metrics-listen", ":9479"], {}))


OWN, EIP_ID = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "19")
TOPOLOGY = Topology(OWN, "z", "http://127.0.0.1:9/v2", "198.51.100.50", EIP_ID, ())
SELDOM = ("--check-interval", "3600", "--check-rise", "1", "--check-fall", "1")


class Bench:
    """The addons of a node; the threads of their first configuration are not started."""

    def __init__(self, folder: Path) -> None:
        self.environ = {"RUNTIME_DIRECTORY": str(folder)}
        CheckResults(self.environ).save({})  # so before its crash all passed
        self.unfit: dict[str, str] = {}
        self.addons: Addons | None = None

    def set_unfit(self, source: str, why: str, _now: float) -> None:
        self.unfit.pop(source, None)
        if why:
            self.unfit[source] = why

    def emit(self, event: Event) -> None:
        assert self.addons is not None
        self.addons.on_event(event, str)

    def begin(self, *words: str, holds: bool = True) -> Addons:
        self.addons = Addons(
            config(*words),
            TOPOLOGY,
            self,
            self.environ,
            self.emit,
            str,
            after_crash=True,
            holds=holds,  # type: ignore[arg-type]
        )
        return self.addons


def config(*words: str) -> Config:
    return parse([*BASE, *SELDOM, *words], {})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    if bench.addons is not None:
        bench.addons.stop()


class WatchedLock:
    """A lock that shows whether somebody wants it."""

    def __init__(self, lock: AbstractContextManager) -> None:
        self.wanted, self._lock = threading.Event(), lock

    def __enter__(self) -> None:
        self.wanted.set()
        self._lock.__enter__()

    def __exit__(self, *error: object) -> None:
        self._lock.__exit__(*error)


@pytest.mark.parametrize("good", [False, True])
def test_a_check_that_a_reload_replaces_reports_nothing_once_its_state_is_taken_over(
    bench, monkeypatch, tmp_path, good
):
    """Its last result comes while its successor, whose own results are late, is started."""
    flag: Path = tmp_path / "good"
    line = f"test -e {flag}"
    running = bench.begin("--check-command", line)
    (old,) = running.checkers
    if good:
        old.turn()
        assert bench.unfit
        flag.touch()
    old._due = 0.0
    before, late, start_all = bench.unfit.copy(), threading.Thread(target=old.turn), addons._start_all
    old._reporting = lock = WatchedLock(running._reporting)

    def start_late(threads: list[threading.Thread]) -> None:
        late.start()
        assert lock.wanted.wait(PATIENCE), "the old check has its result"
        for checker in threads:
            checker._due += 1000.0
        start_all(threads)

    monkeypatch.setattr(addons, "_start_all", start_late)
    running.apply(config("--check-command", line, "--check-timeout", "3"))
    late.join(PATIENCE)
    (new,) = running.checkers
    assert new.view.health is (Health.FAILING if good else Health.PASSING)
    assert bench.unfit == before


PAGE = "http://127.0.0.1:9/health?db="


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("words", [["--check-tcp", ":1"], ["--check-http", f"{PAGE}2", "--check-tcp", ":1"]])
def test_a_reload_without_a_thread_left_leaves_no_reason_behind(bench, monkeypatch, words, left):
    running = bench.begin("--check-command", "false", "--check-http", f"{PAGE}1")
    running.checkers[0].turn()
    running.checkers[1]._report("", 0.0)
    before, checkers, started = bench.unfit.copy(), running.checkers, []
    assert list(before) == ["health check command"]

    def start(thread: Thread) -> None:
        if len(started) == left:
            raise OutOfThreads("none left")
        started.append(thread)

    monkeypatch.setattr(Thread, "start", start)
    with pytest.raises(OutOfThreads):
        running.apply(config("--check-command", "true", *words))
    assert (bench.unfit, running.checkers) == (before, checkers)
    assert all(thread.stopping.is_set() for thread in started)


def test_a_new_interval_goes_on_with_what_the_check_has_shown(bench, monkeypatch):
    monkeypatch.setattr(addons, "_start_all", lambda threads: None)
    running = bench.begin("--check-command", "false")
    running.checkers[0].turn()
    before = running.checkers[0].view
    running.apply(config("--check-command", "false", "--check-timeout", "3"))
    assert running.checkers[0].view is before
    assert before.bad == 1


def test_a_call_of_the_notify_program_goes_on_through_a_reload_and_the_next_knows_of_it(bench, tmp_path):
    """The first call lasts until the reload has ended."""
    log, gate, programs = tmp_path / "log", tmp_path / "gate", [tmp_path / "one", tmp_path / "two"]
    os.mkfifo(gate)
    for program in programs:
        hold = f"read line < {gate}\n" if program is programs[0] else ""
        program.write_text(f'#!/bin/sh\n{hold}echo "{program.name} $1 $EXOIP_OLD_ROLE $EXOIP_SKIPPED" >> {log}\n')
        program.chmod(0o755)
    running = bench.begin("--notify", str(programs[0]))
    running.start()
    bench.emit(Event(EventName.ROLE, 1.0, "", "alone", {"role": "MASTER"}))
    with gate.open("w") as opened:  # the first call has begun
        running.apply(config("--notify", str(programs[0]), "--notify-timeout", "9"))
        bench.emit(Event(EventName.ROLE, 2.0, "", "a better one", {"role": "BACKUP"}))
        running.apply(config("--notify", str(programs[1])))
        opened.write("go\n")
    until(lambda: not running.busy, "all is told")
    assert log.read_text().splitlines() == ["one MASTER LISTENING 0", "two BACKUP MASTER 0", "two BACKUP BACKUP 0"]
    assert running.hook_caller.view.done == 3


def test_two_pages_that_differ_in_their_query_are_two_checks_also_after_a_reload(bench, monkeypatch):
    monkeypatch.setattr(addons, "_start_all", lambda threads: None)
    urls = "http://127.0.0.1:9/health?db=1", "http://127.0.0.1:9/health?cache=1"
    running = bench.begin("--check-http", ", ".join(urls))
    names = [checker.view.name for checker in running.checkers]
    assert names == ["http http://127.0.0.1:9/health", "http http://127.0.0.1:9/health (2)"], "a query may be a secret"
    running.checkers[0].turn()
    assert len(bench.unfit) == 1
    before = running.checkers
    running.apply(config("--check-http", ", ".join(urls)))
    assert running.checkers == before
    running.apply(config("--check-http", urls[1]))
    (left,) = running.checkers
    assert left.view.health is Health.PENDING, "it does not take over what the other page showed"


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("bad", [False, True])
def test_a_check_that_a_restart_adds_has_to_pass_first_unless_a_holder_restarts_whose_checks_all_passed(
    bench, holds, bad
):
    """A node that does not hold might take the EIP with a broken service; a holder is to keep it."""
    line = "false" if bad else "true"
    (check,) = bench.begin("--check-command", line).checkers
    check.turn()
    both = bench.begin("--check-command", line, "--check-tcp", ":1", holds=holds).checkers
    assert [one.view.health for one in both] == [
        Health.PENDING if bad else Health.PASSING,
        Health.PASSING if holds and not bad else Health.PENDING,
    ]


@pytest.mark.parametrize(
    ("results", "health"), [("", "pending"), ("x", "pending"), ("o", "passing"), ("xo", "passing")]
)
def test_a_check_that_never_passed_does_not_begin_as_passing_on_a_node_that_does_not_hold(bench, results, health):
    (check,) = bench.begin("--check-http", f"{PAGE}1", "--check-fall", "3").checkers
    assert check.view.health is Health.PASSING, "a holder keeps the EIP"
    for one in results:
        check._report("" if one == "o" else "no answer", 0.0)
    (check,) = bench.begin("--check-http", f"{PAGE}1", holds=False).checkers
    assert check.view.health == health


@pytest.mark.parametrize(("query", "health"), [("1", Health.PASSING), ("2", Health.PENDING)])
def test_a_page_with_another_query_is_a_new_check_after_a_restart(bench, query, health):
    (check,) = bench.begin("--check-http", f"{PAGE}1").checkers
    check._report("", 0.0)
    (check,) = bench.begin("--check-http", f"{PAGE}{query}", holds=False).checkers
    assert check.view.health is health


@pytest.mark.parametrize(("line", "health"), [("true", Health.PASSING), ("true #", Health.PENDING)])
def test_a_command_that_a_reload_changes_has_not_passed_yet(bench, monkeypatch, line, health):
    monkeypatch.setattr(addons, "_start_all", lambda threads: None)
    running = bench.begin("--check-command", "true")
    running.checkers[0].turn()
    running.apply(config("--check-command", line))
    assert running.checkers[0].view.health is Health.PASSING, "a reload moves nothing"
    (check,) = bench.begin("--check-command", line, holds=False).checkers
    assert check.view.health is health


@pytest.mark.parametrize("how", ["start", "reload"])
def test_one_good_result_does_not_end_a_failure(bench, monkeypatch, how):
    """Not even the first of a check that never passed."""
    monkeypatch.setattr(addons, "_start_all", lambda threads: None)
    words = ("--check-rise", "2", "--check-fall", "3")
    running = bench.begin("--check-command", "one", *words, holds=False)
    running.checkers[0]._report("bad", 0.0)
    if how == "reload":
        running.apply(config("--check-command", "two", *words))
    (check,) = running.checkers
    for problem in ("", "bad", "", "bad", "bad"):
        check._report(problem, 0.0)
        assert (check.view.health, len(bench.unfit)) == (Health.FAILING, 1)
    check._report("", 0.0)
    check._report("", 0.0)
    assert (check.view.health, bench.unfit) == (Health.PASSING, {})
    (check,) = bench.begin("--check-command", "one" if how == "start" else "two", *words, holds=False).checkers
    assert check.view.health is Health.PASSING
