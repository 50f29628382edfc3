"""Test what ties role and calls together: predecessor, stand-back, edges of the API, the end of a
leaver.
"""

from __future__ import annotations

from itertools import pairwise

import pytest

from exoip.core.backoff import LONGEST_RETRY
from exoip.core.calls import Failure, Kind, Lane, Purpose
from exoip.core.events import EventName
from exoip.core.observed import NEWCOMER_TIME
from exoip.core.ownership import LEARN_TIME
from exoip.core.peers import HOLDING_UNFIT, LEAVING, UNFIT, Role
from exoip.core.split_brain import FIRST_STAND_BACK, LONGEST_STAND_BACK
from tests.simulation.world import instance_id
from tests.support.single_node import DEAD, INTERVAL, SingleNode, master

LATENCY = 0.1  # of the bench


class TestPredecessor:
    """The master before this one, if dead, unfit or leaving, is presumed to hold, without a read."""

    def unread(self) -> SingleNode:
        """A backup that has read itself, and whose other reads hang: it knows of no peer whether it holds."""
        bench = SingleNode()
        bench.manual.add(Kind.READ)
        bench.advance(0.0)
        bench.answer(Lane.READS, holds=False, running=True)
        bench.beating["a"] = 5
        bench.holding.add("a")
        bench.advance(DEAD + 10)
        assert bench.role is Role.BACKUP
        return bench

    def test_a_dead_one_is_cleared_without_a_read(self):
        bench = self.unread()
        del bench.beating["a"]
        bench.advance(DEAD + 1)
        assert bench.moves() == [("attach", "m"), ("detach", "a")]
        assert bench.holding == {"m"}

    @pytest.mark.parametrize(("priority", "at_once"), [(HOLDING_UNFIT, True), (UNFIT, False), (LEAVING, True)])
    def test_one_that_cannot_serve_and_then_dies(self, priority, at_once):
        bench = self.unread()
        bench.beating["a"] = priority
        bench.advance(2)
        assert bench.moves() == [("attach", "m")]
        bench.answer(Lane.READS, Failure.UNREACHABLE)
        bench.manual.clear()
        del bench.beating["a"]
        bench.until(lambda: bench.said(EventName.PEER_DEAD))
        bench.advance(1)  # and not only in its turn, unless it may have released the EIP and attached again
        assert bench.moves() == [("attach", "m"), ("detach", "a")][: 1 + at_once]

    def test_one_that_is_only_worse_is_not_presumed(self):
        bench = self.unread()
        bench.beating["a"] = 30
        bench.advance(25)
        assert bench.moves() == [("attach", "m")]

    def test_the_one_before_the_last_is_not_forgotten(self):
        """a, then z are masters while this node stands by; both die; whoever is seen to hold is
        cleared at once.
        """
        bench = SingleNode(priority=50)
        bench.beating |= {"a": 5, "z": 6}
        bench.holding.add("a")
        bench.advance(DEAD + 5)
        del bench.beating["a"]
        bench.advance(DEAD + 5)
        del bench.beating["z"]
        bench.advance(DEAD + 3)
        assert bench.role is Role.MASTER
        assert bench.holding == {"m"}

    def test_one_of_an_earlier_time_as_master_is_none(self):
        """This node took over from a, and stood by before it read that a had released. Later the
        master z dies, and a, which is silent, attaches after this node: a waits for its turn.
        """
        bench = SingleNode(priority=50)
        bench.beating["a"] = 5
        bench.holding.add("a")
        bench.advance(DEAD + 5)
        bench.beating["a"] = HOLDING_UNFIT
        bench.until(lambda: bench.said(EventName.ATTACHED))
        bench.beating |= {"a": 60, "z": 6}
        bench.holding.add("z")
        bench.until(lambda: "m" not in bench.holding)
        bench.holding.remove("a")
        bench.advance(100)
        before = bench.moves()
        del bench.beating["z"], bench.beating["a"]
        bench.until(lambda: bench.moves() == [*before, ("attach", "m")])
        bench.holding.add("a")
        bench.advance(20)
        assert bench.moves() == [*before, ("attach", "m"), ("detach", "z")]
        assert bench.holding == {"a", "m"}

    def test_one_stays_one_if_a_better_peer_comes_and_goes_while_this_node_attaches(self):
        bench = SingleNode(priority=50)
        bench.beating["a"] = 5
        bench.holding.add("a")
        bench.advance(DEAD + 5)
        bench.manual.add(Kind.ATTACH)
        del bench.beating["a"]
        bench.until(lambda: bench.role is Role.MASTER)
        bench.heard("z", 6)
        assert bench.role is Role.BACKUP
        bench.heard("z", UNFIT)
        assert bench.role is Role.MASTER
        bench.holding.add("m")
        bench.answer(Lane.MUTATIONS)
        bench.advance(3)
        assert bench.holding == {"m"}


