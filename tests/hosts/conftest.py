"""Fixtures of the host tests; only `script/test-hosts`, which makes the namespaces they need, has
them collected.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

if "EXOIP_HOSTS_TREE" in os.environ:
    from tests.hosts import network
    from tests.hosts.cluster import Cluster
else:
    collect_ignore_glob = ["test_*"]


RUNNING = pytest.StashKey["Cluster"]()
LINES = "80"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.CallInfo[None], None]:
    """Show with a failure what the hosts' journals said last, and who held."""
    report = (yield).get_result()  # type: ignore[attr-defined]
    running = item.config.stash.get(RUNNING, None)
    if report.failed and running is not None:
        report.sections.append(("the zone", "\n".join(map(str, running.zone.changes()))))
        for host in running.hosts.values():
            report.sections.append((f"journal of {host.name}", host.recent(LINES)))


@pytest.fixture(scope="session")
def work() -> Path:
    """A folder in memory, in the tests' own mount namespace."""
    return Path(os.environ["EXOIP_HOSTS_WORK"])


@pytest.fixture(scope="session")
def deb(work: Path) -> Path:
    """The package that is tested."""
    return Path(shutil.copy(os.environ["EXOIP_HOSTS_DEB"], work))


@pytest.fixture(scope="session")
def wires(work: Path) -> None:
    """The network."""
    network.build()


@pytest.fixture(scope="module")
def hosts(request: pytest.FixtureRequest, wires: None, work: Path, deb: Path) -> Iterator[Cluster]:
    """Three fresh hosts, running, the package not installed.

    A module that sets ELASTIC_IP has a zone with that one.
    """
    eip = getattr(request.module, "ELASTIC_IP", network.EIP)
    cluster = Cluster(Path(os.environ["EXOIP_HOSTS_TREE"]), work, deb, eip)
    request.config.stash[RUNNING] = cluster
    try:
        cluster.boot()
        yield cluster
    finally:
        del request.config.stash[RUNNING]
        cluster.close()


@pytest.fixture(scope="module")
def formed(hosts: Cluster) -> Cluster:
    """Three fresh hosts whose daemons have formed a cluster."""
    hosts.install()
    hosts.form()
    return hosts


@pytest.fixture
def cluster(formed: Cluster) -> Cluster:
    """The cluster, all of it running and `a` the holder, whatever the test before has left."""
    formed.recover()
    return formed
