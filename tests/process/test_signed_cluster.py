"""Real nodes with signed heartbeats: forgeries, recordings, wrong keys and clocks, a roll-out."""

from __future__ import annotations

import hashlib
import hmac
import sys
import tempfile
from pathlib import Path

import pytest

from exoip.heartbeat.wire import SIGNED, SIZE, Heartbeat, encode
from tests.process.test_cluster import Sender, dropped, never_without_a_holder
from tests.process.test_daemon import Notified
from tests.support.cluster import Cluster
from tests.support.process import Process
from tests.support.waiting import until

KEY, NEW_KEY = "a-key-of-all-the-nodes", "and-the-one-after-that"
AN_HOUR = 3600.0


def signed(cluster: Cluster, *words: str, key: str = KEY) -> Cluster:
    """Give every node the key."""
    for node in cluster.nodes.values():
        node.env["IF_AUTH_KEY"] = key
        node.words += words
    return cluster


def set_clock(node: Process, ahead: float) -> None:
    """Set its wall clock that many seconds ahead, from its next start on."""
    node.program = [sys.executable, "-m", "tests.support.wrong_clock", str(ahead)]


def causes(node: Process, address: str) -> set[str]:
    """Return why the node dropped datagrams from that address."""
    return {cause for sender, cause in dropped(node) if sender == address}


def test_nodes_with_a_key_make_a_cluster_and_survive_a_death() -> None:
    with signed(Cluster(2)) as cluster:
        cluster.start()
        cluster.settle("n1")
        assert {len(heard.data) for heard in cluster.observer.of(cluster["n1"])} == {SIGNED}
        cluster["n1"].kill()
        cluster.settle("n2")
        cluster["n1"].start()
        cluster.settle("n1")
        assert not dropped(cluster["n1"])
        assert not dropped(cluster["n2"])


@pytest.mark.parametrize("trailer", [b"", bytes(24)], ids=["unsigned", "signature"])
def test_a_forged_member_address_changes_nothing(trailer: bytes) -> None:
    """Without a key the packet makes its sender master:
    test_a_member_may_change_its_own_priority_...
    """
    with signed(Cluster(2)) as cluster:
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        beat = encode(Heartbeat(1, cluster.eip, cluster.listener.id)) + trailer
        with Sender(cluster, cluster["n1"], 1) as to_n1, Sender(cluster, cluster["n2"], 1) as to_n2:
            for _ in cluster.watch(3 * cluster.dead_time):
                to_n1.send(beat)
                to_n2.send(beat)
        wanted = {"signature" if trailer else "unsigned"}
        for node in cluster.nodes.values():
            cluster.until(lambda node=node: causes(node, cluster.observer.host) == wanted, "it is told")
            assert cluster.listener.id not in node.state.alive
        cluster.settle("n1")
        assert cluster.moves(mark) == []


@pytest.mark.parametrize(("operation", "recorded"), [(0.05, 3), (3.0, 9)])
def test_recorded_heartbeats_do_not_bring_back_the_dead(operation: float, recorded: int) -> None:
    """The death is noticed and answered first, and the new holder keeps the EIP while the recording
    plays, also if its attach takes longer than two dead times.
    """
    with signed(Cluster(2, operation=operation)) as cluster:
        cluster.start()
        cluster.settle("n1")
        n1, n2 = cluster["n1"], cluster["n2"]
        cluster.until(lambda: len(cluster.observer.of(n1)) > recorded * cluster.ratio, "a recording")
        n1.kill()
        recording, host = [heard.data for heard in cluster.observer.of(n1)], int(n1.address.rpartition(".")[2])
        mark = cluster.mark
        with Sender(cluster, n2, host) as player:
            for data in recording:
                player.send(data)
                list(cluster.watch(cluster.interval))
        assert "replay" in causes(n2, n1.address)
        attached = n2.events("attached")
        assert attached, "the death was hidden"
        before = n2.entries[: n2.entries.index(attached[0])]
        alive = [entry for entry in n2.events("peer-alive", peer=n1) if entry in before]
        assert len(alive) == 1, "it was believed before its death was answered"
        cluster.settle("n2")
        assert cluster.history(mark)[-1] == {"n2"}
        assert not n2.events("let-go")
        assert never_without_a_holder(cluster, mark)


def test_a_wrong_key_is_shown_by_status_and_journal(tmp_path: Path) -> None:
    notified = Notified(tmp_path / "notify")
    try:
        with signed(Cluster(2)) as cluster:
            n1, n2 = cluster["n1"], cluster["n2"]
            n1.env["NOTIFY_SOCKET"] = notified.path
            n2.env["IF_AUTH_KEY"] = NEW_KEY
            cluster.start()
            wanted = f"dropping heartbeats from {n2.address} (signature)"
            cluster.until(lambda: notified.statuses and wanted in notified.statuses[-1], "the status tells of it")
            cluster.until(lambda: dropped(n1), "the journal tells of it")
            assert {key: len(entries) for key, entries in dropped(n1).items()} == {(n2.address, "signature"): 1}
            assert KEY not in "".join(notified.lines)
            n2.kill()
            n2.env["IF_AUTH_KEY"] = KEY
            n2.start()
            cluster.until(lambda: "dropping heartbeats" not in notified.statuses[-1], "it no longer does")
            cluster.settle("n1")
    finally:
        notified.close()


