"""The cluster in rows, from what nodes in virtual time report."""

from __future__ import annotations

import re

from exoip.config.parse import parse
from exoip.core.snapshot import READS_COUNT
from exoip.ctl import cluster, reachability, status
from exoip.ctl.status import State
from exoip.ctl.terminal import WIDTH, unstyled
from exoip.heartbeat.wire import Heartbeat
from exoip.telemetry import status as report
from tests.simulation.world import EIP, instance_id
from tests.support.single_node import SingleNode, backup, master
from tests.unit.telemetry.test_status import STARTED, WORDS, mute, status_of


def rows(state: State) -> dict[str, str]:
    """The table's rows by the node's name, with single blanks."""
    lines = [line for block in cluster.blocks("web", state) for line in block.styled(unstyled)]
    assert max(map(len, lines)) <= WIDTH
    text = re.sub(r"\n {6}", " ", "\n".join(lines))
    head, titles, *found = text.splitlines()
    assert head.startswith(f"web  {EIP}  ")
    assert titles.split() == ["node", "address", "role", "priority", "heard", "holds", "aside"]
    return {row.split()[0]: " ".join(row.split()) for row in found}


def test_of_a_master() -> None:
    bench = SingleNode(peers="az")
    bench.until(lambda: bench.view.holds)
    bench.beating["a"] = 20
    bench.advance(20.0)
    found = rows(status_of(bench))
    assert re.fullmatch(r"6d000000… MASTER 10 - yes, [\d.]+ s ago", found["6d000000…"])
    assert re.fullmatch(r"web-a host-a BACKUP 20 [\d.]+ s ago no, [\d.]+ s ago", found["web-a"])
    assert re.fullmatch(r"web-z host-z dead never no, [\d.]+ s ago runs, but was never heard", found["web-z"])


def test_of_a_backup_that_knows_less() -> None:
    bench = backup()
    bench.node.set_unfit("operator", "drained by ann (uid 0): new kernel", bench.now)
    bench.beating["z"] = 254
    bench.advance(READS_COUNT * 30.0)
    found = rows(status_of(bench))
    assert re.fullmatch(r"web-a host-a MASTER 5 [\d.]+ s ago yes, [\d.]+ s ago", found["web-a"])
    assert re.fullmatch(r"web-z host-z BACKUP [\d.]+ s ago unknown yes", found["web-z"])
    assert found["6d000000…"].endswith(" drained by ann (uid 0): new kernel")


def test_of_a_node_that_cannot_send() -> None:
    assert rows(status_of(mute()))["6d000000…"].endswith(" cannot send heartbeats (Operation not permitted)")


def test_every_reason_of_a_peer() -> None:
    bench = master(peers="az")
    bench.heard("a", 255)
    bench.node.heard(Heartbeat(20, EIP, instance_id("z")), "192.0.2.9", bench.now)
    state = status_of(bench)
    state["peers"][1] |= {"member": False, "denied": "signature"}
    state["outsiders"] = [instance_id("q")]
    found = rows(state)
    assert " leaving " in found["web-a"]
    assert found["web-a"].endswith("stopping")
    for reason in ("its heartbeats are dropped (signature)", "sends from 192.0.2.9", "no longer a member"):
        assert reason in found["web-z"]
    assert found["71000000…"] == "71000000… no member - yes"


def test_of_a_daemon_of_an_older_version() -> None:
    """After an upgrade of the package, until it is restarted."""
    state = status_of(master())
    for name in ("name", "address", "events", "mute"):
        del state[name]
    for peer in state["peers"]:
        del peer["never_heard"], peer["elsewhere"]
    assert len(rows(state)) == 3
    assert {one.level for one in reachability.peers(state)} == {"warning"}
    assert list(status.lines("web", state, unstyled, events=5))


def test_the_check_expects_to_hear_only_peers_that_run() -> None:
    state = status_of(backup())
    assert [one.level for one in reachability.peers(state)] == ["well", "warning"]
    state["peers"][1]["running"] = False
    assert [one.text for one in reachability.peers(state)][1] == "web-z (host-z) does not run"
    assert {one.level for one in reachability.peers(state)} == {"well"}
    state["peers"][1]["denied"] = "signature"
    assert [one.level for one in reachability.peers(state)] == ["well", "warning"], "something does run there"


def test_of_a_node_that_starts() -> None:
    state = report.describe_starting(parse([*WORDS], {}), "waiting for the API: 503", STARTED, STARTED + 9)
    (node,) = cluster.nodes(state)
    assert (node["own"], node["role"], node["holds"]) == (True, "starting", None)
    assert "waiting for the API: 503" in node["aside"][0]


def test_the_priority_is_what_a_node_advertises_if_it_is_one() -> None:
    assert [cluster._priority(one) for one in (None, 0, 1, 252, 253, 255)] == ["", "protected", "1", "252", "", ""]
