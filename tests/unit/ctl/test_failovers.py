"""The failovers that journals tell of: of all nodes, and of each alone.

Real nodes, in virtual time, tell what happened to them.
"""

from __future__ import annotations

import functools
import math
import random
import re

import pytest

from exoip.core.calls import Kind
from exoip.ctl.failovers import Failover, failovers
from exoip.ctl.history import rebuild
from tests.simulation.api import Reply
from tests.simulation.world import instance_id
from tests.support.journals import EPOCH, NAMES, Journals


def told(journals: Journals, names: str, since: float) -> list[tuple[str, str, str]]:
    """(from, to, why) of the failovers since then, in the journals of these hosts, by names."""
    return [(short(*one.source), short(one.to), one.why) for one in found(journals, names) if one.at >= since]


def found(journals: Journals, names: str) -> list[Failover]:
    return failovers(rebuild(journals.of(names)))


def short(*ids: str) -> str:
    return "".join(NAMES[one].removeprefix("web-") for one in ids if one)


def events(journals: Journals, names: str) -> list[str]:
    return [entry["EXOIP_EVENT"] for entry in journals.of(names)]


def only(journals: Journals, names: str, since: float) -> Failover:
    (one,) = (one for one in found(journals, names) if one.at >= since)
    return one


@pytest.fixture
def journals() -> Journals:
    return Journals()


ALL = ("abc", "a", "b", "c", "ab", "bc", "ac")


@pytest.mark.parametrize("names", ALL)
def test_a_quiet_cluster_has_formed_and_no_more(journals: Journals, names: str) -> None:
    formed = told(journals, names, 0.0)
    if "a" in names:
        assert [(source, to) for source, to, _ in formed] == [("", "a")]
    else:
        assert formed == [], "who only saw a as the master from the beginning on saw no failover"


def test_a_death_as_each_node_logs_it(journals: Journals) -> None:
    died = journals.step(journals["a"].kill)
    for names in ("abc", "b", "c", "ab", "bc", "ac"):
        one = only(journals, names, died)
        assert (short(*one.source), short(one.to)) == ("a", "b"), names
        assert re.search(r"web-a \(192\.0\.2\.1\) is dead: not heard for 3\.\d\d s", one.why), names
        assert one.seen is (names in ("c", "ac"))
        assert (one.took is None) is one.seen, "who sees another become the master does not know when it held"
    assert told(journals, "a", died) == []
    one = only(journals, "abc", died)
    held = next(at for at, who in journals.moves if who == "b" and at > died)
    assert one.took is not None
    assert died - 1.0 <= one.at - one.took <= died + 0.001, "from the last heartbeat on, at most one interval before"
    assert one.at <= held, "it holds before the dead one is cleared"


@pytest.mark.parametrize("names", ["abc", "bc", "c"])
def test_a_destroyed_instance_was_taken_from_once(journals: Journals, names: str) -> None:
    journals.step(lambda: journals.world.destroy_instance(journals["a"]), 60)
    drained = journals.step(lambda: journals.aside("b", "operator", "drained by ann (uid 0)"), 60)
    assert [(source, to) for source, to, _ in told(journals, names, drained)] == [("b", "c")]


@pytest.mark.parametrize("away", [{"b": Kind.ATTACH}, {"b": "all", "c": "all"}])
def test_a_death_counts_from_the_last_heartbeat_also_if_the_next_node_cannot_attach_at_first(
    journals: Journals, away: dict[str, str]
) -> None:
    for name, call in away.items():
        journals[name].api.modes[call] = "fail"
    died = journals.step(journals["a"].kill, 15.0)
    for name in away:
        journals[name].api.heal()
    journals.step(lambda: None)
    held = next(at for at, who in journals.moves if at > died)
    for names in ("abc", "bc"):
        one = min((one for one in found(journals, names) if one.at >= died), key=lambda one: one.at)
        assert short(*one.source) == "a", names
        assert "web-a (192.0.2.1) is dead: not heard for 3." in one.why
        assert one.took is not None
        assert died - 1.0 <= one.at - one.took <= died + 0.001
        assert one.at <= held


