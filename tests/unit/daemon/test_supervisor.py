"""The main loop with fake threads that die or hang, and its notifications to systemd."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from signal import SIGHUP, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2
from types import SimpleNamespace

import pytest

from exoip.core.events import Event, EventName
from exoip.core.flap_damping import Damping
from exoip.core.unfit import FAILOVER, UnfitReason
from exoip.daemon.clock import clock
from exoip.daemon.reload import Reloaded
from exoip.daemon.signals import Mailbox
from exoip.daemon.supervisor import HANG_TIME, Supervisor
from exoip.daemon.systemd import Systemd
from exoip.errors import ConfigError
from tests.support.single_node import master
from tests.support.waiting import PATIENCE, until


class Thread:
    """A thread that is dead from check number `dies_at` on; its progress is always `ago` seconds old."""

    def __init__(self, dies_at: int, ago: float = 0.0) -> None:
        self.name = "exoip-fake"
        self._left, self._ago = dies_at, ago

    @property
    def progress(self) -> float:
        return clock() - self._ago

    def is_alive(self) -> bool:
        self._left -= 1
        return self._left > 0


@pytest.fixture
def listener(tmp_path, monkeypatch) -> Iterator[socket.socket]:
    """The receiving end of $NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield one


@pytest.fixture
def systemd(listener) -> Iterator[Systemd]:
    one = Systemd()
    yield one
    one.close()


def received(listener: socket.socket) -> list[str]:
    """Return what was sent so far."""
    texts = []
    with contextlib.suppress(BlockingIOError):
        while True:
            texts.append(listener.recv(65536).decode())
    return texts


def test_what_found_the_queue_of_systemd_full_is_sent_with_the_next_ping(listener, systemd):
    """Or systemd would wait for READY=1 until it ends a daemon that works."""
    with contextlib.suppress(BlockingIOError):
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        other.setblocking(False)
        while True:
            other.sendto(b"X=1", listener.getsockname())
    systemd.notify("READY=1")
    systemd.notify("WATCHDOG=1")
    systemd.notify("RELOADING=1", "MONOTONIC_USEC=7")
    systemd.status("one")
    systemd.notify("READY=1")
    systemd.status("two")
    assert set(received(listener)) == {"X=1"}
    systemd.notify("WATCHDOG=1")
    assert received(listener) == ["RELOADING=1\nMONOTONIC_USEC=7", "READY=1", "STATUS=two", "WATCHDOG=1"]
    other.close()


def run(
    systemd: Systemd, threads: list[Thread], *messages: object, ping_interval: float = 0.01, node: object = None
) -> list[Event]:
    """Run the loop until it fails, as it must; return the events that it passed on."""
    mailbox: Mailbox = queue.SimpleQueue()
    for message in messages:
        mailbox.put(message)  # type: ignore[arg-type]
    events: list[Event] = []
    running = SimpleNamespace(node=node, threads=threads, on_event=events.append, status_line=lambda: "well")
    supervisor = Supervisor(running, mailbox, systemd, lambda: None, ping_interval)  # type: ignore[arg-type,return-value]
    assert supervisor.run() == 1
    return events


@pytest.mark.parametrize(
    ("threads", "pings"),
    [
        ([(6, 0.0), (99, 0.0)], 5),
        ([(6, 11.0)], 5),  # a slow call is no hanging thread
        ([(99, 0.0), (6, HANG_TIME + 1)], 0),
        ([(99, 0.0), (1, 0.0)], 0),  # dead at the first look
    ],
)
@pytest.mark.slow
def test_the_watchdog_is_pinged_while_all_threads_are_alive_and_none_hangs(systemd, listener, threads, pings):
    run(systemd, [Thread(*each) for each in threads])
    assert received(listener).count("WATCHDOG=1") == pings


def test_an_exception_of_a_thread_ends_it_after_the_events_that_wait(systemd, caplog):
    """They explain what happened just before."""
    events = [Event(EventName.ADVERTISED, float(at)) for at in range(3)]
    assert run(systemd, [Thread(10**9)], RuntimeError("it broke"), *events) == events
    assert caplog.messages[0] == "a thread failed: RuntimeError('it broke'); stopping"


