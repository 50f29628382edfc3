"""Test the mutations rule by rule: attach, clear, release, leave; operations; failures. One node in
virtual time.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from exoip.core.backoff import TRIES
from exoip.core.calls import Failure, Kind, Lane
from exoip.core.events import EventName
from exoip.core.mutations import DOUBT_TIME, JOB_TIME, OWN_STATE_MAX_AGE
from exoip.core.observed import BOTH_HOLD_TIME, NEWCOMER_TIME, TURN_LASTS, TURNS
from exoip.core.peers import HOLDING_UNFIT, LEAVING, UNFIT, Role
from tests.simulation.world import instance_id
from tests.support.single_node import DEAD, SingleNode, backup, master

LATENCY = 0.1  # of the bench


def failing(failure: Failure, kind: Kind = Kind.ATTACH, **options) -> SingleNode:
    bench = SingleNode(**options)
    bench.failing[kind] = failure
    return bench


def left_alone() -> SingleNode:
    """A backup whose master has just fallen silent."""
    bench = backup()
    del bench.beating["a"]
    return bench


def appears(bench: SingleNode, name: str, priority: int) -> None:
    """Let a peer be heard now, and every interval from now on."""
    bench.beating[name] = priority
    bench.heard(name, priority)


def turn(rival: str, after: float) -> float:
    """Return when m may begin to clear a rival, in its turn, after that time."""
    into = (after - (0.0 if rival > "m" else TURNS / 2)) % TURNS
    return after if into < TURN_LASTS else after - into + TURNS


class TestAttach:
    def test_at_once_though_a_peer_was_just_heard_and_no_read_ends(self):
        bench = backup(peers="abz")
        bench.manual.add(Kind.READ)
        del bench.beating["a"]
        bench.advance(2.0)
        bench.heard("b", 50)
        bench.until(lambda: bench.said(EventName.PEER_DEAD))
        assert bench.view.in_doubt
        assert bench.asked(Kind.ATTACH) == [bench.said(EventName.PEER_DEAD)[0].at]

    def test_the_node_says_so_until_it_is_done_also_as_a_backup(self):
        bench = SingleNode()
        bench.operation = 5.0
        bench.until(lambda: bench.asked(Kind.ATTACH))
        assert (bench.role, bench.view.holds, bench.view.attaching) == (Role.MASTER, False, True)
        bench.heard("a", 1)
        assert (bench.role, bench.view.holds, bench.view.attaching) == (Role.BACKUP, False, True)
        bench.until(lambda: bench.view.holds)
        assert not bench.view.attaching

    def test_nothing_is_read_of_this_node_while_its_next_attach_hangs(self):
        bench = SingleNode()
        bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
        bench.until(lambda: bench.asked(Kind.ATTACH))
        bench.advance(0.3)
        bench.manual.add(Kind.ATTACH)
        bench.until(lambda: Lane.MUTATIONS in bench.open)
        since = bench.now
        bench.advance(9.0)
        assert len(bench.asked(Kind.READ, "m", since)) < 9

    def test_at_the_very_end_of_listening(self):
        bench = SingleNode()
        bench.advance(DEAD)
        assert bench.asked(Kind.ATTACH) == [DEAD]
        assert bench.moves() == [("attach", "m")]

    @pytest.mark.parametrize("priority", [LEAVING, UNFIT, HOLDING_UNFIT, 11])
    def test_at_once_when_the_master_leaves_or_gets_worse(self, priority):
        bench = backup()
        appears(bench, "a", priority)
        bench.pump()
        assert bench.asked(Kind.ATTACH) == [bench.now]

    def test_it_is_not_repeated_while_under_way(self):
        bench = SingleNode()
        bench.manual.add(Kind.ATTACH)
        bench.advance(DEAD + 60)
        assert bench.moves() == [("attach", "m")]

    def test_a_holder_that_restarts_attaches_nothing(self):
        bench = SingleNode()
        bench.holding.add("m")
        bench.advance(DEAD + 100)
        assert bench.moves() == []
        assert bench.role is Role.MASTER
        assert bench.view.holds

    def test_a_master_in_doubt_that_last_held_reads_itself_first(self):
        bench = master()
        bench.now = math.ceil(bench.now) + 20.0  # a stall
        since = bench.now
        bench.holding.clear()
        bench.advance(DEAD + 2)
        assert bench.asked(Kind.READ, "m", since)[0] < bench.asked(Kind.ATTACH, since=since)[0]
        assert len(bench.said(EventName.LOST)) == 1

    def test_and_attaches_again_if_that_read_does_not_end(self):
        bench = master()
        bench.manual.add(Kind.READ)
        bench.heard("z", 20)
        since = bench.now
        bench.beating["z"] = 20
        bench.advance(DOUBT_TIME - 0.01)
        assert bench.moves(since) == []
        bench.advance(0.02)
        assert bench.moves(since) == [("attach", "m")]
        bench.advance(1)
        assert not bench.view.in_doubt

    def test_one_that_does_not_come_to_hold_in_time_steps_aside_for_a_fit_peer(self):
        bench = SingleNode(peers="z")
        bench.operation = math.inf
        bench.failing[Kind.READ] = Failure.TIMEOUT
        bench.beating["z"] = 20
        bench.advance(DEAD + JOB_TIME - 0.01)
        assert not bench.view.unfit
        bench.advance(0.02)
        assert bench.said(EventName.UNFIT)[0].details["cause"] == "attach"
        assert bench.role is Role.BACKUP

    @pytest.mark.parametrize("peer", [None, UNFIT])
    def test_without_a_fit_peer_it_goes_on(self, peer):
        """If it hears nobody, it steps aside all the same: somebody may hear it."""
        bench = SingleNode()
        bench.operation = math.inf
        bench.failing[Kind.READ] = Failure.TIMEOUT
        bench.beating.update({"z": peer} if peer else {})
        bench.advance(125)
        assert bench.role is Role.MASTER
        assert bool(bench.said(EventName.UNFIT)) == (peer is None)  # it may hold
        assert len(bench.asked(Kind.ATTACH)) > 5

    def test_it_steps_aside_for_an_unfit_peer_if_it_knows_that_it_does_not_hold(self):
        bench = SingleNode()
        bench.operation = math.inf
        bench.beating["z"] = HOLDING_UNFIT
        bench.advance(DEAD + JOB_TIME + 0.02)
        assert (bench.role, bench.view.master) == (Role.BACKUP, instance_id("z"))

    def test_a_long_retry_after_counts_as_a_time_out_and_is_cut_to_5_s(self):
        bench = failing(Failure.UNAVAILABLE)
        bench.retry_after = 300.0
        bench.beating["z"] = 20
        bench.until(lambda: bench.view.unfit)
        assert len(bench.asked(Kind.ATTACH)) == 1
        bench.beating.clear()
        bench.advance(60)
        assert len(bench.asked(Kind.ATTACH)) > 8

    def test_a_backup_does_only_if_two_rounds_show_that_nobody_holds(self):
        bench = backup(peers="az")
        bench.holding = {"z"}
        bench.advance(300)
        assert bench.moves() == []
        bench.holding.clear()
        since = bench.now
        bench.until(lambda: bench.asked(Kind.ATTACH))
        looks = [at for at in bench.asked(Kind.READ, "z", since) if at < bench.now]
        assert looks[-1] - looks[0] >= JOB_TIME
        bench.holding.add("a")
        bench.until(lambda: bench.role is Role.BACKUP)
        bench.until(lambda: bench.holding == {"a"})


class TestOperations:
    def pending(self, seconds: float = math.inf) -> SingleNode:
        bench = SingleNode()
        bench.operation = seconds
        return bench

    def test_polled_every_quarter_of_a_second(self):
        bench = self.pending(9.0)
        bench.latency = 0.0
        bench.advance(DEAD + 9.3)
        assert bench.asked(Kind.POLL) == pytest.approx([DEAD + 0.25 * look for look in range(1, 37)])
        assert len(bench.said(EventName.ATTACHED)) == 1
        assert bench.view.holds

    def test_not_seen_done_after_ten_seconds_is_a_time_out(self):
        bench = self.pending()
        bench.advance(DEAD + 10 - 0.01)
        assert bench.said(EventName.FAILED) == []
        bench.advance(1.0)
        (failed,) = bench.said(EventName.FAILED)
        assert failed.details["failure"] is Failure.TIMEOUT
        assert DEAD + 10 <= failed.at <= DEAD + 10 + LATENCY

    def test_it_then_reads_itself_before_it_believes_anything(self):
        bench = self.pending(10.5)
        bench.advance(DEAD + 30)
        assert bench.view.holds
        assert len(bench.said(EventName.HOLDS)) == 1
        assert bench.said(EventName.ATTACHED) == []

    def test_seen_done_later_it_is_read_back_before_a_clear(self):
        bench = left_alone()
        bench.operation, bench.latency = 5.0, 0.3
        bench.until(lambda: bench.asked(Kind.DETACH))
        (attached,) = bench.said(EventName.ATTACHED)
        assert bench.asked(Kind.READ, "m", since=attached.at)[0] == attached.at
        assert bench.asked(Kind.DETACH) == [pytest.approx(attached.at + bench.latency)]

    def test_one_that_did_not_last_is_taken_again(self):
        """Seen done late, but somebody cleared it meanwhile."""
        bench = self.pending(6.0)
        bench.until(lambda: "m" in bench.holding)
        bench.holding.discard("m")
        bench.advance(5)
        assert len(bench.said(EventName.LOST)) == 1
        assert bench.moves() == [("attach", "m")] * 2

    @pytest.mark.parametrize("failure", [Failure.UNAVAILABLE, Failure.UNREACHABLE, Failure.TIMEOUT, Failure.FORBIDDEN])
    def test_a_look_that_fails_is_no_failure_of_the_operation(self, failure):
        bench = self.pending(1.0)
        bench.failing[Kind.POLL] = failure
        bench.advance(DEAD + 1.5)
        bench.failing.clear()
        bench.advance(5)
        assert bench.said(EventName.FAILED) == []
        assert len(bench.said(EventName.ATTACHED)) == 1
        assert bench.moves() == [("attach", "m")]

    def test_a_look_waits_no_longer_than_3_s_whatever_the_api_asks(self):
        bench = self.pending(1.0)
        bench.failing[Kind.POLL], bench.retry_after = Failure.UNAVAILABLE, 300.0
        bench.advance(DEAD + 1)
        bench.failing.clear()
        bench.advance(4)
        assert len(bench.said(EventName.ATTACHED)) == 1

    def test_the_last_look_is_at_the_deadline_whatever_the_api_asks(self):
        bench = self.pending(9.6)
        bench.latency = 0.0
        bench.failing[Kind.POLL], bench.retry_after = Failure.UNAVAILABLE, 300.0
        bench.advance(DEAD + 9.5)
        bench.failing.clear()
        bench.advance(1)
        assert bench.asked(Kind.POLL) == pytest.approx([DEAD + at for at in (0.25, 3.25, 6.25, 9.25, 10.0)])
        assert len(bench.said(EventName.ATTACHED)) == 1

    @pytest.mark.parametrize("failure", [Failure.OPERATION, Failure.NOT_SO])
    def test_one_that_fails_is_tried_again(self, failure):
        bench = self.pending()
        bench.failing[Kind.POLL] = failure
        bench.advance(DEAD + 0.5)
        (failed,) = bench.said(EventName.FAILED)
        assert (failed.details["call"], failed.details["failure"]) == (Kind.ATTACH, failure)
        bench.failing.clear()
        bench.operation = 0.0
        bench.advance(1.5)
        assert bench.moves() == [("attach", "m")] * 2
        assert bench.asked(Kind.ATTACH)[1] == pytest.approx(failed.at + failed.details["again"])
        assert bench.view.holds

    def test_nothing_else_moves_meanwhile(self):
        bench = self.pending(4.0)
        bench.advance(DEAD)
        bench.holding.add("z")
        bench.advance(4.0)
        assert bench.moves() == [("attach", "m")]


class TestFailures:
    def test_backoff_doubles_from_half_a_second_to_five_with_jitter_for_an_api_that_is_away(self):
        bench = failing(Failure.UNAVAILABLE)
        bench.latency = 0.0
        bench.advance(300)
        tries = bench.asked(Kind.ATTACH)
        waits = [later - earlier for earlier, later in pairwise(tries)]
        for wait, least in zip(waits, [0.5, 1, 2, *[4] * len(waits)], strict=False):
            assert least - 1e-9 <= wait <= least * 1.25 + 1e-9
        assert len(waits) > 8
        assert len({round(wait, 3) for wait in waits[6:]}) > 1, "no jitter"

    @pytest.mark.parametrize(
        ("failure", "tries"),
        [
            (Failure.UNAVAILABLE, 3),
            (Failure.UNREACHABLE, 3),
            (Failure.OPERATION, 3),
            (Failure.INVALID, 3),
            (Failure.NOT_SO, 3),
            (Failure.TIMEOUT, 1),
            (Failure.FORBIDDEN, 1),
        ],
    )
    def test_three_failed_tries_make_unfit_and_a_time_out_or_refusal_counts_as_three(self, failure, tries):
        bench = failing(failure)
        bench.until(lambda: bench.view.unfit)
        assert len(bench.asked(Kind.ATTACH)) == tries
        assert len(bench.said(EventName.UNFIT)) == 1
        bench.advance(0.05)
        assert bench.beats[-1][1] >= HOLDING_UNFIT

    def test_an_unfit_master_goes_on_trying(self):
        bench = failing(Failure.UNAVAILABLE)
        bench.until(lambda: bench.view.unfit)
        before = len(bench.asked(Kind.ATTACH))
        bench.advance(100)
        assert len(bench.asked(Kind.ATTACH)) > before
        bench.failing.clear()
        bench.until(lambda: bench.view.holds and not bench.view.unfit)
        assert bench.role is Role.MASTER

    def test_a_new_decision_begins_with_a_short_backoff(self):
        bench = failing(Failure.UNAVAILABLE)
        bench.advance(60)
        bench.beating["z"] = 5
        bench.advance(2)
        assert bench.role is Role.BACKUP
        bench.failing.clear()
        since = bench.now
        appears(bench, "z", LEAVING)
        bench.pump()
        assert bench.asked(Kind.ATTACH, since=since) == [since]

    def test_an_attach_that_succeeds_makes_the_backoff_short_again(self):
        bench = failing(Failure.UNAVAILABLE)
        bench.advance(30)
        bench.failing.clear()
        bench.until(lambda: bench.view.holds)
        bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
        bench.advance(70)  # it lasted
        bench.holding.clear()
        bench.until(lambda: bench.said(EventName.LOST), 60)
        bench.advance(2)
        (again,) = [
            e.details["again"] for e in bench.said(EventName.FAILED) if e.at > bench.said(EventName.LOST)[0].at
        ][:1]
        assert again <= 0.6

    def test_an_attach_that_somebody_undoes_each_time_is_not_repeated_at_once_for_ever(self):
        bench = master()
        began = bench.now

        def undo() -> None:
            bench.holding.discard("m")
            bench.at(bench.now + 0.05, undo)

        undo()
        bench.advance(600)
        assert 10 < len(bench.asked(Kind.ATTACH, since=began)) < 40

    @pytest.mark.parametrize("failure", [Failure.UNAVAILABLE, Failure.NOT_SO])
    def test_a_lost_reply_is_found_out_by_a_read(self, failure):
        """The attach took effect, but its reply is lost or says that it was already so: it is not
        repeated.
        """
        bench = SingleNode()
        bench.manual.add(Kind.ATTACH)
        bench.advance(DEAD)
        bench.holding.add("m")
        bench.answer(Lane.MUTATIONS, failure)
        bench.advance(10)
        assert bench.view.holds
        assert bench.moves() == [("attach", "m")]
        assert len(bench.said(EventName.HOLDS)) == 1

    def test_a_refusal_leaves_no_doubt(self):
        bench = SingleNode()
        bench.manual.add(Kind.ATTACH)
        bench.advance(DEAD)
        bench.answer(Lane.MUTATIONS, Failure.FORBIDDEN)
        assert not bench.view.in_doubt

    def test_a_failure_is_reported(self):
        bench = failing(Failure.UNAVAILABLE)
        bench.advance(DEAD + 0.3)
        (failed,) = bench.said(EventName.FAILED)
        assert failed.details["detail"] == "as told"
        assert 0.5 <= failed.details["again"] <= 0.6


class TestClear:
    def test_only_with_knowledge_of_itself_that_is_at_most_two_seconds_old(self):
        bench = left_alone()
        bench.failing[Kind.DETACH] = Failure.UNAVAILABLE  # tried again after up to half a minute
        bench.until(lambda: len(bench.asked(Kind.DETACH)) > 8)
        known = [*bench.asked(Kind.ATTACH), *bench.asked(Kind.READ, "m")]
        assert all(any(at - OWN_STATE_MAX_AGE <= when <= at for when in known) for at in bench.asked(Kind.DETACH))

    @pytest.mark.parametrize("took", [0.5, 3.0, 8.0])
    def test_knowledge_from_a_slow_answer_is_new_enough(self, took):
        bench = left_alone()
        bench.latency = took
        bench.advance(40)
        attached = bench.said(EventName.ATTACHED)[-1].at
        assert bench.asked(Kind.DETACH)[0] == pytest.approx(attached, abs=0.1)

    def test_not_when_it_turns_out_not_to_hold(self):
        bench = left_alone()
        bench.manual.add(Kind.ATTACH)
        bench.until(lambda: bench.asked(Kind.ATTACH))
        bench.advance(12)  # too long to be believed
        since = bench.now
        bench.answer(Lane.MUTATIONS)  # but somebody has detached it already
        bench.advance(1)
        assert bench.asked(Kind.DETACH, since=since) == []

    def test_the_mutation_that_is_read_to_have_done_nothing_is_tried_again(self):
        bench = left_alone()
        bench.failing[Kind.DETACH] = Failure.UNAVAILABLE
        bench.advance(DEAD + 5)
        bench.failing.clear()
        bench.until(lambda: bench.holding == {"m"})

    @pytest.mark.parametrize("effect", [True, False])
    def test_not_attached_any_more_is_believed_after_a_read(self, effect):
        bench = left_alone()
        bench.manual.add(Kind.DETACH)
        bench.until(lambda: bench.asked(Kind.DETACH))
        if effect:
            bench.holding.discard("a")
        bench.answer(Lane.MUTATIONS, Failure.NOT_SO)
        bench.manual.clear()
        since = bench.now
        bench.advance(10)
        assert bench.asked(Kind.READ, "a", since=since)[0] <= since + LATENCY + 0.01
        assert bench.moves(since) == ([] if effect else [("detach", "a")])
        assert not bench.view.unfit

    def test_it_is_read_back_at_once_when_the_detach_failed(self):
        bench = left_alone()
        bench.manual.add(Kind.DETACH)
        bench.until(lambda: bench.asked(Kind.DETACH))
        bench.advance(40)  # the rounds of verification are far apart now, and have not touched it
        bench.answer(Lane.MUTATIONS, Failure.UNREACHABLE)
        since = bench.now
        bench.pump()
        assert bench.asked(Kind.READ, "a", since) == [since]

    def test_a_call_that_is_already_so_is_no_failure_of_this_node(self):
        bench = left_alone()
        bench.failing[Kind.DETACH] = Failure.NOT_SO
        bench.until(lambda: len(bench.asked(Kind.DETACH)) == TRIES + 1)
        assert bench.said(EventName.UNFIT) == []

    def test_a_detach_that_succeeds_forgets_the_failed_ones(self):
        bench = backup(peers="abz")
        for name in "az":
            bench.beating.pop("a", None)
            bench.holding.add(name)
            bench.failing[Kind.DETACH] = Failure.UNAVAILABLE
            count = len(bench.asked(Kind.DETACH))
            bench.until(lambda count=count: len(bench.asked(Kind.DETACH)) == count + 2)
            bench.failing.clear()
            bench.until(lambda: bench.holding == {"m"})
            bench.advance(1)  # which a read confirms
        assert bench.said(EventName.UNFIT) == []

    def test_not_while_this_node_is_in_doubt(self):
        """A peer was heard after the attach went out: it may have cleared this node meanwhile."""
        bench = left_alone()
        bench.manual |= {Kind.ATTACH, Kind.READ}
        bench.until(lambda: bench.asked(Kind.ATTACH))
        bench.advance(0.3)
        bench.heard("z", 20)
        bench.holding.add("m")
        bench.answer(Lane.MUTATIONS)
        assert bench.view.in_doubt
        bench.advance(1.0)
        assert bench.asked(Kind.DETACH) == []
        bench.manual.clear()
        bench.answer(Lane.READS, holds=True, running=True)
        bench.until(lambda: bench.asked(Kind.DETACH, "a"), 3)

    @pytest.mark.parametrize("failure", [Failure.UNAVAILABLE, Failure.TIMEOUT, Failure.FORBIDDEN])
    def test_a_node_that_cannot_clear_is_unfit(self, failure):
        bench = left_alone()
        bench.failing[Kind.DETACH] = failure
        bench.until(lambda: bench.view.unfit)
        assert bench.view.holds
        assert bench.said(EventName.UNFIT)[0].details["cause"] == "detach"
        bench.advance(0.05)
        assert bench.beats[-1][1] == HOLDING_UNFIT

    def test_a_heard_holder_only_after_thirty_seconds(self):
        bench = SingleNode()
        bench.beating["z"] = 20
        bench.holding.add("z")
        bench.until(lambda: bench.asked(Kind.DETACH))
        assert bench.moves() == [("attach", "m"), ("detach", "z")]
        assert abs(bench.now - turn("z", DEAD + BOTH_HOLD_TIME)) <= 1.5

    @pytest.mark.parametrize("wait", range(0, 100, 20))
    @pytest.mark.parametrize("rival", ["z", "a"])
    def test_a_silent_one_that_came_to_hold_later_waits_for_the_turn_of_this_id(self, rival, wait):
        bench = master()
        bench.advance(wait)
        bench.holding.add(rival)
        bench.until(lambda: any(peer.holds for peer in bench.view.peers))
        seen = bench.now
        bench.until(lambda: bench.said(EventName.CLEARED))
        (asked,) = bench.asked(Kind.DETACH, rival)
        assert abs(asked - turn(rival, seen + BOTH_HOLD_TIME)) <= 1.5
        assert bench.holding == {"m"}

    def test_to_fall_silent_does_not_put_it_off(self):
        bench = master()
        bench.beating["z"] = 20
        bench.advance(40)
        bench.holding.add("z")
        bench.until(lambda: any(peer.holds for peer in bench.view.peers), 60)
        seen = bench.now
        bench.advance(15)
        del bench.beating["z"]
        bench.until(lambda: bench.said(EventName.CLEARED))
        assert abs(bench.asked(Kind.DETACH, "z")[0] - turn("z", seen + BOTH_HOLD_TIME)) <= 1.5

    @pytest.mark.parametrize("rival", ["z", "a"])
    def test_a_predecessor_waits_too_if_it_was_not_cleared_in_the_first_17_s(self, rival):
        bench = backup(under=rival)
        bench.failing[Kind.DETACH] = Failure.UNAVAILABLE
        del bench.beating[rival]
        bench.until(lambda: bench.asked(Kind.ATTACH))
        attached = bench.asked(Kind.ATTACH)[-1]
        bench.until(lambda: bench.now > attached + NEWCOMER_TIME)
        bench.failing.clear()
        since = bench.now
        bench.until(lambda: bench.asked(Kind.DETACH, rival, since))
        assert abs(bench.now - turn(rival, attached + BOTH_HOLD_TIME)) <= 1.5

    @pytest.mark.parametrize(
        ("failure", "waits"), [(Failure.UNREACHABLE, False), (Failure.UNAVAILABLE, True), (Failure.TIMEOUT, True)]
    )
    def test_an_attach_that_may_have_had_an_effect_begins_the_15_s(self, failure, waits):
        bench = left_alone()
        bench.failing |= {Kind.ATTACH: failure, Kind.READ: Failure.UNAVAILABLE}
        bench.advance(DEAD + NEWCOMER_TIME + 10)
        del bench.failing[Kind.ATTACH]
        bench.until(lambda: bench.said(EventName.ATTACHED))
        del bench.failing[Kind.READ]
        bench.advance(BOTH_HOLD_TIME - 1)
        assert bench.asked(Kind.DETACH, "a") == [] if waits else bench.asked(Kind.DETACH, "a")

    def test_a_holder_that_could_not_be_read_for_a_while_counts_anew(self):
        bench = master()
        bench.holding.add("z")
        bench.until(lambda: any(peer.holds for peer in bench.view.peers))
        bench.advance(10)
        bench.failing[Kind.READ] = Failure.UNAVAILABLE
        bench.advance(90)
        bench.failing.clear()
        since = bench.now
        bench.until(lambda: bench.asked(Kind.DETACH, "z"))
        read = next(at for at in bench.asked(Kind.READ, "z") if at >= since)
        assert abs(bench.now - turn("z", read + BOTH_HOLD_TIME)) <= 1.5

    def test_a_backup_clears_nobody(self):
        bench = backup()
        bench.holding |= {"z", "a"}
        bench.advance(300)
        assert bench.moves() == []

    def test_an_outsider_never(self):
        bench = master()
        bench.holding.add("q")
        bench.candidates = ["m", "q"]
        bench.advance(1000)
        assert bench.moves() == [("attach", "m")]
        (warned,) = bench.said(EventName.OUTSIDER_HOLDS)
        assert warned.details["name"] == "q"

    def test_several_one_after_another(self):
        bench = SingleNode(peers="abz")
        bench.holding |= {"a", "b", "z"}
        bench.advance(30)
        assert bench.holding == {"m"}
        assert bench.moves()[0] == ("attach", "m")
        assert sorted(bench.moves()[1:]) == [("detach", "a"), ("detach", "b"), ("detach", "z")]

    def test_a_stopped_instance_too(self):
        bench = left_alone()
        bench.stopped.add("a")
        bench.advance(10)
        assert bench.holding == {"m"}


class TestRelease:
    def overtaken(self, **options) -> SingleNode:
        """A holder beside whom a better node appears, which does not hold yet."""
        bench = master(**options)
        appears(bench, "a", 5)
        bench.advance(1.5)
        assert bench.role is Role.BACKUP
        assert bench.view.holds
        return bench

    def test_it_keeps_the_eip_as_long_as_the_master_does_not_hold(self):
        bench = self.overtaken()
        bench.advance(300)
        assert bench.moves() == [("attach", "m")]
        assert bench.beats[-1][1] == 10

    def test_it_looks_at_the_master_every_second(self):
        bench = self.overtaken()
        since = bench.now
        bench.advance(20)
        looks = bench.asked(Kind.READ, "a", since)
        assert 19 <= len(looks) <= 22
        assert all(0.9 <= later - earlier <= 1.2 for earlier, later in pairwise(looks))

    def test_it_releases_once_the_master_holds_and_is_heard_after_that_read(self):
        bench = self.overtaken()
        bench.holding.add("a")
        since = bench.now
        bench.until(lambda: bench.holding == {"a"})
        assert bench.moves(since) == [("detach", "m")]
        (asked,) = bench.asked(Kind.DETACH)
        read = next(at for at in bench.asked(Kind.READ, "a", since))
        assert asked > read + LATENCY
        assert asked == math.ceil(read + LATENCY)  # the very next heartbeat of it
        assert bench.now - since < 3

    def test_a_read_from_before_the_decision_is_ignored(self):
        """The master is silent; a read of it is under way; then it is heard, and this node is its
        backup.
        """
        bench = master()
        bench.manual.add(Kind.READ)
        bench.until(lambda: Lane.READS in bench.open)
        while bench.open[Lane.READS][1].instance_id != instance_id("a"):
            bench.answer(Lane.READS, holds=bench.open[Lane.READS][1].instance_id == instance_id("m"), running=True)
            bench.until(lambda: Lane.READS in bench.open, 40)
        bench.advance(0.01)
        appears(bench, "a", 5)
        assert bench.role is Role.BACKUP
        bench.advance(0.01)
        bench.answer(Lane.READS, holds=True, running=True)
        bench.advance(5)  # many heartbeats of it, and no newer read
        assert bench.asked(Kind.DETACH, "m") == []

    def test_a_read_from_before_it_came_to_hold_is_ignored(self):
        """An operator moves the EIP from the master to this backup: what the master held before
        does not count.
        """
        bench = self.overtaken()
        bench.holding.add("a")
        bench.until(lambda: bench.holding == {"a"})
        bench.advance(60)
        bench.holding = {"m"}
        bench.until(lambda: bench.view.holds, 60)
        since = bench.now
        bench.advance(30)
        assert bench.asked(Kind.DETACH, "m", since) == []
        assert len(bench.asked(Kind.READ, "a", since)) > 20

    @pytest.mark.parametrize("priority", [UNFIT, LEAVING])
    def test_a_master_that_was_letting_go_itself_is_not_trusted_for_six_seconds(self, priority):
        bench = self.overtaken()
        bench.heard("a", priority)
        bench.heard("a", 5)
        off = bench.now
        bench.holding.add("a")
        bench.advance(20)
        (asked,) = bench.asked(Kind.DETACH, "m")
        assert 6.0 <= asked - off <= 9.0

    def test_a_detach_that_fails_is_tried_again_and_the_eip_never_lost(self):
        bench = self.overtaken()
        bench.holding.add("a")
        bench.failing[Kind.DETACH] = Failure.UNAVAILABLE
        bench.advance(10)
        assert len(bench.asked(Kind.DETACH)) >= 3
        assert bench.holding == {"a", "m"}
        assert not bench.view.unfit  # its own detach is no matter of fitness
        bench.failing.clear()
        bench.until(lambda: bench.holding == {"a"})

    def test_master_again_while_its_detach_is_under_way_it_attaches_after_it(self):
        bench = self.overtaken()
        bench.holding.add("a")
        bench.operation = 2.0
        bench.until(lambda: bench.asked(Kind.DETACH))
        del bench.beating["a"]
        bench.advance(20)
        assert bench.moves()[1:] == [("detach", "m"), ("attach", "m"), ("detach", "a")]
        assert bench.asked(Kind.ATTACH)[-1] >= bench.said(EventName.LET_GO)[0].at
        assert bench.holding == {"m"}

    def test_back_to_master_before_it_let_go_nothing_moves(self):
        bench = self.overtaken()
        del bench.beating["a"]
        bench.advance(DEAD + 30)
        assert bench.role is Role.MASTER
        assert bench.moves() == [("attach", "m")]

    def test_one_that_did_not_hold_when_it_fell_silent_and_holds_later_is_cut_off(self):
        bench = self.overtaken()
        del bench.beating["a"]
        bench.until(lambda: bench.said(EventName.PEER_DEAD))
        bench.advance(20)  # read more than once by now: it does not hold
        bench.holding.add("a")
        bench.until(lambda: any(peer.holds for peer in bench.view.peers), 60)
        seen = bench.now
        bench.until(lambda: bench.asked(Kind.DETACH, "a"))
        assert bench.now - seen >= BOTH_HOLD_TIME - 1


class TestLeave:
    def leaving(self, others: dict[str, int], **options) -> SingleNode:
        bench = master(**options)
        for name, priority in others.items():
            bench.beating[name] = priority
            bench.heard(name, priority)
        bench.advance(1.5)
        bench.node.leave(bench.now)
        bench.pump()
        return bench

    def test_with_only_leavers_around_too(self):
        bench = self.leaving({"a": LEAVING, "z": LEAVING})
        assert bench.asked(Kind.DETACH, "m") == [bench.now]

    def test_it_looks_four_times_a_second_at_every_heard_peer(self):
        bench = self.leaving({"a": 30, "z": 20})
        bench.latency = 0.01
        since = bench.now
        bench.advance(5)
        for name in "az":
            looks = bench.asked(Kind.READ, name, since)
            assert 17 <= len(looks) <= 22, name

    def test_not_at_the_silent(self):
        bench = self.leaving({"z": 20})
        since = bench.now
        bench.advance(3)
        assert len(bench.asked(Kind.READ, "a", since)) <= 1

    def test_any_heard_peer_will_do_not_only_the_best(self):
        bench = self.leaving({"a": 5, "z": 20})
        bench.holding.add("z")
        bench.until(lambda: bench.holding == {"z"}, 3)

    def test_a_peer_that_is_releasing_it_will_not_do(self):
        bench = self.leaving({"z": UNFIT})
        bench.holding.add("z")
        bench.advance(5)
        assert bench.asked(Kind.DETACH, "m") == []

    def test_it_never_attaches_again(self):
        bench = self.leaving({"z": 20})
        since = bench.now
        bench.holding.discard("m")
        bench.advance(20)
        assert bench.moves(since) == []

    def test_an_attach_under_way_is_waited_for(self):
        bench = SingleNode()
        bench.operation = 2.0
        bench.advance(DEAD + 0.5)
        bench.node.leave(bench.now)
        bench.advance(1.0)
        assert not bench.node.finished()
        bench.until(bench.node.finished, 10)
        assert bench.moves() == [("attach", "m"), ("detach", "m")]
        assert bench.holding == set()
