"""The parts of the demo. The play as a whole runs in CI."""

from __future__ import annotations

import io
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exoip.config.parse import parse
from exoip.core import backoff, mutations, read_schedule
from exoip.core.events import Event as NodeEvent
from exoip.core.events import EventName
from exoip.core.node import Node
from exoip.core.peers import ElectionConfig, Role
from exoip.heartbeat.wire import Heartbeat
from exoip.telemetry.journal import Journal
from tests.demo import pace, partition
from tests.demo.__main__ import main
from tests.demo.client import Change, Client, Request
from tests.demo.cluster import ADDRESSES, EIP, Cluster, free_port
from tests.demo.display import Display
from tests.demo.instance import InstanceError
from tests.demo.judge import Event, holders_at, moved_at, wrongs
from tests.demo.pace import Pace
from tests.demo.partition import Partition, PartitionError
from tests.demo.report import HEADINGS, Row, table
from tests.demo.stage import Act, row
from tests.demo.view import TIMELINE, View, happened_at, makes_master, silence, worth_telling
from tests.demo.web import Server
from tests.support.waiting import until

DEADLINE = 30.0
NAMES = {"a": "node-1", "b": "node-2", "c": "node-3"}
OWN, OTHER, THIRD = (f"00000000-0000-0000-0000-00000000000{digit}" for digit in "abc")
A, B, AB, NOBODY = frozenset("a"), frozenset("b"), frozenset("ab"), frozenset[str]()


# Bounds


def test_the_bounds_are_those_of_the_design() -> None:
    one = Pace(interval=1.0, ratio=3.0, call=0.5, operation=1.0, allowance=0.0001)
    assert one.lost() == pytest.approx(3 + 1.25 + (0.25 + 1) + 1.25, abs=0.001)
    assert one.lost() < 7  # design, 9.1: 5.9 s was the worst seen
    assert one.stopped() == pytest.approx(1.25 + 0.25 + 0.5 + 1 + 1.25, abs=0.001)
    assert one.returned() - one.healed() == pytest.approx(one.dead_time - one.interval)
    assert one.returned(4.0) == one.returned() + 4.0
    assert one.api_back(3.5) == pytest.approx(4 * 1.2 + 1.25 + 1.25 + 1.25, abs=0.001)


def test_the_constants_are_those_of_the_daemon() -> None:
    assert pace.POLL == mutations.POLL
    assert (pace.LEAVE_LOOK, pace.KEEP_LOOK) == (read_schedule.LEAVE_READ_INTERVAL, read_schedule.RELEASE_READ_INTERVAL)
    assert pace.SETTLES == mutations.DETACH_SETTLES
    assert (pace.FIRST_RETRY, pace.JITTER) == (backoff.FIRST_RETRY, backoff.JITTER)


@given(st.integers(0, 8), st.randoms(use_true_random=False))
def test_a_backoff_is_never_longer_than_the_bound_says(tries: int, chance: random.Random) -> None:
    retry, now = backoff.Backoff(chance), 100.0
    for _ in range(tries):
        retry.wait_longer(now)
        now = retry.at
    retry.wait_longer(now)
    one = Pace()
    assert retry.at <= now + one.api_back(now - 100.0)


def test_settling_counts_from_when_it_last_stepped_aside() -> None:
    assert Pace().settling(None, 100.0) == 0
    assert Pace().settling(98.0, 100.0) == pace.SETTLES - 2
    assert Pace().settling(50.0, 100.0) == 0