def test_a_holder_that_was_not_heard_after_a_cut_did_not_die(journals: Journals) -> None:
    """It held on; the node that stood back takes the Elastic IP when its wait is over, and it then has it at once."""
    cut = journals.step(lambda: journals.world.split("a", "bc"), 300.0)
    back = [one for one in found(journals, "abc") if one.at >= cut and short(one.to) == "a"]
    assert back
    for one in back:
        assert "is dead" not in one.why
        assert one.took is not None and one.took < 5.0


def test_a_drain_and_back_as_each_node_logs_it(journals: Journals) -> None:
    drained = journals.step(lambda: journals.aside("a", "operator", "drained by ann (uid 0): new kernel"))
    back = journals.step(lambda: journals.aside("a", "operator", ""))
    for names in ALL:
        there, home = told(journals, names, drained)
        assert there[:2] == ("a", "b"), names
        assert home[:2] == ("b", "a"), names
        knows = "a" in names  # a's own journal says why
        assert ("drained by ann (uid 0): new kernel" in there[2]) is knows, names
        if not knows:
            assert "web-a (192.0.2.1) is now stepping aside" in there[2]
        if knows:
            assert home[2] == "no longer stepping aside"
    assert all(one.took is not None and one.took < 2.0 for one in found(journals, "abc") if one.at >= drained)
    assert [who for at, who in journals.moves if at >= drained] == ["b", "a"]
    assert back > drained


def moves(journals: Journals, names: str, since: float) -> list[str]:
    return [f"{source} -> {to}" for source, to, _ in told(journals, names, since)]


def test_moves_to_one_node_within_a_minute_all_show_if_another_lies_between(journals: Journals) -> None:
    died = journals.step(journals["a"].kill, 10.0)
    journals.step(lambda: journals.aside("b", "operator", "drained"), 10.0)
    journals.step(lambda: journals.aside("b", "operator", ""))
    for names in ("abc", "ab", "bc", "b", "c", "ac"):
        assert moves(journals, names, died) == ["a -> b", "b -> c", "c -> b"], names
    assert moves(journals, "a", died) == []


def since(journals: Journals, began: float, names: str) -> list[Failover]:
    """The failovers in what the journals of these hosts say from a time on."""
    return failovers(rebuild(entry for entry in journals.of(names) if float(entry["EXOIP_TIME"]) >= began))


@pytest.mark.parametrize("how", ["kill", "drain"])
def test_journals_that_begin_after_an_attach_name_who_held(journals: Journals, how: str) -> None:
    """Whichever is read; also if that of the old holder begins only when it is back."""
    if how == "kill":
        began = journals.step(journals["a"].kill)
        journals["a"].up = True
        back = journals.step(journals["a"].start)
    else:
        began = journals.step(lambda: journals.aside("a", "operator", "drained by ann (uid 0): new kernel"))
        back = journals.step(lambda: journals.aside("a", "operator", ""))
    for names in ALL:
        told = [(short(*one.source), short(one.to)) for one in since(journals, began, names)]
        assert told == ([("a", "b"), ("b", "a")] if (how, names) != ("kill", "a") else [("", "a")]), names
        assert not any(one.vacant for one in since(journals, began, names)), names
        if how == "drain" and "a" in names:
            assert "drained by ann (uid 0): new kernel" in since(journals, began, names)[0].why, names
    late = [
        one for one in journals.of("abc") if short(one["EXOIP_INSTANCE"]) != "a" or float(one["EXOIP_TIME"]) >= back
    ]
    assert [short(*one.source) for one in failovers(rebuild(late)) if one.at >= began] == ["a", "b"]


def test_what_a_successor_whose_journal_begins_later_took_over_the_old_holder_tells(journals: Journals) -> None:
    drained = journals.step(lambda: journals.aside("a", "operator", "drained"))
    later = journals.step(journals["b"].leave)
    told = [
        one for one in journals.of("abc") if short(one["EXOIP_INSTANCE"]) == "a" or float(one["EXOIP_TIME"]) >= later
    ]
    there, on = (one for one in failovers(rebuild(told)) if one.at >= drained)
    assert (short(*there.source), short(there.to), short(there.reporter)) == ("a", "b", "a")
    assert there.took is not None and 0.0 < there.took < 5.0
    assert (short(*on.source), short(on.to)) == ("b", "c")


