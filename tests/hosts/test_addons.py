"""Health checks and hooks below the unit's protection: what they may run, as whom, and what an
operator is told when they may not.
"""

from __future__ import annotations

import pytest

from exoip.core.events import EventName
from tests.hosts.cluster import FILE, SETTLES, UNIT, Cluster
from tests.hosts.host import Host
from tests.hosts.zone import now
from tests.support.waiting import until

SERVICE = "probe.service"
HOOK = "/etc/exoip/hooks/notify"
# It fails, and so is told of with its words, when it is not as the manual says: user, nice value,
# file system, secrets.
TRIAL = """\
#!/bin/sh
fail() { echo "trial: $*"; exit 1; }
[ "$(id -un)" = exoip ] || fail "user $(id -un)"
[ "$(cut -d' ' -f19 /proc/self/stat)" = 0 ] || fail "nice $(cut -d' ' -f19 /proc/self/stat)"
[ "$(cat /proc/self/oom_score_adj)" = 0 ] || fail "oom score $(cat /proc/self/oom_score_adj)"
touch /etc/exoip/hooks/x 2>/dev/null && fail "it may write"
touch /tmp/x || fail "it may not write into /tmp"
env | grep -e SOCKET -e WATCHDOG -e CREDENTIALS -e SECRET -e '^IF_' && fail "it sees too much"
[ "$2 $EXOIP_ROLE" = "$EXOIP_EIP $1" ] || fail "$*"
"""


def program(host: Host, path: str, text: str) -> None:
    host.run("mkdir", "-p", path.rpartition("/")[0])
    host.write(path, text)
    host.run("chmod", "0755", path)


@pytest.fixture(scope="module")
def served(hosts: Cluster) -> Cluster:
    """Each host has a service, a check of it as the README has it, and a hook."""
    hosts.install()

    def configure(host: Host) -> None:
        program(host, HOOK, TRIAL)
        host.write(f"/etc/systemd/system/{SERVICE}", "[Service]\nExecStart=/bin/sleep infinity\n")
        host.run("systemctl", "start", SERVICE)
        line = f"systemctl -q is-active {SERVICE}"
        text = hosts.zone.configuration(host.name, check_command=line, check_interval=1, notify=HOOK)
        host.write(FILE, text)

    hosts.each(configure)
    hosts.form()
    return hosts


def test_a_service_that_stops_moves_the_address_and_back(served: Cluster) -> None:
    a, since = served.hosts["a"], now()
    a.run("systemctl", "stop", SERVICE)
    served.settled("b")
    served.never_without(since)
    failing = served.event("a", EventName.CHECK_FAILING, since)
    assert (failing["EXOIP_CHECK"], failing["EXOIP_REASON"]) == ("command", "exit status 3")
    a.run("systemctl", "start", SERVICE)
    served.settled("a")
    served.never_without(since)


def test_the_hook_was_called_for_each_change_and_is_as_the_manual_says(served: Cluster) -> None:
    for name, roles in (("a", ["MASTER", "BACKUP"]), ("b", ["BACKUP", "MASTER"])):
        told = [entry["EXOIP_ROLE"] for entry in served.events(name, EventName.HOOK_DONE, 0)]
        assert set(told) >= set(roles)
        assert [entry["MESSAGE"] for entry in served.events(name, EventName.HOOK_FAILED, 0)] == []


def test_a_program_that_the_unit_forbids_is_rejected_with_the_cure_and_a_drop_in_allows_it(
    served: Cluster,
) -> None:
    c = served.hosts["c"]
    program(c, "/opt/monitoring/notify", TRIAL)
    good = c.path(FILE).read_text()
    c.write(FILE, good.replace(HOOK, "/opt/monitoring/notify"))
    since = now()
    c.ask("systemctl", "restart", UNIT)
    served.line("c", "--notify /opt/monitoring/notify: this user cannot execute it: .*ExecPaths", since)
    until(lambda: c.show("ExecMainStatus", UNIT) == "78", "it ends with 78", SETTLES)

    folder = "/etc/systemd/system/exoip@.service.d"
    c.run("mkdir", "-p", folder)
    c.run("cp", "/usr/share/doc/exoip/examples/hooks.conf", folder)
    c.run("mkdir", "-p", "/var/lib/node_exporter")
    c.run("systemctl", "daemon-reload")
    since = now()
    c.run("systemctl", "restart", UNIT)
    served.settled("a")
    assert served.event("c", EventName.HOOK_DONE, since)["EXOIP_ROLE"] == "BACKUP"
