"""From a bare Debian to a cluster, by the README's commands and nothing else; and what a machine
has then.
"""

from __future__ import annotations

import re
import stat

import pytest

from exoip.core.events import EventName
from exoip.telemetry.messages import MESSAGES
from tests.hosts import readme
from tests.hosts.cluster import TOLD, Cluster
from tests.hosts.host import Host
from tests.hosts.network import EIP
from tests.hosts.zone import now
from tests.support.waiting import until

README = readme.chapter()
CHECK = "exoip -W -n -c /etc/exoip/eip.conf"
START, LOOK = (README.command(words) for words in ("enable --now exoip@", "systemctl status"))
UNIT = START.split()[-1]
EXPOSURE = 1.3  # the highest that is allowed, of 10; tests/docs/test_packaging.py holds the unit itself to 1.2


def secrets(host: Host) -> None:
    """Take the key out of a host's file, and give it as credentials, as the README says."""
    text = host.path(README.path).read_text()
    host.write(README.path, re.sub(r"^exoscale-api-.*\n", "", text, flags=re.M))
    host.run("mkdir", "-p", "/etc/credstore")
    for name in ("api-key", "api-secret"):
        host.write(f"/etc/credstore/exoip.eip.{name}", README.option(f"exoscale-{name}"))
        host.run("chmod", "0600", f"/etc/credstore/exoip.eip.{name}")


@pytest.fixture(scope="module")
def installed(hosts: Cluster) -> Cluster:
    """The README's chapter done on three hosts, up to the start of the daemons; on c the key is
    given as credentials.
    """
    assert README.option("address") == EIP
    assert README.before < len(README.until("enable --now exoip@")), "the file is checked before the start"
    hosts.zone.control.key(README.option("exoscale-api-key"), README.option("exoscale-api-secret"))

    def install(host: Host) -> None:
        host.run("mkdir", "-p", "build/deb")
        hosts.bring(host, hosts.deb, "/root/build/deb")
        for at, command in enumerate(README.until("enable --now exoip@")):
            if at == README.before:
                priority = {"a": 10, "b": 20, "c": 30}[host.name]
                text = README.configuration.replace("host-priority = 10", f"host-priority = {priority}")
                host.write(README.path, text)
                if host.name == "c":
                    secrets(host)
            host.sh(command)

    hosts.each(install)
    return hosts


@pytest.fixture(scope="module")
def started(installed: Cluster) -> Cluster:
    """The same, the daemons started at once, as the README says; `a` holds."""
    installed.each(lambda host: host.sh(START))
    installed.settled("a", unit=UNIT)
    return installed


def test_the_package_leaves_files_that_keep_the_secret(installed: Cluster) -> None:
    a = installed.hosts["a"]
    listed = a.run("stat", "-c", "%a %U %G %n", "/etc/exoip", README.path, "/etc/exoip/example.conf").splitlines()
    assert listed == [
        "750 root exoip /etc/exoip",
        f"640 root exoip {README.path}",
        "640 root exoip /etc/exoip/example.conf",
    ]
    assert f"{EIP}/32" in a.run("ip", "-o", "address", "show", "dev", "lo")
    told = a.sh(CHECK)
    assert README.option("exoscale-api-key") in told
    assert README.option("exoscale-api-secret") not in told
    assert stat.S_IMODE(a.path("/usr/bin/exoip").stat().st_mode) == 0o755


def test_by_hand_it_is_attached_and_detached(installed: Cluster) -> None:
    b = installed.hosts["b"]
    b.run("exoip", "-A", "-c", README.path)
    assert installed.zone.holders() == {"b"}
    b.run("exoip", "-D", "-c", README.path)
    assert installed.zone.holders() == set()


def test_the_cluster_forms(installed: Cluster, request: pytest.FixtureRequest) -> None:
    since = now()
    request.getfixturevalue("started")
    assert [change.holders for change in installed.zone.changes(since)] == [{"a"}]
    for host in installed.hosts.values():
        assert host.run("systemctl", "is-enabled", UNIT).strip() == "enabled"
        assert "Active: active (running)" in host.sh(LOOK)
        assert host.run("ps", "-o", "user=", "-p", host.show("MainPID", UNIT)).strip() == "exoip"
    entry = installed.event("a", EventName.ATTACHED, since)
    assert entry["_SYSTEMD_UNIT"] == UNIT
    assert (entry["EXOIP_EIP"], entry["EXOIP_INSTANCE"]) == (EIP, installed.zone.ids["a"])
    assert entry["SYSLOG_IDENTIFIER"] == "exoip"
    assert int(entry["EXOIP_DURATION_MS"]) > 0
    assert installed.event("a", EventName.ROLE, since)["EXOIP_ROLE"] in ("LISTENING", "MASTER")


def test_the_failover_that_a_user_tries_first_moves_it_and_back(started: Cluster) -> None:
    a, since = started.hosts["a"], now()
    start, status, look, *trial = README.since("enable --now exoip@")
    assert (start, look) == (START, LOOK)
    until(lambda: "healthy" in a.ask(*status.split()).splitlines()[0], "it is healthy", TOLD)
    for command in trial:
        a.sh(command)
    started.settled("a", unit=UNIT)
    started.never_without(since)
    assert {"b"} in [change.holders for change in started.zone.changes(since)]


def test_every_link_of_the_installed_pages_leads_to_a_file(installed: Cluster) -> None:
    folder = installed.hosts["a"].path("/usr/share/doc/exoip")
    pages = sorted(folder.rglob("*.md"))
    assert {"README.md", "SECURITY.md", "docs/operating.md"} <= {str(page.relative_to(folder)) for page in pages}
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            assert "://" in target or (page.parent / target).is_file(), f"{page.name}: {target}"


def test_the_journal_explains_its_entries(started: Cluster) -> None:
    a = started.hosts["a"]
    told = a.run("journalctl", "-x", "--no-pager", f"MESSAGE_ID={MESSAGES[EventName.ATTACHED].message_id}")
    assert f"Subject: Attached {EIP} to this instance" in told
    assert re.search(r"has attached the Elastic IP to this instance, \d+ ms", told)


def test_the_unit_is_hardened(started: Cluster) -> None:
    told = started.hosts["a"].run("systemd-analyze", "security", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert found, told
    assert float(found[1]) <= EXPOSURE


def test_no_secret_is_anywhere_it_can_be_read(started: Cluster) -> None:
    a, secret = started.hosts["a"], README.option("exoscale-api-secret")
    until(lambda: a.journal("-t", "exoip"), "the journal has entries", TOLD)
    assert secret not in a.run("journalctl", "--no-pager", "-o", "export")
    assert secret not in a.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert secret not in a.run("systemctl", "show", UNIT)
