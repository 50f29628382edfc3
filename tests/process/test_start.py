"""Real daemons on unkind hosts: signals at any moment, missing addresses and certificates, no
threads left, process 1 of a container.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from tests.support.cluster import Cluster
from tests.support.ctl import Ctl
from tests.support.paths import ROOT
from tests.support.process import environment
from tests.support.segment import NET, Segment
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

SPARE = 4 << 20  # bytes of memory that a daemon gets besides what it has: no stack of a thread
ORPHANS = 4
DIRECTORIES = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=1, observed=False) as running:
        yield running


class TestSignals:
    def test_a_reload_that_comes_before_the_configuration_is_read_happens_later(self, cluster, tmp_path) -> None:
        """The file is a pipe, so the start waits while it reads it."""
        path, node = tmp_path / "exoip.conf", cluster["n1"]
        os.mkfifo(path)
        node.words += ["-c", str(path)]
        node.start()
        with path.open("w") as pipe:  # it has begun to read
            node.send(signal.SIGHUP)
            path.unlink()
            path.write_text("verify-interval = 5\n")
            pipe.write("verify-interval = 4\n")
        cluster.until(lambda: node.logged("was read again and is in force"), "the reload")
        cluster.settle("n1")

    def test_a_reload_while_it_waits_for_the_api_happens_later(self, cluster) -> None:
        cluster.fault("status", status=503)
        node = cluster["n1"]
        node.start()
        cluster.until(lambda: node.logged("waiting for the API"), "it waits")
        node.send(signal.SIGHUP)
        cluster.clear()
        cluster.until(lambda: node.logged("was read again and is in force"), "the reload")


class TestMissing:
    @pytest.fixture
    def systemd(self, tmp_path) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(tmp_path / "notify"))
            listener.settimeout(PATIENCE)
            yield listener

    def test_a_unit_waits_for_its_address_and_a_person_is_told(self, systemd) -> None:
        with Segment() as segment:
            a, host = segment.nodes["a"], segment.hosts["a"]
            host.run("ip", "address", "del", f"{host.address}/24", "dev", "eth0")
            a.start()
            assert a.wait() == 78
            assert a.logged("is not an address of this machine")
            a.forget()
            a.env["NOTIFY_SOCKET"] = systemd.getsockname()
            a.words += ["--metrics-listen", "127.0.0.9:9479"]  # of the loopback, which has it
            a.start()
            assert systemd.recv(1000).startswith(b"STATUS=waiting for the address: ")
            segment.until(lambda: a.logged("waiting for the address"), "the log says so too")
            host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
            segment.until(lambda: a.holds, "it holds")
            assert len(a.logged("waiting for the address")) == 1

    def test_the_metrics_wait_for_their_address_without_the_node(self, systemd) -> None:
        pytest.importorskip("prometheus_client")
        with Segment() as segment:
            a, host = segment.nodes["a"], segment.hosts["a"]
            a.words += ["--metrics-listen", f"{NET}.99:9479"]
            a.env["NOTIFY_SOCKET"] = systemd.getsockname()
            a.start()
            segment.until(lambda: a.holds, "it holds")
            host.run("ip", "address", "add", f"{NET}.99/24", "dev", "eth0")
            ask = "import urllib.request as u; print(u.urlopen('http://10.77.0.99:9479/metrics').status)"
            assert host.run(sys.executable, "-c", ask) == "200\n"

    @pytest.mark.parametrize("mode", ["-W", "-A", "-W -n"])
    def test_without_certificates_it_ends_with_the_cure(self, cluster, mode) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root may hide the certificates")
        hide = f'mount -t tmpfs none {Path(DEFAULT_CA_BUNDLE_PATH).parent} && exec "$@"'
        words = ["-xi", cluster.eip, "-p", "127.0.0.2", "-xz", "ch-gva-2", "-xk", "EXOa", *mode.split()]
        command = ["unshare", "--mount", "sh", "-c", hide, "sh", sys.executable, "-m", "exoip", *words]
        env = environment(IF_EXOSCALE_API_SECRET="secret")
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 78, done.stderr
        assert "install the package ca-certificates" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_library_that_loads_missing_certificates_ends_it_with_the_cure(tmp_path) -> None:
    """As requests does since 2.32, the one of Debian 13."""
    (tmp_path / "requests.py").write_text("raise FileNotFoundError(2, 'No such file or directory')")
    command, env = [sys.executable, "-m", "exoip", "--version"], environment(PYTHONPATH=str(tmp_path))
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    assert done.stderr == "exoip: this host has no certificates: install the package ca-certificates\n"


def test_but_not_one_that_misses_a_file_of_its_own(tmp_path) -> None:
    (tmp_path / "requests.py").write_text("open('/nowhere/at/all')")
    command, env = [sys.executable, "-m", "exoip", "--version"], environment(PYTHONPATH=str(tmp_path))
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "/nowhere/at/all" in done.stderr
    assert "certificates" not in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("program", "words", "code"),
    [
        ("exoip", "--version", 0),
        ("exoip", "-W", 78),
        ("exoip.ctl", "--help", 0),
        ("exoip.ctl", "status nowhere", 3),
        ("exoip.sandbox", "--help", 0),
        ("exoip.sandbox", "zone --port nowhere", 2),
    ],
)
def test_a_closed_stream_changes_nothing_but_what_it_would_show(program, words, code, closed) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", program, *words.split()]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_daemon_without_standard_streams_holds(cluster) -> None:
    """And none of its sockets gets the number of one."""
    node = cluster["n1"]
    node.program = ["sh", "-c", 'echo without streams >&2; exec "$@" <&- >&- 2>&-', "sh", *node.program]
    node.start()
    cluster.until(lambda: cluster.holders() == {"n1"}, "it holds")
    assert {os.readlink(f"/proc/{node.pid}/fd/{number}") for number in range(3)} == {os.devnull}
    assert node.stop() == 0


def test_a_reload_without_a_thread_fails_and_the_next_one_works_while_status_answers(tmp_path) -> None:
    ctl = Ctl(tmp_path)
    with Cluster(nodes=1, folder=tmp_path) as cluster:
        node = cluster["n1"]
        node.program = ["sh", "-c", 'ulimit -s 65536 && exec "$@"', "sh", *node.program]
        cluster.start()
        cluster.settle("n1")
        # After a crash it needs no thread to discover the topology, whose stack could serve the reload
        node.kill()
        node.start()
        cluster.settle("n1")
        size = int(Path(f"/proc/{node.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.prlimit(node.pid, resource.RLIMIT_AS, (size + SPARE, resource.RLIM_INFINITY))
        node.send(signal.SIGHUP)
        cluster.until(lambda: node.logged("the configuration stays as it was"), "the reload fails")
        assert node.logged("can't start new thread")
        assert "MASTER" in ctl("status", "n1", code=None)
        resource.prlimit(node.pid, resource.RLIMIT_AS, before)
        node.send(signal.SIGHUP)
        cluster.until(lambda: node.logged("was read again and is in force"), "the reload works")


@pytest.mark.parametrize("how", ["nr_inodes=1", "ro"])
def test_a_full_or_read_only_file_system_keeps_it_from_nothing_else(tmp_path, how) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount one")
    with Cluster(nodes=2, folder=tmp_path) as cluster:
        for node in cluster.nodes.values():
            mounts = " && ".join(f"mount -t tmpfs -o {how} none {node.env[v]}" for v in DIRECTORIES)
            node.program = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *node.program]
        cluster.start()
        cluster.settle("n1")
        node = cluster["n1"]
        assert node.logged("this start is not counted") and node.logged("the topology is not kept")
        node.send(signal.SIGHUP)
        cluster.until(lambda: node.logged("was read again and is in force"), "the reload")
        assert node.stop() == 0
        cluster.until(lambda: cluster.holders() == {"n2"}, "n2 holds")


def test_without_descriptors_it_goes_on_and_recovers() -> None:
    options = ("-v", "--check-command", "true", "--check-interval", "0.2")
    with Cluster(nodes=2, ratio=15, options=options) as cluster:
        cluster.start()
        cluster.settle("n1")
        node = cluster["n1"]
        before = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        cluster.until(lambda: node.logged("cannot be started: Too many open files"), "none is left")
        node.send(signal.SIGHUP)
        cluster.until(lambda: node.logged("so the members stay as they are"), "the reload does without the API")
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, before)
        cluster.settle("n1")
        assert not any(each.events("peer-dead") for each in cluster.nodes.values())


def test_a_start_without_a_thread_says_so_in_one_sentence(cluster) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may start it as a user who has used up all tasks")
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", "prlimit", "--nproc=1"]
    if subprocess.run([*nobody, sys.executable, "-c", "import exoip"], cwd=ROOT).returncode:
        pytest.skip("nobody may not read this tree")
    node = cluster["n1"]
    node.program = [*nobody, *node.program]
    # That user cannot write what a measurement of coverage leaves.
    node.env = {name: text for name, text in node.env.items() if not name.startswith("COVERAGE_")}
    node.start()
    assert node.wait() == 1
    (line,) = node.lines
    assert line.startswith("exoip: can't start new thread: raise the limit of tasks")
    node.forget()


def test_what_its_parent_ignored_and_blocked_is_undone() -> None:
    """If children are ignored, the kernel throws their exit status away, and every check passes."""
    inherited = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); os.execv(sys.argv[1], sys.argv[1:])"
    )
    with Cluster(nodes=2) as cluster:
        node = cluster["n1"]
        node.program = [sys.executable, "-c", inherited, *node.program]
        node.words += ["--check-command", "exit 1", "--check-interval", "0.2"]
        cluster.start()
        cluster.settle("n2")
        assert node.logged("exit status 1")
        node.send(signal.SIGHUP)
        cluster.until(lambda: node.logged("was read again and is in force"), "the reload")
        assert node.stop() == 0


def test_exoipctl_notices_that_journalctl_fails_also_if_its_parent_ignored_children(tmp_path) -> None:
    (tmp_path / "journalctl").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "journalctl").chmod(0o755)
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", ignoring, sys.executable, "-m", "exoip.ctl", "history"]
    env = environment(PATH=f"{tmp_path}:{os.environ['PATH']}")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "journalctl" in done.stderr


def test_an_address_that_only_could_be_bound_is_not_of_this_machine() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make a namespace")
    code = (
        "import socket; from exoip.heartbeat.udp import is_local;"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('198.51.100.9', 0));"
        "print(is_local('198.51.100.9'), is_local('127.0.0.1'))"
    )
    setting = "ip link set lo up && ip route add default dev lo && sysctl -qw net.ipv4.ip_nonlocal_bind=1"
    command = ["unshare", "--net", "sh", "-c", f'{setting} && exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("False True\n", "")


def test_with_more_than_a_thousand_inherited_descriptors_it_hears_its_peer() -> None:
    opened = (
        "import os, resource, sys; limit = resource.getrlimit(7)[1]; resource.setrlimit(7, (min(2000, limit), limit));"
    )
    opened += "[os.set_inheritable(os.open('/dev/null', 0), True) for _ in range(1100)];"
    with Cluster(nodes=2) as cluster:
        for node in cluster.nodes.values():
            node.program = [sys.executable, "-c", f"{opened} os.execv(sys.argv[1], sys.argv[1:])", *node.program]
        cluster.start()
        cluster.settle("n1")


@pytest.mark.parametrize("where", ["it reads its configuration", "-A waits for the API"])
def test_process_1_ends_at_once_at_a_stop_before_it_is_a_daemon(cluster, tmp_path, where) -> None:
    """The kernel applies no default action to process 1 of a container: it would ignore this."""
    if os.geteuid() != 0:
        pytest.skip("only root may make a process namespace")
    pipe, node = tmp_path / "pipe", cluster["n1"]
    os.mkfifo(pipe)
    cluster.fault("hang", count=1, seconds=PATIENCE)
    node.program = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *node.program]
    if "-A" in where:
        node.words[0] = "-A"
        hangs = lambda: not cluster.faults()  # noqa: E731
    else:
        node.words += ["-c", str(pipe)]
        hangs = lambda: _is_read(pipe)  # noqa: E731
    node.start()
    until(hangs, where)
    (exoip,) = _children(node.pid)
    os.kill(exoip, signal.SIGTERM)
    assert node.wait() == 128 + signal.SIGTERM
    node.forget()


def test_process_1_reaps_what_its_health_checks_leave_behind(tmp_path) -> None:
    with Cluster(nodes=1, observed=False) as cluster:
        if os.geteuid() != 0:
            pytest.skip("only root may make a process namespace")
        node, mark = cluster["n1"], tmp_path / "left"
        node.words += ["--check-command", f"setsid sh -c 'sleep 0.2; echo >>{mark}' >/dev/null 2>&1 &"]
        node.words += ["--check-interval", "0.2"]
        node.program = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *node.program]
        node.start()
        until(lambda: mark.exists() and len(mark.read_text()) >= ORPHANS, "orphans have ended")
        (daemon,) = _children(node.pid)
        cluster.until(lambda: node.holds, "it holds")
        until(lambda: len(_zombies(daemon)) < ORPHANS, "they are reaped")
        assert node.running
        node.kill()


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_read(pipe: Path) -> bool:
    """Return whether a process has opened the pipe for reading; it still waits."""
    try:
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # left open: the reader would find the end
    except OSError:
        return False
    return True


def _zombies(pid: int) -> list[str]:
    states = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid:
            states.append(state)
    return [state for state in states if state == "Z"]
