"""Real `exoip -W` processes, real UDP, real HTTP: what a cluster does when its nodes, its network and its API misbehave.

`cluster.Cluster` ends every process and holds each to a clean end: exit code, no traceback, no secret in the log.
"""

from __future__ import annotations

import math
import signal
import socket
import tempfile
from collections.abc import Callable
from itertools import pairwise

import pytest

from exoip.heartbeat.wire import Heartbeat, encode
from tests.support.cluster import ATTACH, Cluster, Members
from tests.support.observer import Heard
from tests.support.parallel import (
    New,
    beside,
    outcomes,  # noqa: F401
)
from tests.support.process import Process

OUTAGE_BEATS = 15  # advertisement intervals that an outage of the API lasts at least
STRANGER = "01234567-89ab-4def-8123-456789abcdef"


def never_without_a_holder(cluster: Cluster, since: int = 0) -> bool:
    return all(cluster.history(since))


def gaps(beats: list[Heard]) -> list[float]:
    return [later.at - earlier.at for earlier, later in pairwise(beats)]


# -- forming -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", ["group", "addresses", "ids"])
@beside
def test_three_nodes_form_a_cluster_with_one_holder(new: New, members: Members) -> None:
    with new(3, members=members) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        assert all(holders == {"n1"} for holders in cluster.watch(2 * cluster.dead_time))
        assert cluster.moves(mark) == []
        assert never_without_a_holder(cluster)


@beside
def test_a_node_alone_holds(new: New) -> None:
    with new(1) as cluster:
        cluster.start()
        cluster.settle("n1")
        assert cluster.moves() == [("n1", "attach", "n1")]


@beside
def test_a_better_node_that_comes_later_takes_over_without_a_gap(new: New) -> None:
    with new(2) as cluster:
        cluster.start("n2")
        cluster.settle("n2")
        mark = cluster.mark
        cluster.start("n1")
        cluster.settle("n1")
        assert cluster.history(mark) == [{"n1", "n2"}, {"n1"}]
        assert cluster.moves(mark) == [("n1", "attach", "n1"), ("n2", "detach", "n2")]


@pytest.mark.parametrize("start", range(5))
@beside
def test_two_nodes_of_equal_priority_make_one_master(new: New, start: int) -> None:
    """Started together, or one after the other: the lower instance id wins, whoever was first."""
    with new(2, priorities=(10, 10), interval=0.1) as cluster:
        low, high = sorted(cluster.nodes.values(), key=lambda node: node.id)
        first, second = ((low, high), (high, low))[start % 2]
        first.start()
        if start == 4:
            cluster.settle(first.name)
        second.start()
        cluster.settle(low.name)
        assert all(holders == {low.name} for holders in cluster.watch(2 * cluster.dead_time))
        assert (low.role, high.role) == ("MASTER", "BACKUP")
        assert never_without_a_holder(cluster)


@beside
def test_an_instance_that_holds_already_and_is_no_member_is_left_alone_and_told_of(new: New) -> None:
    with new(1, options=("-v", "--verify-interval", "1")) as cluster:
        with cluster.server.lock:
            now = cluster.server.now()
            outsider = cluster.zone.add_instance("outsider", now, public_ip=f"{cluster.net}.50")
            cluster.zone.force(outsider.id, True, now)
        cluster.start()
        cluster.until(lambda: cluster["n1"].logged("is attached to"), "the outsider is told of")
        assert outsider.id in cluster["n1"].logged("is attached to")[0]
        assert cluster.server.holders() == {outsider.id, cluster["n1"].id}
        assert cluster.moves() == [("n1", "attach", "n1")]


# -- deaths, stops, restarts -------------------------------------------------------------------------------------------


@beside
def test_sigkill_of_the_holder_moves_the_address(new: New) -> None:
    with new(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster["n1"].kill()
        cluster.settle("n2")
        assert cluster.moves(mark) == [("n2", "attach", "n2"), ("n2", "detach", "n1")]
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]
        last = cluster.observer.of(cluster["n1"])[-1].at
        early = last + cluster.dead_time - cluster.mutations(mark)[0].time
        assert early < cluster.interval, "the attach came before the holder was dead"


@beside
def test_sigterm_of_the_holder_hands_over_with_no_moment_without_a_holder(new: New) -> None:
    with new(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        assert cluster["n1"].stop() == 0
        assert cluster.holders() == {"n2"}, "it left before the other held"
        cluster.settle("n2")
        assert cluster.moves(mark) == [("n2", "attach", "n2"), ("n1", "detach", "n1")]
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]
        farewells = [heard.heartbeat.priority for heard in cluster.observer.of(cluster["n1"])][-3:]
        assert farewells == [255, 255, 255]


