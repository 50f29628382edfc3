"""What an operator uses on a host, below the unit's protection: exoipctl, a program that is told,
encrypted secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from exoip.core.events import EventName
from tests.hosts.cluster import FILE, SETTLES, TOLD, UNIT, Cluster
from tests.hosts.host import Host
from tests.hosts.zone import now
from tests.support.waiting import until

OVERRIDE = f"/etc/systemd/system/{UNIT}.d/override.conf"
HOOK = "/etc/exoip/hooks/notify"
NOBODY = 3  # exoipctl's exit status when the daemon does not answer it
STORE = "/etc/credstore.encrypted"
AGAIN = "no longer stepping aside"


def exits(host: Host, *words: str) -> int:
    """The exit status of a command on a host."""
    return int(host.sh(f"{' '.join(words)} >/dev/null 2>&1; echo $?"))


@pytest.fixture
def configured(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster; what a test does to the configuration of `a` is undone."""
    a = cluster.hosts["a"]
    before = a.path(FILE).read_text()
    yield cluster
    a.write(FILE, before)
    a.run("rm", "-f", OVERRIDE, HOOK)
    a.run("systemctl", "daemon-reload")
    a.run("systemctl", "restart", UNIT)


def test_status_shows_the_state_in_words_in_json_and_as_an_exit_status(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    assert exits(a, "exoipctl", "status", "web") == 0
    told = json.loads(a.run("exoipctl", "status", "--json", "web"))
    assert "198.51.100.50" in json.dumps(told)
    cluster.hosts["c"].run("systemctl", "stop", UNIT)
    until(lambda: exits(a, "exoipctl", "status", "web") == 1, "a dead peer is told", SETTLES)
    a.run("systemctl", "stop", UNIT)
    assert exits(a, "exoipctl", "status", "web") == NOBODY


def test_only_root_and_the_group_may_ask_and_steer(cluster: Cluster) -> None:
    a, since = cluster.hosts["a"], now()
    user = "setpriv --reuid={0} --regid={0} --clear-groups"
    assert exits(a, user.format("exoip"), "exoipctl", "status", "web") < NOBODY
    assert exits(a, user.format("65534"), "exoipctl", "status", "web") == NOBODY
    assert exits(a, user.format("65534"), "exoipctl", "drain", "web") == NOBODY
    cluster.settled("a")
    cluster.moves(since)


def test_a_drain_hands_over_and_outlives_an_upgrade_and_a_boot(cluster: Cluster) -> None:
    a, since = cluster.hosts["a"], now()
    a.sh("exoipctl drain --why 'new kernel' web && exoipctl wait --holds no web")
    cluster.settled("b")
    unfit = cluster.event("a", EventName.UNFIT, since)
    assert "new kernel" in unfit["EXOIP_REASON"]
    cluster.moves(since, ("ab", "a .* is now stepping aside.*, was at priority 10"), ("b", "holds and is heard"))

    since = now()
    a.run("apt-get", "install", "-q", "-y", "--reinstall", f"./{cluster.deb.name}")
    a.run("systemctl", "restart", UNIT)
    cluster.settled("b")
    a.lose_power()
    cluster.settled("b", "bc")
    a.boot()
    cluster.settled("b")
    assert "new kernel" in a.ask("exoipctl", "status", "web")
    cluster.moves(since)

    a.sh("exoipctl undrain web && exoipctl wait --holds yes web")
    cluster.settled("a")
    cluster.moves(since, ("ab", AGAIN), ("a", "holds and is heard"))
    assert not a.path("/var/lib/exoip/web/drained").exists()


def test_a_program_that_comes_while_it_runs_is_called_after_a_reload(configured: Cluster) -> None:
    """The unit's mounts are made when it starts: where the program will be has to be one of them by
    then.
    """
    a, since = configured.hosts["a"], now()
    a.write(HOOK, '#!/bin/sh\nlogger -t told "$1 $EXOIP_HOLDS"\n')
    a.run("chmod", "0755", HOOK)
    a.append(FILE, f"notify = {HOOK}\n")
    a.run("systemctl", "reload", UNIT)

    def told() -> list[str]:
        return [str(entry["MESSAGE"]) for entry in a.journal(f"--since=@{since:.6f}", "-t", "told")]

    until(lambda: told() == ["MASTER yes"], "it is told how it is", TOLD, why=lambda: str(told()))
    a.sh("exoipctl failover --for 10 web && exoipctl wait --holds no web")
    until(lambda: told()[-1] == "BACKUP no", "it is told that it left", TOLD, why=lambda: str(told()))
    configured.settled("a", most=2 * SETTLES)
    until(lambda: told()[-1] == "MASTER yes", "it is told that it is back", TOLD, why=lambda: str(told()))
    assert not configured.events("a", EventName.HOOK_FAILED, since)


def test_secrets_are_decrypted_for_the_daemon_alone_and_a_spoilt_one_is_a_persons_business(configured: Cluster) -> None:
    a = configured.hosts["a"]
    keys = dict(re.findall(r"^exoscale-(api-\w+) = (\S+)\n", a.path(FILE).read_text(), re.M))
    a.write(FILE, re.sub(r"^exoscale-api-.*\n", "", a.path(FILE).read_text(), flags=re.M))
    a.run("mkdir", "-p", "-m", "0700", STORE)
    a.run("mkdir", "-p", str(Path(OVERRIDE).parent))
    a.write(OVERRIDE, "[Service]\n")
    for name, text in keys.items():
        a.sh(f"printf %s {text} | systemd-creds encrypt --name={name} - {STORE}/exoip.web.{name}.encrypted")
        a.append(OVERRIDE, f"LoadCredentialEncrypted={name}:exoip.web.{name}.encrypted\n")
    assert set(keys) == {"api-key", "api-secret"}
    a.run("systemctl", "daemon-reload")
    a.run("systemctl", "restart", UNIT)
    configured.settled("a")
    secret = keys["api-secret"]
    assert a.ask("grep", "-rl", secret, STORE, OVERRIDE, FILE) == ""
    assert a.path("/var/lib/systemd/credential.secret").exists(), "it is encrypted with the host's own key"
    assert secret not in a.run("systemctl", "show", UNIT)
    others = a.ask("setpriv", "--reuid=65534", "--clear-groups", "cat", f"/run/credentials/{UNIT}/api-secret")
    assert "Permission denied" in others

    a.sh(f"echo spoilt >{STORE}/exoip.web.api-secret.encrypted")
    a.run("systemctl", "stop", UNIT)
    a.ask("systemctl", "start", UNIT)
    assert (a.show("ActiveState", UNIT), a.show("ExecMainStatus", UNIT), a.show("NRestarts", UNIT)) == (
        "failed",
        "243",
        "0",
    )
    configured.settled("b", "bc")
