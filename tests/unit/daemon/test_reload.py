"""What a reload may change, and that a bad one changes nothing. `test_daemon.py` has it with a real process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from exoip.config.parse import Config, parse
from exoip.daemon import reload
from exoip.daemon.reload import NotReloaded, Reloaded
from exoip.errors import ConfigError
from exoip.sandbox.faults import Fault
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone

PATIENCE = 20.0  # seconds that anything here may take before the test gives up
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


def ids(server: SandboxServer) -> tuple[str, str]:
    """Of the instance a and of the EIP."""
    with server.lock:
        return server.zone.instance_named("a", server.now()).id, server.zone.eip.id


def reloaded(
    server: SandboxServer, old: Config, new: Config | ConfigError, known: tuple[str, str] | None = None
) -> Reloaded | NotReloaded:
    answers: queue.Queue[Reloaded | NotReloaded] = queue.Queue()

    def reread() -> Config:
        if isinstance(new, ConfigError):
            raise new
        return new

    reload.start(reread, old, known or ids(server), answers.put)
    return answers.get(timeout=PATIENCE)


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
    answer = reloaded(server, config(server), new)
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
    answer = reloaded(server, config(server), config(server, *words))
    assert isinstance(answer, NotReloaded)
    assert named in answer.why
    assert "restart" in answer.why


@pytest.mark.parametrize("which", [0, 1])
def test_another_instance_or_eip_behind_the_same_names(server, which):
    known = list(ids(server))
    known[which] = "11111111-0000-4000-8000-000000000000"
    answer = reloaded(server, config(server), config(server), (known[0], known[1]))
    assert isinstance(answer, NotReloaded)
    assert "restart" in answer.why


def test_a_configuration_that_is_wrong(server):
    answer = reloaded(server, config(server), ConfigError("host-priority 300: must be 0 to 255"))
    assert answer == NotReloaded("host-priority 300: must be 0 to 255")


@pytest.mark.parametrize(
    "words", [("-G", "nobody"), ("-p", "127.0.0.77"), ("-G", "web", "-xk", "EXOa", "-xs", "wrong")]
)
def test_what_the_api_does_not_know_or_refuses(server, words):
    assert isinstance(reloaded(server, config(server), config(server, *words)), NotReloaded)


@pytest.mark.parametrize("kind", ["status", "drop", "garbage", "half"])
def test_an_api_that_does_not_work(server, kind):
    with server.lock:
        server.zone.add_fault(Fault(kind), server.now())
    assert isinstance(reloaded(server, config(server), config(server, "-G", "web", "-P", "77")), NotReloaded)


def test_the_caller_does_not_wait(server):
    """What rereads may take its time: a file system that hangs."""
    go, answers = threading.Event(), queue.Queue[Reloaded | NotReloaded]()

    def reread() -> Config:
        assert go.wait(PATIENCE)
        return config(server)

    reload.start(reread, config(server), ids(server), answers.put)
    assert answers.empty()
    go.set()
    assert isinstance(answers.get(timeout=PATIENCE), Reloaded)


def test_a_bug_of_ours_is_told_and_ends_no_daemon_that_works(server):
    answers: queue.Queue[Reloaded | NotReloaded] = queue.Queue()

    def reread() -> Config:
        raise RuntimeError("a bug")

    reload.start(reread, config(server), ids(server), answers.put)
    answer = answers.get(timeout=PATIENCE)
    assert isinstance(answer, NotReloaded)
    assert "a bug" in answer.why