def test_a_successor_whose_journal_begins_later_may_have_ceased_to_hold(journals: Journals) -> None:
    drained = journals.step(lambda: journals.aside("a", "operator", "drained"))
    back = journals.step(lambda: journals.aside("a", "operator", ""))
    journals.step(journals["c"].kill)
    journals.step(lambda: journals.world.zone.force(instance_id("a"), False, journals.world.now))
    late = [one for one in journals.of("b") if float(one["EXOIP_TIME"]) > back + 30.0]
    told = [one for one in failovers(rebuild([*journals.of("ac"), *late])) if one.at >= drained]
    assert late[0]["EXOIP_EVENT"] == "peer-dead"
    assert [(short(*one.source), short(one.to)) for one in told] == [("a", "b"), ("b", "a"), ("", "a")]
    assert told[-1].vacant


def test_who_was_a_backup_before_another_held_did_not_take_from_it(journals: Journals) -> None:
    """The journal of b begins after its attach, less than a minute after the first one of a."""
    for host in journals.world.hosts.values():
        host.api.operation = (3.0, 3.0)
    journals.step(lambda: journals.aside("a", "operator", "drained"), 3.5)
    back = journals.step(lambda: journals.aside("a", "operator", ""))
    late = [one for one in journals.of("b") if float(one["EXOIP_TIME"]) > back]
    told = failovers(rebuild([*journals.of("ac"), *late]))
    assert [(short(*one.source), short(one.to)) for one in told] == [("", "a"), ("b", "a")]


def test_nobody_held_before_only_if_the_journals_of_all_show_a_loss(journals: Journals) -> None:
    """That of another node may begin after it has held and been detached."""
    world = journals.world
    lost = journals.step(lambda: world.zone.detach(world.eip_id, journals["a"].id, world.now))
    later = journals.step(journals["b"].leave)
    for names in ALL:
        vacant = [one.vacant for one in found(journals, names) if one.at >= lost]
        assert vacant == [names == "abc"] * ("a" in names), names
    assert [one.vacant for one in found(journals, "abc")] == [False, True], "who held before the first start is unknown"
    late = [one for one in journals.of("b") if float(one["EXOIP_TIME"]) >= later]
    assert not any(one.vacant for one in failovers(rebuild([*journals.of("ac"), *late])))


def test_what_two_nodes_saw_shows_once(journals: Journals) -> None:
    died = journals.step(journals["a"].kill)
    late = [entry | {"EXOIP_TIME": str(float(entry["EXOIP_TIME"]) + 0.9)} for entry in journals.of("c")]
    twice = failovers(rebuild([*(entry | {"EXOIP_INSTANCE": instance_id("q")} for entry in late), *journals.of("c")]))
    assert [(short(*one.source), short(one.to), short(one.reporter)) for one in twice if one.at >= died] == [
        ("a", "b", "c")
    ]


def test_a_move_that_one_saw_early_and_another_made_late_shows_once(journals: Journals) -> None:
    """The attach of b was under way when a came back: c saw that before b could report either."""
    for host in journals.world.hosts.values():
        host.api.operation = (3.0, 3.0)
    gone = journals.step(journals["a"].crash, 3.5)
    journals.step(journals["a"].start)
    for names in ("abc", "ab", "bc", "b"):
        assert moves(journals, names, gone) == ["a -> b", "b -> a"], names


def test_a_holder_that_died_without_a_word_is_not_taken_for_one_of_today(journals: Journals) -> None:
    """Of b, which took over from it and from which c took over, there is no journal."""
    died = journals.step(journals["a"].kill)
    journals.step(lambda: journals.aside("b", "operator", "drained"))
    journals.step(lambda: journals.aside("b", "operator", ""))
    journals.step(journals["b"].kill)
    journals.step(journals["c"].leave)
    for names in ("abc", "ac", "c"):
        assert moves(journals, names, died) == ["a -> b", "b -> c", "c -> b", "b -> c", "c -> "], names


