"""The command as a process, with a simulated zone: what it does, its messages, its exit code.

Each kind of mistake must end in one line that names the option, the value and the cure.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exoip import __version__
from exoip.config.parse import parse
from exoip.daemon import command
from exoip.sandbox.faults import Fault, Match
from exoip.sandbox.model import Instance, make_id
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone
from tests.support.cluster import ATTACH, DETACH, Cluster
from tests.support.launcher import launch
from tests.support.paths import ROOT
from tests.support.process import environment
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

SECRET = "a-secret-that-nobody-may-ever-read"
KEY = "EXOa"


class Place:
    """A zone with the instances a and b of the group web; the command runs on a."""

    def __init__(self) -> None:
        self.net = f"127.{random.randint(16, 250)}.{random.randint(0, 255)}"
        self.eip = f"{self.net}.100"
        self.zone = Zone(eip=self.eip, operation_seconds=0.1)
        self.a = self.zone.add_instance("a", public_ip=f"{self.net}.11", groups=("web",))
        self.b = self.zone.add_instance("b", public_ip=f"{self.net}.12", groups=("web",))
        self.zone.add_key(KEY, SECRET)
        self.server = SandboxServer(self.zone)

    def words(self, *more: str, without: str = "", **others: str) -> list[str]:
        """A command line that works, but for its mode, with other options (`xi="1.2.3.4"`)."""
        usual = {"xi": self.eip, "xk": KEY, "xe": self.server.endpoint, "xz": self.zone.name, "i": self.a.id}
        usual |= {"l": f"{self.a.public_ip}:{free_port(self.a)}", "p": self.b.public_ip or ""} | others
        kept = {name: text for name, text in usual.items() if name not in without.split()}
        return [*(word for name, text in kept.items() for word in (f"-{name}", text)), *more]

    def fault(self, kind: str, path: str = "", **fields: object) -> None:
        with self.server.lock:
            self.zone.add_fault(Fault(kind, Match(path=path), **fields), self.server.now())  # type: ignore[arg-type]

    def hold(self, *instances: Instance) -> None:
        """An outsider makes these the holders."""
        with self.server.lock:
            for one in instances:
                self.zone.force(one.id, True, self.server.now())

    def holders(self) -> set[str]:
        names = {self.a.id: "a", self.b.id: "b"}
        return {names[one] for one in self.server.holders()}

    def mutations(self) -> list[tuple[str, str]]:
        """Which operation was asked for, of whom."""
        with self.server.lock:
            return [(entry.operation, entry.instance) for entry in self.zone.record.calls(mutations=True)]


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    with place.server:
        yield place


def free_port(instance: Instance) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((instance.public_ip, 0))
        return int(probe.getsockname()[1])


def exoip(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; it must show neither a traceback nor the secret."""
    with (
        tempfile.TemporaryDirectory() as folder,  # without one it warns that exoipctl cannot reach it
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
    ):
        env = environment(**({"IF_EXOSCALE_API_SECRET": SECRET, "RUNTIME_DIRECTORY": folder} | variables))
        code = launch(words, env, output.fileno(), errors.fileno()).wait(PATIENCE)
        output.seek(0)
        errors.seek(0)
        done = subprocess.CompletedProcess(words, code, output.read(), errors.read())
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done


def refused(code: int, *words: str, **variables: str) -> str:
    """Run it; it must exit with this code and one line on stderr. Return that line."""
    done = exoip(*words, **variables)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "exoip" in done.stderr
    return done.stderr.strip()


# -- attach and detach -------------------------------------------------------------------------------------------------

both_modes = pytest.mark.parametrize("mode", ["-A", "-D"])


@both_modes
def test_attach_and_detach_take_effect_and_a_second_time_change_nothing(place: Place, mode: str) -> None:
    """They do not touch another holder."""
    place.hold(place.b, *([place.a] if mode == "-D" else []))
    first = exoip(mode, *place.words())
    assert first.returncode == 0, first.stderr
    assert place.holders() == ({"a", "b"} if mode == "-A" else {"b"}), "it did not wait until the API said so"
    words = "attached to" if mode == "-A" else "detached from"
    assert f"{place.eip} is {words} {place.a.id}" in first.stderr
    second = exoip(mode, *place.words())
    assert second.returncode == 0, second.stderr
    assert f"{place.eip} is already {words} {place.a.id}" in second.stderr
    assert place.mutations() == [(ATTACH if mode == "-A" else DETACH, place.a.id)]


