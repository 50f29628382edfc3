"""A cluster of real processes with faults of nodes, network and API: one test for each edge.

`cluster.Cluster` ends every process and checks that each ends cleanly: exit code, no traceback, no
secret in the log.
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
from tests.support.node_state import Entry
from tests.support.observer import Heard
from tests.support.process import Process

OUTAGE_BEATS = 15  # advertisement intervals that an outage of the API lasts at least
STRANGER = "01234567-89ab-4def-8123-456789abcdef"


def never_without_a_holder(cluster: Cluster, since: int = 0) -> bool:
    return all(cluster.history(since))


def gaps(beats: list[Heard]) -> list[float]:
    return [later.at - earlier.at for earlier, later in pairwise(beats)]


# -- forming -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", ["addresses", "ids"])  # all other tests name the group
def test_three_nodes_form_a_cluster_with_one_holder(members: Members) -> None:
    with Cluster(3, members=members) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        assert all(holders == {"n1"} for holders in cluster.watch(2 * cluster.dead_time))
        assert cluster.moves(mark) == []
        assert never_without_a_holder(cluster)


def test_a_better_node_that_comes_later_takes_over_without_a_gap() -> None:
    with Cluster(2) as cluster:
        cluster.start("n2")
        cluster.settle("n2")
        mark = cluster.mark
        cluster.start("n1")
        cluster.settle("n1")
        assert cluster.history(mark) == [{"n1", "n2"}, {"n1"}]
        assert cluster.moves(mark) == [("n1", "attach", "n1"), ("n2", "detach", "n2")]


@pytest.mark.parametrize("later", [False, True])
def test_two_nodes_of_equal_priority_make_one_master(later: bool) -> None:
    """The lower instance id wins, even if that node starts later."""
    with Cluster(2, priorities=(10, 10), interval=0.1) as cluster:
        low, high = sorted(cluster.nodes.values(), key=lambda node: node.id)
        high.start()
        if later:
            cluster.settle(high.name)
        low.start()
        cluster.settle(low.name)
        assert all(holders == {low.name} for holders in cluster.watch(2 * cluster.dead_time))
        assert (low.role, high.role) == ("MASTER", "BACKUP")
        assert never_without_a_holder(cluster)


def test_a_member_that_is_migrating_when_the_group_is_read() -> None:
    """It runs while it is moved to another host, so it must not count as gone."""
    with Cluster(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        for reads, other in (("n1", "n2"), ("n2", "n1")):
            with cluster.server.lock:
                cluster.zone.set_state(cluster[other].id, "migrating", cluster.server.now())
            cluster.reload(reads)
        assert all(holders == {"n1"} for holders in cluster.watch(2 * cluster.dead_time))
        assert cluster.moves(mark) == []


@pytest.mark.parametrize("signed", [False, True])
def test_a_clone_with_the_id_of_another_node_does_not_take_part(signed: bool) -> None:
    with Cluster(3) as cluster:
        for node in cluster.nodes.values():
            node.env |= {"IF_AUTH_KEY": "a-key-of-all-the-nodes"} if signed else {}
        clone = cluster["n3"]
        clone.words += ["-i", cluster["n1"].id]
        cluster.start("n1", "n2")
        cluster.settle("n1")
        clone.start()
        cluster.until(lambda: clone.events("same-id"), "it is told that another host has its id")
        mark = cluster.mark
        cluster["n1"].kill()
        cluster.until(lambda: cluster.holders() == {"n2"}, "n2 takes over")
        assert all(holders == {"n2"} for holders in cluster.watch(2 * cluster.dead_time))
        assert clone.role == "LISTENING"
        assert {name for name, _, _ in cluster.moves(mark)} == {"n2"}


# -- deaths, stops, restarts -------------------------------------------------------------------------------------------


def test_sigkill_of_the_holder_moves_the_address() -> None:
    with Cluster(3) as cluster:
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_holder_hands_over_with_no_moment_without_a_holder(number: signal.Signals) -> None:
    with Cluster(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster["n1"].send(number)
        assert cluster["n1"].wait() == 0
        assert cluster.holders() == {"n2"}, "it left before the other held"
        cluster.settle("n2")
        assert cluster.moves(mark) == [("n2", "attach", "n2"), ("n1", "detach", "n1")]
        assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}]
        farewells = [heard.heartbeat.priority for heard in cluster.observer.of(cluster["n1"])][-3:]
        assert farewells == [255, 255, 255]


def test_sigterm_does_not_wait_for_the_dead_time() -> None:
    with Cluster(2, interval=1, ratio=255) as cluster:  # no death in this test: it would be minutes away
        cluster.start("n2", "n1")
        cluster.until(lambda: cluster["n1"].hears(cluster["n2"]), "n1 hears n2")
        cluster.until(lambda: cluster["n2"].hears(cluster["n1"]), "n2 hears n1")
        assert cluster["n1"].stop() == 0
        assert cluster["n2"].stop() == 0
        assert cluster.moves() == []


def test_sigterm_of_the_last_node_releases() -> None:
    with Cluster(1) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        assert cluster["n1"].stop() == 0
        assert cluster.holders() == set()
        assert cluster.moves(mark) == [("n1", "detach", "n1")]


def test_sigterm_while_the_api_is_away_at_start_ends_at_once() -> None:
    with Cluster(1) as cluster:
        cluster.fault("status")
        cluster.start()
        cluster.until(lambda: cluster["n1"].logged("waiting for the API"), "n1 waits for the API")
        assert cluster["n1"].stop() == 0


def test_a_restart_within_the_dead_time_makes_no_mutation() -> None:
    with Cluster(3, ratio=20) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        for name in ("n1", "n2"):
            cluster[name].kill()
            cluster.start(name)
        cluster.settle("n1")
        for node in cluster.nodes.values():
            assert not node.events("peer-dead"), "the restart took longer than the dead time: the machine is too slow"
        assert cluster.moves(mark) == []
        assert cluster.history(mark) == []


def test_a_restart_beats_at_once_while_the_api_is_away_and_makes_no_mutation() -> None:
    with tempfile.TemporaryDirectory() as folder, Cluster(2, ratio=20) as cluster:
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
        assert not cluster["n2"].events("peer-dead"), "the restart took longer than the dead time"
        assert cluster.moves(mark) == []


def test_a_holder_that_is_upgraded_during_an_outage_goes_on_to_hold() -> None:
    with tempfile.TemporaryDirectory() as folder, Cluster(2, ratio=20) as cluster:
        holder = cluster["n1"]
        holder.env["RUNTIME_DIRECTORY"] = folder
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster.fault("status")
        holder.send(signal.SIGQUIT)
        assert holder.wait() == 0
        cluster.start("n1")
        cluster.until(lambda: holder.events("api-degraded"), "it has asked in vain")
        cluster.until(lambda: holder.state.role == "MASTER", "n1 is the master")
        cluster.clear()
        cluster.settle("n1")
        assert not cluster["n2"].events("peer-dead"), "the restart took longer than the dead time"
        assert not holder.events("unfit")
        assert cluster.moves(mark) == []


def test_a_third_start_within_a_minute_stands_aside() -> None:
    with tempfile.TemporaryDirectory() as folder, Cluster(2) as cluster:
        cluster["n1"].env["RUNTIME_DIRECTORY"] = folder
        cluster.start()
        cluster.settle("n1")
        for _ in range(2):
            cluster["n1"].kill()
            cluster.start("n1")
            cluster.until(lambda: cluster["n1"].log, "n1 runs again")
        cluster.settle("n2")
        (unfit,) = cluster["n1"].events("unfit")
        assert unfit["EXOIP_CAUSE"] == "starts"


def test_a_frozen_holder_is_relieved_and_takes_back_after_it_has_thawed() -> None:
    with Cluster(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster["n1"].send(signal.SIGSTOP)
        cluster.until(lambda: cluster.holders() == {"n2"}, "n2 alone holds")
        cluster["n1"].send(signal.SIGCONT)
        cluster.until(lambda: cluster["n1"].events("stalled"), "n1 notices that it was frozen")
        cluster.settle("n1")
        assert never_without_a_holder(cluster, mark)


# -- the API -----------------------------------------------------------------------------------------------------------

# One for each failure that the node tells from others, but a call that hangs: that has a test of its own below. What is
# garbage or half is unavailable like a 503: tests/unit/daemon/test_api_worker.py.
FAULTS: dict[str, dict[str, object]] = {
    "503": {"kind": "status"},
    "drop after": {"kind": "drop", "when": "after"},
    "conflict": {"kind": "status", "status": 409},
    "operation failure": {"kind": "operation-failure"},
    "operation slow": {"kind": "operation-slow", "seconds": 2.5},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_attach_after_a_death_ends_in_one_right_holder(name: str) -> None:
    """The holder dies, and the first attach of the other node fails."""
    with Cluster(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster.fault(method="PUT", path=":attach$", key="EXOn2", count=1, **FAULTS[name])  # type: ignore[arg-type]
        cluster["n1"].kill()
        cluster.settle("n2")
        assert cluster.faults() == 0, "the fault hit nothing"
        assert all(holders == {"n2"} for holders in cluster.watch(cluster.dead_time))
        assert never_without_a_holder(cluster, mark)


def test_a_node_whose_attach_times_out_stands_aside() -> None:
    with Cluster(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        cluster.fault("hang", "PUT", ":attach$", "EXOn2", seconds=600.0)
        cluster["n1"].kill()
        cluster.until(lambda: cluster.holders() == {"n3"}, "n3 alone holds")
        cluster.until(lambda: cluster["n2"].events("unfit"), "n2 logs it")
        assert never_without_a_holder(cluster, mark)


def test_a_node_whose_key_is_forbidden_stands_aside() -> None:
    with Cluster(3) as cluster:
        cluster.start()
        cluster.settle("n1")
        cluster.fault("status", "PUT", ":attach$", "EXOn2", status=403)
        cluster["n1"].kill()
        cluster.settle("n3")
        cluster.until(lambda: cluster["n2"].events("unfit"), "n2 logs it")
        cluster.until(lambda: cluster["n2"].logged(" ERROR "), "the error is told of")
        errors = cluster["n2"].logged(" ERROR ")
        assert len(errors) == 1, "told more than once"
        assert "403" in errors[0]
        assert ATTACH in errors[0], "the error does not name what the key's role has to allow"


def test_an_outage_of_the_api_while_the_holder_dies() -> None:
    with Cluster(3) as cluster:
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
            assert not node.events("stalled")
            assert [entry["EXOIP_PEER_INSTANCE"] for entry in node.events("peer-dead")] == [cluster["n1"].id]
        cluster.until(lambda: len(cluster.holders()) == 1, "one alone holds")
        assert never_without_a_holder(cluster, mark)


def test_an_api_that_hangs_at_everything_moves_nothing_and_stops_no_heartbeat() -> None:
    with Cluster(2, options=("-v", "--verify-interval", "0.5")) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark, began = cluster.mark, cluster.observer.heard[-1].at
        cluster.fault("hang", seconds=120.0)
        nodes = list(cluster.nodes.values())

        def lasted() -> bool:
            return all(len(cluster.observer.of(node, began)) >= OUTAGE_BEATS for node in nodes)

        cluster.until(lambda: lasted() and cluster["n1"].events("api-degraded"), "an outage that n1 notices")
        for node in nodes:
            assert max(gaps(cluster.observer.of(node, began))) < cluster.dead_time / 2
        cluster.clear()
        cluster.until(lambda: cluster["n1"].events("api-recovered"), "n1 notices the API's return")
        cluster.settle("n1")
        assert cluster.moves(mark) == []


def test_an_api_that_is_away_at_start_is_waited_for() -> None:
    with Cluster(2) as cluster:
        cluster.fault("status")
        cluster.start()
        for node in cluster.nodes.values():
            cluster.until(lambda node=node: node.logged("waiting for the API"), "it waits for the API")  # type: ignore[misc]
        cluster.clear()
        cluster.settle("n1")


def test_an_address_that_an_outsider_detached_is_taken_again() -> None:
    with Cluster(2, options=("-v", "--verify-interval", "0.5")) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        with cluster.server.lock:
            cluster.zone.force(cluster["n1"].id, False, cluster.server.now())
        cluster.settle("n1")
        assert cluster.moves(mark) == [("n1", "attach", "n1")]


# -- datagrams ---------------------------------------------------------------------------------------------------------


class Sender:
    """A socket that sends to one node from an address of the cluster's network."""

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
    """Return, by name, datagrams that must change nothing, though each claims the best priority."""
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


