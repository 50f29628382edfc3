"""Two containers of the image, run as docs/installing.md says, against a simulated zone on loopback.

They have the host's network, a root that cannot be written, no capability, and no folder of the
host: what they keep is in the volumes that the image declares.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import GROUP, Cluster
from tests.support.waiting import until

IMAGE, BASE = os.environ.get("EXOIP_IMAGE", ""), os.environ.get("EXOIP_IMAGE_BASE", "")
LARGEST = 160e6  # bytes that the image may add to its base
COMMAND = 120.0  # seconds, at most
STOP = 20  # seconds: the documented stop timeout
# The limits that runc can set on a machine that is itself a container.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} exoip [A-Z]+ \S")


def podman(*words: str, code: int | None = 0) -> str:
    """Return what podman prints; it must end with `code`, unless that is None."""
    done = subprocess.run(
        ["podman", "--runtime", "runc", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND,
    )  # fmt: skip
    assert code in (None, done.returncode), f"podman {' '.join(words)}: {done.returncode}: {done.stdout}"
    return done.stdout


class Container:
    """A node of the cluster in a container, which runs from now on."""

    def __init__(self, cluster: Cluster, name: str, priority: int, folder: Path) -> None:
        self.id = f"exoip-test-{os.getpid()}-{name}"
        node = cluster[name]
        variables = {
            "ADDRESS": cluster.eip,
            "HOST_PRIORITY": priority,
            "BIND_ADDRESS": f"{node.address}:{cluster.port}",
            "ADVERTISEMENT_INTERVAL": cluster.interval,
            "DEAD_RATIO": cluster.ratio,
            "EXOSCALE_PEER_GROUP": GROUP,
            "EXOSCALE_METADATA_URL": cluster.server.metadata_url(name),
            "EXOSCALE_API_ENDPOINT": cluster.server.endpoint,
            "FLAP_DAMPING": "no",
        }
        secrets = {"api-key": f"EXO{name}", "api-secret": cluster.zone.keys[f"EXO{name}"].secret}
        mounts = []
        for secret, text in secrets.items():
            path = folder / f"{name}-{secret}"
            path.write_text(text)
            mounts += ["--volume", f"{path}:/run/secrets/{secret}:ro"]
        environment = [word for key, value in variables.items() for word in ("--env", f"IF_{key}={value}")]
        hardened = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", f"--stop-timeout={STOP}")
        podman("run", "--detach", "--name", self.id, "--network=host", *hardened, *LIMITS, *mounts, *environment, IMAGE)

    def run(self, *words: str, code: int | None = 0) -> str:
        """Return what a command in the container prints."""
        return podman("exec", self.id, *words, code=code)

    def ctl(self, *words: str) -> str:
        """Return what exoipctl prints in the container."""
        return self.run("exoipctl", *words)

    def ready(self) -> bool:
        """Return whether the daemon takes part, has no reason to stand aside, and hears the other."""
        answer = json.loads(self.run("exoipctl", "status", "--json", code=None))
        state = (answer["instances"] or [{}])[0].get("status") or {}
        takes_part = state.get("role") in ("master", "backup") and not state["aside"]
        return takes_part and all(peer["alive"] for peer in state["peers"])

    def log(self) -> list[str]:
        return podman("logs", self.id).splitlines()

    def inspect(self, what: str) -> str:
        return podman("inspect", "--format", "{{" + what + "}}", self.id).strip()


Pair = tuple[Cluster, dict[str, Container]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two containers and their zone."""
    folder = tmp_path_factory.mktemp("secrets")
    with Cluster(nodes=2, observed=False, interval=0.5, ratio=4) as cluster:
        containers: dict[str, Container] = {}
        try:
            for number, name in enumerate(("n1", "n2"), 1):
                containers[name] = Container(cluster, name, 10 * number, folder)
            yield cluster, containers
        finally:
            for one in containers.values():
                print(one.id, *one.log(), sep="\n  ")
                podman("rm", "--force", "--volumes", "--time", "0", one.id)


@pytest.fixture
def pair(running: Pair) -> Pair:
    """Both run, and n1 holds, whatever the test before left."""
    settle(running, "n1")
    return running


def settle(pair: Pair, holder: str) -> None:
    """Wait until both daemons are well and `holder` alone holds."""
    cluster, containers = pair
    until(
        lambda: cluster.holders() == {holder} and cluster.quiet() and all(one.ready() for one in containers.values()),
        f"{holder} holds and both take part",
        poll=0.5,
        why=lambda: "\n".join(line for one in containers.values() for line in one.log()[-10:]),
    )


def without_gap(cluster: Cluster, mark: int) -> bool:
    return all(cluster.history(mark))


