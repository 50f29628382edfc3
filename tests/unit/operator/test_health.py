"""Health checks: what each kind takes for well, and the thread around it. Real programs and sockets; `test_companions.py` has daemons."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from exoip.config.model import HealthCheck
from exoip.core.events import Event, EventName
from exoip.core.snapshot import Health
from exoip.daemon.clock import clock
from exoip.operator.health import Checker, CommandProbe, HttpProbe, TcpProbe
from tests.support.waiting import until

NEVER = threading.Event()
SECONDS = 5.0  # of a check that has no reason to take long
PATH = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}


class Asides:
    """Stands for the node: the reasons in force, and each that there was."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}
        self.all: list[tuple[str, str]] = []

    def set(self, source: str, why: str, at: float) -> None:
        self.all.append((source, why))
        if why:
            self.now[source] = why
        else:
            self.now.pop(source, None)


Start = Callable[..., Checker]


@pytest.fixture
def asides() -> Asides:
    return Asides()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def start(asides, events) -> Iterator[Start]:
    """Starts a check of a shell line, often."""
    made: list[Checker] = []

    def make(line: str, health: Health = Health.PENDING, *, interval=0.05, timeout=SECONDS, rise=2, fall=3) -> Checker:
        check = HealthCheck("command", line, interval, timeout, rise, fall)
        made.append(Checker(check, health, PATH, asides.set, events.append, clock))
        made[-1].start()
        return made[-1]

    yield make
    for checker in made:
        checker.retire(forget=False)
        checker.join(SECONDS)
        assert not checker.is_alive(), "a check's thread does not end"


def told(events: list[Event]) -> list[EventName]:
    return [event.name for event in events]


class TestCommand:
    def test_zero_is_well(self):
        assert CommandProbe("true", PATH).ask(SECONDS, NEVER) == ""

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("exit 7", "exit status 7"),
            ("echo checking; echo 'no route' >&2; false", "exit status 1: no route"),
            ("kill -9 $$", "signal 9"),
            ("/no/such/program", "exit status 127: "),
            ("if", "exit status 2: "),
        ],
    )
    def test_anything_else_is_not(self, line, why):
        assert CommandProbe(line, PATH).ask(SECONDS, NEVER).startswith(why)

    def test_no_end_in_time_is_told_before_it_is_killed(self):
        probe = CommandProbe("trap '' TERM; echo deaf; while :; do sleep 0.05; done", PATH)
        began = time.monotonic()
        assert probe.ask(0.5, NEVER) == "no end within 0.5 s: deaf"
        assert time.monotonic() - began < 0.5 + 0.5, "it waited for the kill"
        assert probe.tidy(NEVER)

    def test_what_can_not_be_started_is_bad(self, monkeypatch):
        monkeypatch.setattr("exoip.operator.child_process.SHELL", "/no/such/shell")
        assert CommandProbe("true", PATH).ask(SECONDS, NEVER) == "can not be started: No such file or directory"


class TestTcp:
    @pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
    def test_a_listener_is_well_and_none_is_not(self, family, host):
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            try:
                listener.bind((host, 0))
            except OSError:
                pytest.skip("this machine has no IPv6")
            port = listener.getsockname()[1]
            assert TcpProbe(host, port).ask(SECONDS, NEVER) == "Connection refused"
            listener.listen()
            assert TcpProbe(host, port).ask(SECONDS, NEVER) == ""

    def test_a_listener_that_takes_nobody_more(self):
        with socket.socket() as listener, contextlib.ExitStack() as stack:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(8):  # until its queue is full
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listener.getsockname())
            assert TcpProbe("127.0.0.1", listener.getsockname()[1]).ask(0.3, NEVER) == "no connection within 0.3 s"


class Page(BaseHTTPRequestHandler):
    """Answers /N with the status N, /slow never."""

    asked: list[str]

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.server.stopping.wait(SECONDS)  # type: ignore[attr-defined]
            return
        self.send_response(int(self.path[1:4]))
        self.send_header("Location", "/500")
        body = b"x" * ((1 << 20) + 1 if self.path.endswith("long") else 10)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.stopping = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stopping.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


class TestHttp:
    @pytest.mark.parametrize("status", [200, 204, 301, 302, 399])
    def test_2xx_and_3xx_are_well_and_no_redirect_is_followed(self, pages, status):
        assert HttpProbe(f"{pages}/{status}").ask(SECONDS, NEVER) == ""

    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    def test_other_answers_are_not(self, pages, status):
        assert HttpProbe(f"{pages}/{status}").ask(SECONDS, NEVER) == f"answered {status}"

    def test_no_answer_in_time_no_answer_at_all_and_one_without_end(self, pages):
        assert HttpProbe(f"{pages}/slow").ask(0.2, NEVER) == "no complete answer within 0.2 s"
        assert "too long" in HttpProbe(f"{pages}/200long").ask(SECONDS, NEVER)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            assert "refused" in HttpProbe(f"http://127.0.0.1:{nobody.getsockname()[1]}/").ask(SECONDS, NEVER)

    def test_each_time_on_a_connection_of_its_own(self, pages):
        """A service that no longer accepts connections is not well, however long an old one stays open."""
        probe = HttpProbe(f"{pages}/200")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            assert probe.ask(SECONDS, NEVER) == ""
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the server's end may be a moment later


