"""Test the node: which heartbeats it drops and sends, how it notices a stall, leaves, and wakes its
threads.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exoip.core.calls import Failure, Kind, Lane, Outcome
from exoip.core.events import Event, EventName
from exoip.core.mutations import JOB_TIME
from exoip.core.node import Node
from exoip.core.peers import HOLDING_UNFIT, LEAVING, UNFIT, ElectionConfig, Role
from exoip.core.unfit import OPERATOR, UnfitReason
from exoip.heartbeat.admission import CONFIRM_TIME, MOST_LOOKS
from exoip.heartbeat.authentication import Proof
from exoip.heartbeat.wire import Heartbeat
from tests.simulation.world import EIP, instance_id
from tests.support.single_node import DEAD, PERIOD, SingleNode, backup, master

PATIENCE = 20.0  # seconds that anything here may take before the test gives up
FOREVER = 1000.0
JUST = 1e-6
SPACING = 0.02  # seconds between two farewells
VERIFY = 30.0


def beat(name: str, priority: int = 5, eip: str = EIP) -> Heartbeat:
    return Heartbeat(priority, eip, instance_id(name))


class TestHeartbeatsIn:
    def test_a_member_is_heard(self):
        bench = SingleNode()
        bench.heard("a", 5)
        (a, z) = bench.view.peers
        assert (a.alive, a.priority, a.last_seen, a.address) == (True, 5, 0.0, "host-a")
        assert not z.alive
        assert bench.view.dropped == {}

    @pytest.mark.parametrize(
        ("heartbeat", "address", "cause"),
        [
            (beat("a", eip="192.0.2.1"), "host-a", "eip"),
            (beat("q"), "somewhere", "unknown"),
            (beat("q"), "host-a", "identity"),  # another id than this sender's
            (beat("a"), "host-z", "identity"),  # another sender than this id's
            (beat("a"), "somewhere", "address"),  # the id of a member, from no member's address
        ],
    )
    def test_others_are_dropped_and_change_nothing(self, heartbeat, address, cause):
        bench = master()
        before = replace(bench.view, dropped={})
        bench.node.heard(heartbeat, address, bench.now)
        a, z = bench.view.peers
        assert a.elsewhere == (address if cause == "address" else "")
        assert replace(bench.view, dropped={}, peers=(replace(a, elsewhere=""), z)) == before
        assert bench.view.dropped == {cause: 1}
        (event,) = bench.said(EventName.DATAGRAM_DROPPED)
        assert (event.reason, event.details["address"], event.details["count"]) == (cause, address, 1)

    @pytest.mark.parametrize("cause", ["unsigned", "signature"])
    def test_a_member_without_proof_changes_nothing(self, cause):
        bench = master()
        before = replace(bench.view, dropped={})
        bench.node.heard(beat("a"), "host-a", bench.now, Proof(cause))
        (a, z) = bench.view.peers
        assert (a.denied, z.denied) == (cause, "")
        assert replace(bench.view, dropped={}, peers=()) == replace(before, peers=())
        assert (replace(a, denied="", never_heard=True), z) == before.peers
        assert bench.view.dropped == {cause: 1}
        bench.node.heard(beat("a"), "host-a", bench.now, Proof(stamp=1))
        assert bench.view.peers[0].denied == ""
        assert bench.view.peers[0].alive

    def test_one_whose_heartbeats_were_dropped_and_that_dies_is_no_longer_heard(self):
        bench = master()
        for _ in range(9):
            bench.node.heard(beat("a"), "host-a", bench.now, Proof("signature"))
            assert bench.view.peers[0].denied == "signature"
            bench.advance(DEAD - 0.01)
            assert bench.view.peers[0].denied == "signature"
        bench.advance(0.02)
        assert bench.view.peers[0].denied == ""

    def test_nor_does_a_proof_a_second_time(self):
        bench = SingleNode()
        bench.node.heard(beat("a", 5), "host-a", bench.now, Proof(stamp=7))
        bench.node.heard(beat("a", 1), "host-a", bench.now, Proof(stamp=7))
        assert bench.view.peers[0].priority == 5
        assert bench.view.dropped == {"replay": 1}

    def test_what_comes_from_elsewhere_uses_no_stamp_up(self):
        """Who sends a member's packet from another address, before it arrives itself, does not
        silence the member.
        """
        bench = SingleNode()
        bench.node.heard(beat("a", 5), "somewhere", bench.now, Proof(stamp=7))
        bench.node.heard(beat("a", 5), "host-z", bench.now, Proof(stamp=7))
        bench.node.heard(beat("a", 5), "host-a", bench.now, Proof(stamp=7))
        assert bench.view.peers[0].alive
        assert bench.view.dropped == {"address": 1, "identity": 1}

    def test_a_member_that_leaves_and_comes_back_is_heard_for_the_first_time(self):
        bench = SingleNode()
        members = {instance_id(name): (f"host-{name}", 12345) for name in "az"}
        bench.node.heard(beat("a", 5), "host-a", bench.now, Proof(stamp=7))
        bench.node.heard(beat("z", 5), "host-z", bench.now, Proof("signature"))
        bench.node.set_members({}, bench.now)
        bench.node.set_members(members, bench.now)
        bench.node.heard(beat("a", 5), "host-a", bench.now, Proof(stamp=3))
        assert bench.view.dropped == {"signature": 1}
        assert not any(peer.denied for peer in bench.view.peers)

    @pytest.mark.parametrize("holds", [True, False])
    def test_a_backup_reads_once_who_leaves_the_group(self, holds):
        bench = SingleNode()
        bench.beating["a"] = 5
        bench.holding |= {"a", "z"}
        bench.until(lambda: bench.role is Role.BACKUP)
        bench.holding -= set() if holds else {"z"}
        bench.node.set_members({instance_id("a"): ("host-a", 12345)}, bench.now)
        left = bench.now
        bench.advance(JOB_TIME - 1)  # then a next best node looks at all that are silent
        assert len(bench.asked(Kind.READ, "z", left)) == 1
        assert len(bench.view.peers) == 1 + holds

    def test_one_that_is_heard_stays_until_a_second_list_30_s_later_agrees(self):
        bench = SingleNode(refresh_in=300.0)
        bench.beating.update(a=5, z=20)
        bench.holding.add("a")
        bench.advance(10)
        rest = {instance_id("z"): ("host-z", 12345)}
        for _ in range(3):  # a list that names it again sets the time back
            bench.node.set_members(rest, bench.now, certain=False)
            bench.advance(CONFIRM_TIME - 1)
            assert instance_id("a") in bench.node.admission.members
            bench.node.set_members(rest | {instance_id("a"): ("host-a", 12345)}, bench.now, certain=False)
            bench.advance(5)
        bench.node.set_members(rest, bench.now, certain=False)
        bench.advance(CONFIRM_TIME)
        assert bench.asked(Kind.REFRESH)[-1] == pytest.approx(bench.now, abs=0.1)
        assert bench.view.master == instance_id("a")
        bench.node.set_members(rest, bench.now, certain=False)
        assert bench.node.admission.members.keys() == rest.keys()

    def test_one_that_is_replaced_at_its_address_goes_at_once(self):
        bench = SingleNode(refresh_in=300.0)
        bench.beating.update(a=5, z=20)
        bench.advance(10)
        listed = {instance_id("b"): ("host-a", 12345), instance_id("z"): ("host-z", 12345)}
        bench.node.set_members(listed, bench.now, certain=False)
        assert bench.node.admission.members == listed

    def test_one_that_is_silent_or_left_out_on_purpose_goes_at_once(self):
        bench = SingleNode(refresh_in=300.0)
        bench.beating.update(z=20)
        bench.advance(10)
        bench.node.set_members({instance_id("z"): ("host-z", 12345)}, bench.now, certain=False)
        assert bench.node.admission.members.keys() == {instance_id("z")}
        bench.node.set_members({}, bench.now)
        assert bench.node.admission.members == {}

    def test_a_packets_id_never_gets_into_a_call(self):
        bench = master()
        for name in ("q", "m"):
            bench.node.heard(beat(name, 0), "host-a", bench.now)
            bench.node.heard(beat(name, 0), "somewhere", bench.now)
        bench.advance(100)
        assert {call.instance_id for _, call in bench.calls} <= {instance_id(x) for x in "amz"} | {""}

    def test_each_unknown_sender_has_the_group_read_at_once(self):
        bench = SingleNode(refresh_in=300.0)
        bench.advance(50)
        assert bench.kinds()[Kind.REFRESH] == 0
        for count, (name, address) in enumerate((("q", "somewhere"), ("q", "elsewhere"), ("q", "host-a")), 1):
            bench.node.heard(beat(name), address, bench.now)
            bench.advance(1)
            assert bench.kinds()[Kind.REFRESH] == count

    def test_one_that_goes_on_does_so_after_5_10_20_seconds(self):
        bench = SingleNode(refresh_in=300.0)
        bench.advance(50)
        for _ in range(400):
            bench.node.heard(beat("q"), "somewhere", bench.now)
            bench.advance(0.1)
        assert bench.asked(Kind.REFRESH) == pytest.approx([50, 55, 65, 85], abs=0.5)

    def test_a_flood_of_them_has_it_read_so_many_times_in_five_minutes(self):
        bench = SingleNode(refresh_in=300.0)
        bench.latency = 0.001
        bench.advance(50)
        for number in range(3000):
            bench.node.heard(beat("q"), f"10.0.{number // 250}.{number % 250}", bench.now)
            bench.advance(0.1)
        assert len(bench.asked(Kind.REFRESH)) <= MOST_LOOKS + 2

    def test_a_stranger_without_the_key_does_not(self):
        bench = SingleNode(refresh_in=300.0)
        bench.advance(50)
        for cause in ("unsigned", "signature"):
            bench.node.heard(beat("q"), "somewhere", bench.now, Proof(cause))
        bench.advance(100)
        assert bench.kinds()[Kind.REFRESH] == 0
        assert bench.view.dropped == {"unknown": 2}

    def test_nothing_else_asks_for_one(self):
        bench = SingleNode(refresh_in=300.0)
        bench.advance(50)
        bench.node.heard(beat("q", eip="192.0.2.1"), "somewhere", bench.now)
        bench.node.drop("somewhere", "short", bench.now)
        bench.advance(100)
        assert bench.kinds()[Kind.REFRESH] == 0

    def test_without_a_group_there_is_nothing_to_refresh(self):
        bench = SingleNode()
        bench.node.heard(beat("q"), "somewhere", bench.now)
        bench.advance(1000)
        assert bench.kinds()[Kind.REFRESH] == 0


class TestAdverts:
    def test_from_the_first_moment_and_a_tenth_sooner_than_once_an_interval(self):
        bench = SingleNode()
        bench.advance_to(9.5)
        assert bench.beats == [(pytest.approx(n * 0.9), 10) for n in range(11)]

    def test_to_every_member_and_nobody_else(self):
        bench = SingleNode()
        out, _ = bench.node.next_advert(0.0)
        assert sorted(out.targets) == [("host-a", 12345), ("host-z", 12345)]
        assert out.heartbeat == Heartbeat(10, EIP, instance_id("m"))
        members = {instance_id(name): (name, 7) for name in "mbc"}
        bench.node.set_members(members, 0.5)
        assert sorted(bench.node.next_advert(1.0)[0].targets) == [("b", 7), ("c", 7)]

    def test_nothing_between_and_when_to_ask_again(self):
        bench = SingleNode()
        bench.node.next_advert(0.0)
        assert bench.node.next_advert(0.5) == (None, PERIOD)

    def test_a_change_and_back_before_anybody_asked_is_no_change(self):
        bench = SingleNode()
        bench.advance_to(4.3)
        bench.node.set_unfit("health check", "down", bench.now)
        bench.node.set_unfit("health check", "", bench.now)
        bench.advance_to(6.0)
        assert bench.beats[-2:] == [(pytest.approx(4.5), 10), (pytest.approx(5.4), 10)]

    def test_protected_at_once_when_it_holds(self):
        bench = SingleNode(preempt_delay=math.inf)
        bench.advance_to(3.05)
        assert bench.beats[-1] == (pytest.approx(2.7), 10)
        bench.advance_to(3.15)
        assert bench.beats[-1] == (pytest.approx(3.1), 0)

    def test_a_shorter_interval_counts_at_once(self):
        bench = SingleNode()
        bench.advance_to(10.2)
        bench.node.set_config(replace(bench.config, interval=0.25), VERIFY, bench.now)
        bench.advance_to(11.01)
        assert [at for at, _ in bench.beats if at > 10.1] == pytest.approx([10.425, 10.65, 10.875])


class TestStall:
    HALF = DEAD / 2

    @pytest.mark.parametrize("who", ["heard", "beat", "tick", "read", "mutation", "done"])
    def test_whoever_comes_first_notices_it(self, who):
        bench = master()
        call, _ = bench.node.next_call(Lane.READS, bench.now)
        assert call is None
        bench.advance_to(64.0)
        late = bench.beats[-1][0] + PERIOD + self.HALF + JUST
        match who:
            case "heard":
                bench.node.heard(beat("a", 5), "host-a", late)
            case "beat":
                bench.node.next_advert(late)
            case "tick":
                bench.node.tick(late)
            case "read":
                bench.node.next_call(Lane.READS, late)
            case "mutation":
                assert bench.node.next_call(Lane.MUTATIONS, late)[0] is None
            case "done":
                bench.manual.add(Kind.READ)
                bench.until(lambda: Lane.READS in bench.open)
                late = bench.beats[-1][0] + PERIOD + self.HALF + JUST
                began, call = bench.open.pop(Lane.READS)
                bench.node.done(Lane.READS, call, Outcome(began, late, holds=True, running=True))
        view = bench.node.snapshot(late)
        assert view.role is Role.LISTENING
        assert view.in_doubt
        assert len(bench.said(EventName.STALLED)) == 1

    def test_not_a_moment_before(self):
        bench = master()
        bench.advance_to(64.0)
        bench.node.tick(bench.beats[-1][0] + PERIOD + self.HALF - JUST)
        assert not bench.said(EventName.STALLED)

    def test_it_beats_again_at_once(self):
        bench = master()
        bench.now = 100.25
        bench.pump()
        assert bench.beats[-1][0] == 100.25
        bench.advance(1.0)
        assert bench.beats[-1][0] == pytest.approx(101.15)


class TestLeave:
    def test_a_holder_exits_when_it_has_released(self):
        bench = master()
        bench.manual.add(Kind.DETACH)
        bench.node.leave(bench.now)
        bench.advance(1.0)
        assert bench.moves()[-1] == ("detach", "m")
        assert not bench.node.finished()
        bench.holding.clear()
        bench.answer(Lane.MUTATIONS)
        assert bench.node.finished()

    def test_a_node_that_was_not_asked_to_leave_does_not_finish(self):
        assert not backup().node.finished()

    def test_it_is_reported_once(self):
        bench = master()
        bench.node.leave(bench.now)
        bench.advance(1.0)
        assert len(bench.said(EventName.LEAVING)) == 1
        assert bench.view.leaving


class TestHealth:
    def test_a_failing_check_makes_unfit_while_it_fails(self):
        bench = master()
        bench.node.set_unfit("health check", "the web server is down", bench.now)
        bench.advance(1000)
        assert bench.view.unfit
        assert bench.beats[-1][1] == HOLDING_UNFIT
        assert bench.role is Role.MASTER  # nobody is better
        bench.node.set_unfit("health check", "", bench.now)
        bench.pump()
        assert not bench.view.unfit
        assert bench.beats[-1][1] == 10
        assert [e.reason for e in bench.said(EventName.UNFIT)] == ["the web server is down"]
        assert len(bench.said(EventName.FIT)) == 1

    def test_a_drained_node_starts_aside_and_stays_until_it_is_undrained(self):
        bench = SingleNode()
        bench.node.set_unfit(OPERATOR, "drained by ann", bench.now)
        bench.beating["a"] = 50
        bench.holding.add("a")
        bench.advance(1_000)
        assert {priority for _, priority in bench.beats} == {UNFIT}
        assert bench.view.unfit_reasons == (UnfitReason(OPERATOR, "drained by ann"),)
        assert (bench.role, bench.holding) == (Role.BACKUP, {"a"})
        bench.node.set_unfit(OPERATOR, "", bench.now)
        bench.advance(10)
        assert bench.role is Role.MASTER

    def test_a_priority_that_is_set_counts_until_the_terms_are_set(self):
        bench = SingleNode()
        bench.beating["a"] = 20
        bench.advance(5)
        assert (bench.role, bench.view.priority) == (Role.MASTER, 10)
        assert bench.node.set_priority(30, bench.now) == 10
        bench.pump()
        assert (bench.role, bench.view.priority, bench.beats[-1][1]) == (Role.BACKUP, 30, 30)
        bench.node.set_config(bench.config, 30.0, bench.now)
        assert (bench.role, bench.view.priority) == (Role.MASTER, 10)

    def test_a_node_alone_serves_though_it_is_in_quarantine(self):
        bench = SingleNode(quarantined_until=60.0)
        bench.advance(10)
        assert bench.holding == {"m"}


class TestMembers:
    def test_one_that_left_stays_in_sight_until_it_is_seen_not_to_hold(self):
        bench = SingleNode(peers="a")
        bench.manual.add(Kind.READ)
        bench.pump()
        bench.node.set_members({}, 0.5)
        (a,) = bench.view.peers
        assert (a.listed, a.address, a.alive, a.priority) == (False, "", False, UNFIT)


# Real threads


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Start `work`; return what waits for its result, PATIENCE at most."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(PATIENCE)
        assert results, "nobody was woken"
        return results[0]

    return result


def sleepy_node(interval: float = 300.0, emit: Callable[[Event], None] = lambda event: None, **options: Any) -> Node:
    """A node whose next deadline is far away, and whose beat of the start is sent."""
    members = {instance_id(name): (f"host-{name}", 12345) for name in "az"}
    node = Node(ElectionConfig(instance_id("m"), 10, interval), EIP, members, time.monotonic(), emit=emit, **options)
    assert node.next_advert(time.monotonic())[0] is not None
    return node


class TestWaiting:
    def test_a_beat_that_is_due_does_not_wait(self):
        members = {instance_id("a"): ("host-a", 12345)}
        node = Node(ElectionConfig(instance_id("m")), EIP, members, time.monotonic(), emit=lambda event: None)
        assert node.wait_advert(time.monotonic, FOREVER) is not None

    def test_without_anything_to_do_it_returns_in_time(self):
        node = sleepy_node()
        started = time.monotonic()
        assert node.wait_advert(time.monotonic, 0.05) is None
        assert node.wait_call(Lane.MUTATIONS, time.monotonic, 0.05) is None
        assert time.monotonic() - started >= 0.1

    def test_the_interval_wakes_the_sender(self):
        node = sleepy_node(interval=0.05)
        for _ in range(3):
            assert node.wait_advert(time.monotonic, FOREVER) is not None

    @pytest.mark.parametrize("what", ["health", "leave", "terms"])
    def test_a_new_priority_wakes_the_sender(self, what):
        node = sleepy_node()
        result = in_thread(lambda: node.wait_advert(time.monotonic, FOREVER))
        now = time.monotonic()
        match what:
            case "health":
                node.set_unfit("health check", "down", now)
            case "leave":
                node.leave(now)
            case "terms":
                node.set_config(ElectionConfig(instance_id("m"), 99, 300.0), VERIFY, now)
        assert result().heartbeat.priority == {"health": UNFIT, "leave": LEAVING, "terms": 99}[what]

    def test_a_death_wakes_the_worker(self):
        """The peer is master; it dies, and the attach goes out though the worker would have slept
        on.
        """
        node = sleepy_node(interval=1.0)
        start = time.monotonic()
        clock = [start]
        for step in range(1, 14):  # a listening that takes no time
            clock[0] = start + step
            node.heard(beat("a", 5), "host-a", clock[0])
            node.next_advert(clock[0])
            node.tick(clock[0])
        assert node.snapshot(clock[0]).role is Role.BACKUP
        result = in_thread(lambda: node.wait_call(Lane.MUTATIONS, lambda: clock[0], FOREVER))
        for step in range(14, 17):
            clock[0] = start + step
            node.next_advert(clock[0])
        node.tick(clock[0])
        assert result().kind is Kind.ATTACH

    def test_a_question_wakes_the_reader(self):
        node = sleepy_node()
        call, _ = node.next_call(Lane.READS, time.monotonic())
        result = in_thread(lambda: node.wait_call(Lane.READS, time.monotonic, FOREVER))
        now = time.monotonic()
        node.done(Lane.READS, call, Outcome(now, now, running=True))
        assert result().kind is Kind.HOLDERS

    def test_a_look_that_finds_nobody_dead_wakes_nobody(self):
        """The receiver looks again whenever the earliest possible death is due; the worker that
        waits meanwhile is not disturbed.
        """
        bench = backup()
        for _ in range(10):
            bench.advance_to(bench.node.next_death() - 1e-3)
            bench.heard("a", 5)
            bench.node.next_advert(bench.now)
            woken: list[float] = []
            bench.node._wake.notify_all = lambda woken=woken: woken.append(bench.now)
            bench.now += 2e-3
            bench.node.tick(bench.now)
            del bench.node._wake.notify_all
            assert woken == []
            assert bench.node.next_death() > bench.now
        assert not bench.said(EventName.PEER_DEAD)

    def test_a_client_that_waits_keeps_no_other_out(self):
        node = sleepy_node()
        ends = [in_thread(lambda: node.wait_advert(time.monotonic, FOREVER)) for _ in range(3)]
        for _ in range(1000):
            node.snapshot(time.monotonic())
            node.heard(beat("a", 20), "host-a", time.monotonic())
            node.drop("x", "short", time.monotonic())
        node.leave(time.monotonic())
        assert any(end().heartbeat.priority == LEAVING for end in ends)

    @pytest.mark.slow
    def test_many_threads_at_once(self):
        """Nothing is raised, and each mutation is given to one worker only."""
        events: list[Event] = []
        node = sleepy_node(interval=0.02, emit=events.append)
        end, errors = threading.Event(), []
        calls: list[Any] = []

        def forever(work: Callable[[], object]) -> None:
            try:
                while not end.is_set():
                    work()
            except BaseException as error:
                errors.append(error)
                end.set()

        def serve(lane: Lane) -> None:
            call = node.wait_call(lane, time.monotonic, 0.05)
            if call is not None:
                began = time.monotonic()
                if lane is Lane.MUTATIONS:
                    calls.append(call)
                holds = call.instance_id == instance_id("m") and bool(calls)
                node.done(lane, call, Outcome(began, time.monotonic(), holds=holds, running=True))

        def trouble() -> None:
            now = time.monotonic()
            node.heard(beat("a", (5, 254, 20)[int(now * 50) % 3]), "host-a", now)
            node.tick(now)

        jobs = [
            lambda: node.wait_advert(time.monotonic, 0.05),
            lambda: serve(Lane.MUTATIONS),
            lambda: serve(Lane.READS),
            trouble,
            lambda: node.set_unfit("health check", "" if int(time.monotonic() * 10) % 2 else "down", time.monotonic()),
            lambda: node.snapshot(time.monotonic()),
        ]
        threads = [threading.Thread(target=forever, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        end.wait(0.7)
        end.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert not errors
        assert events


# Anything at all


names = st.sampled_from("azq")
failures = st.one_of(st.none(), st.sampled_from(list(Failure)))
actions = st.one_of(
    st.tuples(st.just("advance"), st.sampled_from([0.01, 0.3, 1.0, 2.9, 3.0, 11.0, 40.0])),
    st.tuples(st.just("sleep"), st.sampled_from([1.4, 1.5, 2.5, 60.0])),
    st.tuples(st.just("beating"), names, st.sampled_from([None, 0, 5, 10, 20, 253, 254, 255])),
    st.tuples(st.just("heard"), names, st.integers(0, 255)),
    st.tuples(st.just("fail"), st.sampled_from(list(Kind)), failures),
    st.tuples(st.just("manual"), st.sampled_from(list(Kind))),
    st.tuples(st.just("answer"), st.sampled_from(list(Lane)), failures),
    st.tuples(st.just("hold"), st.sampled_from("amzq"), st.booleans()),
    st.tuples(st.just("stop"), st.sampled_from("az"), st.booleans()),
    st.tuples(st.just("members"), st.sampled_from(["", "a", "az", "azq"])),
    st.tuples(st.just("terms"), st.integers(1, 252), st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 4.0])),
    st.tuples(st.just("health"), st.sampled_from(["", "down"])),
    st.tuples(st.just("operation"), st.sampled_from([0.0, 0.4, 6.0, 20.0])),
    st.tuples(st.just("candidates"), st.sampled_from([None, "", "amzq", "mq"])),
    st.tuples(st.just("leave")),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(actions, max_size=40), st.sampled_from("am"), st.sampled_from([0.0, 4.0, math.inf]))
@pytest.mark.slow
def test_no_sequence_of_happenings_breaks_a_node(sequence, own, delay):
    """It raises nothing, comes to rest at every moment, asks for no instance that it was never told
    of by API or group.
    """
    bench = SingleNode(own, peers="az", preempt_delay=delay, refresh_in=300.0)
    for what, *how in sequence:
        match what:
            case "advance":
                bench.advance(how[0])
            case "sleep":
                bench.now += how[0]
            case "beating":
                bench.beating[how[0]] = how[1]
                if how[1] is None:
                    del bench.beating[how[0]]
            case "heard":
                bench.heard(*how)
            case "fail":
                bench.failing[how[0]] = how[1]
            case "manual":
                bench.manual ^= {how[0]}
            case "answer" if how[0] in bench.open and bench.open[how[0]][1].kind in bench.manual:
                bench.answer(how[0], how[1], candidates=(instance_id("a"), instance_id("q")), holds=bool(how[1]))
            case "hold":
                (bench.holding.add if how[1] else bench.holding.discard)(how[0])
            case "stop":
                (bench.stopped.add if how[1] else bench.stopped.discard)(how[0])
            case "members":
                bench.node.set_members({instance_id(x): (f"host-{x}", 1) for x in how[0]}, bench.now)
            case "terms":
                bench.node.set_config(ElectionConfig(instance_id(own), how[0], how[1], 3.0, how[2]), VERIFY, bench.now)
            case "health":
                bench.node.set_unfit("health check", how[0], bench.now)
            case "operation":
                bench.operation = how[0]
            case "candidates":
                bench.candidates = how[0] if how[0] is None else list(how[0])
            case "leave":
                bench.node.leave(bench.now)
        bench.pump()
    for call in [call for _, call in bench.calls if call.kind in (Kind.ATTACH, Kind.DETACH)]:
        assert call.instance_id in {instance_id(x) for x in "amzq"}
    attached = [call for _, call in bench.calls if call.kind is Kind.ATTACH]
    assert all(call.instance_id == instance_id(own) for call in attached)


class TestSameId:
    """Another host has this node's instance id."""

    @staticmethod
    def hear_itself(bench: SingleNode, address: str = "host-z", stamp: int | None = None) -> None:
        """Let a clone of m hear itself: the group has its address under its true id, z."""
        bench.node.heard(beat("m"), address, bench.now, Proof("", stamp, local=True))

    @pytest.mark.parametrize("stamp", [None, 7])
    def test_a_clone_that_starts_does_not_take_part_while_that_goes_on(self, stamp):
        bench = SingleNode(peers="z")
        for _ in range(30):
            self.hear_itself(bench, stamp=stamp)
            bench.advance(1)
        assert (bench.role, bench.moves(), bench.view.same_id) == (Role.LISTENING, [], "host-z")
        assert len(bench.said(EventName.SAME_ID)) == 1
        bench.advance(2 * DEAD)
        assert (bench.role, bench.view.same_id) == (Role.MASTER, "")

    def test_it_does_not_detach_what_the_other_holds_when_it_stops(self):
        bench = SingleNode(peers="z")
        bench.holding.add("m")
        for second in range(20):
            self.hear_itself(bench)
            bench.advance(1)
            if second == 10:
                bench.node.leave(bench.now)
        assert bench.moves() == []

    def test_one_that_takes_part_goes_on_and_says_so(self):
        bench = master()
        bench.heard("m", 5)
        bench.advance(1)
        assert (bench.role, bench.view.same_id) == (Role.MASTER, "host-m")

    @pytest.mark.parametrize("address", ["somewhere", "host-m", "host-z"])
    def test_one_that_anybody_may_have_sent_is_reported_and_stops_nobody(self, address):
        bench = SingleNode(peers="z")
        for _ in range(6):
            bench.node.heard(beat("m"), address, bench.now)
            bench.advance(1)
        assert (bench.role, bench.view.same_id) == (Role.MASTER, address)

    def test_a_machine_that_has_another_address_as_well_is_no_clone(self):
        bench = SingleNode(peers="z")
        for _ in range(6):
            self.hear_itself(bench, "somewhere")
            bench.advance(1)
        assert (bench.role, bench.view.same_id) == (Role.MASTER, "somewhere")

    @pytest.mark.parametrize("address", ["somewhere", "host-m", "host-z"])
    def test_a_signed_one_from_another_machine_is_dropped(self, address):
        """Anyone can send a node its own heartbeats back, and what the daemon before it sent."""
        bench = SingleNode(peers="z")
        for n in range(6):
            bench.node.heard(beat("m"), address, bench.now, Proof("", 1_000_000 * n))
            bench.advance(1)
        assert (bench.role, bench.view.same_id) == (Role.MASTER, "")
        (dropped,) = bench.said(EventName.DATAGRAM_DROPPED)
        assert dropped.reason == "echo"

    @pytest.mark.parametrize("cause", ["unsigned", "signature"])
    def test_a_forged_one_is_dropped(self, cause):
        bench = SingleNode(peers="")
        for _ in range(6):
            bench.node.heard(beat("m"), "somewhere", bench.now, Proof(cause))
            bench.advance(1)
        assert (bench.role, bench.view.same_id, bench.said(EventName.SAME_ID)) == (Role.MASTER, "", [])