def test_a_node_that_stood_back_in_a_split_takes_from_the_one_that_held(journals: Journals) -> None:
    """Which it had not heard; the master that it heard, and whose journal is missing, did not hold."""
    began = journals.step(lambda: journals.world.split("c", "ab"), 20.0)
    journals.step(journals.world.split)
    assert [who for at, who in journals.moves if at >= began] == ["c", "a"]
    for names in ("abc", "ac"):
        assert moves(journals, names, began) == ["a -> c", "c -> a"], names


def test_a_successor_that_was_cleared_as_a_node_released_was_none() -> None:
    """a is paused, b and c take over, b clears a, and c, which read a before that, names it and releases."""
    journals = Journals(preempt_delay=math.inf)
    world = journals.world
    for host in world.hosts.values():
        host.api.latency, host.api.operation = (0.2, 0.2), (1.2, 1.2)
    journals.step(lambda: journals["a"].stall(5.0), 1.0)
    world.cut = {("b", "c"), ("c", "b")}
    world.advance(2.5)
    world.cut = set()
    world.advance(60.0)
    assert [short(found(journals, "abc")[-1].to)] == [*world.holders] == ["b"]


@pytest.mark.parametrize("starts_again", [False, True])
def test_one_that_died_while_it_released_held_no_more(journals: Journals, *, starts_again: bool) -> None:
    """Its journal ends before its detach is done. Later somebody detaches the other by hand."""
    for host in journals.world.hosts.values():
        host.api.operation = (2.0, 2.0)
    journals.step(lambda: journals.aside("a", "operator", "drained"), 30.0)
    journals.step(lambda: journals.aside("a", "operator", ""), 0.0)
    journals.world.advance_until(lambda: events(journals, "b")[-2:].count("letting-go") == 1, journals.world.now + 30.0)
    died = journals.step(journals["b"].kill, 30.0)
    assert journals.world.holders == {"a"}
    if starts_again:
        journals["b"].up = True
        journals.step(journals["b"].start, 30.0)
    journals.world.zone.force(instance_id("a"), False, journals.world.now)
    journals.world.advance(60.0)
    assert journals.world.holders == {"a"}
    assert "b" not in "".join(source + to for source, to, _ in told(journals, "abc", died + 10.0))


@pytest.mark.parametrize("cleared", [False, True])
def test_whom_a_node_named_held_no_more_if_cleared_or_started_again_as_its_journal_begins(
    journals: Journals, *, cleared: bool
) -> None:
    """The other one, which is then detached by hand, takes the Elastic IP back from nobody."""
    named, other = "ab" if cleared else "ba"

    def starts() -> None:
        journals[named].up = True
        journals[named].start()

    journals.step(journals["a"].kill)
    journals["a"].up = True
    journals.step(journals["a"].start)
    if not cleared:
        journals.step(lambda: journals.aside("a", "operator", "drained"))
        journals.step(lambda: journals.aside("a", "operator", ""))
    began = journals.step(journals[named].kill)
    if not cleared:
        journals.step(starts)
    gone = journals.step(lambda: journals.world.zone.force(instance_id(other), False, journals.world.now))
    if cleared:
        journals.step(starts)
    late = [one for one in journals.of(named) if float(one["EXOIP_TIME"]) > began]
    told = failovers(rebuild([*late, *journals.of(other), *journals.of("c")]))
    assert [(short(*one.source), short(one.to), short(one.reporter)) for one in told if one.at >= gone] == [
        ("", other, other), *[(other, named, named)] * cleared
    ]  # fmt: skip