@beside
def test_sigterm_does_not_wait_for_the_dead_time(new: New) -> None:
    with new(2, interval=1, ratio=255) as cluster:  # no death in this test: it would be minutes away
        cluster.start("n2", "n1")
        cluster.until(lambda: cluster["n1"].hears(cluster["n2"]), "n1 hears n2")
        cluster.until(lambda: cluster["n2"].hears(cluster["n1"]), "n2 hears n1")
        assert cluster["n1"].stop() == 0
        assert cluster["n2"].stop() == 0
        assert cluster.moves() == []


@beside
def test_sigterm_of_a_backup_changes_nothing(new: New) -> None:
    with new(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        assert cluster["n3"].stop() == 0
        assert cluster["n2"].stop() == 0
        assert all(holders == {"n1"} for holders in cluster.watch(2 * cluster.dead_time))
        assert cluster.moves(mark) == []


@beside
def test_sigterm_of_the_last_node_lets_go(new: New) -> None:
    with new(1) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        assert cluster["n1"].stop() == 0
        assert cluster.holders() == set()
        assert cluster.moves(mark) == [("n1", "detach", "n1")]


@beside
def test_sigint_ends_a_node_as_sigterm_does(new: New) -> None:
    with new(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster["n1"].send(signal.SIGINT)
        assert cluster["n1"].wait() == 0
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]


@beside
def test_sigterm_while_the_api_is_away_at_start_ends_at_once(new: New) -> None:
    with new(1) as cluster:
        cluster.fault("status")
        cluster.start()
        cluster.until(lambda: cluster["n1"].logged("waiting for the API"), "n1 waits for the API")
        assert cluster["n1"].stop() == 0


@beside
def test_a_restart_within_the_dead_time_makes_no_mutation(new: New) -> None:
    with new(3, ratio=30) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        for name in ("n1", "n2"):
            cluster[name].kill()
            cluster.start(name)
        cluster.settle("n1")
        for node in cluster.nodes.values():
            assert not node.logged(" is dead"), "the restart took longer than the dead time: the machine is too slow"
        assert cluster.moves(mark) == []
        assert cluster.history(mark) == []


@beside
def test_every_node_restarted_at_once_makes_no_mutation(new: New) -> None:
    with new(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        for node in cluster.nodes.values():
            node.kill()
        cluster.start()
        cluster.settle("n1")
        assert cluster.moves(mark) == []


@beside
def test_a_dead_holder_that_comes_back_takes_back_without_a_gap(new: New) -> None:
    with new(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        cluster["n1"].kill()
        cluster.settle("n2")
        mark = cluster.mark
        cluster.start("n1")
        cluster.settle("n1")
        assert cluster.history(mark) == [{"n1", "n2"}, {"n1"}]


@beside
def test_a_restart_beats_at_once_while_the_api_is_away_and_makes_no_mutation(new: New) -> None:
    with tempfile.TemporaryDirectory() as folder, new(2, ratio=30) as cluster:
        cluster["n1"].env["RUNTIME_DIRECTORY"] = folder
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster.fault("status")
        cluster["n1"].kill()
        heard = len(cluster.observer.of(cluster["n1"]))
        cluster.start("n1")
        cluster.until(lambda: len(cluster.observer.of(cluster["n1"])) > heard, "n1 beats again, with no API to ask")
        cluster.clear()
        cluster.settle("n1")
        assert not cluster["n2"].logged(" is dead"), (
            "the restart took longer than the dead time: the machine is too slow"
        )
        assert cluster.moves(mark) == []


@beside
def test_a_third_start_within_a_minute_stands_aside(new: New) -> None:
    with tempfile.TemporaryDirectory() as folder, new(2) as cluster:
        cluster["n1"].env["RUNTIME_DIRECTORY"] = folder
        cluster.start()
        cluster.settle("n1")
        for _ in range(2):
            cluster["n1"].kill()
            cluster.start("n1")
            cluster.until(lambda: cluster["n1"].log, "n1 runs again")
        cluster.settle("n2")
        cluster.until(lambda: cluster["n1"].logged("started too often"), "n1 tells why")


@beside
def test_a_frozen_holder_is_relieved_and_takes_back_after_it_has_thawed(new: New) -> None:
    with new(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster["n1"].send(signal.SIGSTOP)
        cluster.until(lambda: cluster.holders() == {"n2"}, "n2 alone holds")
        cluster["n1"].send(signal.SIGCONT)
        cluster.until(lambda: cluster["n1"].logged("listening again"), "n1 notices that it was frozen")
        cluster.settle("n1")
        assert never_without_a_holder(cluster, mark)


@beside
def test_a_backup_frozen_for_long_does_not_take_over_when_it_thaws(new: New) -> None:
    with new(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster["n2"].send(signal.SIGSTOP)
        cluster.until(lambda: not cluster["n1"].hears(cluster["n2"]), "n2 is dead to n1")
        cluster["n2"].send(signal.SIGCONT)
        cluster.until(lambda: cluster["n2"].logged("listening again"), "n2 notices that it was frozen")
        cluster.settle("n1")
        assert cluster.moves(mark) == []


# -- the API -----------------------------------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, object]] = {
    "503": {"kind": "status"},
    "500 in plain text": {"kind": "status", "status": 500, "form": "text"},
    "429": {"kind": "status", "status": 429, "retry_after": 2.0},
    "drop": {"kind": "drop"},
    "drop after": {"kind": "drop", "when": "after"},
    "garbage": {"kind": "garbage"},
    "garbage after": {"kind": "garbage", "when": "after"},
    "half": {"kind": "half"},
    "half instead": {"kind": "half", "when": "instead"},
    "status after": {"kind": "status", "when": "after"},
    "conflict": {"kind": "status", "status": 409},
    "not found": {"kind": "status", "status": 404},
    "hang": {"kind": "hang", "seconds": 120.0},
    "hang after": {"kind": "hang", "when": "after", "seconds": 120.0},
    "hang for a while": {"kind": "hang", "when": "before", "seconds": 1.0},
    "operation failure": {"kind": "operation-failure"},
    "operation busy": {"kind": "operation-failure", "reason": "busy"},
    "operation time-out": {"kind": "operation-timeout"},
    "operation slow": {"kind": "operation-slow", "seconds": 6.0},
    "operation never": {"kind": "operation-never"},
}


@pytest.mark.parametrize("name", FAULTS)
@beside
def test_a_fault_of_the_attach_after_a_death_ends_in_one_right_holder(new: New, name: str) -> None:
    """The holder dies, and the first attach of the other node meets the fault."""
    with new(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster.fault(method="PUT", path=":attach$", key="EXOn2", count=1, **FAULTS[name])  # type: ignore[arg-type]
        cluster["n1"].kill()
        cluster.settle("n2")
        assert cluster.faults() == 0, "the fault hit nothing"
        assert all(holders == {"n2"} for holders in cluster.watch(cluster.dead_time))
        assert never_without_a_holder(cluster, mark)


@pytest.mark.parametrize("kind", ["hang", "operation-never"])
@beside
def test_a_node_whose_attach_times_out_steps_aside(new: New, kind: str) -> None:
    with new(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        fields: dict[str, object] = {"seconds": 600.0} if kind == "hang" else {}
        cluster.fault(kind, "PUT", ":attach$", "EXOn2", **fields)  # type: ignore[arg-type]
        cluster["n1"].kill()
        cluster.until(lambda: cluster.holders() == {"n3"}, "n3 alone holds")
        cluster.until(lambda: cluster["n2"].logged("stepping aside"), "n2 tells of it")
        assert never_without_a_holder(cluster, mark)


@pytest.mark.parametrize("status", [401, 403])
@beside
def test_a_node_whose_key_is_refused_steps_aside(new: New, status: int) -> None:
    with new(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        cluster.fault("status", "PUT", ":attach$", "EXOn2", status=status)
        cluster["n1"].kill()
        cluster.settle("n3")
        cluster.until(lambda: cluster["n2"].logged("stepping aside"), "n2 tells of it")
        cluster.until(lambda: cluster["n2"].logged(" ERROR "), "the error is told of")
        errors = cluster["n2"].logged(" ERROR ")
        assert len(errors) == 1, "told more than once"
        assert str(status) in errors[0]
        assert ATTACH in errors[0], "the error does not name what the key's role has to allow"


@beside
def test_an_outage_of_the_api_while_the_holder_dies(new: New) -> None:
    with new(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster.fault("status")
        cluster["n1"].kill()
        began = cluster.observer.of(cluster["n1"])[-1].at
        survivors = [cluster["n2"], cluster["n3"]]

        def lasted() -> bool:
            return all(len(cluster.observer.of(node, began)) >= OUTAGE_BEATS for node in survivors)

        cluster.until(
            lambda: lasted() and len(cluster.moves(mark)) >= 3, "an outage long enough for some failed attaches"
        )
        assert cluster.history(mark) == []
        back, failed = cluster.clear(), cluster.moves(mark)
        cluster.until(lambda: cluster.holders() != {"n1"}, "the address moves")
        ended = cluster.record(mark)[-1].time
        assert ended >= back
        first = cluster.moves(mark)[len(failed) :]
        assert first[0][1] == "attach"
        assert cluster.history(mark)[0] == {"n1", first[0][0]}, "the first attach after the API's return did not do it"
        for node in survivors:
            beats = cluster.observer.of(node, began)
            assert max(gaps(beats)) < cluster.dead_time / 2, f"{node.name} missed beats"
            beats = [beat for beat in beats if beat.at <= ended]
            assert len(beats) >= math.floor(0.9 * (ended - began) / cluster.interval) - 1
            assert not node.logged("listening again")
        assert not survivors[0].logged(f"{survivors[1].address}) is dead")
        assert not survivors[1].logged(f"{survivors[0].address}) is dead")
        cluster.until(lambda: len(cluster.holders()) == 1, "one alone holds")
        assert never_without_a_holder(cluster, mark)


@pytest.mark.parametrize("kind", ["hang", "drop", "garbage"])
@beside
def test_an_api_that_fails_at_everything_moves_nothing_and_stops_no_heartbeat(new: New, kind: str) -> None:
    with new(2, options=("-v", "--verify-interval", "0.5")) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark, began = cluster.mark, cluster.observer.heard[-1].at
        fields: dict[str, object] = {"seconds": 120.0} if kind == "hang" else {}
        cluster.fault(kind, **fields)  # type: ignore[arg-type]
        nodes = list(cluster.nodes.values())

        def lasted() -> bool:
            return all(len(cluster.observer.of(node, began)) >= OUTAGE_BEATS for node in nodes)

        cluster.until(lambda: lasted() and cluster["n1"].logged(" failed: "), "an outage that n1 notices")
        for node in nodes:
            assert max(gaps(cluster.observer.of(node, began))) < cluster.dead_time / 2
        cluster.clear()
        cluster.until(lambda: cluster["n1"].logged(" is over: "), "n1 notices the API's return")
        cluster.settle("n1")
        assert cluster.moves(mark) == []


@beside
def test_an_api_that_is_away_at_start_is_waited_for(new: New) -> None:
    with new(2) as cluster:
        cluster.fault("status")
        cluster.start()
        for node in cluster.nodes.values():
            cluster.until(lambda node=node: node.logged("waiting for the API"), "it waits for the API")  # type: ignore[misc]
        cluster.clear()
        cluster.settle("n1")


@beside
def test_an_address_that_an_outsider_detached_is_taken_again(new: New) -> None:
    with new(2, options=("-v", "--verify-interval", "0.5")) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        with cluster.server.lock:
            cluster.zone.force(cluster["n1"].id, False, cluster.server.now())
        cluster.settle("n1")
        assert cluster.moves(mark) == [("n1", "attach", "n1")]


@beside
def test_an_address_that_an_outsider_attached_to_a_backup_is_let_go(new: New) -> None:
    with new(2, options=("-v", "--verify-interval", "0.5")) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        with cluster.server.lock:
            cluster.zone.force(cluster["n2"].id, True, cluster.server.now())
        cluster.settle("n1")
        assert cluster.moves(mark) == [("n2", "detach", "n2")]


# -- datagrams ---------------------------------------------------------------------------------------------------------


class Sender:
    """A socket that sends to one node from an address of the cluster's net."""

    def __init__(self, cluster: Cluster, target: Process, host: int) -> None:
        self.address = f"{cluster.net}.{host}"
        self._to = (target.address, cluster.port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.address, 0))

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self._to)


def bad_datagrams(cluster: Cluster) -> dict[str, bytes]:
    """By name, datagrams that must change nothing, whoever sends them; each would make its sender the best node of all."""
    good = encode(Heartbeat(0, cluster.eip, cluster.listener.id))
    return {
        "empty": b"",
        "short": good[:-1],
        "long": good + b"\0",
        "very long": good * 60,
        "version": b"\3" + good[1:],
        "priority": good[:2] + b"\0\1" + good[4:],
        "eip": encode(Heartbeat(0, "198.51.100.7", cluster.listener.id)),
        "unknown id": encode(Heartbeat(0, cluster.eip, STRANGER)),
        "the holder's id": encode(Heartbeat(255, cluster.eip, cluster["n1"].id)),
        "the backup's id": encode(Heartbeat(0, cluster.eip, cluster["n2"].id)),
        "junk": bytes(range(256)),
    }


def refusals(node: Process) -> dict[tuple[str, str], list[str]]:
    """What the node told of refused datagrams, by sender's address and cause."""
    told: dict[tuple[str, str], list[str]] = {}
    for line in node.logged("dropped a datagram from "):
        address, cause = line.partition("dropped a datagram from ")[2].split(" ", 1)
        told.setdefault((address, cause.strip("(").split(" ")[0].split(";")[0]), []).append(line)
    return told


@pytest.mark.parametrize("name", ["n1", "n2"])
@beside
def test_a_storm_of_bad_datagrams_changes_nothing_and_is_told_once_a_sender_and_cause(new: New, name: str) -> None:
    with new(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark, node = cluster.mark, cluster[name]
        before = {each.name: len(each.log) for each in cluster.nodes.values()}
        senders = (1, 77, 78)  # the observer, a member; two strangers
        for _ in range(300):
            for host in senders:
                with Sender(cluster, node, host) as sender:
                    for data in bad_datagrams(cluster).values():
                        sender.send(data)
        cluster.until(lambda: len({address for address, _ in refusals(node)}) == len(senders), "each sender is told of")
        assert all(holders == {"n1"} for holders in cluster.watch(2 * cluster.dead_time))
        causes = {cause for _, cause in refusals(node)}
        assert {"short", "long", "version", "priority", "eip", "unknown", "identity"} <= causes
        assert all(len(lines) == 1 for lines in refusals(node).values()), "told more than once in a minute"
        for each in cluster.nodes.values():
            rest = [line for line in each.log[before[each.name] :] if "dropped a datagram from " not in line]
            flood = [line for line in rest if "flood" in line]  # a fast machine makes one of it
            assert rest == flood, f"{each.name} did something about it"
            assert len(flood) <= (2 if each is node else 0), "that it began and ended is told more than once"
        assert cluster.moves(mark) == []


@beside
def test_bad_datagrams_are_counted_by_their_cause(new: New) -> None:
    """A sender that is told of later is told with the number of all before it."""
    with new(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        bad = bad_datagrams(cluster)
        wanted = {cause: (bad[cause], bad[cause], 77, 78) for cause in ("short", "long", "version", "priority", "eip")}
        wanted["unknown"] = (bad["unknown id"], bad["unknown id"], 77, 78)
        wanted["identity"] = (
            bad["the holder's id"],
            bad["the backup's id"],
            1,
            11,
        )  # members that pretend to be others
        for many, one, first, second in wanted.values():
            with Sender(cluster, cluster["n2"], first) as sender:
                for _ in range(20):
                    sender.send(many)
            with Sender(cluster, cluster["n2"], second) as sender:
                sender.send(one)
        expected = {
            (f"{cluster.net}.{host}", cause): f"; {count} so far"
            for cause, (_, _, first, second) in wanted.items()
            for host, count in ((first, 1), (second, 21))
        }
        cluster.until(lambda: refusals(cluster["n2"]).keys() == expected.keys(), "each sender and cause is told of")
        told = refusals(cluster["n2"])
        assert all(count in told[key][0] for key, count in expected.items())


@beside
def test_a_member_may_change_its_own_priority_and_nothing_else(new: New) -> None:
    """The observer's instance, heard as the best of all, becomes the master; its id never goes into a call of ours."""
    with new(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        good = encode(Heartbeat(1, cluster.eip, cluster.listener.id))
        with Sender(cluster, cluster["n1"], 1) as to_n1, Sender(cluster, cluster["n2"], 1) as to_n2:

            def beaten(condition: Callable[[], object]) -> Callable[[], object]:
                def beat_and_look() -> object:
                    to_n1.send(good)
                    to_n2.send(good)
                    return condition()

                return beat_and_look

            cluster.until(beaten(lambda: cluster["n1"].role == "BACKUP"), "n1 takes the observer for the master")
            heard = len(cluster.observer.heard)
            cluster.until(beaten(lambda: len(cluster.observer.heard) > heard + 4 * cluster.ratio), "some time passes")
            assert cluster.holders() == {"n1"}, "it let go before the new master held"
        cluster.settle("n1")
        assert cluster.moves(mark) == []
