"""Test the reads rule by rule: own state, verify, who holds, refresh. One node in virtual time."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from exoip.core.calls import Call, Failure, Kind, Lane, Purpose
from exoip.core.events import EventName
from exoip.core.peers import LEAVING, PROTECTED, Role
from exoip.core.reads import MOST_MEMBERS
from tests.simulation.world import instance_id
from tests.support.single_node import DEAD, SingleNode, among, backup, master, name_of, requests

LATENCY = 0.1  # of the bench


def reads(bench: SingleNode, since: float = 0.0) -> list[str]:
    """Whom it read, in order."""
    return [name_of(call.instance_id) for at, call in bench.calls if call.kind is Kind.READ and at >= since]


def apart(times: list[float]) -> list[float]:
    """The seconds between each two."""
    return [later - earlier for earlier, later in pairwise(times)]


class TestOwnState:
    def test_at_start_itself_then_the_members_each_once(self):
        bench = SingleNode(peers="abz")
        bench.advance(DEAD - 0.1)
        assert reads(bench) == ["m", "a", "b", "z"]
        assert not bench.view.in_doubt

    def test_one_call_at_a_time(self):
        bench = SingleNode()
        bench.manual.add(Kind.READ)
        bench.advance(DEAD - 0.1)
        assert reads(bench) == ["m"]

    @pytest.mark.parametrize("make", [master, backup])
    def test_a_peer_that_is_heard_brings_doubt_in_every_role(self, make):
        bench = make(peers="abz")
        bench.manual.add(Kind.READ)
        since = bench.now
        bench.heard("b", 50)
        bench.pump()
        assert bench.view.in_doubt
        assert reads(bench, since)[:1] == ["m"]
        bench.answer(Lane.READS, holds="m" in bench.holding, running=True)
        assert not bench.view.in_doubt

    def test_a_read_that_began_before_the_doubt_does_not_end_it(self):
        bench = backup(peers="abz")
        bench.manual.add(Kind.READ)
        since = bench.now
        bench.heard("b", 50)
        bench.advance(0.1)
        bench.heard("z", 50)
        bench.answer(Lane.READS, holds=False, running=True)
        assert bench.view.in_doubt
        bench.pump()
        assert reads(bench, since) == ["m", "m"]

    def test_a_peer_that_is_heard_at_the_start_brings_doubt_unless_the_node_resumed(self):
        for resumed in (False, True):
            bench = SingleNode()
            if resumed:
                bench.node.resume(0.0, 0.0)
            bench.advance(0.5)
            bench.heard("a", 5)
            assert bench.view.in_doubt is not resumed

    def test_one_that_resumed_in_doubt_is_protected_and_finds_out_that_a_peer_had_detached_it(self):
        """That peer was heard before the restart, too."""
        bench = SingleNode(preempt_delay=math.inf)
        bench.manual.add(Kind.READ)
        bench.node.resume(-1.0, 0.0, in_doubt=True)
        bench.pump()
        assert (bench.view.in_doubt, bench.view.advertised) == (True, PROTECTED)
        assert reads(bench) == ["m"]
        bench.answer(Lane.READS, holds=False, running=True)
        assert bench.said(EventName.LOST)

    def test_one_that_resumed_in_doubt_and_cannot_read_itself_attaches_itself_once_it_has_listened(self):
        bench = SingleNode(preempt_delay=math.inf)
        bench.failing[Kind.READ] = Failure.UNAVAILABLE
        bench.node.resume(-1.0, 0.0, in_doubt=True)
        bench.beating["a"] = 5
        bench.advance(DEAD)
        assert bench.moves() == [("attach", "m")]

    def test_not_while_an_own_mutation_is_under_way(self):
        """What such a read shows may be from before or from after it."""
        bench = SingleNode()
        bench.manual.add(Kind.ATTACH)
        bench.advance(DEAD)
        bench.heard("z", 20)
        bench.advance(5)
        assert [at for at in bench.asked(Kind.READ, "m") if at > DEAD] == []

    def test_a_read_from_before_the_attach_ended_is_ignored(self):
        bench = SingleNode(peers="")
        bench.manual |= {Kind.READ, Kind.ATTACH}
        bench.advance(DEAD)
        bench.holding.add("m")
        bench.answer(Lane.MUTATIONS)
        assert bench.view.holds
        bench.answer(Lane.READS, holds=False, running=True)  # it began at 0
        assert bench.view.holds
        assert bench.said(EventName.LOST) == []

    def test_a_holder_finds_out_that_it_holds(self):
        bench = SingleNode()
        bench.holding.add("m")
        bench.advance(1)
        assert bench.view.holds
        assert len(bench.said(EventName.HOLDS)) == 1


class TestVerify:
    def test_after_a_move_at_once_then_after_1_2_4_up_to_the_interval_then_at_it(self):
        bench = SingleNode()
        bench.advance(200)
        took = DEAD + LATENCY
        expected = [took + after for after in (0, 1, 3, 7, 15, 31, 61, 91, 121)]
        own = [at for at in bench.asked(Kind.READ, "m") if at >= took][: len(expected)]
        assert own == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("interval", "peers", "then"), [(0.5, "b", 0.5), (5.0, "b", 5.0), (60.0, "", 60.0), (60.0, "b", 30.0)]
    )
    def test_another_interval(self, interval, peers, then):
        """A silent member may hold, too, so it is not left alone for longer than half a minute."""
        bench = SingleNode(peers=peers, verify_interval=interval)
        bench.advance(100 + 20 * interval)
        own = [at for at in bench.asked(Kind.READ, "m") if at > 100]
        assert apart(own) == pytest.approx([then] * (len(own) - 1))

    def test_itself_the_holders_that_the_list_names_and_silent_members(self):
        bench = master(peers="abz")
        bench.beating = dict.fromkeys("ab", 20)  # z is silent
        bench.advance(100)
        since = bench.now
        bench.holding.add("b")
        bench.advance(31)
        assert bench.kinds(since) == {Kind.READ: 3, Kind.HOLDERS: 1}
        assert sorted(reads(bench, since)) == ["b", "m", "z"]

    def test_two_holders_that_stay_leave_room_for_all_else_however_slow_the_api_is(self):
        bench = SingleNode(peers="abcz")
        bench.latency = 9.5
        bench.until(lambda: bench.view.holds)
        bench.failing[Kind.DETACH] = Failure.UNAVAILABLE
        bench.holding |= {"a", "b"}
        bench.advance(300)
        since = bench.now
        bench.holding.add("z")
        bench.advance(600)
        assert "z" in reads(bench, since)
        assert bench.asked(Kind.HOLDERS, since=since)

    @pytest.mark.parametrize("unusable", ["fails", "is empty", "names others only", "names everybody"])
    def test_the_members_in_turn_if_the_list_does_not_say_who_holds(self, unusable):
        """Every list fails, or does not name this holder, or ignores the filter."""
        members = "abcdefghijkln"
        bench = master(peers=members)
        if unusable == "fails":
            bench.failing[Kind.HOLDERS] = Failure.FORBIDDEN
        else:
            bench.candidates = {"is empty": [], "names others only": ["a"], "names everybody": [*members, "m"]}[
                unusable
            ]
        bench.advance(100)
        since = bench.now
        bench.advance(29)
        assert len(reads(bench, since)) <= 2 + MOST_MEMBERS  # itself once more, if the list lacks it
        bench.advance(61)
        assert set(reads(bench, since)) == {*members, "m"}

    def test_one_that_is_detached_before_a_list_reads_itself_again_before_the_members(self):
        bench = master(peers="abc")
        bench.beating = dict.fromkeys("abc", 20)
        bench.advance(100)
        since = bench.now
        bench.candidates = []  # the list of the next round lacks it, too
        bench.until(lambda: len(reads(bench, since)) > 2)
        assert reads(bench, since)[:2] == ["m", "m"]

    def test_every_round_asks_who_else_holds(self):
        bench = SingleNode()
        bench.advance(520)
        rounds = [at for at in bench.asked(Kind.READ, "m") if at > DEAD]
        lists = [at for at in bench.asked(Kind.HOLDERS) if at > DEAD]
        assert lists == pytest.approx([at + LATENCY for at in rounds], abs=0.01)
        assert len(lists) > 15

    @pytest.mark.parametrize("happens", ["appears", "dies"])
    def test_a_peer_appears_or_dies(self, happens):
        bench = master()
        if happens == "dies":
            bench.beating["z"] = 20
            bench.advance(100)
            del bench.beating["z"]
            bench.until(lambda: bench.said(EventName.PEER_DEAD))
            since = bench.said(EventName.PEER_DEAD)[0].at
        else:
            since = bench.now
            bench.beating["z"] = 20
            bench.heard("z", 20)
        bench.advance(5)
        own = bench.asked(Kind.READ, "m", since)
        assert own[0] == since
        assert len(own) >= 3

    @pytest.mark.parametrize(("better", "every"), [("ab", 36.0), ("abc", 300.0)])
    def test_a_backup_reads_itself_and_the_second_best_most_often(self, better, every):
        bench = SingleNode(peers="abcz", refresh_in=math.inf)
        bench.holding.add("a")
        bench.beating = dict.fromkeys(better, 5)
        bench.advance(20)
        since = bench.now
        bench.advance(1200)
        own = bench.asked(Kind.READ, "m", since)
        assert apart(own) == pytest.approx([every] * (len(own) - 1))
        assert apart(master := bench.asked(Kind.READ, "a", since)) == pytest.approx([72.0] * (len(master) - 1), abs=0.2)
        assert bool(master) is (better == "ab")
        assert bench.kinds(since) == {Kind.READ: len(own) + len(master)}

    @pytest.mark.parametrize("refresh_in", [math.inf, 7.0, 250.0])
    def test_the_next_best_reads_the_master_and_rarely_itself(self, refresh_in):
        bench = backup("a", refresh_in=refresh_in)
        since = bench.now
        bench.advance(3600)
        assert apart(bench.asked(Kind.READ, "a", since)) == pytest.approx([36.0] * 99, abs=0.5)
        own = bench.asked(Kind.READ, "m", since)
        assert len(own) == 10

    @pytest.mark.parametrize("when", range(0, 480, 7))
    def test_the_next_best_soon_takes_the_place_of_a_master_that_lost_it(self, when):
        """Whenever it happens, also while the group is read."""
        bench = backup("a", refresh_in=7.0)
        bench.advance(when)
        bench.holding.clear()
        bench.advance(36.0 + 36.0 + 8 * LATENCY)
        assert bench.holding == {"m"}


@pytest.mark.slow
class TestCallsOfAnHour:
    """In a quiet hour, whatever the number of nodes: at most 260 calls of the master, 130 of the next
    best, 180 of the one after it, 30 of any other.
    """

    @pytest.mark.parametrize(
        ("size", "place", "most"),
        [
            *[(4, 0, 260), (4, 1, 130), (4, 2, 180), (4, 3, 30)],
            *[(100, 0, 260), (100, 3, 30)],
        ],
    )
    def test_no_more_than_that(self, size, place, most):
        bench = among(size, place)
        since = bench.now
        bench.advance(3600)
        assert requests(bench, since) <= most
        assert bench.moves(since) == []


class TestAFailingApi:
    def test_after_a_good_one_it_is_quick_again(self):
        bench = backup()
        bench.failing[Kind.READ] = Failure.UNAVAILABLE
        bench.heard("z", 50)
        bench.advance(20)
        bench.failing.clear()
        bench.until(lambda: not bench.view.in_doubt)
        bench.failing[Kind.READ] = Failure.UNAVAILABLE
        since = bench.now
        bench.heard("z", 50)
        bench.advance(1)
        assert len(bench.asked(Kind.READ, since=since)) == 2

    @pytest.mark.parametrize("failure", list(Failure))
    def test_a_holder_that_is_not_in_doubt_stays_fit(self, failure):
        bench = master()
        bench.failing[Kind.READ] = failure
        bench.advance(1000)
        assert not bench.view.unfit
        assert bench.role is Role.MASTER

    @pytest.mark.parametrize("failure", list(Failure))
    def test_a_backup_stays_fit(self, failure):
        bench = backup()
        bench.failing[Kind.READ] = failure
        bench.heard("z", 20)
        bench.advance(1000)
        assert not bench.view.unfit

    def test_no_read_goes_before_an_attach_though_the_reader_asks_first(self):
        bench = backup("a")
        del bench.beating["a"]
        death = bench.view.peers[0].last_seen + DEAD
        bench.advance_to(death - 0.1)
        bench.now = death
        bench.node.tick(death)
        assert bench.role is Role.MASTER
        assert bench.node.next_call(Lane.READS, bench.now)[0] is None
        call, _ = bench.node.next_call(Lane.MUTATIONS, bench.now)
        assert call == Call(Kind.ATTACH, instance_id("m"), why="no peer is alive")

    def test_a_list_that_fails_delays_no_read(self):
        bench = master()
        bench.failing[Kind.HOLDERS] = Failure.FORBIDDEN
        bench.advance(200)
        since = bench.now
        bench.heard("z", 50)
        bench.pump()
        assert bench.asked(Kind.READ, "m", since) == [since]


class TestQuestion:
    """A master that lost the EIP asks who holds."""

    def lost(self, **options) -> SingleNode:
        bench = master(**options)
        bench.holding.clear()
        return bench

    def test_the_list_then_every_silent_member_and_each_of_the_list(self):
        bench = master(peers="abz")
        bench.beating["b"] = 20
        bench.advance(40)
        bench.holding = {"b", "q"}  # b is heard; q is no member, but alive and silent
        bench.until(lambda: bench.said(EventName.YIELDED), 60)
        asked = [call for _, call in bench.calls if call.purpose is Purpose.HOLDER]
        assert asked[0].kind is Kind.HOLDERS
        assert [name_of(call.instance_id) for call in asked[1:]] == ["a", "z", "b", "q"]
        assert bench.said(EventName.YIELDED)[0].instance_id == instance_id("q")
        assert not any(call.instance_id == instance_id("q") for _, call in bench.calls if call.kind is Kind.DETACH)

    def test_no_attach_before_the_answer(self):
        bench = self.lost()
        bench.manual.add(Kind.HOLDERS)
        bench.until(lambda: bench.said(EventName.LOST), 40)
        bench.until(lambda: Lane.READS in bench.open)
        bench.advance(5)
        assert bench.moves() == [("attach", "m")]

    def test_an_old_api_ignores_the_filter_and_lists_everybody(self):
        bench = self.lost(peers="az")
        bench.holding = {"z"}
        bench.candidates = [*"bcdefghijklm", "a", "z"]
        bench.until(lambda: bench.said(EventName.YIELDED), 60)
        asked = [
            name_of(call.instance_id) for _, call in bench.calls if call.purpose is Purpose.HOLDER and call.instance_id
        ]
        assert asked[:2] == ["a", "z"]  # the silent members first

    def test_a_list_that_lacks_the_holder_does_not_hide_it(self):
        bench = self.lost()
        bench.holding = {"z"}
        bench.candidates = []
        bench.until(lambda: bench.said(EventName.YIELDED), 40)

    @pytest.mark.parametrize("failure", [Failure.FORBIDDEN, Failure.INVALID, Failure.NOT_SO, Failure.UNAVAILABLE])
    def test_a_key_that_may_not_list_asks_the_members(self, failure):
        bench = self.lost()
        bench.holding = {"z"}
        bench.failing[Kind.HOLDERS] = failure
        bench.until(lambda: bench.said(EventName.YIELDED), 60)

    @pytest.mark.parametrize(
        ("failure", "most"), [(Failure.FORBIDDEN, 35), (Failure.INVALID, 35), (Failure.UNAVAILABLE, 10)]
    )
    def test_members_that_cannot_be_read_do_not_keep_the_eip_down_for_ever(self, failure, most):
        bench = self.lost()
        bench.until(lambda: bench.said(EventName.LOST), 31)
        bench.failing[Kind.READ] = failure
        bench.until(lambda: bench.holding == {"m"}, most)


class TestOutsiders:
    def test_warned_of_once_by_name_and_again_when_it_came_back(self):
        bench = master()
        bench.holding.add("q")
        bench.candidates = ["m", "q"]
        bench.advance(300)
        (warned,) = bench.said(EventName.OUTSIDER_HOLDS)
        assert (warned.instance_id, warned.details["name"]) == (instance_id("q"), "q")
        bench.holding.discard("q")
        bench.advance(60)
        bench.holding.add("q")
        bench.advance(60)
        assert len(bench.said(EventName.OUTSIDER_HOLDS)) == 2

    def test_one_that_is_only_listed_is_not_warned_of(self):
        bench = master()
        bench.candidates = ["m", "q", "r"]
        bench.advance(300)
        assert bench.said(EventName.OUTSIDER_HOLDS) == []
        assert {"q", "r"} <= set(reads(bench))

    def test_a_long_list_has_an_end_and_delays_nothing_urgent(self):
        bench = SingleNode()
        bench.candidates = [chr(0x21 + n) + "x" for n in range(90)] * 20
        bench.advance(100)
        since = bench.now
        bench.heard("z", 50)
        bench.advance(LATENCY + 0.01)
        assert [at for at in bench.asked(Kind.READ, "m", since) if at <= since + LATENCY]
        others = {instance_id(name) for name in "mabz"}
        round_of = [call for at, call in bench.calls if call.instance_id not in others and at < 64]
        assert len(round_of) <= 100


class TestRefresh:
    def test_every_seven_minutes(self):
        bench = SingleNode(refresh_in=300.0)
        bench.advance(1200)
        assert bench.asked(Kind.REFRESH) == pytest.approx([300.0, 720.0 + LATENCY, 1140.0 + 2 * LATENCY], abs=3.0)

    def test_soon_again_when_it_failed(self):
        bench = SingleNode(refresh_in=300.0)
        bench.failing[Kind.REFRESH] = Failure.UNAVAILABLE
        bench.advance(302)
        assert 1 < len(bench.asked(Kind.REFRESH)) < 4, "a backoff between two tries"
        since = bench.now
        bench.failing.clear()
        bench.advance(40)
        assert len(bench.asked(Kind.REFRESH, since=since)) == 1

    @pytest.mark.parametrize("why", ["a stranger", "a reload"])
    def test_one_that_is_under_way_does_not_count_if_it_is_wanted_anew(self, why):
        bench = SingleNode(refresh_in=50.0)
        bench.manual.add(Kind.REFRESH)
        bench.until(lambda: bool(bench.asked(Kind.REFRESH)))
        bench.advance(0.5)
        if why == "a reload":
            bench.node.refresh_in(0.0, bench.now)
        else:
            bench.heard("q", 5)
        bench.answer(Lane.READS)
        bench.advance(1)
        assert len(bench.asked(Kind.REFRESH)) == 2
        bench.answer(Lane.READS)
        bench.advance(100)
        assert len(bench.asked(Kind.REFRESH)) == 2

    def test_no_list_goes_before_the_attach_if_the_master_dies_during_the_own_detach(self):
        bench = master()
        bench.manual.add(Kind.DETACH)
        bench.beating["a"] = 5
        bench.holding.add("a")
        bench.until(lambda: bench.asked(Kind.DETACH, "m"))
        del bench.beating["a"]
        bench.until(lambda: bench.role is Role.MASTER)
        since = bench.now
        bench.advance(0.3)
        assert bench.asked(Kind.HOLDERS, since=since - 0.05) == []
        bench.holding.discard("m")
        bench.answer(Lane.MUTATIONS)
        bench.pump()
        assert bench.asked(Kind.ATTACH, "m", since)
        assert bench.asked(Kind.HOLDERS, since=since - 0.05) == []

    def test_what_is_urgent_goes_first(self):
        bench = SingleNode(refresh_in=300.0)
        bench.manual.add(Kind.READ)
        bench.advance(310)
        assert bench.asked(Kind.REFRESH) == []
        bench.manual.clear()
        bench.answer(Lane.READS, holds=True, running=True)
        bench.holding.add("m")
        bench.advance(5)
        assert len(bench.asked(Kind.REFRESH)) == 1


class TestLeaving:
    def test_nobody_is_asked_by_a_leaver_without_the_eip(self):
        bench = backup()
        bench.node.leave(bench.now)
        since = bench.now
        bench.advance(1)
        assert Kind.HOLDERS not in bench.kinds(since)

    def test_peers_that_leave_too_are_not_looked_at(self):
        bench = master()
        for name, priority in (("a", LEAVING), ("z", 20)):
            bench.beating[name] = priority
            bench.heard(name, priority)
        bench.advance(1.5)
        bench.node.leave(bench.now)
        since = bench.now
        bench.advance(2)
        assert len(bench.asked(Kind.READ, "a", since)) <= 1
        assert len(bench.asked(Kind.READ, "z", since)) >= 7
