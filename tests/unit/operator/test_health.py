"""Health checks: rise and fall, the kinds of probes, and the thread. Real programs and sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exoip.config.model import HealthCheck
from exoip.core.events import Event, EventName
from exoip.daemon.clock import clock
from exoip.operator.health import Checker, CommandProbe, HttpProbe, RiseFallCounter, TcpProbe
from exoip.telemetry.addon_views import CheckView, Health
from tests.support.raw_server import Peer, RawServer
from tests.support.waiting import until

NEVER = threading.Event()
SECONDS = 5.0  # of a check that has no reason to take long
PATH = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}
DEAF = "trap '' TERM; while :; do sleep 0.05; done"


class TestRiseAndFall:
    def test_fails_after_fall_in_a_row_and_passes_after_rise_in_a_row(self):
        counter = RiseFallCounter(2, 3, Health.PASSING)
        assert [counter.add(good) for good in (False, False, True, False, False, False)] == [False] * 5 + [True]
        assert counter.health is Health.FAILING
        assert [counter.add(good) for good in (True, False, True, True)] == [False, False, False, True]
        assert counter.health is Health.PASSING

    @given(st.lists(st.booleans(), max_size=40), st.integers(1, 5), st.integers(1, 5), st.sampled_from(Health))
    def test_against_a_model_that_looks_back_over_all_results(self, results, rise, fall, start):
        """It looks at the whole history each time. The first result decides alone."""
        counter, health = RiseFallCounter(rise, fall, start), start
        for number in range(1, len(results) + 1):
            history = results[:number]
            before = health
            if health is Health.PENDING:
                health = Health.PASSING if history[-1] else Health.FAILING
            elif health is Health.PASSING and len(history) >= fall and not any(history[-fall:]):
                health = Health.FAILING
            elif health is Health.FAILING and len(history) >= rise and all(history[-rise:]):
                health = Health.PASSING
            assert counter.add(history[-1]) is (health is not before)
            assert counter.health is health


class TestCommand:
    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("true", ""),
            ("exit 7", "exit status 7"),
            ("echo checking; echo 'no route' >&2; false", "exit status 1: no route"),
            ("kill -9 $$", "signal 9"),
            ("if", "exit status 2: "),
        ],
    )
    def test_zero_is_good_and_anything_else_bad(self, line, problem):
        found = CommandProbe(line, PATH).ask(SECONDS, NEVER)
        assert found.startswith(problem)
        assert bool(found) == bool(problem)

    @pytest.mark.slow
    def test_a_timeout_is_reported_before_the_kill(self):
        probe = CommandProbe(f"echo deaf; {DEAF}", PATH)
        assert probe.ask(0.5, NEVER) == "no end within 0.5 s: deaf"
        assert not probe._child.ended, "it waited for the kill"
        until(lambda: probe.clean_up(NEVER), "it is killed")

    def test_a_line_that_cannot_be_started_is_bad(self, monkeypatch):
        monkeypatch.setattr("exoip.operator.child_process.SHELL", "/no/such/shell")
        assert CommandProbe("true", PATH).ask(SECONDS, NEVER) == "cannot be started: No such file or directory"


class TestTcp:
    @pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
    def test_a_listener_is_good_and_none_is_bad(self, family, host):
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            try:
                listener.bind((host, 0))
            except OSError:
                pytest.skip("this machine has no IPv6")
            port = listener.getsockname()[1]
            assert TcpProbe(host, port).ask(SECONDS, NEVER) == "Connection refused"
            listener.listen()
            assert TcpProbe(host, port).ask(SECONDS, NEVER) == ""

    def test_a_listener_with_a_full_queue(self):
        with socket.socket() as listener, contextlib.ExitStack() as stack:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(8):  # until its queue is full
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            assert TcpProbe("127.0.0.1", listener.getsockname()[1]).ask(0.3, NEVER) == "no connection within 0.3 s"


def response(status: int, length: int = 2) -> bytes:
    return f"HTTP/1.1 {status} Any\r\nLocation: /500\r\nContent-Length: {length}\r\n\r\n".encode() + b"x" * length


class TestHttp:
    @pytest.mark.parametrize("status", [200, 299, 301, 302, 399])
    def test_2xx_and_3xx_are_good_and_no_redirect_is_followed(self, status):
        with RawServer(response(status)) as server:
            assert HttpProbe(server.url).ask(SECONDS, NEVER) == ""
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        ("handler", "problem"),
        [
            *((response(status), f"answered {status}") for status in (400, 404, 500, 503)),
            (Peer.hold, "no complete response within 0.5 s"),
            (response(200, (1 << 20) + 1), "too long"),
        ],
    )
    def test_other_late_and_endless_responses_are_bad(self, handler, problem):
        with RawServer(handler) as server:
            assert problem in HttpProbe(server.url).ask(0.5, NEVER)

    def test_no_server_is_bad(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            assert "refused" in HttpProbe(f"http://127.0.0.1:{nobody.getsockname()[1]}/").ask(SECONDS, NEVER)

    def test_each_request_uses_a_new_connection(self):
        """A service that accepts no connections is bad, however long an old one stays open."""
        with RawServer(response(200)) as server:
            probe = HttpProbe(server.url)
            assert [probe.ask(SECONDS, NEVER) for _ in range(3)] == [""] * 3
            assert len(server.peers) == 3


class Node:
    """Stands for the node: the reasons in force that make it unfit, all calls, and the events."""

    def __init__(self) -> None:
        self.unfit: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.events: list[Event] = []

    def set_unfit(self, source: str, why: str, _now: float) -> None:
        self.calls.append((source, why))
        self.unfit.pop(source, None)
        if why:
            self.unfit[source] = why

    @property
    def names(self) -> list[EventName]:
        return [event.name for event in self.events]


Start = Callable[..., Checker]


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def start(node) -> Iterator[Start]:
    """Starts a check of a shell line that runs often."""
    made: list[Checker] = []

    def make(line: str, health: Health = Health.PENDING, *, interval=0.05, timeout=SECONDS, rise=2, fall=3) -> Checker:
        check = HealthCheck("command", line, interval, timeout, rise, fall)
        view = CheckView(check.name, health, clock())
        made.append(Checker(check, view, PATH, node.set_unfit, node.events.append, clock, threading.RLock()))
        made[-1].report_pending()
        made[-1].start()
        return made[-1]

    yield make
    for checker in made:
        checker.stop(clear=False)
        checker.join(SECONDS)
        assert not checker.is_alive(), "a check's thread does not end"


@pytest.mark.slow
class TestChecker:
    def test_a_pending_check_makes_unfit_before_the_thread_runs(self, node):
        check = HealthCheck("tcp", "127.0.0.1:1", 1.0, 1.0, 1, 1, "127.0.0.1", 1)
        view = CheckView(check.name, Health.PENDING, clock())
        checker = Checker(check, view, PATH, node.set_unfit, node.events.append, clock, threading.RLock())
        checker.report_pending()
        assert node.unfit == {"health check tcp 127.0.0.1:1": "health check tcp 127.0.0.1:1 has no result yet"}
        assert checker.view.health is Health.PENDING
        assert node.events == []

    @pytest.mark.parametrize(
        ("line", "name", "reason", "unfit"),
        [
            ("true", EventName.CHECK_PASSING, "first result", {}),
            ("echo broken; false", EventName.CHECK_FAILING, "exit status 1: broken",
             {"health check command": "health check command fails: exit status 1: broken"}),
        ],
    )  # fmt: skip
    def test_the_first_result_decides_alone(self, start, node, line, name, reason, unfit):
        start(line, rise=99, fall=99)
        until(lambda: node.events and node.unfit == unfit, "it is reported")
        (event,) = node.events
        assert (event.name, event.reason, event.details) == (name, reason, {"check": "command"})

    def test_it_fails_and_passes_again(self, start, node, tmp_path):
        flag = tmp_path / "good"
        flag.touch()
        checker = start(f"test -e {flag}", Health.PASSING)
        until(lambda: checker.view.runs >= 3, "some good results")
        assert node.calls == []
        flag.unlink()
        until(lambda: node.unfit, "unfit")
        assert checker.view.bad >= 3
        flag.touch()
        until(lambda: not node.unfit, "fit again")
        assert node.names == [EventName.CHECK_FAILING, EventName.CHECK_PASSING]
        assert node.events[1].reason == "2 good results in a row"

    def test_the_reason_is_that_of_the_last_bad_result_and_is_reported_once(self, start, node, tmp_path):
        why = tmp_path / "why"
        why.write_text("disk full")
        checker = start(f"grep . {why}; test -e {tmp_path}/good", rise=99)
        for reason in ("disk full", "no route"):
            why.write_text(reason)
            told = {checker.source: f"{checker.source} fails: exit status 1: {reason}"}
            until(lambda told=told: node.unfit == told, "the reason is the last one")
        (tmp_path / "good").touch()
        runs, told = checker.view.runs, node.calls.copy()
        until(lambda: checker.view.runs >= runs + 3, "good results, which are too few")
        assert (checker.view.health, node.calls) == (Health.FAILING, told)
        assert node.names == [EventName.CHECK_FAILING]

    def test_a_hanging_check_fails_and_never_piles_up(self, start, node, tmp_path):
        """It ignores SIGTERM: reported at the timeout, killed a second later, before the next run."""
        checker = start(f"echo $$ >>{tmp_path}/pids; ({DEAF}) & {DEAF}", Health.PASSING, timeout=0.2, fall=2)
        most, worst = 0, 0.0

        def seen() -> bool:
            nonlocal most, worst
            pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []
            most = max(most, sum(Path(f"/proc/{pid}").exists() for pid in pids))
            worst = max(worst, clock() - checker.progress)
            return len(pids) >= 3 and bool(node.unfit)

        until(seen, "it fails, and runs three times")
        assert most == 1
        assert worst < 20, "its thread seems to hang"
        assert checker.view.took < 0.2 + 0.8, "reported after the kill"
        assert node.unfit == {"health check command": "health check command fails: no end within 0.2 s"}

    def test_a_stop_is_immediate_even_if_it_hangs_and_nothing_is_reported_after_it(self, start, node, tmp_path):
        checker = start(f"echo >{tmp_path}/runs; {DEAF}", timeout=30.0, fall=1)
        until((tmp_path / "runs").exists, "it runs")
        checker.stop(clear=True)
        checker.join(SECONDS)
        assert not checker.is_alive()
        assert node.unfit == {}
        assert node.events == []

    def test_the_interval_is_from_start_to_start(self, node):
        now, starts = 0.0, []

        class Stopping(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                nonlocal now
                now += timeout or 0.0
                return False

        class SlowProbe(CommandProbe):
            def ask(self, seconds: float, stop: threading.Event) -> str:
                nonlocal now
                starts.append(now)
                now += 0.25
                return super().ask(seconds, stop)

        check = HealthCheck("command", "true", 0.75, SECONDS, 1, 1)
        view = CheckView(check.name, Health.PASSING, 0.0)
        checker = Checker(check, view, PATH, node.set_unfit, node.events.append, lambda: now, threading.RLock())
        checker._probe, checker.stopping = SlowProbe("true", PATH), Stopping()
        while len(starts) < 4:
            checker.turn()
        assert starts == [0.0, 0.75, 1.5, 2.25]
