"""An instance pool: hosts that only have the same user data for the real cloud-init, which is that of
packaging/examples. They install the package from a signed repository, and come and go.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.cluster import Cluster
from tests.hosts.host import Host
from tests.hosts.network import EIP, HUB
from tests.hosts.zone import GROUP, now
from tests.support.paths import ROOT
from tests.support.waiting import until

URL, PORT = "https://packages.example.com/exoip", 8000
KEY = ("EXOpool", "the-one-secret-of-the-whole-pool")
CLOUD_INIT = 120.0  # seconds until it is done, at most
EXAMPLE = ROOT / "packaging" / "examples" / "cloud-init-pool.yaml"
STARTS_WITH, GROWS_BY = "ab", "c"


@pytest.fixture(scope="module")
def repository(work: Path, deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A signed repository with the package, served on the hub; its public key."""
    folder, home = work / "repository", tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    env = {**os.environ, "GNUPGHOME": str(home)}
    new = ("--quick-generate-key", "pool@packages.invalid", "ed25519", "sign", "never")
    words = ["gpg", "--batch", "--faked-system-time", "20261101T000000", "--passphrase", "", *new]
    subprocess.run(words, check=True, env=env, capture_output=True)
    folder.mkdir()
    shutil.copy(deb, folder)
    subprocess.run([ROOT / "script/apt-repository", folder, "pool@packages.invalid"], check=True, env=env)
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True, env=env)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer((HUB, PORT), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield (folder / "exoip.asc").read_text()
        server.shutdown()


def user_data(key: str) -> str:
    """The example, with what it says to change: group, key, secret, place of the packages, signing key."""
    text = EXAMPLE.read_text()
    begin, end = text.index("      -----BEGIN PGP"), text.index("-----END PGP PUBLIC KEY BLOCK-----\n")
    block = "".join(f"      {line}\n" for line in key.splitlines())
    text = text[:begin] + block + text[end:].partition("\n")[2]
    for old, new in (
        (URL, f"http://{HUB}:{PORT}"),
        ("EXOxxxxxxxxxxxxxxxxxxxxxxxx", KEY[0]),
        ("x" * 40, KEY[1]),
        ("exoscale-peer-group = load-balancer", f"exoscale-peer-group = {GROUP}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    assert f"address = {EIP}\n" in text
    return text


@pytest.fixture(scope="module")
def pool(wires: None, work: Path, deb: Path, repository: str) -> Iterator[Cluster]:
    """Three hosts of which two are switched on; all have the same user data, none the package."""
    cluster = Cluster(Path(os.environ["EXOIP_HOSTS_POOL_TREE"]), work, deb)
    cluster.zone.control.key(*KEY)
    try:
        for host in cluster.hosts.values():
            seed = "/var/lib/cloud/seed/nocloud"
            host.path(seed).mkdir(parents=True)
            host.write(f"{seed}/meta-data", f"instance-id: {cluster.zone.ids[host.name]}\n")
            host.write(f"{seed}/user-data", user_data(repository))
            host.write("/etc/cloud/cloud.cfg.d/99_locale.cfg", "locale: false\n")  # the small tree can make none
            host.write("/etc/apt/sources.list", "")  # Debian itself is out of reach; its packages are there
        cluster.each(start, STARTS_WITH)
        yield cluster
    finally:
        cluster.close()


def start(host: Host) -> None:
    """Switch a member on, and wait for its cloud-init."""
    host.boot()
    until(
        lambda: host.ask("cloud-init", "status").split()[-1] in ("done", "error", "disabled"),
        f"cloud-init of {host.name} is done",
        CLOUD_INIT,
        poll=0.5,
    )
    log = host.ask("tail", "-n", "40", "/var/log/cloud-init-output.log")
    assert host.ask("cloud-init", "status").split()[-1] == "done", host.ask("cloud-init", "status", "--long") + log


def holds(cluster: Cluster, names: str) -> bool:
    return cluster.zone.holders() == set(names) and not cluster.zone.control.state()["pending"]


def lowest(cluster: Cluster, names: str) -> str:
    return min(names, key=lambda name: cluster.zone.ids[name])


def test_a_pool_forms_grows_and_shrinks_by_itself(pool: Cluster) -> None:
    until(lambda: len(pool.zone.holders()) == 1, "one holds", 60.0, poll=0.2)
    (holder,) = pool.zone.holders()
    host = pool.hosts[holder]
    assert "root exoip 640" in host.run("stat", "-c", "%U %G %a", "/etc/exoip/web.conf")
    assert EIP in host.run("ip", "address", "show", "dev", "lo")
    assert host.show("ActiveState", "exoip@web.service") == "active"

    since = now()
    pool.each(start, GROWS_BY)
    until(lambda: "BACKUP" in pool.hosts[GROWS_BY].ask("exoipctl"), "the new member takes part", 60.0, poll=0.2)
    pool.settled(holder)
    assert pool.zone.changes(since) == [], "a new member takes nothing, whatever its id"

    since = now()
    host.lose_power()
    left = "".join(sorted(set(STARTS_WITH + GROWS_BY) - {holder}))
    until(lambda: holds(pool, lowest(pool, left)), "the lowest id of those that are left takes over", 60.0, poll=0.2)
    pool.never_without(since)
    start(host)
    pool.settled(lowest(pool, left))
