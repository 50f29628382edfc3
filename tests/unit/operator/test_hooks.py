"""The program that is told of changes: order, one at a time, time-out, retry, and that the newest state is never lost. Real programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exoip.config.model import Hook
from exoip.core.events import Event, EventName
from exoip.daemon.clock import clock
from exoip.errors import ConfigError
from exoip.operator.hooks import WAITING, Hooks, check
from exoip.operator.stance import Stance
from tests.support.waiting import until

SECONDS = 10.0
ENVIRON = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "EXOIP_EIP": "198.51.100.50", "EXOIP_INSTANCE": "me"}
MASTER, HOLDING, BACKUP = (
    Stance("MASTER", False, 1.0, "alone"),
    Stance("MASTER", True, 2.0, "attached"),
    Stance("BACKUP", False, 3.0, "b"),
)

Start = Callable[..., Hooks]


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def start(tmp_path, events) -> Iterator[Start]:
    """Starts the thread for a program of this text; {log} is a file that it may write."""
    made: list[Hooks] = []

    def make(text: str, *stances: Stance, timeout: float = SECONDS) -> Hooks:
        program = tmp_path / "hook"
        program.write_text("#!/bin/sh\n" + text.replace("{log}", str(tmp_path / "log")))
        program.chmod(0o755)
        made.append(Hooks(Hook(str(program), timeout), ENVIRON, events.append, clock, lambda at: 1000.0 + at))
        for stance in stances:
            made[-1].put(stance)
        made[-1].start()
        return made[-1]

    yield make
    for hooks in made:
        hooks.retire()
        hooks.join(SECONDS)
        assert not hooks.is_alive(), "the thread does not end"


@pytest.fixture
def log(tmp_path) -> Callable[[], list[str]]:
    path = tmp_path / "log"
    return lambda: path.read_text().splitlines() if path.exists() else []


def idle(hooks: Hooks) -> None:
    until(lambda: not hooks.busy, "all is told")


def test_arguments_and_environment(start, log, events):
    line = "$#|$1|$2|$3|$EXOIP_ROLE|$EXOIP_OLD_ROLE|$EXOIP_HOLDS|$EXOIP_EIP|$EXOIP_REASON|$EXOIP_INSTANCE|$EXOIP_TIME|$EXOIP_SKIPPED"
    idle(start(f'echo "{line}|$EXOIP_ATTEMPT" >>{{log}}\n', MASTER, HOLDING, BACKUP))
    assert log() == [
        "3|MASTER|198.51.100.50|alone|MASTER|LISTENING|no|198.51.100.50|alone|me|1001.000000|0|1",
        "3|MASTER|198.51.100.50|attached|MASTER|MASTER|yes|198.51.100.50|attached|me|1002.000000|0|1",
        "3|BACKUP|198.51.100.50|b|BACKUP|MASTER|no|198.51.100.50|b|me|1003.000000|0|1",
    ]
    assert [event.name for event in events] == [EventName.HOOK_DONE] * 3
    assert [event.reason for event in events] == ["MASTER, not holding", "MASTER, holding", "BACKUP, not holding"]


def test_a_reason_is_an_argument_and_never_code(start, log):
    nasty = '\'; touch /tmp/x; $(id) `id` "$HOME" *'
    idle(start('printf "%s\\n" "$3" >>{log}\n', Stance("MASTER", False, 1.0, nasty)))
    assert log() == [nasty]


def test_one_at_a_time_and_in_order(start, log):
    hooks = start('echo "begin $3" >>{log}; sleep 0.1; echo "end $3" >>{log}\n')
    for number in range(5):
        hooks.put(Stance("MASTER", number % 2 == 0, 1.0, str(number)))
    idle(hooks)
    assert log() == [f"{word} {number}" for number in range(5) for word in ("begin", "end")]


def test_a_slow_one_is_told_of_the_newest_and_how_many_were_left_out(start, log, tmp_path):
    hooks = start('echo "$3 $EXOIP_SKIPPED" >>{log}; while [ ! -e {log}.go ]; do sleep 0.02; done\n', MASTER)
    until(log, "it runs")
    for number in range(100):
        hooks.put(Stance("MASTER", number % 2 == 0, 1.0, str(number)))
    assert hooks.view.waiting == WAITING
    (tmp_path / "log.go").touch()
    idle(hooks)
    first = 100 - WAITING
    assert log() == ["alone 0", f"{first} {first}", *(f"{number} 0" for number in range(first + 1, 100))]
    assert hooks.view.skipped == first


def test_to_put_never_waits(start):
    hooks = start("sleep 1000\n", MASTER)
    began = clock()
    for _ in range(10_000):
        hooks.put(BACKUP)
    assert clock() - began < SECONDS


def test_one_that_fails_is_called_once_more(start, log, events):
    idle(start('echo "$EXOIP_ATTEMPT" >>{log}; echo "no room" >&2; [ "$EXOIP_ATTEMPT" = 2 ]\n', MASTER))
    assert log() == ["1", "2"]
    assert [event.name for event in events] == [EventName.HOOK_FAILED, EventName.HOOK_DONE]
    assert events[0].details["detail"] == "exit status 1: no room"
    assert events[0].details["then"] == "once more"


def test_and_not_a_third_time(start, log, events):
    hooks = start('echo "$EXOIP_ATTEMPT" >>{log}; kill -9 $$\n', MASTER)
    idle(hooks)
    assert log() == ["1", "2"]
    assert [(event.details["detail"], event.details["then"]) for event in events] == [
        ("signal 9", "once more"),
        ("signal 9", "not again"),
    ]
    assert (hooks.view.done, hooks.view.failed) == (0, 2)


def test_news_are_told_rather_than_what_failed_again(start, log, events):
    hooks = start('echo "$1 $EXOIP_ATTEMPT" >>{log}; [ "$1" = BACKUP ]\n', MASTER, BACKUP)
    idle(hooks)
    assert log() == ["MASTER 1", "BACKUP 1"]
    assert events[0].details["then"] == "again with the next state"


def test_news_end_the_wait_for_the_second_call(start, log, monkeypatch):
    monkeypatch.setattr("exoip.operator.hooks.AGAIN", 1000.0)
    hooks = start('echo "$1" >>{log}; [ "$1" = BACKUP ]\n', MASTER)
    until(lambda: hooks.view.failed == 1, "it failed")
    hooks.put(BACKUP)
    idle(hooks)
    assert log() == ["MASTER", "BACKUP"]


def test_one_that_takes_too_long_is_killed_with_its_children_before_the_next(start, log, events):
    text = "trap '' TERM; echo $$ >>{log}; (while :; do sleep 0.05; done) & while :; do sleep 0.05; done\n"
    hooks = start(text, MASTER, timeout=0.2)
    most = 0

    def looked() -> bool:
        nonlocal most
        most = max(most, sum(Path(f"/proc/{pid}").exists() for pid in log()))
        return len(events) == 2 and not hooks.busy

    until(looked, "it was called twice")
    assert most == 1
    assert [event.details["detail"] for event in events] == ["no end within 0.2 s"] * 2


def test_its_thread_shows_that_it_lives_while_a_call_lasts(start, log):
    hooks = start("echo >>{log}; sleep 5\n", MASTER)
    until(log, "it runs")
    seen = set()

    def looked() -> bool:
        seen.add(hooks.progress)
        return not hooks.busy or len(seen) >= 2

    until(looked, "it shows that it lives")
    assert hooks.busy


def test_an_end_kills_what_runs(start, log):
    hooks = start("trap '' TERM; echo $$ >>{log}; while :; do sleep 0.05; done\n", MASTER, BACKUP, timeout=600.0)
    until(log, "it runs")
    hooks.retire()
    hooks.join(SECONDS)
    assert not hooks.is_alive()
    assert not Path(f"/proc/{log()[0]}").exists()
    assert len(log()) == 1


class TestCheck:
    def test_none_and_a_good_one(self, tmp_path):
        check(Hook())
        check(Hook("/bin/true"))

    def test_not_there_a_folder_and_not_executable(self, tmp_path):
        file = tmp_path / "hook"
        for path in (str(file), str(tmp_path)):
            with pytest.raises(ConfigError, match=f"--notify {path}: there is no such file"):
                check(Hook(path))
        file.touch(0o644)
        with pytest.raises(ConfigError, match=r"can not be executed .* 0755"):
            check(Hook(str(file)))