@pytest.mark.parametrize("names", ["b", "abc"])
def test_whose_backup_a_node_became_during_its_attach_held_later(journals: Journals, names: str) -> None:
    """a dies, b attaches and is drained meanwhile, so c takes over."""
    for host in journals.world.hosts.values():
        host.api.operation = (2.0, 2.0)
    died = journals.step(journals["a"].kill, 0.0)
    journals.world.advance_until(lambda: "attaching" in events(journals, "b"), journals.world.now + 30.0)
    journals.step(lambda: journals.aside("b", "operator", "drained"))
    assert moves(journals, names, died) == ["a -> b", "b -> c"]


@pytest.mark.parametrize("later", [0.5, 3.0])
def test_whom_a_node_hears_first_after_a_cut_was_no_master(journals: Journals, later: float) -> None:
    began = journals.step(lambda: journals.world.split("a", "bc"), 20.0)
    journals.world.cut = {("b", "a")}
    journals.world.advance(later)
    journals.step(journals.world.split)
    assert moves(journals, "a", began) == ["b -> a"]
    assert moves(journals, "abc", began) == ["a -> b", "b -> a"]
    died = journals.step(journals["b"].kill)
    journals.step(journals["a"].kill)
    journals["b"].up = True
    journals.step(journals["b"].start)
    journals["a"].up = True
    journals.step(journals["a"].start)
    assert moves(journals, "c", died) == ["a -> c", "c -> b", "b -> a"], "these came back one after the other"


def test_a_failing_health_check_and_a_leave(journals: Journals) -> None:
    began = journals.step(lambda: journals.aside("a", "health check", "health check http fails: answered 503"))
    journals.step(lambda: journals.aside("a", "health check", ""))
    journals.step(journals["a"].leave)
    journals.step(journals["a"].start)
    for names in ("abc", "a"):
        whys = [why for _, _, why in told(journals, names, began)]
        assert "health check http fails: answered 503" in whys[0]
        assert "this node is stopping" in whys[2]
        assert [(source, to) for source, to, _ in told(journals, names, began)] == [("a", "b"), ("b", "a")] * 2


def test_the_last_one_leaves_to_nobody_and_comes_back_from_nobody(journals: Journals) -> None:
    for name in "bc":
        journals.step(journals[name].kill)
    left = journals.step(journals["a"].leave)
    back = journals.step(journals["a"].start)
    for names in ("abc", "a"):
        (source, to, why) = told(journals, names, left)[0]
        assert (source, to) == ("a", "")
        assert "this node is stopping" in why
        assert [(source, to) for source, to, _ in told(journals, names, back)] == [("", "a")]


@pytest.mark.parametrize("drained_before", [False, True])
def test_what_is_detached_by_hand_is_taken_again_from_nobody(journals: Journals, drained_before: bool) -> None:
    """Whoever was master before: the node itself, or with `drained_before` another one for a while."""
    world = journals.world
    if drained_before:
        journals.step(lambda: journals.aside("a", "operator", "drained"))
        journals.step(lambda: journals.aside("a", "operator", ""))
    began = journals.step(lambda: world.zone.detach(world.eip_id, journals["a"].id, world.now))
    for names in ("abc", "a"):
        one = only(journals, names, began)
        assert (one.source, short(one.to), one.reporter) == ((), "a", instance_id("a"))
        assert one.why.startswith(f"{instance_id('a')} no longer holds ")


def test_what_is_attached_by_hand_while_nobody_holds_comes_from_nobody(journals: Journals) -> None:
    world = journals.world
    for name in "abc":
        journals[name].api.modes[Kind.ATTACH] = "fail"
    journals.step(lambda: world.zone.detach(world.eip_id, journals["a"].id, world.now))
    began = journals.step(lambda: world.zone.attach(world.eip_id, journals["b"].id, world.now))
    one, *_ = (one for one in found(journals, "abc") if one.at >= began)
    assert (one.source, one.vacant, short(one.to), one.took) == ((), True, "b", None)