@pytest.mark.parametrize("field", ["interval", "ratio", "call", "operation", "allowance"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_refuses_a_pace_that_stands_still(field: str, value: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Pace(**{field: value})


# Verdicts


def event(expected: str | None = "b", bound: float = 3.0, *, gapless: bool = True) -> Event:
    return Event("killed", 10.0, expected, bound, gapless)


MOVE = [(1.0, A), (12.0, AB), (12.5, B)]


def test_a_move_within_its_bound_is_right() -> None:
    assert wrongs(MOVE, event(), 20.0, NAMES) == []
    assert moved_at(MOVE, event(), 20.0) == 12.5


def test_a_move_after_its_bound_is_wrong_by_so_much() -> None:
    found = wrongs(MOVE, event(bound=2.2), 20.0, NAMES)
    assert found == [
        "killed: held by node-1 and node-2 2.20 s after the event, not by node-2 alone; its bound is 2.20 s"
    ]


def test_what_has_not_moved_when_the_next_event_comes_is_wrong_even_before_the_bound() -> None:
    assert "held by node-1 and node-2" in wrongs(MOVE, event(), 12.2, NAMES)[0]
    assert moved_at(MOVE, event(), 12.2) is None


@pytest.mark.parametrize("holders", [A, AB, NOBODY, frozenset("c")])
def test_a_relapse_after_the_bound_is_wrong(holders: frozenset[str]) -> None:
    history = [*MOVE, (15.0, holders), (15.1, B)]
    assert len(wrongs(history, event(gapless=False), 20.0, NAMES)) == 1
    assert moved_at(history, event(), 20.0) == 15.1
    assert moved_at(history, event(), 14.9) == 12.5


def test_a_relapse_before_the_bound_is_a_later_move() -> None:
    history = [*MOVE, (12.6, AB), (12.7, B)]
    assert wrongs(history, event(), 20.0, NAMES) == []
    assert moved_at(history, event(), 20.0) == 12.7


def test_a_moment_without_a_holder_is_wrong_even_before_the_bound() -> None:
    history = [(1.0, A), (12.0, NOBODY), (12.001, B)]
    assert wrongs(history, event(), 20.0, NAMES) == ["killed: nobody held it 2.00 s after the event"]
    assert wrongs(history, event(gapless=False), 20.0, NAMES) == []


def test_what_happened_before_and_what_comes_after_does_not_count() -> None:
    history = [(1.0, A), (5.0, NOBODY), (6.0, A), (12.0, AB), (12.5, B), (20.5, NOBODY)]
    assert wrongs(history, event(), 20.0, NAMES) == []


def test_nobody_at_the_start_is_seen_though_nothing_changes() -> None:
    assert wrongs([], event(), 20.0, NAMES)[0] == "killed: nobody held it 0.00 s after the event"
    assert "held by nobody 3.00 s" in wrongs([], event(), 20.0, NAMES)[1]


def test_where_nothing_is_to_move_only_a_gap_is_wrong() -> None:
    assert wrongs([(1.0, A)], event(None, 0.0), 20.0, NAMES) == []
    assert len(wrongs([(1.0, A), (11.0, NOBODY)], event(None, 0.0), 20.0, NAMES)) == 1
    assert moved_at([(1.0, A)], event(None), 20.0) is None


def test_refuses_a_bound_before_the_event() -> None:
    with pytest.raises(ValueError, match="before the event"):
        event(bound=-0.1)


histories = st.lists(
    st.tuples(st.integers(0, 60).map(lambda n: n / 2), st.frozensets(st.sampled_from("abc"))), max_size=12
).map(lambda changes: sorted(changes, key=lambda change: change[0]))


@given(histories, st.integers(0, 20), st.integers(20, 60))
def test_the_verdict_agrees_with_a_look_at_every_moment(
    history: list[tuple[float, frozenset[str]]], bound: int, end: int
) -> None:
    one = event(bound=bound / 2)
    moments = [n / 4 for n in range(40, 2 * end + 1)]
    late = [at for at in moments if at >= min(one.at + one.bound, end / 2)]
    wrong = any(holders_at(history, at) != B for at in late) or any(not holders_at(history, at) for at in moments)
    # Two changes at one moment: what lies between them lasted no time, and is no moment to look at
    distinct = list(dict(history).items())
    assert bool(wrongs(distinct, one, end / 2, NAMES)) == wrong


# The table


def test_the_table_is_aligned_and_leaves_nothing_out() -> None:
    lines = table([Row("a", 1.5, None, 2.049, 3.25, 12), Row("a long event", None, 0.0, None, None, 0)])
    assert len({len(line) for line in lines}) == 1
    assert [one.strip() for one in re.split(r"  +", lines[0])] == list(HEADINGS)
    assert lines[2].split() == ["a", "1.50", "-", "2.05", "3.25", "12"]
    assert lines[3].split() == ["a", "long", "event", "-", "0.00", "-", "-", "0"]


def test_an_empty_table_is_its_headings() -> None:
    assert len(table([])) == 2


# Journal entries


def entry(event: NodeEvent) -> dict[str, str]:
    """The event as node `OWN` writes it."""
    journal = Journal(EIP, OWN, lambda one: one)
    return journal.fields(event) | {"MESSAGE": journal.sentence(event)}


def entries_of_a_death() -> list[dict[str, str]]:
    """What a node tells that hears another one until second 1."""
    events: list[NodeEvent] = []
    node = Node(ElectionConfig(OWN), EIP, {OTHER: ("127.0.0.12", 1)}, 0.0, emit=events.append)
    node.heard(Heartbeat(20, EIP, OTHER), "127.0.0.12", 1.0)
    for step in range(5, 18):  # it must not sleep past its own schedule
        node.next_advert(step / 4)
    node.tick(4.25)
    return [entry(one) for one in events]


def test_reads_a_death_as_the_daemon_tells_it() -> None:
    death = next(one for one in entries_of_a_death() if one["EXOIP_EVENT"] == EventName.PEER_DEAD)
    assert silence(death, OTHER) == pytest.approx(3.25)
    assert silence(death, THIRD) is None
    assert happened_at(death) == 4.25
    assert worth_telling(death)
    assert not makes_master(death)


def test_reads_a_role_as_the_daemon_tells_it() -> None:
    def role(new: Role, old: Role) -> dict[str, str]:
        return entry(NodeEvent(EventName.ROLE, 1.0, OTHER, "", {"role": new, "old_role": old}))

    assert makes_master(role(Role.MASTER, Role.BACKUP))
    assert worth_telling(role(Role.MASTER, Role.BACKUP))
    assert not makes_master(role(Role.BACKUP, Role.MASTER))
    assert worth_telling(role(Role.BACKUP, Role.MASTER))
    assert not worth_telling(role(Role.BACKUP, Role.BACKUP))


def test_leaves_everyday_life_out_of_the_timeline() -> None:
    assert not worth_telling(entry(NodeEvent(EventName.ATTACHED, 1.0, OWN, "", {"duration": 0.3})))


def test_every_event_of_the_timeline_exists() -> None:
    assert set(EventName) >= TIMELINE


def test_the_view_follows_the_entries() -> None:
    view = View()
    assert not view.agrees(master=False, peers=0)
    for one in entries_of_a_death():
        view.take(one)
        if one["EXOIP_EVENT"] == EventName.PEER_ALIVE:
            assert view.alive == {OTHER}
    assert view.agrees(master=True, peers=0)
    assert not view.agrees(master=False, peers=0)
    assert not view.agrees(master=True, peers=1)
    view.take(entry(NodeEvent(EventName.YIELDED, 5.0, OTHER)))
    assert view.yielded
    view.take(entry(NodeEvent(EventName.STAND_BACK_OVER, 6.0, OWN)))
    assert not view.yielded


def test_a_sentence_may_say_anything() -> None:
    said = [one | {"MESSAGE": "x", "EXOIP_REASON": "y"} for one in entries_of_a_death()]
    views = [View(), View()]
    for plain, odd in zip(entries_of_a_death(), said, strict=True):
        views[0].take(plain)
        views[1].take(odd)
        assert worth_telling(plain) == worth_telling(odd)
        assert silence(plain, OTHER) == silence(odd, OTHER)
    assert views[0] == views[1]


# The display


def screen(text: str) -> list[str]:
    """What a terminal shows of it: understands the two sequences that the display sends, and refuses all others."""
    lines, column_zero = [""], True
    for part in re.split(r"(\x1b\[\d*[A-Z]|\n)", text):
        if part == "\n":
            lines.append("")
        elif found := re.fullmatch(r"\x1b\[(\d+)F", part):
            assert lines[-1] == "", "not at the start of a line"
            lines = [*lines[: -int(found[1]) - 1], ""]
            column_zero = True
        elif part == "\x1b[J":
            assert column_zero
        else:
            assert "\x1b" not in part
            lines[-1] += part
    return lines


def test_the_state_stays_below_the_timeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream, state = io.StringIO(), ["one", "x" * 40]
    display = Display(stream, lambda: state, live=True)
    display.say("first")
    display.say("second")
    state[0] = "changed"
    display.refresh()
    assert screen(stream.getvalue()) == ["first", "second", "", "changed", "x" * 19, ""]
    display.end()
    display.say("last")
    assert screen(stream.getvalue()) == ["first", "second", "last", ""]


def test_piped_there_are_plain_lines_only() -> None:
    stream = io.StringIO()
    display = Display(stream, lambda: ["state"])
    display.say("first")
    display.refresh()
    display.end()
    assert stream.getvalue() == "first\n"


def test_a_terminal_that_can_do_nothing_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert not Display(stream).live
    monkeypatch.setenv("TERM", "xterm")
    assert Display(stream).live


# Client and web server


@pytest.fixture
def web() -> Iterator[Server]:
    with Server("node-7", "127.0.0.1") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_client_hears_who_answers(web: Server) -> None:
    with Client(web.server_address[:2], every=0.005) as client:  # type: ignore[arg-type]
        until(lambda: len(client.requests) >= 5, "five requests")
    assert {one.answer for one in client.requests} == {"node-7"}
    assert client.lost() == 0
    assert not [one for one in threading.enumerate() if one.name == "demo-client"]


def test_the_client_counts_what_is_refused_and_what_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = silent.getsockname()
        with Client(address, every=0.005, timeout=0.05) as client:
            until(lambda: client.lost() >= 2, "two lost requests")
    with Client(address, every=0.005) as client:
        until(lambda: client.lost() >= 2, "two lost requests")
        middle = client.requests[1].at
    assert client.lost(middle) + client.lost(0.0, middle) == client.lost() == len(client.requests)


def test_tells_who_answers_once_it_is_so_for_a_while() -> None:
    change, told = Change(), {}
    outcomes = ["", "node-1", "node-2"]
    numbers = [0] * 6 + [1] * 7 + [1, 2] * 10 + [2] * 7 + [0] + [2] * 7 + [0] * 4 + [1] * 4 + [0] * 5
    for at, number in enumerate(numbers, start=1):
        if text := change.look(Request(float(at), outcomes[number], "" if number else "refused")):
            told[at] = text
    assert told == {
        5: "5 requests in a row are lost: refused",
        11: "5 requests in a row reach node-1",
        37: "5 requests in a row reach node-2",
        61: "5 requests in a row are lost: refused",
    }


# The cut


def test_the_cut_is_for_these_addresses_and_this_port_only() -> None:
    rules = Partition(["127.0.0.11"], ["127.0.0.12", "127.0.0.13"], 4711).rules("exoip_demo_1", 9)
    assert rules.startswith("table ip exoip_demo_1 { flags owner; ")
    assert "\n" not in rules
    drops = re.findall(r"ip saddr {([^}]*)} ip daddr {([^}]*)} udp dport {([^}]*)} drop", rules.replace("{ ", "{"))
    assert [tuple(one.split(", ")[0].strip() for one in drop) for drop in drops] == [
        ("127.0.0.11", "127.0.0.12", "4711"),
        ("127.0.0.12", "127.0.0.11", "4711"),
    ]
    assert rules.count("drop") == 2


def test_only_root_may_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PartitionError, match="only root"), Partition(["127.0.0.11"], ["127.0.0.12"], 4711):
        pass


def test_says_so_where_there_is_no_nftables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(partition.shutil, "which", lambda *_, **__: None)
    with pytest.raises(PartitionError, match="not installed"), Partition(["127.0.0.11"], ["127.0.0.12"], 4711):
        pass


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'Error: not possible here' >&2", "not possible here"),
        ("cat >/dev/null", "have no effect"),
    ],
)
def test_says_so_where_nftables_does_not_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, why: str
) -> None:
    command = tmp_path / "nft"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(partition.shutil, "which", lambda *_, **__: str(command))
    monkeypatch.setattr(partition, "SETTLE_SECONDS", 0.5)
    with pytest.raises(PartitionError, match=why), Partition(["127.0.0.11"], ["127.0.0.12"], 4711):
        pass


