"""A daemon's state as lines, from what nodes in virtual time report."""

from __future__ import annotations

import math
import re

import pytest

from exoip.config.parse import parse
from exoip.core.calls import Failure, Kind
from exoip.ctl import status
from exoip.ctl.terminal import WIDTH, colored, unstyled
from exoip.telemetry import status as report
from tests.simulation.world import EIP, instance_id
from tests.support.single_node import SingleNode, backup, master
from tests.unit.telemetry.test_status import STARTED, WORDS, mute, status_of


def shown(state: status.State) -> list[str]:
    """The lines, each with its continuations."""
    lines = list(status.lines("web", state, unstyled))
    assert [line for line in lines if len(line) > WIDTH] == []
    return "\n".join(lines).replace("\n" + " " * 12, "; ").split("\n")


def fact(state: status.State, title: str) -> str:
    """The only line with that title."""
    (found,) = (one for one in shown(state) if one.startswith(f"  {title} "))
    return found.removeprefix(f"  {title}").strip()


def healthy() -> SingleNode:
    bench = SingleNode(peers="az")
    bench.until(lambda: bench.view.holds)
    bench.beating.update(a=20, z=30)
    bench.until(lambda: all(peer.alive for peer in bench.view.peers) and not bench.view.in_doubt)
    bench.advance(20.0)
    return bench


def test_the_first_lines_are_the_level_and_its_reasons() -> None:
    assert shown(status_of(healthy()))[0] == f"web  {EIP}  MASTER  healthy"
    assert not any(one.startswith("  !") for one in shown(status_of(healthy())))
    assert [line for line in shown(status_of(master(peers="z"))) if not line.startswith("    ")][:3] == [
        f"web  {EIP}  MASTER  degraded",
        "  ! web-z was never heard: check that exoip runs there, and that both nodes",
        "  role      master for 1 min, since 2023-11-14 22:13:23; no peer is alive",
    ]


def test_the_role_with_its_time_and_reason() -> None:
    assert re.match(r"master for \d+ s, since 2023-11-14 \d\d:\d\d:\d\d; \w", fact(status_of(healthy()), "role"))
    assert "web-a is at priority 5" in fact(status_of(backup()), "role")


def test_the_holder_by_the_last_reads() -> None:
    assert re.fullmatch(r"this node \(read [\d.]+ s ago\)", fact(status_of(healthy()), "holder"))
    unknown = "web-a (host-a) is the master; this node has not checked whether it holds"
    without = backup()
    without.holding.discard("a")
    without.until(lambda: without.view.peers[0].holds is False)
    lacks = r"web-a \(host-a\) is the master; it does not hold \(read [\d.]+ s ago\)"
    assert re.fullmatch(lacks, fact(status_of(without), "holder"))
    assert re.fullmatch(r"web-a \(host-a\) \(read [\d.]+ s ago\)", fact(status_of(backup()), "holder"))
    bench = SingleNode()
    bench.beating["a"] = 5
    bench.holding.add("a")
    bench.advance(2)
    assert re.fullmatch(r"web-a \(host-a\) \(read [\d.]+ s ago\)", fact(status_of(bench), "holder"))
    bench = SingleNode()
    bench.failing[Kind.ATTACH] = Failure.FORBIDDEN
    bench.advance(5)
    state = status_of(bench)
    assert {peer["holds"] for peer in state["peers"]} == {None}
    assert re.fullmatch(r"not known; this node does not hold it \(read [\d.]+ s ago\)", fact(state, "holder"))
    for peer in state["peers"]:
        peer["holds"] = False
    assert re.fullmatch(r"no node \(read [\d.]+ s ago\)", fact(state, "holder"))
    bench = SingleNode()
    bench.failing[Kind.ATTACH] = bench.failing[Kind.READ] = Failure.UNAVAILABLE
    bench.advance(5)
    assert fact(status_of(bench), "holder") == "this node has to read whether it holds"
    bench = SingleNode()
    bench.beating["a"] = 5
    bench.failing[Kind.READ] = Failure.UNREACHABLE
    bench.advance(5)
    assert fact(status_of(bench), "holder").replace("; holds", " holds") == unknown


def test_several_holders() -> None:
    state = status_of(backup())
    state["holds"], state["in_doubt"], state["outsiders"] = True, True, [instance_id("q")]
    state["peers"][0] |= {"holds": False, "presumed": True}
    holder = fact(state, "holder").replace("; ", " ")
    assert re.match(r"this node \(read .* ago\), to be read again and web-a \(host-a\) \(was the master", holder)
    assert holder.endswith(f"{instance_id('q')}, which is not a member")


def test_what_is_advertised_instead_and_why() -> None:
    assert fact(status_of(healthy()), "priority") == "10"
    bench = healthy()
    bench.node.set_unfit("operator", "drained by ann", bench.now)
    bench.node.set_unfit("failover", "failover by bob", bench.now, bench.now + 90)
    bench.node.set_unfit("health check http", "health check http fails", bench.now)
    assert fact(status_of(bench), "priority") == "10, now stepping aside while holding"
    assert [one.split(None, 1)[1] for one in shown(status_of(bench)) if one.startswith("  unfit")] == [
        "drained by ann, until `exoipctl undrain`",
        "failover by bob, for another 1 min 30 s",
        "health check http fails",
    ]


