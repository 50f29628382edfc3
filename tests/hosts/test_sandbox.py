"""The installed service, with authentication required: what its sandbox keeps in, and what it keeps
other users out of.

`probe` tries every way out from the service's own sandbox, with the unit's every line in force and
only the program exchanged. A way shows something only where it is open outside: what this container
refuses to root too is skipped with its name, not claimed.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from exoip.core.events import EventName
from tests.hosts.cluster import FILE, UNIT, Cluster
from tests.hosts.host import Host
from tests.hosts.probe import WAYS
from tests.hosts.zone import now

PROBE, OPEN = "/etc/exoip/probe.py", "/srv/open"
DROP_IN = f"""[Service]
Type=oneshot
WatchdogSec=0
Restart=no
ExecStart=
ExecStart=/usr/bin/python3 {PROBE} {OPEN}
StandardOutput=truncate:/var/log/probe.json
"""
# What a container may refuse to its root, so that a refusal inside shows nothing.
OFTEN_SHUT = {
    "load a module",
    "set the clock",
    "the kernel's log",
    "real-time scheduling",
    "a device node",
    "the kernel's settings",
}
OFTEN_SHUT |= {"control groups", "mount", "set the host's name", "a namespace of its own"}


@pytest.fixture(scope="module")
def probed(formed: Cluster) -> dict[str, dict[str, Any]]:
    """What the probe says, "inside" the sandbox and "outside" of it, as root."""
    host = formed.hosts["b"]
    host.write(PROBE, (Path(__file__).parent / "probe.py").read_text())
    host.sh(f"chown root:exoip {PROBE} && chmod 0640 {PROBE}")
    host.sh(f"mkdir -p -m 0777 {OPEN} /root/open /home/open && chmod 0777 {OPEN} && chmod 0755 /root")
    host.sh("touch /root/open/for-all /home/open/for-all && chmod 0644 /root/open/for-all /home/open/for-all")
    host.sh("mkdir -p '/etc/systemd/system/exoip@probe.service.d'")
    host.write("/etc/systemd/system/exoip@probe.service.d/probe.conf", DROP_IN)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", "exoip@probe.service")
    return {
        "inside": json.loads(host.path("/var/log/probe.json").read_text()),
        "outside": json.loads(host.run("python3", PROBE, OPEN)),
    }


def test_the_probe_ran_in_the_services_sandbox(probed: dict[str, dict[str, Any]]) -> None:
    """And can do there all that the daemon does."""
    facts = probed["inside"]["facts"]
    assert set(facts["Uid"].split()) != {"0"}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert probed["inside"]["needed"] == dict.fromkeys(probed["inside"]["needed"])


@pytest.mark.parametrize("way", WAYS)
def test_nothing_gets_out_of_the_sandbox(probed: dict[str, dict[str, Any]], way: str) -> None:
    inside, outside = (probed[where]["ways"][way] for where in ("inside", "outside"))
    assert inside is not None, f"it can {way}"
    if outside is not None:
        assert way in OFTEN_SHUT, f"shut outside too: {outside}"
        pytest.skip(f"this container lets nobody: {outside}")


def as_user(host: Host, user: str, *words: str) -> tuple[bool, str]:
    """Whether a command of that user succeeds, and what it prints."""
    told = host.ask(
        "sh",
        "-c",
        'user=$1; shift; setpriv --reuid "$user" --regid nogroup --clear-groups "$@" && echo DONE',
        "sh",
        user,
        *words,
    )
    return told.endswith("DONE\n"), told


CONNECT = "import socket; socket.socket(socket.AF_UNIX).connect('/run/exoip/web/control')"


@pytest.mark.parametrize(
    "words",
    [
        ("cat", FILE),
        ("ls", "/etc/exoip"),
        ("ls", "/run/exoip/web"),
        ("ls", "/var/lib/exoip/web"),
        ("cat", "/run/exoip/web/topology.json"),
        ("python3", "-c", CONNECT),
        ("exoipctl", "drain", "web"),
        ("cat", "/etc/credstore/exoip.web.auth-key"),
        ("sh", "-c", "echo x >/run/exoip/web/drained"),
        ("sh", "-c", "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID exoip@web)/environ"),
    ],
    ids=" ".join,
)
def test_other_users_reach_nothing_of_the_service(formed: Cluster, words: tuple[str, ...]) -> None:
    host = formed.hosts["a"]
    host.sh(
        "mkdir -p -m 0700 /etc/credstore; touch /etc/credstore/exoip.web.auth-key; chmod 0600 /etc/credstore/exoip.web.auth-key"
    )
    done, told = as_user(host, "nobody", *words)
    assert not done, told
    assert re.search("[Pp]ermission denied|only root", told), told


def test_root_and_the_group_do(formed: Cluster) -> None:
    """Else the test above would be passed by a service that nobody can reach."""
    host = formed.hosts["a"]
    assert "MASTER" in host.run("exoipctl", "status", "web")
    told = host.run(
        "setpriv",
        "--reuid",
        "nobody",
        "--regid",
        "exoip",
        "--clear-groups",
        "python3",
        "-c",
        CONNECT + "; print('connected')",
    )
    assert told == "connected\n"


def test_only_signed_heartbeats_count_between_the_hosts(cluster: Cluster) -> None:
    """The whole suite runs with a key; here one host loses it, is dead to the others, and is back
    with it.
    """
    since, b = now(), cluster.hosts["b"]
    text = b.path(FILE).read_text()
    assert re.search("^auth-key = ", text, re.M)
    b.write(FILE, re.sub("^auth-key = .*\n", "", text, flags=re.M))
    b.run("systemctl", "reload", UNIT)
    refused = cluster.event("a", EventName.DATAGRAM_DROPPED, since)
    assert refused["EXOIP_REASON"] == "unsigned"
    assert refused["EXOIP_ADDRESS"] == b.address
    cluster.event("a", EventName.PEER_DEAD, since)
    cluster.status("a", f"dropping heartbeats from {b.address} (unsigned)")
    b.write(FILE, text)
    b.run("systemctl", "reload", UNIT)
    cluster.settled("a")