def dropped(node: Process) -> dict[tuple[str, str], list[Entry]]:
    """Return how often the node logged dropped datagrams, by sender's address and cause."""
    found: dict[tuple[str, str], list[Entry]] = {}
    for entry in node.events("datagram-refused"):
        found.setdefault((entry["EXOIP_ADDRESS"], entry["EXOIP_CAUSE"]), []).append(entry)
    return found


def test_a_storm_of_bad_datagrams_changes_nothing_and_is_logged_once_per_sender_and_cause() -> None:
    with Cluster(2) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark, node = cluster.mark, cluster["n1"]
        before = {each.name: len(each.entries) for each in cluster.nodes.values()}
        senders = (1, 77, 78)  # the observer, a member; two strangers
        for _ in range(300):
            for host in senders:
                with Sender(cluster, node, host) as sender:
                    for data in bad_datagrams(cluster).values():
                        sender.send(data)
        cluster.until(lambda: len({address for address, _ in dropped(node)}) == len(senders), "each sender is logged")
        assert all(holders == {"n1"} for holders in cluster.watch(2 * cluster.dead_time))
        assert {"short", "long", "version", "priority", "eip", "unknown", "identity"} <= {c for _, c in dropped(node)}
        assert all(len(entries) == 1 for entries in dropped(node).values()), "logged more than once in a minute"
        for each in cluster.nodes.values():
            events = [entry.get("EXOIP_EVENT", entry["MESSAGE"]) for entry in each.entries[before[each.name] :]]
            allowed = ["flooded", "flood-over"] if each is node else []  # a fast machine makes a flood of it
            others = [event for event in events if event not in ("datagram-refused", "same-id")]
            assert others in ([], allowed[:1], allowed)
        assert cluster.moves(mark) == []


def test_a_member_may_change_its_own_priority_and_nothing_else() -> None:
    """The observer, heard as the best node, becomes the master; no API call names it."""
    with Cluster(2) as cluster:
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