def test_a_thread_that_is_found_dead_says_why_after_the_events_that_wait(systemd, caplog):
    events = [Event(EventName.ADVERTISED, float(at)) for at in range(3)]
    assert run(systemd, [Thread(1)], events[0], ValueError("it broke"), *events[1:]) == events
    assert caplog.messages[0] == "thread exoip-fake is dead: ValueError('it broke'); stopping"


def test_an_event_that_cannot_be_logged_does_not_hide_why_it_ends(systemd, caplog):
    mailbox: Mailbox = queue.SimpleQueue()
    mailbox.put(ValueError("it broke"))
    mailbox.put(Event(EventName.ADVERTISED, 0.0))
    running = SimpleNamespace(node=None, threads=[], status_line=lambda: "well")  # it has no `on_event`
    assert Supervisor(running, mailbox, systemd, lambda: None).run() == 1  # type: ignore[arg-type,return-value]
    assert caplog.messages[0] == "a thread failed: ValueError('it broke'); stopping"


@pytest.mark.parametrize(
    ("before", "doubt", "forced", "said"),
    [
        ([], "", {}, "within 2 s it moves nothing by itself"),
        (
            [],
            "",
            {"priority": 30, "unfit_reasons": (UnfitReason(FAILOVER, "why"),), "damping": Damping(delay=60.0)},
            "within 2 s it moves nothing by itself, but the failover on demand, flap damping, the priority 30 will not"
            " be in force any more",
        ),
        ([], "who knows", {}, "a peer may take 198.51.100.50: who knows"),
        ([SIGTERM], "it is leaving", {}, "the hand-over is under way already"),
    ],
)
def test_a_restart_ends_at_once_after_the_events_that_wait(systemd, listener, caplog, before, doubt, forced, said):
    caplog.set_level("INFO", "exoip")
    mailbox: Mailbox = queue.SimpleQueue()
    events: list[Event] = []
    for message in (*before, SIGQUIT, Event(EventName.ADVERTISED, 0.0)):
        mailbox.put(message)
    view = SimpleNamespace(**{"priority": 10, "unfit_reasons": (), "damping": Damping()} | forced)
    node = SimpleNamespace(
        config=lambda: SimpleNamespace(dead_time=3.0, interval=1.0, spacing=0.9),
        finished=lambda: False, snapshot=lambda now: view,
    )  # fmt: skip
    if before:
        node.leave = lambda now: None
    kept: list[float] = []
    running = SimpleNamespace(
        node=node, threads=[], on_event=events.append, stop=lambda: kept.append(0.0),
        keep_held=lambda seconds: kept.append(seconds) or doubt, topology=SimpleNamespace(eip_label="198.51.100.50"),
    )  # fmt: skip
    running.config, running.status_line = SimpleNamespace(leave_timeout=60.0, host_priority=10), lambda: "well"
    assert Supervisor(running, mailbox, systemd, lambda: None).run() is None  # type: ignore[arg-type,return-value]
    assert kept == [0.0, 2.9]
    assert [event.name for event in events] == [EventName.ADVERTISED]
    assert received(listener)[-1] == "STOPPING=1"
    assert caplog.messages == [f"stopping for a restart: {said}"]


@pytest.mark.parametrize(
    ("priority", "settled", "said"),
    [
        (None, True, "still holding EIP; no peer that could take it is heard, so nobody detaches this instance"),
        (255, True, "still holding EIP; no peer that could take it is heard, so nobody detaches this instance"),
        (20, True, "still holding EIP; a peer that is heard should attach it and detach this instance"),
        (20, False, "perhaps still holding EIP; a peer that is heard should attach it and detach this instance"),
    ],
)
def test_a_node_that_stops_before_it_has_handed_over_says_who_can_take_over(systemd, caplog, priority, settled, said):
    bench = master()
    if priority is not None:
        bench.heard("z", priority)
        bench.advance(0.5 if settled else 0.0)
    node = SimpleNamespace(finished=lambda: False, snapshot=lambda _now: bench.view)
    running = SimpleNamespace(node=node, topology=SimpleNamespace(eip_label="EIP"))
    running.config = SimpleNamespace(leave_timeout=2.0)
    Supervisor(running, queue.SimpleQueue(), systemd, lambda: None)._say_goodbye()  # type: ignore[arg-type,return-value]
    assert caplog.messages == [f"stopped after 2 s, {said}"]


