"""docs/operating.md on real hosts, to the letter but for the name of the unit: with systemd, its
journal, and the package's own rights.
"""

from __future__ import annotations

import json

from tests.hosts.cluster import FILE, UNIT, Cluster
from tests.hosts.network import EIP
from tests.hosts.zone import now
from tests.support.operating import commands
from tests.support.waiting import until

NAME = UNIT.removeprefix("exoip@").removesuffix(".service")


def lines(heading: str) -> list[str]:
    """The commands of a chapter, for this unit and this file."""
    return [line.replace("exoip@eip", f"exoip@{NAME}").replace(" eip", f" {NAME}") for line in commands(heading)]


def test_is_it_healthy(cluster: Cluster) -> None:
    bare, overview, status, as_json, _ = lines("Is it healthy?")
    for name, role in (("a", "MASTER"), ("b", "BACKUP")):
        host = cluster.hosts[name]
        until(lambda host=host: "healthy" in host.sh(f"{bare} || true").splitlines()[0], "it is healthy", 10.0)
        assert f"{NAME}  {EIP}  {role}  healthy" in host.sh(bare)
        assert host.sh(status).splitlines()[0] == host.sh(bare).splitlines()[0]
        told = json.loads(host.sh(as_json))
        assert (told["level"], told["instances"][0]["status"]["configuration"]["file"]) == ("healthy", FILE)
        rows = host.sh(overview)
        assert (rows.count("MASTER"), rows.count("BACKUP")) == (1, 2)


def test_check_says_that_all_is_well_as_soon_as_the_address_is_there(cluster: Cluster) -> None:
    *_, check = lines("Is it healthy?")
    a = cluster.hosts["a"]
    a.run("systemctl", "stop", f"exoip-address@{EIP}.service")
    text = a.sh(f"{check}; echo $?")
    assert f"-> systemctl enable --now exoip-address@{EIP}.service" in text
    assert text.splitlines()[-1] == "2"
    a.run("systemctl", "enable", "--now", f"exoip-address@{EIP}.service")
    text = a.sh(check)
    assert "FAIL" not in text
    assert "UDP 12345 is allowed" in text
    since = now()
    a.sh(check)
    assert cluster.zone.changes(since) == [], "it changes nothing"


def test_drain_a_node_for_maintenance(cluster: Cluster) -> None:
    drain, gone, undrain, back = lines("Drain a node for maintenance")
    a, since = cluster.hosts["a"], now()
    a.sh(drain)
    a.sh(gone)
    cluster.moves(
        since, ("ab", r"is now stepping aside while holding, was at priority 10"), ("b", "holds and is heard")
    )
    a.lose_power()  # at least a reboot
    a.boot()
    until(
        lambda: "drained by root" in a.sh(f"exoipctl status {NAME} || true"), "it is drained after the boot too", 60.0
    )
    cluster.settled("b")
    assert a.sh(f"cat /var/lib/exoip/{NAME}/drained").startswith("drained by root (uid 0): new kernel")
    since = now()
    a.sh(undrain)
    a.sh(back)
    cluster.settled("a")
    cluster.never_without(since)
    assert "drained by root (uid 0): new kernel" in str(cluster.line("a", "drained by root", 0.0)["MESSAGE"])


def test_move_it_now(cluster: Cluster) -> None:
    failover, priority = lines("Move it now")
    a, since = cluster.hosts["a"], now()
    assert "b (" in a.sh(failover)
    cluster.settled("b")
    a.sh(f"exoipctl undrain {NAME}")
    cluster.settled("a")
    a.sh(priority)
    until(lambda: cluster.zone.holders() == {"b"}, "b is the better one", 60.0)
    a.run("systemctl", "reload", UNIT)
    cluster.settled("a")
    cluster.never_without(since)


def test_why_did_it_move_last_night(cluster: Cluster) -> None:
    own, _, explained = lines("Why did it move last night?")
    b, since = cluster.hosts["b"], now()
    cluster.hosts["a"].run("systemctl", "stop", UNIT)
    cluster.settled("b", "bc")
    cluster.hosts["a"].run("systemctl", "start", UNIT)
    cluster.settled("a")
    table, timeline = b.sh(own).split("\n\n")
    there, home = table.splitlines()[-2:]
    assert there.split()[2:4] == ["a", "b"]
    assert home.split()[2:4] == ["b", "a"]
    assert timeline.startswith(EIP)
    assert json.loads(b.sh(f"{own} --json"))["failovers"][-1]["at"] > since
    assert "Defined-By: exoip" in b.sh(explained), "the catalog explains the entries"


def test_rotate_the_key(cluster: Cluster) -> None:
    check, reload, status = lines("Rotate the key")
    a, since = cluster.hosts["a"], now()
    a.run("systemctl", "enable", "--now", f"exoip-address@{EIP}.service")
    good = cluster.zone.configuration("a")
    cluster.zone.control.key("EXOnew", "the-new-secret-of-a")
    a.write(FILE, good.replace("sandbox-a", "not-the-secret"))
    assert "every call is forbidden" in a.sh(f"{check} || true")
    new = "".join(
        "exoscale-api-key = EXOnew\n" if line.startswith("exoscale-api-key")
        else "exoscale-api-secret = the-new-secret-of-a\n" if line.startswith("exoscale-api-secret") else line
        for line in good.splitlines(keepends=True)
    )  # fmt: skip
    a.write(FILE, new)
    assert "FAIL" not in a.sh(check)
    a.sh(reload)
    cluster.line("a", "the configuration was read again and is in force", since)
    until(lambda: "healthy" in a.sh(f"{status} || true").splitlines()[0], "it works", 60.0)
    assert cluster.zone.changes(since) == [], "nothing moves"
    a.write(FILE, good)
    a.sh(reload)