@both_modes
def test_they_need_neither_peers_nor_a_free_port(place: Place, mode: str) -> None:
    port = free_port(place.a)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((place.a.public_ip, port))
        assert exoip(mode, *place.words(l=f"{place.a.public_ip}:{port}", without="p")).returncode == 0


def test_metadata_and_environment_are_enough(place: Place) -> None:
    done = exoip(
        "-A",
        IF_ADDRESS=f"{place.eip}/32",
        EXOSCALE_API_KEY=KEY,
        EXOSCALE_API_ENDPOINT=place.server.endpoint,
        IF_EXOSCALE_METADATA_URL=place.server.metadata_url("a"),
    )
    assert done.returncode == 0, done.stderr
    assert place.holders() == {"a"}


@both_modes
@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("operation-failure", {"reason": "busy"}, "busy"),
        ("status", {"status": 409, "message": "another operation is under way"}, "another operation is under way"),
    ],
)
def test_an_operation_or_request_that_fails_ends_in_1(
    place: Place, mode: str, kind: str, fields: Any, said: str
) -> None:
    place.hold(*([place.a] if mode == "-D" else []))
    place.fault(kind, "tach$", **fields)
    assert said in refused(1, mode, *place.words())
    assert place.holders() == ({"a"} if mode == "-D" else set())


@both_modes
@pytest.mark.parametrize("status", [403, 409, 503])
def test_an_answer_that_denies_what_is_done_is_no_failure(place: Place, mode: str, status: int) -> None:
    """With a conflict another client may have done it."""
    place.hold(*([place.a] if mode == "-D" else []))
    place.zone.operation_seconds = 0
    place.fault("status", "tach$", status=status, when="after")
    assert exoip(mode, *place.words()).returncode == 0


@both_modes
@pytest.mark.parametrize(
    ("kind", "fields"), [("status", {"status": 503}), ("status", {"status": 403}), ("garbage", {})]
)
def test_an_operation_that_cannot_be_read_is_seen_done_on_the_instance(
    place: Place, mode: str, kind: str, fields: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "OPERATION_TIMEOUT", 1.0)
    place.hold(*([place.a] if mode == "-D" else []))
    place.fault(kind, "^/operation/", **fields)
    assert command.once(parse([mode, *place.words()], {"IF_EXOSCALE_API_SECRET": SECRET})) == 0
    assert place.holders() == (set() if mode == "-D" else {"a"})


@pytest.mark.parametrize(
    ("path", "kind", "fields"),
    [
        ("", "status", {"status": 503}),
        ("/elastic-ip$", "status", {"status": 500, "form": "text"}),
        ("attach$", "status", {"status": 429, "retry_after": 30.0}),
        ("", "drop", {}),
        ("/elastic-ip$", "garbage", {}),
        ("attach$", "half", {}),
        ("attach$", "hang", {"seconds": 600.0}),
    ],
)
def test_an_api_out_of_reach_ends_in_69(place: Place, path: str, kind: str, fields: Any) -> None:
    place.fault(kind, path, **fields)
    call = "PUT /elastic-ip/…:attach" if path == "attach$" else "GET /elastic-ip"
    assert call in refused(69, "-A", *place.words())
    assert place.holders() <= {"a"}


def test_an_api_where_nobody_listens_ends_in_69(place: Place) -> None:
    endpoint = place.server.endpoint
    place.server.close()
    assert endpoint in refused(69, "-A", *place.words(xe=endpoint))


