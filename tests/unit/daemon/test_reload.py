"""What a reload may change, and that a bad one changes nothing.

`test_daemon.py` has it with a real process.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from exoip.config.parse import Config, parse
from exoip.daemon import reload
from exoip.daemon.reload import NotReloaded, Reloaded
from exoip.errors import ConfigError
from exoip.exoscale import metadata
from exoip.exoscale.topology import Topology
from exoip.sandbox.faults import Fault, Match
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone
from tests.support.waiting import PATIENCE

EIP = "198.51.100.50"


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    zone = Zone("ch-gva-2", eip=EIP)
    zone.add_key("EXOa", "secret-a")
    zone.add_key("EXOb", "secret-b")
    for number, name in enumerate("abc", start=1):
        zone.add_instance(name, public_ip=f"127.0.0.{number}", groups=("web",) if name != "c" else ("db", "web"))
    with SandboxServer(zone) as running:
        yield running


def config(server: SandboxServer, *words: str) -> Config:
    base = ["-W", "-xi", EIP, "-xk", "EXOa", "-xs", "secret-a", "-xz", "ch-gva-2", "-xe", server.endpoint]
    return parse([*base, "-xm", server.metadata_url("a"), *(words or ("-G", "web"))], {})


def topology(server: SandboxServer, **other: str) -> Topology:
    """Return what the daemon on the instance a discovered."""
    with server.lock:
        own = server.zone.instance_named("a", server.now()).id
    return replace(Topology(own, "ch-gva-2", server.endpoint, EIP, server.zone.eip.id, ()), **other)


def reloaded(
    server: SandboxServer, reread: Config | Callable[[], Config], known: Topology | None = None
) -> Reloaded | NotReloaded:
    """Return the result of a reload, which must not make its caller wait."""
    answers: queue.Queue[Reloaded | NotReloaded] = queue.Queue()
    go = threading.Event()

    def wait_and_reread() -> Config:
        assert go.wait(PATIENCE)  # a file system that hangs
        return reread() if callable(reread) else reread

    reload.start(wait_and_reread, config(server), known or topology(server), answers.put)
    assert answers.empty()
    go.set()
    return answers.get(timeout=PATIENCE)


def failing(error: Exception) -> Callable[[], Config]:
    def reread() -> Config:
        raise error

    return reread


CHANGEABLE = [
    ("-G", "web", "-P", "77"),
    ("-G", "web", "-t", "2"),
    ("-G", "web", "-r", "5"),
    ("-G", "web", "--preempt-delay", "9"),
    ("-G", "web", "--no-preempt"),
    ("-G", "web", "--verify-interval", "9"),
    ("-G", "web", "--leave-timeout", "9"),
    ("-G", "web", "--auth-key", "a-key-of-all-the-nodes"),
    ("-G", "web", "--auth-key", "a-key-of-all-the-nodes,and-the-one-before", "--auth-mode", "accept"),
    ("-G", "web", "-v"),
    ("-G", "db"),
    ("-p", "127.0.0.2"),
    ("-G", "web", "-xk", "EXOb", "-xs", "secret-b"),
]


@pytest.mark.parametrize("words", CHANGEABLE)
def test_what_can_be_changed(server, words):
    new = config(server, *words)
    answer = reloaded(server, new)
    assert isinstance(answer, Reloaded), answer
    assert answer.config is new
    assert {member.name for member in answer.topology.members} == (
        {"c"} if "db" in words else {"b"} if "-p" in words else {"b", "c"}
    )


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("-G", "web", "-xi", "198.51.100.51"), "address"),
        (("-G", "web", "-i", "11111111-0000-4000-8000-000000000000"), "exoscale-instance-id"),
        (("-G", "web", "-l", "127.0.0.1:12345"), "bind-address"),
        (("-G", "web", "--control-socket", "/run/exoip.control"), "control-socket"),
        (("-G", "web", "-l", ":5"), "bind-address"),
        (("-G", "web", "-xz", "de-fra-1"), "exoscale-zone"),
        (("-G", "web", "-xe", "https://example.com/v2"), "exoscale-api-endpoint"),
        (("-G", "web", "-xm", "http://192.0.2.9"), "exoscale-metadata-url"),
        (("-G", "web", "-O"), "log-stdout"),
        (("-G", "web", "--metrics-listen", ":9479"), "metrics-listen"),
    ],
)
def test_what_needs_a_restart_is_named(server, words, named):
    answer = reloaded(server, config(server, *words))
    assert isinstance(answer, NotReloaded)
    assert named in answer.why
    assert "restart" in answer.why


@pytest.mark.parametrize("name", ["instance_id", "eip_id"])
def test_another_instance_or_eip_behind_the_same_names(server, name):
    known = topology(server, **{name: "11111111-0000-4000-8000-000000000000"})
    answer = reloaded(server, config(server), known)
    assert isinstance(answer, NotReloaded)
    assert "restart" in answer.why


@pytest.mark.parametrize("error", [ConfigError("host-priority 300: must be 0 to 255"), RuntimeError("a bug of ours")])
def test_a_configuration_that_is_wrong_or_a_bug_of_ours(server, error):
    answer = reloaded(server, failing(error))
    assert isinstance(answer, NotReloaded)
    assert str(error) in answer.why


@pytest.mark.parametrize(
    "words", [("-G", "nobody"), ("-p", "127.0.0.77"), ("-G", "web", "-xk", "EXOa", "-xs", "wrong")]
)
def test_what_the_api_does_not_know_or_refuses(server, words):
    assert isinstance(reloaded(server, config(server, *words)), NotReloaded)


@pytest.mark.parametrize("kind", ["status", "drop", "garbage", "half"])
def test_an_api_that_does_not_work_keeps_back_only_what_concerns_it(server, kind):
    """An operator may need another priority or health check during an outage."""
    with server.lock:
        server.zone.add_fault(Fault(kind), server.now())
    new = config(server, "-G", "web", "-P", "77")
    assert reloaded(server, new) == Reloaded(new, None)
    for words in (("-G", "db"), ("-p", "127.0.0.2"), ("-G", "web", "-xk", "EXOb", "-xs", "secret-b")):
        assert isinstance(reloaded(server, config(server, *words)), NotReloaded)


def test_a_metadata_service_that_does_not_answer_is_not_needed(server, monkeypatch):
    """What it knows does not change while a daemon runs."""
    monkeypatch.setattr(metadata, "PAUSE", 0.0)
    with server.lock:
        server.zone.add_fault(Fault("drop", Match(service="metadata")), server.now())
    new = config(server, "-G", "web", "-P", "77")
    assert reloaded(server, new).config is new