def test_failing_calls_and_their_next_attempt() -> None:
    bench = SingleNode()
    bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
    bench.advance(60)
    endpoint = r"http://127\.0\.0\.1/v2, last good answer [\d.]+ s ago"
    failing = rf"{endpoint}; attach has failed for 5\d s \(unavailable.*\); attach again in [\d.]+ s"
    assert re.fullmatch(failing, fact(status_of(bench), "API"))
    bench.failing.clear()
    bench.advance(60)
    assert re.fullmatch(endpoint, fact(status_of(bench), "API"))
    assert fact(status_of(SingleNode()), "API").endswith(", no good answer yet")


def test_a_stand_back_and_damping() -> None:
    bench = healthy()
    bench.beating.clear()
    bench.advance(4.0)
    bench.holding.clear()
    bench.holding.add("z")
    bench.until(lambda: bench.view.yielded)
    assert re.search(r"holds the Elastic IP; for another \S+ (s|min), or until", fact(status_of(bench), "waiting"))
    state = status_of(healthy())
    state["flapping"] = {"changes": 7, "delay": 120.0, "until": state["at"] + 500}
    assert fact(state, "damping") == "a better node waits 2 min; ends in 8 min 20 s unless the role changes"


def test_a_node_that_cannot_send_waits_for_no_time() -> None:
    state = status_of(mute())
    assert fact(state, "mute") == "no heartbeat of this node can be sent: Operation not permitted"
    assert not any(one.startswith("  waiting") for one in shown(state))


def test_each_health_check() -> None:
    first, second = (
        one.split("check ", 1)[1].strip() for one in shown(status_of(healthy())) if one.startswith("  check ")
    )
    assert re.fullmatch(r"tcp 127.0.0.1:443 passing for \d+ s", first)
    assert re.fullmatch(r"command failing for \d+ s: exit status 1: nginx is not running", second)


def test_dropped_datagrams_and_the_peer_that_sends_them() -> None:
    bench = healthy()
    del bench.beating["z"]
    bench.advance(5.0)
    bench.node.admission.denied[instance_id("z")] = "signature", bench.now
    for _ in range(3):
        bench.node.drop("192.0.2.1", "short", bench.now)
    assert "web-z (host-z): dropped (signature), " in shown(status_of(bench))[-1]
    assert fact(status_of(bench), "dropped") == "datagrams by cause: 3 short"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            (),
            "no file; heartbeats at :12345 every 1 s, dead after 3 s; group web, not signed, preemption at once",
        ),
        (("-t", "0.5"), "every 0.5 s, dead after 1.5 s; group web, not signed"),
        (("--preempt-delay", "9"), "preemption after 9 s"),
        (("--no-preempt",), "no preemption"),
        (("--auth-key", "k" * 16, "--auth-mode", "accept"), ", signed (accept), "),
    ],
)
def test_the_configuration(words: tuple[str, ...], text: str) -> None:
    assert text in fact(status_of(healthy(), *words), "config")


def test_each_peer() -> None:
    bench = healthy()
    del bench.beating["z"]
    bench.advance(5.0)
    first, second = (one for one in shown(status_of(bench)) if one.startswith("  peer "))
    rest = r"heard [\d.]+ s ago; does not hold \(read .* ago\)"
    assert re.fullmatch(rf"  peer      web-a \(host-a\): alive, at priority 20, {rest}", first)
    assert re.fullmatch(rf"  peer      web-z \(host-z\): dead, at priority 30, {rest}", second)
    assert shown(status_of(SingleNode()))[-1].endswith("dead, never heard; unknown whether it holds (not yet read)")


def test_a_daemon_that_starts_has_no_facts() -> None:
    state = report.describe_starting(parse([*WORDS], {}), "waiting for the API: 503", STARTED, STARTED + 9)
    first, second, *rest = shown(state)
    assert first == f"web  {EIP}  STARTING  critical"
    assert second.startswith("  ! ")
    assert [one.split()[0] for one in rest] == ["config"]


def test_colors_do_not_change_the_words() -> None:
    for bench in (healthy(), backup(), SingleNode(preempt_delay=math.inf)):
        styled = list(status.lines("web", status_of(bench), colored))
        assert [re.sub(r"\x1b\[\d+m", "", one) for one in styled] == list(
            status.lines("web", status_of(bench), unstyled)
        )
        assert "\x1b[" in styled[0]


def test_names_and_reasons_cannot_steer_the_terminal() -> None:
    state = status_of(backup())
    state["peers"][0]["name"] = "\x1b[2Jevil"
    state["reason"] = "a\nb\x1b]0;title\x07"
    state["health"]["reasons"] = ["\x1b[31m"]
    for line in status.lines("we\x1bb", state, unstyled):
        assert line.isprintable(), repr(line)