def test_its_own_heartbeats_sent_back_do_not_keep_a_node_that_starts_from_taking_part() -> None:
    """Neither those of the daemon before, nor those that it sends at that moment."""
    with signed(Cluster(2)) as cluster:
        cluster.start()
        cluster.settle("n1")
        n1 = cluster["n1"]
        cluster.until(lambda: len(cluster.observer.of(n1)) > 3 * cluster.ratio, "a recording")
        n1.kill()
        cluster.settle("n2")
        recording = [heard.data for heard in cluster.observer.of(n1)]
        n1.start()
        with Sender(cluster, n1, 77) as stranger:
            for old in 20 * recording:
                if n1.holds:
                    break
                for data in (old, cluster.observer.of(n1)[-1].data):
                    stranger.send(data)
                list(cluster.watch(cluster.interval / 2))
            else:
                pytest.fail("it does not hold while they are sent back")
        cluster.settle("n1")


def reload_with(cluster: Cluster, name: str, text: str) -> None:
    """Write the node's file and reload it."""
    node = cluster[name]
    Path(node.words[node.words.index("-c") + 1]).write_text(text)
    cluster.reload(name)


def test_a_key_comes_to_a_running_cluster_changes_and_goes_without_a_gap() -> None:
    """Reload one node after the other, as the manual says: no peer is declared dead, nothing moves."""
    steps = [
        f"auth-key = {KEY}\nauth-mode = send\n",
        f"auth-key = {KEY}\nauth-mode = accept\n",
        f"auth-key = {KEY}\n",
        f"auth-key = {KEY},{NEW_KEY}\n",
        f"auth-key = {NEW_KEY},{KEY}\n",
        f"auth-key = {NEW_KEY}\n",
        f"auth-key = {NEW_KEY}\nauth-mode = accept\n",
        "",
    ]
    with tempfile.TemporaryDirectory() as folder, Cluster(2, interval=0.1, ratio=10) as cluster:
        for node in cluster.nodes.values():
            file = Path(folder, f"{node.name}.conf")
            file.write_text("")
            node.words += ["-c", str(file)]
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        for step in steps:
            for name in ("n1", "n2"):
                reload_with(cluster, name, step)
                seen = len(cluster.observer.heard)
                cluster.until(lambda seen=seen: len(cluster.observer.heard) > seen + 4, "beats that may be dropped")
            sizes = {len(heard.data) for heard in cluster.observer.heard[-4:]}
            assert sizes == {SIGNED if "auth-key" in step else SIZE}, step
        assert not any(node.events("peer-dead") for node in cluster.nodes.values())
        assert not dropped(cluster["n1"])
        assert not dropped(cluster["n2"])
        cluster.settle("n1")
        assert cluster.moves(mark) == []


def test_a_wrong_clock_between_nodes_that_started_right_is_of_no_account() -> None:
    """One clock is an hour behind from the start on; in the end one node holds."""
    with signed(Cluster(2)) as cluster:
        set_clock(cluster["n2"], -AN_HOUR)
        cluster.start()
        cluster.settle("n1")
        mark = cluster.mark
        assert all(holders == {"n1"} for holders in cluster.watch(3 * cluster.dead_time))
        assert cluster.moves(mark) == []


def test_a_node_restarted_with_its_clock_set_back_is_heard_again() -> None:
    """The holder restarts with its clock an hour further back; its peer takes over without a gap."""
    with signed(Cluster(2)) as cluster:
        cluster.start()
        cluster.settle("n1")
        n1, n2 = cluster["n1"], cluster["n2"]
        n1.kill()
        set_clock(n1, -AN_HOUR)
        mark = cluster.mark
        n1.start()
        cluster.until(lambda: "replay" in causes(n2, n1.address), "n2 refuses it")
        cluster.settle("n1")
        assert never_without_a_holder(cluster, mark)


def test_the_bytes_are_those_that_the_module_describes() -> None:
    """A receiver written from the text alone understands them."""
    with signed(Cluster(1)) as cluster:
        cluster.start()
        until(lambda: len(cluster.observer.heard) > 5, "some heartbeats")
        data = [heard.data for heard in cluster.observer.heard]
        assert all(hmac.new(KEY.encode(), one[:32], hashlib.sha256).digest()[:16] == one[32:] for one in data)
        stamps = [int.from_bytes(one[24:32], "big") for one in data]
        assert stamps == sorted(set(stamps))
        cluster.settle("n1")
