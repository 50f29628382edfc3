"""A start that has to wait, and a stop meanwhile. tests/process/test_daemon.py has the rest."""

from __future__ import annotations

import functools
import queue
import signal
import socket
import threading
import time
from dataclasses import replace

import pytest

from exoip.config.options import Config
from exoip.config.parse import parse
from exoip.daemon import signals
from exoip.daemon.clock import clock
from exoip.daemon.daemon import Daemon, StoppedEarly
from exoip.errors import ApiForbidden, ApiTimeout, ConfigError, MetadataUnavailable, WrongClock
from exoip.exoscale.topology import Topology
from tests.support.waiting import PATIENCE

CONFIG = parse(["-W", "-xi", "198.51.100.50", "-p", "198.51.100.7", "-xk", "EXOtest", "-xs", "sEcReT"], {})
IDS = [f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2)]
TOPOLOGY = Topology(IDS[0], "z", "https://x/v2", "198.51.100.50", IDS[1], ())
MISSING = MetadataUnavailable("nobody there")


def daemon(environ: dict[str, str], first: Exception = MISSING) -> Daemon:
    """A daemon whose first discovery fails."""
    answers = iter([first, TOPOLOGY])

    def discover(*_: object) -> Topology:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Daemon(CONFIG, environ, lambda: CONFIG, discover=discover)


def test_a_unit_waits_and_says_for_what(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        made = daemon({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert made._discover() is TOPOLOGY
        assert systemd.recv(1000) == b"STATUS=waiting for the metadata service, then the API"
        assert systemd.recv(1000) == b"STATUS=waiting for the metadata service: nobody there"
        made._systemd.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sdnotify leaves its socket open
@pytest.mark.parametrize("first", [MISSING, WrongClock("the clock is 900 s behind the API's")])
def test_ifupdown_waits_and_a_person_gets_the_error(monkeypatch, first):
    """At boot the network may come late, and the clock is set only after that."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert daemon({"IFACE": "lo:1"}, first)._discover() is TOPOLOGY
    with pytest.raises(type(first), match=str(first)):
        daemon({}, first)._discover()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_why_it_waits_is_logged_once_though_the_times_in_it_differ(monkeypatch, caplog):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    one = daemon({"IFACE": "lo:1"})
    for why in ("expired: 17 is past, the time is 25", "expired: 18 is past, the time is 26", "no route", "no route"):
        one._wait(why, clock())
    assert [record.args for record in caplog.records] == [("expired: 17 is past, the time is 25",), ("no route",)]
    assert one._control.waiting == "no route"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("first", [ApiForbidden("unknown key"), ConfigError("no such instance")])
def test_what_the_api_does_not_know_ends_the_start_if_it_says_so_for_half_a_minute(monkeypatch, first):
    """A key and an instance that have just been made are not known everywhere at once."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert daemon({"IFACE": "lo:1"}, first)._discover() is TOPOLOGY
    with pytest.raises(type(first)):
        daemon({}, first)._discover()  # a person wants to know it at once
    monkeypatch.setattr("exoip.daemon.daemon.CONFIRM_TIME", 0.0)
    told: list[str] = []
    monkeypatch.setattr("exoip.daemon.systemd.Systemd.status", lambda _, text: told.append(text))
    with pytest.raises(type(first)):
        daemon({"IFACE": "lo:1"}, first)._discover()
    assert told[-1] == f"ended: {first}"  # systemd goes on showing the last one


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("away", [ApiTimeout("nobody there"), MISSING])
def test_an_outage_between_two_rejections_begins_the_half_minute_anew(monkeypatch, away):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    answers, now = [ApiForbidden("first"), away, ApiForbidden("second"), TOPOLOGY], [0.0]
    monkeypatch.setattr("exoip.daemon.daemon.clock", lambda: now[0])
    monkeypatch.setattr(Daemon, "_pause", lambda *_: None)

    def discover(*_: object) -> Topology:
        now[0] += 20.0
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    made = Daemon(CONFIG, {"IFACE": "lo:1"}, lambda: CONFIG, discover=discover)
    monkeypatch.setattr(made, "_unless_stopped", lambda work: work())
    assert made._discover() is TOPOLOGY


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_is_corrected_meanwhile_counts(monkeypatch, caplog):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    keys: list[str] = []

    def discover(config: Config, _connect: object) -> Topology:
        keys.append(config.api_key)
        if config.api_key == "EXOtest":
            raise ApiForbidden("unknown key")
        return TOPOLOGY

    found = iter([ConfigError("half written"), replace(CONFIG, api_key="EXOother", address="198.51.100.51")])

    def reread() -> Config:
        if isinstance(one := next(found, replace(CONFIG, api_key="EXOright", warnings=("odd",))), ConfigError):
            raise one
        return one

    assert Daemon(CONFIG, {"IFACE": "lo:1"}, reread, discover=discover)._discover() is TOPOLOGY
    assert keys == ["EXOtest", "EXOtest", "EXOtest", "EXOright"], "another address needs a restart"
    assert caplog.messages.count("odd") == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_container_waits_where_it_is_process_1(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr("os.getpid", lambda: 1)
    assert daemon({})._discover() is TOPOLOGY


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", signals.STOP)
def test_a_stop_ends_a_discovery_that_hangs(number):
    """With a slow API it may take minutes, and a stopped container has 10 s."""
    hang, mailbox = threading.Event(), queue.SimpleQueue()

    def discover(*_: object) -> Topology:
        mailbox.put(signal.SIGHUP)
        mailbox.put(number)
        hang.wait(PATIENCE)
        return TOPOLOGY

    with pytest.raises(StoppedEarly):
        Daemon(CONFIG, {}, lambda: CONFIG, discover=discover, mailbox=mailbox)._discover()
    hang.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_comes_during_a_discovery_waits_in_the_mailbox():
    mailbox: signals.Mailbox = queue.SimpleQueue()

    def discover(*_: object) -> Topology:
        mailbox.put(signal.SIGHUP)
        return TOPOLOGY

    assert Daemon(CONFIG, {}, lambda: CONFIG, discover=discover, mailbox=mailbox)._discover() is TOPOLOGY
    assert mailbox.get_nowait() is signal.SIGHUP
    assert mailbox.empty()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bug_in_a_discovery_ends_the_start():
    def discover(*_: object) -> Topology:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Daemon(CONFIG, {}, lambda: CONFIG, discover=discover)._discover()


def test_the_clock_counts_a_suspension():
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= clock() <= time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sdnotify leaves a socket open
@pytest.mark.slow
def test_a_slow_api_gets_more_time_at_each_try():
    """If a list takes 2.6 s, a daemon that always gives up after 2 s would never start."""
    tried: list[float] = []

    def discover(_: object, connect: functools.partial[object]) -> Topology:
        tried.append(connect.keywords["read_timeout"])
        if len(tried) < 3:
            raise ApiTimeout("GET /instance: no answer in time")
        return TOPOLOGY

    assert Daemon(CONFIG, {"IFACE": "lo:1"}, lambda: CONFIG, discover=discover)._discover() is TOPOLOGY
    assert tried == [2.0, 4.0, 8.0]