def test_a_reload_that_ends_after_a_stop_began_changes_nothing(systemd, listener):
    """After STOPPING=1, READY=1 would tell systemd that the service runs."""
    node = SimpleNamespace(leave=lambda _now: None)
    running = SimpleNamespace(node=node, threads=[], config=SimpleNamespace(leave_timeout=2.0))  # it has no `apply`
    supervisor = Supervisor(running, queue.SimpleQueue(), systemd, lambda: None)  # type: ignore[arg-type,return-value]
    supervisor._leave()
    supervisor._handle(Reloaded(None, None))  # type: ignore[arg-type]
    assert received(listener) == ["STOPPING=1\nEXTEND_TIMEOUT_USEC=4000000"]


def test_a_reload_that_is_requested_during_another_follows_it(systemd, caplog):
    """The file may have changed since the first reload read it."""
    caplog.set_level("INFO", "exoip")
    read: list[int] = []
    mailbox: Mailbox = queue.SimpleQueue()
    go = threading.Event()

    def reread() -> None:
        read.append(len(read))
        assert go.wait(PATIENCE)
        raise ConfigError(f"nothing changed {len(read)}")

    running = SimpleNamespace(node=None, threads=[], config=None, topology=None)
    supervisor = Supervisor(running, mailbox, systemd, reread)  # type: ignore[arg-type]
    for _ in range(3):
        supervisor._handle(SIGHUP)
    until(lambda: read, "the first one reads")
    go.set()
    for _ in range(2):
        supervisor._handle(mailbox.get(timeout=PATIENCE))
    assert caplog.messages == [f"the configuration stays as it was: nothing changed {number}" for number in (1, 2)]
    assert mailbox.empty()


def test_many_events_do_not_starve_the_watchdog(systemd, listener):
    events = [Event(EventName.ADVERTISED, 0.0)] * 200_000
    run(systemd, [Thread(5)], *events, ping_interval=0.001)
    assert received(listener).count("WATCHDOG=1") == 4


def test_a_status_that_changed_without_an_event_is_sent_at_the_next_ping(systemd, listener):
    """Such as that a peer sends heartbeats that are dropped: it ends when none comes any more."""
    threads = [Thread(4)]
    running = SimpleNamespace(node=None, threads=threads, status_line=lambda: f"{threads[0]._left} left")
    assert Supervisor(running, queue.SimpleQueue(), systemd, lambda: None, 0.01).run() == 1  # type: ignore[arg-type,return-value]
    assert [text for text in received(listener) if "STATUS" in text] == [f"STATUS={left} left" for left in (3, 2, 1)]


def test_a_status_is_sent_when_it_changed_only_in_one_line_of_ascii(systemd, listener):
    for text in ("a", "a", "b\nREADY=1", "b\nREADY=1", "ä", "a"):
        systemd.status(text)
    assert received(listener) == ["STATUS=a", "STATUS=b READY=1", "STATUS=?", "STATUS=a"]


@pytest.mark.parametrize(("priority", "number", "then"), [(1, SIGUSR1, 1), (2, SIGUSR1, 1), (252, SIGUSR2, 252)])
def test_a_signal_never_takes_the_priority_out_of_its_range(systemd, priority, number, then):
    config, changes = SimpleNamespace(priority=priority), []
    node = SimpleNamespace(config=lambda: config, set_priority=lambda wanted, _now: changes.append(wanted) or 0)
    run(systemd, [Thread(3)], number, node=node)
    assert changes == [then]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the library leaks its socket
@pytest.mark.parametrize("path", [None, "/nowhere/notify"])
def test_without_systemd_nothing_happens(monkeypatch, path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if path:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
    Systemd().notify("READY=1")
