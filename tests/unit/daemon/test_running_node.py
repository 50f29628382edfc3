"""How a running node gets a new configuration and new members: one thread replaces both."""

from __future__ import annotations

import json
import math
import queue
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exoip.config.parse import Config, parse
from exoip.core.calls import Call, Failure, Kind, Lane, Outcome
from exoip.daemon.clock import clock
from exoip.daemon.reload import Reloaded
from exoip.daemon.running_node import Refreshed, RunningNode
from exoip.daemon.state_files import TopologyCache
from exoip.exoscale import discovery
from exoip.exoscale.topology import Member, Topology
from exoip.heartbeat.admission import CONFIRM_TIME
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.heartbeat.wire import Heartbeat

EIP = "198.51.100.50"
OWN, B, C, EIP_ID = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "1239")
MEMBERS = {B: Member(B, "192.0.2.2", 12345, "b"), C: Member(C, "192.0.2.3", 12345, "c")}


def config(*words: str) -> Config:
    base = ["-W", "-xi", EIP, "-xk", "EXOtest", "-xs", "sEcReT", "-xz", "z", "-xe", "http://127.0.0.1:9/v2"]
    return parse([*base, *(words or ("-G", "web"))], {})


def topology(*members: str) -> Topology:
    return Topology(OWN, "z", "http://127.0.0.1:9/v2", EIP, EIP_ID, tuple(MEMBERS[name] for name in members))


class Running:
    """A node whose threads are not started; `mailbox` is the main thread's."""

    def __init__(self, folder: Path, channel: HeartbeatSocket) -> None:
        self.mailbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.file = folder / "topology.json"
        self.node = RunningNode(
            config(), topology(B, C), TopologyCache({"RUNTIME_DIRECTORY": str(folder)}), channel, {}, self.mailbox.put,
            after_crash=False, unfit_until=0.0, drained="",
        )  # fmt: skip

    def saved(self) -> list[str]:
        """Return the members that a start after a crash would know."""
        return [member["instance_id"] for member in json.loads(self.file.read_text())["topology"]["members"]]

    def hears(self, instance_id: str) -> None:
        heartbeat = Heartbeat(10, EIP, instance_id)
        assert self.node.node.heard(heartbeat, MEMBERS[instance_id].address, clock())

    def finds(self, *members: str) -> None:
        """Give the main thread the result of a refresh: these members."""
        self.node.refresh(Refreshed(self.node.config, topology(*members)))

    @property
    def members(self) -> list[str]:
        """The members whose heartbeats count."""
        return sorted(self.node.node.admission.members)

    def handle_refreshes(self) -> None:
        """Do what the main thread does with its mailbox."""
        while not self.mailbox.empty():
            if isinstance(message := self.mailbox.get(), Refreshed):
                self.node.refresh(message)


@pytest.fixture
def running(tmp_path) -> Iterator[Running]:
    channel = HeartbeatSocket("127.0.0.1", 0)
    yield Running(tmp_path, channel)
    channel.close()


def during(monkeypatch: pytest.MonkeyPatch, found: Topology, then: Callable[[], None]) -> None:
    """Let the next refresh call `then` and return `found`."""

    def refresh(_config: Config, _client: object, _known: Topology) -> Topology:
        then()
        return found

    monkeypatch.setattr(discovery, "refresh", refresh)


def test_a_refresh_that_a_reload_overtakes_changes_nothing(running, monkeypatch):
    new = config("-p", MEMBERS[B].address)
    during(monkeypatch, topology(C), lambda: running.node.apply(Reloaded(new, topology(B))))
    running.node._read_group(None)  # an API worker
    running.handle_refreshes()
    assert (running.members, running.saved(), running.node.config) == ([B], [B], new)


def test_a_worker_that_read_the_group_leaves_it_to_the_main_thread(running, monkeypatch):
    """With two threads, checking the configuration and using it would be two steps."""
    during(monkeypatch, topology(B), lambda: None)
    running.node._read_group(None)
    assert running.members == [B, C]
    running.handle_refreshes()
    assert (running.members, running.saved()) == ([B], [B])


