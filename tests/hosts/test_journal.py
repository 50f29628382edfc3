"""A journal that does not take what it is told: nothing may wait for it."""

from __future__ import annotations

from tests.hosts import history
from tests.hosts.cluster import UNIT, Cluster, at
from tests.hosts.host import Host
from tests.hosts.zone import now

JOURNALD = "systemd-journald.service"
# More than the journal's socket and any buffer takes: a daemon that waited for its entries to be
# taken would wait now.
MANY = 300
PRIORITY = 20  # of b


def chatter(host: Host) -> None:
    """Make the daemon tell much: it does so of each change of its priority.

    Two signals that come at once count as one, so see that the priority is what it was.
    """
    pid = host.show("MainPID", UNIT)
    host.sh(f"for turn in $(seq {MANY}); do kill -USR1 {pid}; sleep 0.001; kill -USR2 {pid}; sleep 0.001; done")
    host.run("exoipctl", "priority", "web", str(PRIORITY))


def test_with_a_stopped_journald_no_beat_is_late_and_a_death_is_answered(cluster: Cluster) -> None:
    a, b, since = cluster.hosts["a"], cluster.hosts["b"], now()
    b.signal("STOP", JOURNALD)
    try:
        chatter(b)
        died = now()
        a.lose_power()
        cluster.settled("b", "bc")
        cluster.punctual("b", since, "c")
        assert b.show("NRestarts", UNIT) == "0"
    finally:
        again = now()
        b.signal("CONT", JOURNALD)
    cluster.moves(died, ("ab", r"a \(.*\) is dead"), ("b", "it is silent and held"))
    # It did block whoever told it something: these were told before, and sent only now.
    late = [entry for entry in cluster.lines("b", again) if at(entry) > again]
    assert any("requested by a signal" in str(entry["MESSAGE"]) for entry in late)
    # And yet the journals tell when it moved.
    assert history.differences(cluster.zone.changes(), cluster.journals(), cluster.zone.names) == []


def test_with_a_full_journal_disk_no_beat_is_late_and_nothing_is_left_untold(cluster: Cluster) -> None:
    a, b, since = cluster.hosts["a"], cluster.hosts["b"], now()
    with b.full_disk():
        b.run("journalctl", "--rotate")  # it needs a new file now, as it does sooner or later
        assert not list(b.journal_disk.glob("*/system.journal"))
        chatter(b)
        died = now()
        a.lose_power()
        cluster.settled("b", "bc")
        cluster.punctual("b", since, "c")
        assert (b.show("NRestarts", UNIT), b.show("ActiveState", UNIT)) == ("0", "active")
    a.boot()
    cluster.settled("a")
    back = [("ab", "this node is at priority 10"), ("a", "holds and is heard")]
    cluster.moves(died, ("ab", r"a \(.*\) is dead"), ("b", "it is silent and held"), *back)
    assert history.differences(cluster.zone.changes(), cluster.journals(), cluster.zone.names) == []