class TestStandBack:
    def yielded(self, **options) -> SingleNode:
        """A master that lost the EIP to z, which is alive and cut off."""
        bench = master(**options)
        bench.holding = {"z"}
        bench.until(lambda: bench.said(EventName.YIELDED), 40)
        return bench

    def overs(self, bench: SingleNode) -> list[float]:
        return [event.at for event in bench.said(EventName.STAND_BACK_OVER)]

    def test_it_is_backup_and_moves_nothing_for_a_minute(self):
        bench = self.yielded()
        (event,) = bench.said(EventName.YIELDED)
        assert event.details["for"] == 60.0
        assert (bench.view.role, bench.view.yielded) == (Role.BACKUP, True)
        bench.advance_to(event.at + 59.9)
        assert bench.moves() == [("attach", "m")]
        assert bench.beats[-1][1] == 10

    @pytest.mark.slow
    def test_each_yield_and_each_take_doubles_it_to_an_hour_and_to_what_the_split_has_lasted(self):
        bench = self.yielded()
        for _ in range(5):
            bench.until(lambda: bench.holding == {"m"}, 4000, step=5.0)
            bench.advance(NEWCOMER_TIME)
            bench.holding = {"z"}  # z's turn
            count = len(bench.said(EventName.YIELDED))
            bench.until(lambda count=count: len(bench.said(EventName.YIELDED)) > count, 100, step=1.0)
        first, *later = bench.said(EventName.YIELDED)
        length = first.details["for"]
        assert length == FIRST_STAND_BACK
        for event in later:
            most = 2 * (FIRST_STAND_BACK + event.at - first.at)
            length = min(4 * length, most, LONGEST_STAND_BACK)
            assert event.details["for"] == pytest.approx(length)
        assert length == LONGEST_STAND_BACK

    def test_it_ends_when_the_holder_is_heard_and_the_next_is_short_again(self):
        bench = self.yielded()
        bench.until(lambda: bench.holding == {"m"}, 70)
        bench.advance(NEWCOMER_TIME)
        bench.holding = {"z"}
        bench.until(lambda: len(bench.said(EventName.YIELDED)) == 2, 100)
        bench.advance(10)
        bench.beating["z"] = 20
        bench.heard("z", 20)
        assert self.overs(bench)[-1] == bench.now
        assert not bench.view.yielded
        bench.advance(60)
        del bench.beating["z"]
        bench.advance(30)
        bench.holding = {"z"}
        bench.until(lambda: len(bench.said(EventName.YIELDED)) == 3, 100)
        assert bench.said(EventName.YIELDED)[-1].details["for"] == 60

    def test_another_node_that_is_heard_does_not_end_it(self):
        bench = self.yielded()
        bench.heard("a", 20)
        bench.advance(3)
        assert bench.view.yielded

    @pytest.mark.parametrize("how", ["lets go", "stops", "is gone"])
    def test_it_ends_when_no_silent_running_instance_holds(self, how):
        bench = self.yielded()
        bench.advance(12)
        match how:
            case "lets go":
                bench.holding.clear()
            case "stops":
                bench.stopped.add("z")
            case "is gone":
                bench.holding.clear()
                bench.stopped.add("z")
        since = bench.now
        bench.until(lambda: not bench.view.yielded, 60)
        assert bench.now - since <= 5.0 + 5 * LATENCY
        bench.until(lambda: "m" in bench.holding, 1)

    def test_it_looks_every_five_seconds(self):
        bench = self.yielded()
        since = bench.now
        bench.advance(50)
        looks = [
            at
            for at, call in bench.calls
            if call.kind is Kind.HOLDERS and call.purpose is Purpose.HOLDER and at > since
        ]
        assert [later - earlier for earlier, later in pairwise(looks)] == pytest.approx([5.0] * 9)

    def test_while_it_lasts_better_and_worse_do_not_matter(self):
        bench = self.yielded()
        bench.node.set_unfit("health check", "down", bench.now)
        bench.node.set_unfit("health check", "", bench.now)
        assert bench.view.yielded
        assert bench.role is Role.BACKUP

    def test_a_leaving_node_no_longer_stands_back(self):
        bench = self.yielded()
        bench.node.leave(bench.now)
        bench.until(bench.node.finished, 1)
        assert not bench.view.yielded

    @pytest.mark.parametrize(("rival", "stopped", "length"), [("z", False, 120), ("z", True, 60), ("a", False, 60)])
    def test_a_take_doubles_it_if_that_running_holder_takes_the_eip_back(self, rival, stopped, length):
        bench = SingleNode()
        bench.holding.add("z")
        if stopped:
            bench.stopped.add("z")
        bench.until(lambda: bench.holding == {"m"})
        bench.advance(60)
        bench.stopped.clear()
        bench.holding = {rival}
        bench.until(lambda: bench.said(EventName.YIELDED), 60)
        assert bench.said(EventName.YIELDED)[0].details["for"] == length

    def test_its_question_who_holds_honors_retry_after(self):
        bench = self.yielded()
        bench.failing[Kind.HOLDERS] = Failure.UNAVAILABLE
        bench.retry_after = 300.0
        since = bench.now
        bench.advance(LONGEST_RETRY - 1)
        assert len(bench.asked(Kind.HOLDERS, since=since)) == 1
        bench.advance(LONGEST_RETRY - 5)
        assert len(bench.asked(Kind.HOLDERS, since=since)) == 2