@pytest.mark.parametrize("lost", [1, 9])
def test_an_attach_whose_answer_is_lost_has_taken_effect(place: Place, lost: int) -> None:
    """The retry finds it done; if every answer is lost, the next run does, once it is done."""
    place.zone.operation_seconds = 0.1 if lost == 1 else 3.0
    place.fault("drop", "attach$", when="after", count=lost)
    assert exoip("-A", *place.words()).returncode == (0 if lost == 1 else 69)
    until(lambda: place.holders() == {"a"}, "the operation is done")
    assert exoip("-A", *place.words()).returncode == 0
    assert place.holders() == {"a"}


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_may_not_attach_ends_in_77(place: Place, status: int) -> None:
    place.fault("status", "attach$", status=status)
    line = refused(77, "-A", *place.words())
    assert ATTACH in line, "the error does not name what the key's role has to allow"


# -- what is printed ---------------------------------------------------------------------------------------------------


def test_check_config_prints_values_and_sources_and_the_secret_masked(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "exoip.conf"
    file.write_text("# ours\ndead-ratio = 4\nhost-priority = 99\n")
    done = exoip("-n", "-W", *place.words("-c", str(file)), IF_HOST_PRIORITY="20")
    assert done.returncode == 0
    assert done.stderr == ""
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    for name, text, source in (
        ("address", place.eip, "command line"),
        ("host-priority", "20", "environment IF_HOST_PRIORITY"),
        ("dead-ratio", "4 intervals", f"file {file}, line 2"),
        ("advertisement-interval", "1 seconds", "default"),
        ("exoscale-api-secret", "****", "environment IF_EXOSCALE_API_SECRET"),
        ("exoscale-api-key", KEY, "command line"),
    ):
        assert text in rows[name].replace(source, ""), rows[name]
        assert rows[name].endswith(source), rows[name]
    assert len(place.zone.record.calls()) == 0, "it asked the API"


def test_check_config_ends_with_a_verdict_and_looks_for_the_address_on_the_host(place: Place) -> None:
    """All of 127.0.0.0/8 is local to a host; an address reserved for documentation is not."""
    lines = exoip("-n", "-W", *place.words()).stdout.splitlines()
    assert lines[-1] == "the configuration is valid"
    elsewhere = exoip("-n", "-W", *place.words(xi="198.51.100.9"))
    assert elsewhere.returncode == 0
    warning, verdict = elsewhere.stdout.splitlines()[-2:]
    assert warning.startswith("warning: 198.51.100.9 is not an address of this host")
    assert warning.endswith("systemctl enable --now exoip-address@198.51.100.9.service")
    assert verdict == "the configuration is valid, but see the warnings above"


def test_check_config_shows_what_the_locale_cannot(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "exoip.conf"
    file.write_text("check-command = echo Müller\n")
    command = [sys.executable, "-m", "exoip", "-n", "-W", *place.words("-c", str(file))]
    env = environment(IF_EXOSCALE_API_SECRET=SECRET, PYTHONIOENCODING="ascii")
    assert "echo M\\xfcller" in subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True).stdout


def test_check_config_of_a_bad_configuration_fails_as_the_run_would(place: Place) -> None:
    assert "256" in refused(2, "-n", "-W", *place.words(P="256"))


def test_version_and_help() -> None:
    assert exoip("--version").stdout == f"exoip {__version__}\n"
    done = exoip("--help")
    assert done.returncode == 0
    assert "IF_ADVERTISEMENT_INTERVAL" in done.stdout


def test_log_stdout_logs_there(place: Place) -> None:
    done = exoip("-A", "-O", *place.words())
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{place.eip} is attached to" in done.stdout


# -- bad options -------------------------------------------------------------------------------------------------------

STRANGER = make_id("another-zone", "instance", "a")
BOTH = ("exoscale-peers", "exoscale-peer-group")


@pytest.mark.parametrize(
    ("code", "modes", "words", "named"),
    [
        (2, "", {}, ("-A", "-D", "-W")),
        (2, "-W -A", {}, ("-A and -W",)),
        (2, "-W", {"G": "web"}, BOTH),
        (78, "-W", {"without": "p"}, BOTH),
        (2, "-W", {"t": "nan"}, ("-t/--advertisement-interval 'nan' (command line)",)),
        (78, "-A", {"xi": "198.51.100.9"}, ("-xi 198.51.100.9", "{eip}")),  # names those that there are
        (78, "-W", {"xi": "198.51.100.9"}, ("-xi 198.51.100.9", "{eip}")),
        (78, "-W", {"G": "wbe", "without": "p"}, ("-G wbe", "web")),
        (78, "-W", {"p": "{b},{net}.77"}, ("-p {net}.77",)),
        (78, "-W", {"p": "{b},{net}.77=" + STRANGER}, ("-p {net}.77=" + STRANGER,)),
        (78, "-A", {"i": STRANGER}, ("-i " + STRANGER, "{zone}")),
        (78, "-W", {"i": STRANGER}, ("-i " + STRANGER, "{zone}")),
        (77, "-A", {"xk": "EXOunknown"}, ("EXOunknown",)),
        (77, "-W", {"xk": "EXOunknown"}, ("EXOunknown",)),
        (78, "-W", {"l": "192.0.2.1:12345"}, ("--bind-address 192.0.2.1:12345",)),
    ],
)
def test_a_mistake_is_named_with_its_cure(place: Place, code: int, modes: str, words: Any, named: Any) -> None:
    names = {"net": place.net, "eip": place.eip, "zone": place.zone.name, "b": place.b.public_ip}
    line = refused(code, *modes.split(), *place.words(**{name: text.format(**names) for name, text in words.items()}))
    for text in named:
        assert text.format(**names) in line


def test_a_malformed_variable(place: Place) -> None:
    line = refused(78, "-W", *place.words(), IF_DEAD_RATIO="0")
    assert "-r/--dead-ratio '0' (environment IF_DEAD_RATIO)" in line


def test_unreachable_metadata(place: Place) -> None:
    with socket.socket() as closed:  # bound, so nobody else gets it, and not listening
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        line = refused(78, "-W", *place.words(xm=url, without="i xe xz"))
    assert url in line
    assert "-xz" in line


@pytest.mark.parametrize("mode", ["-A", "-W"])
@pytest.mark.parametrize(
    ("secret", "denied", "named"),
    [("another-secret", (), "check the API key, its secret"), (SECRET, ("list-elastic-ips",), "list-elastic-ips")],
)
def test_a_wrong_secret_or_role(place: Place, mode: str, secret: str, denied: tuple[str, ...], named: str) -> None:
    with place.server.lock:
        place.zone.add_key(KEY, secret, refused=denied)
    assert named in refused(77, mode, *place.words())


def test_port_in_use(place: Place) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((place.a.public_ip, 0))
        at = f"{place.a.public_ip}:{taken.getsockname()[1]}"
        line = refused(78, "-W", *place.words(l=at))
    assert f"--bind-address {at} is in use" in line


@pytest.mark.parametrize(("priority", "runs_as"), [(0, 1), (255, 252)])
def test_a_reserved_priority_is_accepted_with_a_warning(priority: int, runs_as: int) -> None:
    with Cluster(1, priorities=(priority,)) as cluster:
        cluster.start()
        cluster.settle("n1")
        warnings = [line for line in cluster["n1"].log if " WARNING " in line and "host-priority" in line]
        assert len(warnings) == 1
        assert f"host-priority {priority} (command line) runs as {runs_as}" in warnings[0]
        assert {heard.heartbeat.priority for heard in cluster.observer.of(cluster["n1"])} == {runs_as}


@pytest.mark.parametrize(("words", "code"), [("exoip --help", -signal.SIGPIPE), ("exoipctl --help", 1)])
def test_a_reader_that_leaves_gets_no_traceback(words: str, code: int) -> None:
    """`exoip --help | head` must not end in one."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = tool(words, writer)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (code, "")


def test_a_full_disk_is_named() -> None:
    with open("/dev/full", "wb") as full:
        ended = tool("exoipctl --help", full.fileno())
    assert ended.stderr == "exoipctl: [Errno 28] No space left on device\n"


def tool(words: str, stdout: int) -> subprocess.CompletedProcess[str]:
    """Run a command that writes to this descriptor."""
    module, *arguments = words.replace("exoipctl", "exoip.ctl").split()
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment(PYTHONUNBUFFERED=""), stdout=stdout,
        stderr=subprocess.PIPE, text=True, timeout=PATIENCE,
    )  # fmt: skip