@pytest.mark.parametrize("names", ["abc", "c", "bc"])
def test_what_is_attached_by_hand_has_no_cause(journals: Journals, names: str) -> None:
    """Also the second time, and to a node that held before, however long ago."""
    world = journals.world
    for again in (False, False, True):
        if again:
            for why in ("drained", ""):
                journals.aside("b", "operator", why)
                journals.step(functools.partial(journals.aside, "a", "operator", why), 600.0)
        began = journals.step(lambda: world.zone.attach(world.eip_id, journals["c"].id, world.now))
        *there, back = (one for one in found(journals, names) if one.at >= began)
        assert there or "a" not in names
        for one in there:
            assert (short(*one.source), short(one.to), one.took) == ("a", "c", None)
            assert one.why.startswith(f"attached by somebody else: {instance_id('c')} holds ")
        assert (short(*back.source), short(back.to), back.took) == ("c", "a", 0.0 if "a" in names else None)
        assert back.why == f"{instance_id('a')} holds and is heard"


def test_an_attach_of_its_own_that_ends_late_is_not_by_hand(journals: Journals) -> None:
    for host in journals.world.hosts.values():
        host.api.operation = (8.0, 8.0)
    journals["b"].api.modes[Kind.POLL] = "fail"
    gone = journals.step(journals["a"].crash, 6.0)
    journals.step(journals["a"].start)
    assert "holds" in events(journals, "b")
    assert not any("somebody else" in one.why for one in found(journals, "b") if one.at >= gone)


def test_one_that_cannot_see_its_attach_done_holds_since_the_other_released(journals: Journals) -> None:
    """a dies and comes back, attaches, and learns only later that it holds; b has read it, and lets go."""
    journals["a"].api.modes |= {Kind.POLL: "fail", Kind.READ: "fail"}
    died = journals.step(journals["a"].crash, 5.0)
    back = journals.step(journals["a"].start, 8.0)
    assert journals.world.holders == {"a"}
    assert "holds" not in events(journals, "a")
    journals["a"].api.modes.clear()
    journals.world.advance(60.0)
    assert [(source, to) for source, to, _ in told(journals, "abc", died)] == [("a", "b"), ("b", "a")]
    held = next(at for at, who in journals.moves if who == "a" and at > back)
    assert -1.0 <= found(journals, "abc")[-1].at - held < 5.0, "b may still have held too"


@pytest.mark.parametrize(
    ("kind", "reply", "end"),
    [(Kind.ATTACH, Reply(takes=6.0, lands=0.2), "attached"), (Kind.POLL, "fail", "holds")],
)
def test_who_learns_late_that_its_attach_is_done_took_until_the_other_read_it(
    journals: Journals, kind: Kind, reply: Reply | str, end: str
) -> None:
    journals["b"].api.modes[kind] = reply
    drained = journals.step(lambda: journals.aside("a", "operator", "drained"))
    told = [one for one in events(journals, "b") if one in ("attaching", "attached", "holds")]
    assert (told[0], told[-1]) == ("attaching", end)
    one = only(journals, "abc", drained)
    assert (short(*one.source), short(one.to), one.why) == (
        "a",
        "b",
        "stepping aside if another node can serve: drained",
    )
    assert one.took is not None and 0.2 < one.took < 6.0
    assert one.at - one.took == pytest.approx(drained, abs=0.1)


def test_a_restart_within_the_dead_time_is_none(journals: Journals) -> None:
    began = journals.step(journals["a"].crash, 0.5)
    journals.step(journals["a"].start)
    for names in ALL:
        assert told(journals, names, began) == []


def test_who_takes_from_whom_in_a_long_life_is_what_the_zone_says(journals: Journals) -> None:
    """Deaths and returns of any node, again and again: the journals of all tell each sole holder in
    its turn.
    """
    began = EPOCH + journals.world.now
    for name in "abacbabca":
        journals.step(journals[name].kill, 30)
        journals[name].up = True
        journals.step(journals[name].start, 30)
    record = [(at, who) for at, who in journals.moves if at >= began]
    assert len(record) == 8
    several = [(one.at, short(one.to)) for one in found(journals, "abc") if one.at >= began]
    assert [who for _, who in several] == [who for _, who in record]
    for (told_at, _), (at, _) in zip(several, record, strict=True):
        assert -4.0 < told_at - at < 1.0, "the new holder holds before the old one is cleared"


