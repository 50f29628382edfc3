"""What may happen to a holder, on real hosts: each is asserted by the zone's record, by systemd and
by the journal.
"""

from __future__ import annotations

import re

from exoip.core.events import EventName
from tests.hosts import history
from tests.hosts.cluster import DEAD, UNIT, Cluster, at
from tests.hosts.network import EIP, cut
from tests.hosts.zone import now
from tests.support.waiting import until

# Why it moves, in the words of the journals.
LEAVES = r"a \(.*\) is now stopping, was at priority 10"
DIES = r"a \(.*\) is dead: not heard for 3"
RETURNS = r"this node is at priority 10, the best peer at priority 20"
LET_GO = r"holds and is heard"
CLEARS = r"it is silent and held"


def test_a_killed_daemon_is_restarted_within_the_dead_time_and_nothing_moves(cluster: Cluster) -> None:
    a, since = cluster.hosts["a"], now()
    restarts = int(a.show("NRestarts", UNIT))
    killed = a.show("MainPID", UNIT)
    a.signal("KILL", UNIT)
    until(
        lambda: int(a.show("NRestarts", UNIT)) == restarts + 1 and a.show("ActiveState", UNIT) == "active",
        "systemd restarts it",
        DEAD,
    )
    assert a.show("MainPID", UNIT) != killed
    cluster.settled("a")
    cluster.moves(since)
    assert not [call for name in cluster.hosts for call in cluster.zone.calls(since, name)]
    assert not cluster.events("b", EventName.PEER_DEAD, since)
    assert cluster.beats.longest_gap("a", since, now(), "bc") < DEAD


def test_a_stop_hands_over_without_a_gap(cluster: Cluster) -> None:
    a, since = cluster.hosts["a"], now()
    a.run("systemctl", "stop", UNIT)
    assert (a.show("ActiveState", UNIT), a.show("Result", UNIT)) == ("inactive", "success")
    cluster.settled("b", "bc")
    cluster.moves(since, ("ab", LEAVES), ("b", LET_GO))
    told = [cluster.event("a", what, since) for what in (EventName.LEAVING, EventName.LET_GO)]
    assert all(entry["_SYSTEMD_UNIT"] == UNIT for entry in told)
    assert cluster.event("b", EventName.ATTACHED, since)["EXOIP_INSTANCE"] == cluster.zone.ids["b"]
    dead = cluster.event("b", EventName.PEER_DEAD, since)
    assert at(told[-1]) < at(dead), "it was moved because a asked for it, not because a fell silent"

    since = now()
    a.run("systemctl", "start", UNIT)
    cluster.settled("a")
    cluster.moves(since, ("ab", RETURNS), ("a", LET_GO))


def test_a_restart_of_all_hosts_at_once_moves_nothing(cluster: Cluster) -> None:
    since = now()
    cluster.each(lambda host: host.run("systemctl", "restart", UNIT))
    cluster.settled("a")
    cluster.moves(since)
    assert not any(cluster.events(name, EventName.PEER_DEAD, since) for name in cluster.hosts)
    assert cluster.hosts["a"].show("Result", UNIT) == "success"


def test_a_frozen_daemon_is_replaced_then_killed_by_the_watchdog_and_takes_back(cluster: Cluster) -> None:
    a, since = cluster.hosts["a"], now()
    before = int(a.show("NRestarts", UNIT))
    a.signal("STOP", UNIT)
    until(lambda: cluster.zone.holders() == {"b"}, "b takes it and clears a", 2 * DEAD)
    until(lambda: int(a.show("NRestarts", UNIT)) == before + 1, "the watchdog has it restarted", 20.0)
    assert a.journal(f"--since=@{since:.6f}", f"UNIT={UNIT}", "UNIT_RESULT=watchdog")
    cluster.settled("a")
    cluster.moves(since, ("ab", DIES), ("b", CLEARS), ("ab", RETURNS), ("a", LET_GO))
    dead = cluster.event("b", EventName.PEER_DEAD, since)
    assert dead["EXOIP_PEER_INSTANCE"] == cluster.zone.ids["a"]
    stacks = [str(entry["MESSAGE"]) for entry in cluster.lines("a", since)]  # for those who ask why it hung
    assert len([line for line in stacks if re.search("hread 0x[0-9a-f]+ .most recent call first", line)]) > 5


def test_power_loss_moves_it_and_the_host_takes_it_back_when_it_boots(cluster: Cluster) -> None:
    a, since = cluster.hosts["a"], now()
    a.lose_power()
    cluster.settled("b", "bc")
    changes = cluster.moves(since, ("ab", DIES), ("b", CLEARS))
    assert cluster.event("b", EventName.CLEARED, since)["EXOIP_PEER_INSTANCE"] == cluster.zone.ids["a"]
    last = cluster.beats.of("a", since - DEAD, now())[-1].at
    assert last + DEAD <= at(cluster.event("b", EventName.PEER_DEAD, since)) <= changes[0].at

    since = now()
    a.boot()  # the unit is enabled: nobody starts it
    cluster.settled("a")
    cluster.moves(since, ("ab", RETURNS), ("a", LET_GO))


def test_a_cut_cable_moves_it_and_its_repair_moves_it_back_once(cluster: Cluster) -> None:
    since = now()
    with cut("a", "bc", hub=True):
        cluster.settled("b", "bc")
        cluster.moves(since, ("ab", DIES), ("b", CLEARS))
        cluster.status("a", "degraded", most=30.0)
        assert cluster.hosts["a"].show("StatusText", UNIT).startswith("MASTER")
    since = now()
    cluster.settled("a", most=60.0)
    cluster.moves(since, ("ab", "no longer holds|no longer standing back"), ("a", LET_GO))
    assert cluster.events("a", EventName.LOST, since)


def test_a_cut_between_the_hosts_alone_costs_few_moves_and_never_leaves_nobody(cluster: Cluster) -> None:
    since = now()
    with cut("a", "bc", hub=False):
        until(lambda: cluster.zone.holders() == {"b"}, "b takes it and clears a", 3 * DEAD)
        yielded = cluster.event("a", EventName.YIELDED, since, most=60.0)
        assert yielded["EXOIP_PEER_INSTANCE"] == cluster.zone.ids["b"]
        cluster.status("a", "standing back")
    cluster.settled("a", most=60.0)
    cluster.never_without(since)
    assert [change.holders for change in cluster.zone.changes(since)][-1] == {"a"}
    assert len(cluster.zone.changes(since)) <= 6


def test_the_journals_alone_give_the_history(cluster: Cluster) -> None:
    assert history.differences(cluster.zone.changes(), cluster.journals(), cluster.zone.names) == []
    table, timeline = cluster.hosts["b"].sh("exoipctl history web").split("\n\n")
    assert len(table.splitlines()) > 4
    assert timeline.startswith(EIP)
