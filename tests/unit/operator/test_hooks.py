"""The program that is called at changes: order, timeout, retry, and the newest state. Real
programs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exoip.config.model import Hook
from exoip.core.events import Event, EventName
from exoip.daemon.clock import clock
from exoip.errors import ConfigError
from exoip.operator.hooks import MOST_WAITING, HookCaller, HookState, check
from tests.support.waiting import until

SECONDS = 10.0
ENVIRON = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "EXOIP_EIP": "198.51.100.50", "EXOIP_INSTANCE": "me"}
MASTER = HookState("MASTER", False, 1.0, "alone")
HOLDING = HookState("MASTER", True, 2.0, "attached")
BACKUP = HookState("BACKUP", False, 3.0, "b")
HOLDS = {EventName.ATTACHED: True, EventName.HOLDS: True, EventName.LET_GO: False, EventName.LOST: False}
DEAF = "trap '' TERM; echo $$ >>{log}; (while :; do sleep 0.05; done) & while :; do sleep 0.05; done\n"


class TestState:
    def test_a_role_changes_it_and_another_master_does_not(self):
        def role(new: str) -> Event:
            return Event(EventName.ROLE, 5.0, "x", "why", {"role": new})

        assert HookState().after(role("MASTER")) == HookState("MASTER", False, 5.0, "why")
        assert HookState("BACKUP").after(role("BACKUP")) is None

    @pytest.mark.parametrize("name", sorted(set(EventName) - {EventName.ROLE}))
    def test_events_of_holding_change_it_and_others_do_not(self, name):
        event = Event(name, 2.0, "x", "why", {"role": "BACKUP"})
        for held in (True, False):
            holds = HOLDS.get(name, held)
            after = HookState("MASTER", held).after(event)
            assert after == (None if holds == held else HookState("MASTER", holds, 2.0, "why"))


Start = Callable[..., HookCaller]


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def start(tmp_path, events) -> Iterator[Start]:
    """Starts the thread for a program of this text; {log} is a file that it may write."""
    made: list[HookCaller] = []

    def make(text: str, *states: HookState, timeout: float = SECONDS) -> HookCaller:
        program = tmp_path / "hook"
        program.write_text("#!/bin/sh\n" + text.replace("{log}", str(tmp_path / "log")))
        program.chmod(0o755)
        hook = Hook(str(program), timeout)
        made.append(HookCaller(hook, ENVIRON, events.append, clock, lambda at: 1000.0 + at))
        for state in states:
            made[-1].put(state)
        made[-1].start()
        return made[-1]

    yield make
    for hooks in made:
        hooks.stop()
        hooks.join(SECONDS)
        assert not hooks.is_alive(), "the thread does not end"


@pytest.fixture
def log(tmp_path) -> Callable[[], list[str]]:
    path = tmp_path / "log"
    return lambda: path.read_text().splitlines() if path.exists() else []


def idle(hooks: HookCaller) -> None:
    until(lambda: not hooks.busy, "all states are reported")


def test_arguments_and_environment_in_order(start, log, events):
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
    idle(start('printf "%s\\n" "$3" >>{log}\n', HookState("MASTER", False, 1.0, nasty)))
    assert log() == [nasty]


def test_one_call_at_a_time(start, log):
    hooks = start('echo "begin $3" >>{log}; sleep 0.05; echo "end $3" >>{log}\n')
    for number in range(4):
        hooks.put(HookState("MASTER", number % 2 == 0, 1.0, str(number)))
    idle(hooks)
    assert log() == [f"{word} {number}" for number in range(4) for word in ("begin", "end")]


def test_a_slow_program_gets_the_newest_states_and_the_number_of_skipped_ones(start, log, tmp_path):
    hooks = start('echo "$3 $EXOIP_SKIPPED" >>{log}; while [ ! -e {log}.go ]; do sleep 0.02; done\n', MASTER)
    until(log, "it runs")
    began = clock()
    for number in range(10_000):
        hooks.put(HookState("MASTER", number % 2 == 0, 1.0, str(number)))
    assert clock() - began < SECONDS, "put waits"
    assert hooks.view.waiting == MOST_WAITING
    (tmp_path / "log.go").touch()
    idle(hooks)
    first = 10_000 - MOST_WAITING
    assert log() == ["alone 0", f"{first} {first}", *(f"{number} 0" for number in range(first + 1, 10_000))]
    assert hooks.view.skipped == first


@pytest.mark.parametrize(
    ("end", "outcomes"),
    [
        ('echo "no room" >&2; [ "$EXOIP_ATTEMPT" = 2 ]', [("exit status 1: no room", "once more"), None]),
        ("kill -9 $$", [("signal 9", "once more"), ("signal 9", "not again")]),
    ],
)
@pytest.mark.slow
def test_a_failed_call_is_repeated_once(start, log, events, end, outcomes):
    hooks = start(f'echo "$EXOIP_ATTEMPT" >>{{log}}; {end}\n', MASTER)
    idle(hooks)
    assert log() == ["1", "2"]
    assert [
        (event.details["detail"], event.details["then"]) if event.name is EventName.HOOK_FAILED else None
        for event in events
    ] == outcomes
    assert (hooks.view.done, hooks.view.failed) == (outcomes.count(None), 2 - outcomes.count(None))


def test_a_newer_state_goes_before_a_repetition(start, log, events):
    idle(start('echo "$1 $EXOIP_ATTEMPT" >>{log}; [ "$1" = BACKUP ]\n', MASTER, BACKUP))
    assert log() == ["MASTER 1", "BACKUP 1"]
    assert events[0].details["then"] == "again with the next state"


def test_a_newer_state_ends_the_wait_for_a_repetition(start, log, monkeypatch):
    monkeypatch.setattr("exoip.operator.hooks.RETRY_AFTER", 1000.0)
    hooks = start('echo "$1" >>{log}; [ "$1" = BACKUP ]\n', MASTER)
    until(lambda: hooks.view.failed == 1, "it failed")
    hooks.put(BACKUP)
    idle(hooks)
    assert log() == ["MASTER", "BACKUP"]


@pytest.mark.slow
def test_a_call_that_takes_too_long_is_killed_before_the_next(start, log, events):
    hooks = start(DEAF, MASTER, timeout=0.2)
    most = 0

    def called_twice() -> bool:
        nonlocal most
        most = max(most, sum(Path(f"/proc/{pid}").exists() for pid in log()))
        return len(events) == 2 and not hooks.busy

    until(called_twice, "it was called twice")
    assert most == 1
    assert [event.details["detail"] for event in events] == ["no end within 0.2 s"] * 2


def test_a_long_call_shows_progress(start, log):
    hooks = start("echo >>{log}; exec sleep 1000\n", timeout=600.0)
    hooks._round_time = 0.05
    hooks.put(MASTER)
    until(log, "it runs")
    began = hooks.progress
    until(lambda: hooks.progress > began, "progress during the call")
    assert hooks.busy


def test_a_stop_kills_what_runs(start, log):
    hooks = start(DEAF, MASTER, BACKUP, timeout=600.0)
    until(log, "it runs")
    hooks.stop()
    hooks.join(SECONDS)
    assert not hooks.is_alive()
    assert not Path(f"/proc/{log()[0]}").exists()
    assert len(log()) == 1


def test_a_program_that_cannot_be_called_is_a_wrong_configuration(tmp_path):
    check(Hook())
    check(Hook("/bin/true"))
    file = tmp_path / "hook"
    for path in (str(file), str(tmp_path)):
        with pytest.raises(ConfigError, match=f"--notify {path}: there is no such file"):
            check(Hook(path))
    file.touch(0o644)
    with pytest.raises(ConfigError, match=r"cannot execute it: .* 0755"):
        check(Hook(str(file)))