def test_a_member_that_stays_because_it_is_heard_outlives_a_crash_too(running):
    """With its name, for the log, and so that the next refresh looks it up by its id."""
    running.hears(C)
    running.finds(B)
    assert running.members == running.saved() == [B, C]
    assert running.node.display_name(C) == "c (192.0.2.3)"
    assert [member.instance_id for member in running.node.topology.members] == [B, C]


def test_a_member_that_is_gone_is_forgotten(running):
    running.finds(B)
    assert running.members == running.saved() == [B]


def test_that_a_member_is_gone_is_logged_with_its_name(running, caplog):
    caplog.set_level("INFO", "exoip")
    running.finds(B)
    while not running.mailbox.empty():
        running.node.on_event(running.mailbox.get())
    assert caplog.messages[-1] == "c (192.0.2.3) is no longer a member"


@pytest.mark.parametrize("before", ["-G", "-p"])
def test_a_reload_does_not_put_off_a_second_look_at_who_is_heard_but_not_listed(running, before):
    """That takes another list within 30 s, not the next regular one after 7 minutes."""
    if before == "-p":
        running.node.apply(Reloaded(config("-p", f"{MEMBERS[B].address},{MEMBERS[C].address}"), topology(B, C)))
    running.hears(C)
    running.node.apply(Reloaded(config("-G", "db"), topology(B)))
    assert running.node.node._ownership.reads.refresh_at - clock() <= CONFIRM_TIME


def test_a_reload_without_an_answer_of_the_api_keeps_the_members_and_reads_them_once_it_can(running):
    new = config("-G", "web", "-P", "77")
    running.node.apply(Reloaded(new, None))
    assert (running.members, running.saved(), running.node.config) == ([B, C], [B, C], new)
    assert running.node.node.config().priority == 77
    assert running.node.node._ownership.reads.refresh_at <= clock()


def test_the_metrics_expect_to_hear_only_members_that_run(running):
    running.node.node.admission.unheard |= {B: math.inf, C: math.inf}
    running.node.topology = replace(topology(B, C), members=(replace(MEMBERS[B], running=False), MEMBERS[C]))
    lines = running.node.metrics().splitlines()
    assert [line[-3:] for line in lines if line.startswith("exoip_peer_never_heard{")] == ["0.0", "1.0"]


@pytest.mark.parametrize("words", [("-G", "web", "-xk", "EXOother"), ("-p", MEMBERS[B].address)])
def test_a_failed_refresh_is_forgotten_once_a_reload_has_read_the_members(running, words):
    """The next refresh, which would show that it works, may be 7 minutes away, or never come."""
    forbidden = Call(Kind.REFRESH), Outcome(1.0, 2.0, Failure.FORBIDDEN)
    running.node._count_call(*forbidden)
    running.node.apply(Reloaded(config("-G", "web"), None))
    assert running.node.api.view().degraded == "refresh refused"
    running.node.apply(Reloaded(config(*words), topology(B)))
    assert running.node.api.view().degraded == ""
    running.node._count_call(*forbidden)  # one that was under way
    assert bool(running.node.api.view().degraded) is (words[0] == "-G")


def test_a_reload_logs_the_warnings_that_are_new(running, caplog):
    def logged(*words: str, warnings: tuple[str, ...] = ()) -> list[str]:
        caplog.clear()
        running.node.apply(Reloaded(config("-G", "web", *words), replace(topology(B, C), warnings=warnings)))
        return [text.partition(" (")[0] for text in caplog.messages if "members" not in text]

    assert logged() == []
    assert logged("-P", "255") == ["host-priority 255"]
    assert logged("-P", "255", "-r", "1.5", warnings=("no rule",)) == ["dead-ratio 1.5", "no rule"]
    assert logged("-P", "255", "-r", "1.5", warnings=("no rule", "no zone")) == ["no zone"]
    assert logged() == []


def test_a_reload_keeps_the_connections_and_changes_the_key(running):
    """A new connection would need the name server, which may be away."""
    clients = running.node._clients
    before = [clients.borrow(lane) for lane in Lane]
    running.node.apply(Reloaded(config("-G", "web", "-xk", "EXOother", "-xs", "another"), None))
    assert {client.credentials for client in before} == {("EXOother", "another")}
    for client in before:
        clients.give_back(client)
    assert {clients.borrow(lane) for lane in Lane} == set(before)