def test_the_image_is_small() -> None:
    sizes = [int(podman("image", "inspect", "--format", "{{.Size}}", name)) for name in (IMAGE, BASE)]
    assert sizes[0] - sizes[1] <= LARGEST, sizes


def test_the_image_says_how_to_run_it() -> None:
    (image,) = json.loads(podman("image", "inspect", IMAGE))
    config = image["Config"]
    assert (config["Entrypoint"], config["Cmd"], config["StopSignal"]) == (["exoip"], ["-W"], "SIGTERM")
    assert config["User"] == "12345:12345"
    assert image["Healthcheck"]["Test"] == ["CMD", "exoipctl", "status", "--fail-on", "critical"]
    assert "usage: exoip" in podman("run", "--rm", *LIMITS, "--network=host", IMAGE, "--help")


def test_it_needs_no_right_and_writes_only_where_it_must(pair: Pair) -> None:
    one = pair[1]["n1"]
    assert one.run("id", "-u").strip() == "12345"
    assert re.search(r"^CapEff:\t0+$", one.run("cat", "/proc/1/status"), re.M)
    assert one.run("cat", "/proc/1/comm").strip() == "exoip", "no shell is between the runtime and the daemon"
    assert "Read-only file system" in one.run("touch", "/etc/exoip/x", code=None)
    assert one.run("ls", "/run/exoip/eip").split() == ["checks", "control", "starts", "topology.json"]
    assert not [line for line in one.log() if not LINE.match(line)], "every line has its date"


def test_the_secret_is_in_no_variable_and_no_log(pair: Pair) -> None:
    cluster, containers = pair
    secret = cluster.zone.keys["EXOn1"].secret
    assert secret not in podman("inspect", containers["n1"].id)
    assert secret not in "\n".join(containers["n1"].log())


def test_health_is_about_the_daemon_not_about_its_peers(pair: Pair) -> None:
    containers = pair[1]
    podman("healthcheck", "run", containers["n1"].id)
    podman("kill", "--signal", "KILL", containers["n2"].id)
    until(lambda: "degraded" in containers["n1"].run("exoipctl", code=None), "the peer is missed", poll=0.5)
    podman("healthcheck", "run", containers["n1"].id)
    podman("start", containers["n2"].id)
    settle(pair, "n1")
    podman("kill", "--signal", "STOP", containers["n2"].id)
    try:
        podman("healthcheck", "run", containers["n2"].id, code=1)
    finally:
        podman("kill", "--signal", "CONT", containers["n2"].id)


def test_a_killed_container_is_replaced_and_comes_back(pair: Pair) -> None:
    cluster, containers = pair
    mark = cluster.mark
    podman("kill", "--signal", "KILL", containers["n1"].id)
    cluster.until(lambda: cluster.holders() == {"n2"}, "n2 takes over")
    podman("start", containers["n1"].id)
    settle(pair, "n1")
    assert without_gap(cluster, mark)


def test_a_stop_hands_over_within_the_documented_time(pair: Pair) -> None:
    cluster, containers = pair
    mark = cluster.mark
    podman("stop", containers["n1"].id)
    assert cluster.holders() == {"n2"}
    assert without_gap(cluster, mark)
    assert containers["n1"].inspect(".State.ExitCode") == "0"
    podman("start", containers["n1"].id)
    settle(pair, "n1")


def test_a_drained_node_is_drained_after_a_restart(pair: Pair) -> None:
    cluster, containers = pair
    one, mark = containers["n1"], cluster.mark
    one.ctl("drain", "eip", "--why", "new kernel")
    cluster.until(lambda: cluster.holders() == {"n2"}, "n2 takes over")
    podman("restart", one.id)
    until(lambda: "new kernel" in one.run("exoipctl", code=None), "it is still drained", poll=0.5)
    assert cluster.holders() == {"n2"}
    one.ctl("undrain", "eip")
    settle(pair, "n1")
    assert without_gap(cluster, mark)


def test_orphans_are_reaped(pair: Pair) -> None:
    """A process whose parent ends becomes a child of the daemon, which is PID 1."""
    one = pair[1]["n1"]
    one.run("sh", "-c", "sleep 0.2 & exit")
    until(lambda: one.run("ps", "-A", "-o", "comm=").split().count("sleep") == 0, "it is gone", poll=0.2)


def test_a_wrong_configuration_ends_it_with_the_documented_code() -> None:
    text = podman("run", "--rm", "--network=host", *LIMITS, "--env", "IF_ADDRESS=nonsense", IMAGE, code=None)
    assert "nonsense" in text
    podman("run", "--rm", "--network=host", *LIMITS, "--env", "IF_ADDRESS=nonsense", IMAGE, code=78)