def test_a_takeover_that_is_not_finished_ends_with_the_holder_that_is_left(journals: Journals) -> None:
    for host in journals.world.hosts.values():
        host.api.operation = (3.0, 3.0)
    gone = journals.step(journals["a"].crash, 3.5)
    journals.step(journals["a"].start)
    there, home = (one for one in found(journals, "abc") if one.at >= gone)
    assert (short(*there.source), short(there.to)) == ("a", "b")
    assert (short(*home.source), short(home.to), home.took) == ("b", "a", 0.0)
    assert [who for at, who in journals.moves if at >= gone] == [], "a never ceased to hold"


def test_what_was_over_before_does_not_explain_a_death(journals: Journals) -> None:
    journals.step(lambda: journals.aside("a", "operator", "drained"), 20)
    journals.step(lambda: journals.aside("a", "operator", ""), 20)
    died = journals.step(journals["a"].kill)
    one = only(journals, "abc", died)
    assert "web-a (192.0.2.1) is dead" in one.why
    assert one.took is not None and one.took < 5.0


def test_who_took_it_back_says_so_although_its_journal_lacks_the_loss(journals: Journals) -> None:
    journals.step(journals["a"].kill)
    journals["a"].up = True
    back = journals.step(journals["a"].start)
    assert [to for _, to, _ in told(journals, "a", back)] == ["a"]
    journals.step(journals["b"].kill)
    journals["b"].up = True
    journals.step(journals["b"].start)
    journals.step(journals["a"].kill)  # which detached b, and whose journal is not read
    assert [to for _, to, _ in told(journals, "bc", back)][-1] == "b"
    assert told(journals, "b", back)[-1][1] == "b"


def test_a_release_under_way_is_no_reason_to_take_it_back(journals: Journals) -> None:
    for host in journals.world.hosts.values():
        host.api.operation = (2.0, 2.0)
    drained = journals.step(lambda: journals.aside("a", "operator", "drained"), 0.0)
    assert journals.world.advance_until(lambda: "letting-go" in events(journals, "a"), journals.world.now + 60.0)
    journals.step(lambda: journals.aside("a", "operator", ""))
    there, home = told(journals, "abc", drained)
    assert (there[:2], home[:2]) == (("a", "b"), ("b", "a"))
    assert "detached" not in home[2]


@pytest.mark.parametrize("seed", range(48))
def test_whatever_happened_the_last_failover_names_the_holder(journals: Journals, seed: int) -> None:
    rng = random.Random(seed)
    for host in journals.world.hosts.values():
        host.api.operation = (rng.choice((0.3, 1.0, 3.0)),) * 2
    for _ in range(rng.randint(1, 4)):
        name, away = rng.choice("aab"), rng.choice((0.5, 3.5, 5.0, 20.0))
        host = journals[name]
        match rng.choice(("crash", "unread", "aside", "cut", "attach", "detach")):
            case "unread":
                unseen = rng.choice(((Kind.POLL,), (Kind.READ,), (Kind.POLL, Kind.READ)))
                host.api.modes |= dict.fromkeys(unseen, "fail")
                journals.step(host.crash, away)
                journals.step(host.start, 20.0)
                host.api.modes.clear()
            case "crash":
                journals.step(host.crash, away)
                host.start()
            case "aside":
                journals.step(functools.partial(journals.aside, name, "health check", "it fails"), away)
                journals.aside(name, "health check", "")
            case "cut":
                journals.step(functools.partial(journals.world.split, name, "abc".replace(name, "")), away)
                journals.world.cut.clear()
            case by_hand:
                journals.world.zone.force(host.id, by_hand == "attach", journals.world.now)
        journals.world.advance(rng.choice((5.0, 20.0, 200.0)))
    world = journals.world
    assert world.advance_until(lambda: len(world.zone.holders(world.now)) == 1, world.now + 600.0)
    world.advance(200.0)
    assert {found(journals, "abc")[-1].to} == set(world.zone.holders(world.now))