class TestChecker:
    def test_pending_sets_aside_before_the_thread_runs(self, asides, events):
        check = HealthCheck("tcp", "127.0.0.1:1", 1.0, 1.0, 1, 1, "127.0.0.1", 1)
        checker = Checker(check, Health.PENDING, PATH, asides.set, events.append, clock)
        assert asides.now == {"health check tcp 127.0.0.1:1": "health check tcp 127.0.0.1:1 has no result yet"}
        assert checker.view.health is Health.PENDING
        assert events == []

    def test_the_first_good_result_lets_it_take_part(self, start, asides, events):
        start("true", rise=99)
        until(lambda: told(events) == [EventName.CHECK_PASSING], "it passes")
        until(lambda: asides.now == {}, "no longer aside")

    def test_the_first_bad_result_keeps_it_aside(self, start, asides, events):
        start("echo broken; false", fall=99)
        until(lambda: told(events) == [EventName.CHECK_FAILING], "it fails")
        assert events[0].reason == "exit status 1: broken"
        assert events[0].details == {"check": "command"}
        until(
            lambda: asides.now == {"health check command": "health check command fails: exit status 1: broken"}, "aside"
        )

    def test_fails_and_passes_again(self, start, asides, events, tmp_path):
        flag = tmp_path / "well"
        flag.touch()
        checker = start(f"test -e {flag}", Health.PASSING)
        until(lambda: checker.view.runs >= 3, "some good results")
        assert asides.all == []
        flag.unlink()
        until(lambda: asides.now, "aside")
        assert checker.view.bad >= 3
        flag.touch()
        until(lambda: not asides.now, "no longer")
        assert told(events) == [EventName.CHECK_FAILING, EventName.CHECK_PASSING]
        assert events[1].reason == "well 2 times in a row"

    def test_one_bad_result_in_three_is_nothing(self, start, asides, tmp_path):
        count = tmp_path / "count"
        checker = start(f"echo >>{count}; test $(($(wc -l <{count}) % 3)) != 0", Health.PASSING)
        until(lambda: checker.view.bad >= 4, "some bad results")
        assert asides.all == []

    def test_a_hanging_check_fails_shows_that_it_lives_and_never_piles_up(self, start, asides, tmp_path):
        """Deaf to SIGTERM, as is what it starts: each is killed a second after its time-out, before the next."""
        line = f"trap '' TERM; echo $$ >>{tmp_path}/pids; (while :; do sleep 0.05; done) & while :; do sleep 0.05; done"
        checker = start(line, Health.PASSING, timeout=0.2, fall=2)
        most, worst = 0, 0.0

        def looked() -> bool:
            nonlocal most, worst
            pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []
            most = max(most, sum(Path(f"/proc/{pid}").exists() for pid in pids))
            worst = max(worst, clock() - checker.progress)
            return len(pids) >= 3 and bool(asides.now)

        until(looked, "it fails, and was asked three times")
        assert most == 1
        assert worst < 20, "its thread seems to hang"
        assert asides.now == {"health check command": "health check command fails: no end within 0.2 s"}

    def test_what_hangs_is_told_of_at_the_timeout_not_after_the_kill(self, start, asides):
        checker = start("trap '' TERM; while :; do sleep 0.05; done", Health.PASSING, timeout=0.2, fall=1)
        until(lambda: asides.now, "aside")
        assert checker.view.took < 0.2 + 0.8

    def test_nothing_is_told_after_it_has_retired(self, start, asides, events):
        checker = start("sleep 0.3; false", fall=1)
        time.sleep(0.1)
        checker.retire(forget=True)
        checker.join(SECONDS)
        assert asides.now == {}
        assert events == []

    def test_it_retires_at_once_though_its_child_hangs(self, start):
        checker = start("trap '' TERM; while :; do sleep 0.05; done", timeout=30.0)
        time.sleep(0.2)
        checker.retire(forget=False)
        checker.join(SECONDS)
        assert not checker.is_alive()

    def test_the_interval_is_between_beginnings(self, start, tmp_path):
        start(f"date +%s.%N >>{tmp_path}/times; sleep 0.1", Health.PASSING, interval=0.3)
        times = tmp_path / "times"
        until(lambda: times.exists() and len(times.read_text().split()) >= 5, "five results")
        stamps = [float(word) for word in times.read_text().split()]
        assert min(later - earlier for earlier, later in pairwise(stamps)) > 0.2