# Children


def test_the_port_is_free_on_every_address() -> None:
    port = free_port(ADDRESSES)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((ADDRESSES[0], port))
    with pytest.raises(OSError, match="assign"):
        free_port(["192.0.2.1"])


def test_three_instances_come_and_go_and_leave_nothing_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    quick = Pace(interval=0.1, call=0.01, operation=0.02)
    with Cluster(quick, tmp_path) as cluster:
        at = time.monotonic()
        told: list[tuple[float, str, str]] = []

        def pumped(condition: Callable[[], bool]) -> None:
            def look() -> bool:
                told.extend(cluster.happenings())
                return condition()

            until(look, "the cluster is as expected")

        best, other = cluster.instances[:2]
        assert not parse(best.arguments, best.environment).flap_damping, "the address moves more often here"
        for instance in (best, other):
            instance.start()
        pumped(lambda: cluster.holders == {best.id})
        pumped(lambda: best.view.agrees(master=True, peers=1) and other.view.agrees(master=False, peers=1))
        pumped(lambda: bool(cluster.client.requests) and cluster.client.requests[-1].answer == best.name)
        formed = Act(Event("the cluster forms", at, best.id, DEADLINE, gapless=False), best)
        result = row(cluster, formed, time.monotonic())
        assert None not in (result.detection, result.attach_sent, result.moved)
        assert result.lost > 0  # nobody held at first
        best_processes = [best.web, best.daemon.process if best.daemon else None]
        best.kill()
        killed = time.monotonic()
        assert all(one is not None and one.returncode == -9 for one in best_processes)
        pumped(lambda: cluster.holders == {other.id})
        result = row(cluster, Act(Event("killed", killed, other.id, DEADLINE), other, best), time.monotonic())
        assert result.detection is not None
        assert result.attach_sent is not None
        assert result.moved is not None
        assert 0 < result.attach_sent < result.moved
        assert any(source == "zone" and "node-2" in text for _, source, text in told)
        assert [at for at, _, _ in told] != []
        other.stop_daemon()
        pumped(lambda: other.daemon is None)
        assert other.exit_code == 0
        assert other.state == "daemon stopped"
        assert best.state == "dead"
        assert cluster.let_go_at(other) is not None
        best.start_daemon()
        assert best.daemon is not None
        best.daemon.process.kill()
        with pytest.raises(InstanceError, match="node-1 ended unasked with exit code -9"):
            pumped(lambda: False)
        children = [one.process.pid for instance in cluster.instances if (one := instance.daemon)]
        children += [instance.web.pid for instance in cluster.instances if instance.web]
        assert children
    assert set(threading.enumerate()) == before
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.glob("*.notify"))


def test_help_and_bad_usage_end_as_usual(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--keep-logs" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--fast"])
    assert ended.value.code == 2