class TestUnheard:
    """A node that starts, and a member that may hold and that it has never heard."""

    KNOWN = LEARN_TIME + INTERVAL

    def test_it_gets_time_to_learn_of_this_node(self):
        bench = SingleNode(peers="z")
        bench.holding.add("z")
        bench.advance(self.KNOWN - 0.01)
        assert (bench.role, bench.moves()) == (Role.LISTENING, [])
        bench.advance(0.02)
        assert (bench.role, bench.moves()) == (Role.MASTER, [("attach", "m")])

    def test_it_is_heard(self):
        bench = SingleNode(peers="z")
        bench.holding.add("z")
        bench.advance(self.KNOWN - 2)
        bench.heard("z", 5)
        assert (bench.role, bench.view.advertised) == (Role.BACKUP, 10)

    def test_it_turns_out_not_to_hold(self):
        bench = SingleNode(peers="z")
        bench.failing[Kind.READ] = Failure.TIMEOUT
        bench.advance(DEAD + 2)
        assert bench.role is Role.LISTENING, "who cannot be read may hold"
        bench.failing.clear()
        bench.advance(3)
        assert bench.role is Role.MASTER

    def test_others_that_are_fit_take_over_meanwhile(self):
        bench = SingleNode(peers="az")
        bench.holding.add("a")
        bench.beating["z"] = 20
        bench.advance(DEAD - 0.01)
        assert bench.view.advertised == 10, "one dead time is its own"
        bench.advance(0.02)
        assert bench.view.advertised == UNFIT

    def test_a_better_one_is_alive(self):
        bench = SingleNode(peers="az")
        bench.holding.add("z")
        bench.beating["a"] = 5
        bench.advance(DEAD + 0.01)
        assert (bench.role, bench.view.advertised) == (Role.BACKUP, 10)

    def test_who_is_unread_does_not_count_beside_a_holder_that_is_heard(self):
        bench = SingleNode(peers="abcdefghijkz")
        bench.holding.add("z")
        bench.beating["z"] = LEAVING
        bench.latency = 0.3
        bench.advance(DEAD + 0.01)
        assert bench.role is Role.MASTER

    def test_a_holder_does_not_wait(self):
        bench = SingleNode(peers="z")
        bench.holding.update("mz")
        bench.advance(DEAD + 0.01)
        assert bench.role is Role.MASTER

    def test_later_nobody_waits(self):
        bench = master()
        bench.node.set_members({instance_id("q"): ("host-q", 1)}, bench.now)
        bench.holding.add("q")
        bench.advance(1)
        assert bench.role is Role.MASTER


class TestFinished:
    def test_an_attach_that_may_yet_take_effect_is_awaited(self):
        """It timed out: who left now would leave the EIP on an instance without a daemon."""
        bench = SingleNode()
        bench.failing[Kind.ATTACH] = Failure.TIMEOUT
        bench.advance(DEAD + 5)
        bench.node.leave(bench.now)
        bench.advance(1)
        assert not bench.node.finished()
        bench.until(bench.node.finished, 20)

    def test_a_node_that_cannot_read_itself_does_not_finish(self):
        bench = SingleNode()
        bench.failing[Kind.READ] = Failure.UNAVAILABLE
        bench.advance(1)
        bench.node.leave(bench.now)
        bench.advance(20)
        assert not bench.node.finished()

    def test_a_detach_that_failed_is_seen_through(self):
        bench = master()
        bench.manual.add(Kind.DETACH)
        bench.node.leave(bench.now)
        bench.pump()
        bench.answer(Lane.MUTATIONS, Failure.OPERATION)
        bench.manual.clear()
        bench.until(bench.node.finished, 5)
        assert bench.holding == set()
