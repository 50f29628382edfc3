"""Two Elastic IPs on the same hosts, one of each family: each has its own daemon and port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.ctl import Ctl
from tests.support.process import Process
from tests.support.waiting import until


class Hosts:
    """Two hosts with two daemons each: `eip`, for which n1 is better, and `mail`, for which n2 is."""

    def __init__(self, cluster: Cluster, folder: Path, stack: ExitStack) -> None:
        self.cluster, self.folder = cluster, folder
        self.mail: dict[str, Process] = {}
        with cluster.server.lock:
            self.address = cluster.zone.add_elastic_ip("2001:db8:0:1::/96")
        for name, priority in (("n1", 20), ("n2", 10)):
            node = cluster[name]
            words = self.changed(
                node.words, xi=self.address.ip, P=str(priority), l=f"{node.address}:{cluster.port + 1}"
            )
            env = dict(node.env)
            for kind in ("run", "lib"):
                (folder / kind / name).rename(folder / kind / f"{name}-eip")
                (folder / kind / f"{name}-mail").mkdir()
            for process, label in (
                (node, f"{name}-eip"),
                (Process(f"{name}-mail", node.instance, words, env), f"{name}-mail"),
            ):
                process.env |= {
                    "RUNTIME_DIRECTORY": str(folder / "run" / label),
                    "STATE_DIRECTORY": str(folder / "lib" / label),
                }
                if process is not node:
                    self.mail[name] = process
                    stack.callback(process.close, gently=False)

    @staticmethod
    def changed(words: list[str], **options: str) -> list[str]:
        """Return a command line with other values."""
        found = list(words)
        for name, text in options.items():
            found[found.index(f"-{name}") + 1] = text
        return found

    def holders(self) -> tuple[set[str], set[str]]:
        """Return the holders of eip and of mail."""
        with self.cluster.server.lock:
            second = self.cluster.zone.holders(self.cluster.server.now(), self.address.id)
        return self.cluster.holders(), {self.cluster.name(one) for one in second}

    def settle(self, eip: str, mail: str) -> None:
        until(lambda: self.holders() == ({eip}, {mail}), f"{eip} holds eip, {mail} holds mail")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with Cluster(nodes=2, folder=tmp_path, observed=False) as cluster, ExitStack() as stack:
        yield Hosts(cluster, tmp_path, stack)


def start(hosts: Hosts) -> None:
    hosts.cluster.start()
    for process in hosts.mail.values():
        process.start()
    hosts.settle("n1", "n2")


def test_each_is_served_by_itself_and_each_can_be_drained_by_itself(hosts: Hosts) -> None:
    start(hosts)
    ctl = Ctl(hosts.folder)
    wanted = [
        ("n1-eip", hosts.cluster.eip, "master"),
        ("n1-mail", hosts.address.cidr, "backup"),
        ("n2-eip", hosts.cluster.eip, "backup"),
        ("n2-mail", hosts.address.cidr, "master"),
    ]

    def shown() -> list[tuple[str, str, str]]:
        found = [(one["name"], one["status"]) for one in ctl.json()["instances"]]
        return [(name, status["eip"], status["role"]) for name, status in found]

    until(lambda: shown() == wanted, "every daemon shows its own", why=lambda: str(shown()))
    ctl("drain", "n1-eip")
    hosts.settle("n2", "n2")
    ctl("wait", "n1-eip", "--holds", "no")
    assert ctl.json("n1-mail")["instances"][0]["status"]["aside"] == []
    ctl("undrain", "n1-eip")
    hosts.settle("n1", "n2")
    hosts.cluster["n1"].kill()
    hosts.settle("n2", "n2")
    assert hosts.mail["n1"].running
    assert not hosts.mail["n2"].logged("is dead"), "a host whose one daemon is gone is not dead for the other address"


def test_a_heartbeat_for_the_other_address_counts_for_nothing(hosts: Hosts) -> None:
    """The ports are mixed up: mail's daemon on n1 sends to eip's daemon on n2, which drops it."""
    wrong = hosts.mail["n1"]
    wrong.words = hosts.changed(wrong.words, l=f"{hosts.cluster['n1'].address}:{hosts.cluster.port}")
    hosts.cluster.start("n2")
    wrong.start()
    ctl = Ctl(hosts.folder)

    def refused() -> dict[str, int]:
        status = ctl.json("n2-eip")["instances"][0]["status"] or {}
        return dict(status.get("refused", {}))

    until(lambda: refused().get("eip"), "it is refused")
    hosts.settle("n2", "n1")
