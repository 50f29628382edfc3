"""The simulated Exoscale zone on the hub, and its record: who held the Elastic IP when, and who
asked for what.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exoip.errors import ApiUnreachable
from exoip.sandbox.client import ControlClient
from exoip.sandbox.output import key_name, key_secret
from tests.hosts.network import ADDRESSES, EIP, HUB
from tests.support.waiting import until

URL = f"http://{HUB}"  # of the zone: what the real metadata service has, and the control interface
API = "api-ch-gva-2.exoscale.com"  # the name behind which the hosts find it, encrypted
GROUP = "web"
AUTH_KEY = "the-key-of-the-heartbeats-of-all-hosts"
LATENCY, OPERATION = 0.05, 0.2  # seconds
STARTS = 15.0


@dataclass(frozen=True, slots=True)
class Change:
    """From `at` on (Unix time), `holders` (names of hosts) held the Elastic IP; `by` is whose key
    asked for it.
    """

    at: float
    holders: frozenset[str]
    by: str


class Zone:
    """A zone with the hosts as its instances, all in one security group, each with an API key of
    its own.
    """

    def __init__(self, tree: Path, work: Path, eip: str = EIP) -> None:
        self.eip = eip
        log = work / "zone.log"
        self.certificate = certificate(tree, work / "zone.pem")
        instances = ",".join(f"{name}={address}" for name, address in ADDRESSES.items())
        served = ["--listen", f"{HUB}:80", "--eip", eip, "--instances", instances, "--group", GROUP]
        takes = ["--latency-ms", f"{LATENCY * 1000:g}", "--operation-ms", f"{OPERATION * 1000:g}"]
        with open(log, "ab") as output:
            self._processes = [
                subprocess.Popen([sys.executable, "-m", *words], stdout=output, stderr=output)
                for words in (
                    ("exoip.sandbox", "zone", *served, *takes),
                    ("tests.hosts.tls", HUB, str(work / "zone.pem")),
                )
            ]
        self.control = ControlClient(URL)
        state = until(self._started, "the zone has started", STARTS, why=log.read_text)
        self.names: dict[str, str] = {one["id"]: one["name"] for one in state["instances"]}
        self.ids = {name: one for one, name in self.names.items()}

    def _started(self) -> dict[str, Any] | None:
        assert all(process.poll() is None for process in self._processes), "the zone has ended"
        try:
            socket.create_connection((HUB, 443), STARTS).close()
            return self.control.state()
        except (ApiUnreachable, OSError):
            return None

    def close(self) -> None:
        """End it."""
        self.control.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(STARTS)

    def changes(self, since: float = 0.0) -> list[Change]:
        """The changes of the holders from a moment on, oldest first."""
        return [
            Change(entry["wall"], frozenset(self.names[one] for one in entry["holders"]), entry.get("key", ""))
            for entry in self.control.record()["entries"]
            if entry["kind"] == "holders" and entry["wall"] >= since
        ]

    def holders(self) -> frozenset[str]:
        """Who holds the Elastic IP now."""
        changes = self.changes()
        return changes[-1].holders if changes else frozenset()

    def calls(self, since: float, name: str, mutations: bool = True) -> list[dict[str, Any]]:
        """The API calls of a host from a moment on: those that change something, or all."""
        return [
            entry
            for entry in self.control.record()["entries"]
            if entry["kind"] == "call" and entry["wall"] >= since and entry.get("key") == key_name(name)
            if not mutations or entry["method"] != "GET"
        ]

    def configuration(self, name: str, **options: object) -> str:
        """A configuration file of a host: a member of the group, unless `exoscale_peers` names its
        peers.
        """
        lines = {
            "address": self.eip,
            "exoscale-api-key": key_name(name),
            "exoscale-api-secret": key_secret(name),
            "host-priority": 10 * (1 + list(ADDRESSES).index(name)),
            "auth-key": AUTH_KEY,
            "flap-damping": "no",  # one scenario after the other moves it: none is to wait because of those before
        }
        if "exoscale_peers" not in options:
            lines["exoscale-peer-group"] = GROUP
        lines |= {option.replace("_", "-"): value for option, value in options.items()}
        return "".join(f"{option} = {value}\n" for option, value in lines.items())


def certificate(tree: Path, file: Path) -> str:
    """A certificate for the API's name, which the hosts are to trust; written into `file` with its
    key.

    It has been valid for a while, as real ones have: a host whose clock is an hour late finds it
    good.
    """
    (library,) = tree.glob("usr/lib/*/faketime/libfaketime.so.1")
    before = ["env", f"LD_PRELOAD=/{library.relative_to(tree)}", "FAKETIME=-30d"]
    subject = ["-days", "3650", "-subj", f"/CN={API}", "-addext", f"subjectAltName=DNS:{API}"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "-"]
    made = subprocess.run(
        ["chroot", tree, *before, "openssl", "req", "-x509", *key, *subject],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    file.write_text(made.stdout)
    return made.stdout[made.stdout.index("-----BEGIN CERTIFICATE") :]


def now() -> float:
    """The time by the clock that the record and the journals share."""
    return time.time()
