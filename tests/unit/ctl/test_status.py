"""A daemon's state as lines, from what nodes in virtual time tell."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from exoip.config.parse import parse
from exoip.core.calls import Failure, Kind
from exoip.ctl import status
from exoip.ctl.terminal import Paint
from exoip.telemetry import status as report
from tests.simulation.world import EIP, instance_id
from tests.support.virtual import Bench, backup, master
from tests.unit.telemetry.test_status import CHECKS, EPOCH, MEMBERS, NAMES, STARTED, TOPOLOGY, WORDS


def label(wanted: str) -> str:
    return NAMES.get(wanted, wanted)


def told(bench: Bench, *words: str) -> dict[str, Any]:
    facts = report.StatusInput(parse([*WORDS, *words], {}), TOPOLOGY, CHECKS)
    return report.describe_running(bench.view, facts, label, STARTED, lambda at: EPOCH + at)


def lines(bench: Bench, *words: str) -> list[str]:
    return list(status.lines("web", told(bench, *words), Paint(False)))


def line(bench: Bench, title: str, *words: str) -> str:
    """The only line with that title."""
    (found,) = (one for one in lines(bench, *words) if one.startswith(f"  {title} "))
    return found.removeprefix(f"  {title}").strip()


def healthy() -> Bench:
    bench = Bench(peers="az")
    bench.until(lambda: bench.view.holds)
    bench.beating.update(a=20, z=30)
    bench.until(lambda: all(peer.alive for peer in bench.view.peers) and not bench.view.in_doubt)
    bench.advance(20.0)
    return bench


def test_the_first_line_says_it_all() -> None:
    assert lines(healthy())[0] == f"web  {EIP}  MASTER  healthy"
    assert not any(one.startswith("  !") for one in lines(healthy()))
    assert lines(master())[:3] == [
        f"web  {EIP}  MASTER  degraded",
        "  ! web-a is not heard",
        "  ! web-z is not heard",
    ]


def test_the_role_since_when_and_why() -> None:
    assert re.match(r"master for \d+ s, since 2023-11-14 \d\d:\d\d:\d\d: ", line(healthy(), "role"))
    assert "web-a is at priority 5" in line(backup(), "role")


def test_who_holds_as_last_read_and_when() -> None:
    assert re.fullmatch(r"this node \(read [\d.]+ s ago\)", line(healthy(), "holder"))
    assert re.fullmatch(r"web-a \(host-a\) \(read [\d.minsec ]+ ago\)", line(backup(), "holder"))


def test_nobody_holds() -> None:
    bench = Bench()
    bench.failing[Kind.ATTACH] = Failure.FORBIDDEN
    bench.advance(5)
    assert re.fullmatch(r"nobody, as far as was read \(read [\d.]+ s ago\)", line(bench, "holder"))


def test_a_backup_that_did_not_read_it_says_so() -> None:
    bench = Bench()
    bench.beating["a"] = 5
    bench.failing[Kind.READ] = Failure.UNREACHABLE
    bench.advance(5)
    assert line(bench, "holder") == "not read from here; web-a (host-a) is the master and should"


def test_two_hold_one_only_presumed_and_a_stranger() -> None:
    data = told(backup())
    data["holds"], data["in_doubt"], data["outsiders"] = True, True, [instance_id("q")]
    data["peers"][0] |= {"holds": False, "presumed": True}
    (holder,) = (one for one in status.lines("web", data, Paint(False)) if one.startswith("  holder"))
    assert re.search(r"this node \(read .* ago\), to be read again and web-a \(host-a\) \(it was the master", holder)
    assert holder.endswith(f"{instance_id('q')}, which is no member")


def test_what_is_advertised_instead() -> None:
    assert line(healthy(), "priority") == "10"
    bench = healthy()
    bench.node.set_unfit("operator", "drained by ann", bench.now)
    bench.node.set_unfit("failover", "failover by bob", bench.now, bench.now + 90)
    assert line(bench, "priority") == "10, advertises 253 (aside, holding)"
    found = [one for one in lines(bench) if one.startswith("  aside")]
    assert [one.split("aside", 1)[1].strip() for one in found] == [
        "drained by ann, until it is taken back",
        "failover by bob, for another 1 min 30 s",
    ]


def test_what_fails_and_when_it_is_tried_again() -> None:
    bench = Bench()
    bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
    bench.advance(60)
    assert re.match(r"attach fails for 5\d s \(unavailable: .*\); answered [\d.]+ s ago; http://", line(bench, "API"))
    assert any(re.fullmatch(r" +attach again in [\d.]+ s", one) for one in lines(bench))
    bench.failing.clear()
    bench.advance(60)
    assert re.fullmatch(r"answered [\d.]+ s ago; http://127\.0\.0\.1/v2", line(bench, "API"))
    assert line(Bench(), "API").startswith("no good answer yet; ")


def test_a_stand_back_and_damping() -> None:
    bench = healthy()
    bench.beating.clear()
    bench.advance(4.0)
    bench.holding.clear()
    bench.holding.add("z")
    bench.until(lambda: bench.view.yielded)
    assert re.match(r"back for another \S+ (s|min)", line(bench, "standing"))
    data = told(healthy())
    data["flapping"] = {"changes": 7, "delay": 120.0, "until": data["at"] + 500}
    (found,) = (one for one in status.lines("web", data, Paint(False)) if "damping" in one)
    assert found.endswith("a better node waits 2 min; this ends in 8 min 20 s without another change")


def test_each_health_check() -> None:
    first, second = (one.split("check ", 1)[1].strip() for one in lines(healthy()) if one.startswith("  check "))
    assert re.fullmatch(r"tcp 127.0.0.1:443 passing for \d+ s", first)
    assert re.fullmatch(r"command failing for \d+ s: exit status 1: nginx is not running", second)


def test_a_peer_that_is_refused() -> None:
    bench = healthy()
    bench.node.admission.denied[instance_id("z")] = "signature"
    del bench.beating["z"]
    bench.advance(5.0)
    assert "(signature)" in lines(bench)[1]
    assert "  refused (signature)  " in lines(bench)[-1]


def test_what_was_refused() -> None:
    bench = healthy()
    for _ in range(3):
        bench.node.drop("192.0.2.1", "short", bench.now)
    assert line(bench, "refused") == "3 short (datagrams, by cause)"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "no file; heartbeats at :12345 every 1 s, dead after 3 s; group web; not signed; preemption at once"),
        (
            ("--preempt-delay", "9", "-t", "0.5"),
            "every 0.5 s, dead after 1.5 s; group web; not signed; preemption after 9 s",
        ),
        (("--no-preempt",), "no preemption"),
        (("--auth-key", "k" * 16, "--auth-mode", "accept"), "; signed, accept; "),
    ],
)
def test_what_is_configured(words: tuple[str, ...], text: str) -> None:
    assert text in line(healthy(), "config", *words)


def test_each_peer_in_columns() -> None:
    bench = healthy()
    del bench.beating["z"]
    bench.advance(5.0)
    first, second = (one for one in lines(bench) if one.startswith("  peer "))
    assert re.match(r"  peer      web-a  host-a  alive  priority 20  heard [\d.]+ s ago +does not hold \(read", first)
    assert re.match(r"  peer      web-z  host-z  dead   priority 30  heard [\d.]+ s ago +does not hold", second)
    assert first.index("does not hold") == second.index("does not hold")
    assert "never heard" in lines(Bench())[-1]
    assert "not read" in lines(Bench())[-1]


def test_one_that_starts_has_little_to_tell() -> None:
    data = report.describe_starting(parse([*WORDS], {}), "waiting for the API: 503", STARTED, STARTED + 9)
    first, second, *rest = status.lines("web", data, Paint(False))
    assert first == f"web  {EIP}  STARTING  critical"
    assert second == "  ! this node does not take part yet: waiting for the API: 503"
    assert [one.split()[0] for one in rest] == ["config"]


def test_with_colours_the_words_are_the_same() -> None:
    for bench in (healthy(), backup(), Bench(preempt_delay=math.inf)):
        coloured = list(status.lines("web", told(bench), Paint(True)))
        assert [re.sub(r"\x1b\[\d+m", "", one) for one in coloured] == lines(bench)
        assert "\x1b[" in coloured[0]


def test_names_and_reasons_can_not_steer_the_terminal() -> None:
    data = told(backup())
    data["peers"][0]["name"] = "\x1b[2Jevil"
    data["reason"] = "a\nb\x1b]0;title\x07"
    data["health"]["reasons"] = ["\x1b[31m"]
    assert MEMBERS
    for one in status.lines("we\x1bb", data, Paint(False)):
        assert one.isprintable(), repr(one)
