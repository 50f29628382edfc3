"""`exoipctl check`: a file, a zone, a key and real daemons, each broken in turn, and the cure that
is suggested.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from exoip.config.options import BY_NAME, BY_SPELLING
from exoip.ctl import check
from exoip.ctl.check import examine
from exoip.ctl.client import ControlSocket
from exoip.ctl.findings import OPEN, PROBLEM, WARNING, WELL, Finding
from exoip.ctl.permissions import Permission, permissions
from exoip.exoscale.client import Client
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.operator.control_server import ControlServer
from exoip.sandbox import json_views
from exoip.sandbox.faults import Fault, Match
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone
from exoip.telemetry.exporter import listen
from tests.support.cluster import ATTACH, DETACH, GROUP, Cluster, free_net
from tests.support.ctl import Ctl
from tests.support.process import Process
from tests.support.waiting import until

KEY, SECRET = "EXOweb", "hidden-secret-of-the-key"


class Place:
    """A zone with the instances a and b of the group web, which lets heartbeats in; we are a, and
    the file says so.
    """

    def __init__(self, folder: Path, server: SandboxServer) -> None:
        self.folder, self.server, self.zone = folder, server, server.zone
        self.address = f"{free_net()}.11"
        self.a = self.zone.add_instance("a", public_ip=self.address, groups=("web",))
        self.b = self.zone.add_instance("b", public_ip="127.77.1.12", groups=("web",))
        self.zone.let_in("web", "udp", 12345, 12345, source="web")
        self.zone.add_key(KEY, SECRET)
        self.options = {
            "address": "127.77.1.100",
            "exoscale-peer-group": "web",
            "bind-address": f"{self.address}:12345",
            "exoscale-api-key": KEY,
            "exoscale-api-secret": SECRET,
            "exoscale-api-endpoint": self.server.endpoint,
            "exoscale-metadata-url": self.server.metadata_url("a"),
        }

    @property
    def file(self) -> Path:
        path = self.folder / "web.conf"
        path.write_text("".join(f"{name} = {text}\n" for name, text in self.options.items() if text))
        path.chmod(0o640)
        return path

    def found(self, **environ: str) -> list[Finding]:
        control = ControlSocket("web", self.folder / "run/web/control")
        found = list(examine(control, self.file, self.folder / "credstore", environ))
        for finding in found:
            assert SECRET not in f"{finding}"
            assert finding.cure or finding.level != PROBLEM or len(finding.text) > 40, finding
        return found

    def of(self, about: str, **environ: str) -> list[tuple[str, str, str]]:
        """The findings about one thing."""
        return [(one.level, one.text, one.cure) for one in self.found(**environ) if one.about == about]

    def fault(self, kind: str, **fields: object) -> None:
        match = {name: fields.pop(name) for name in ("method", "path") if name in fields}
        with self.server.lock:
            self.zone.add_fault(Fault(kind, Match(**match), **fields), self.server.now())  # type: ignore[arg-type]

    def refuse(self, *operations: str) -> None:
        with self.server.lock:
            self.zone.add_key(KEY, SECRET, refused=operations)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with SandboxServer(Zone(eip="127.77.1.100")) as server:
        yield Place(tmp_path, server)


def test_where_all_is_well_only_the_daemon_is_missing(place: Place) -> None:
    found = place.found()
    assert {(one.about, one.level) for one in found} == {
        ("file", WELL), ("address", WELL), ("host", WELL), ("instance", WELL), ("API", WELL), ("key", WELL),
        ("cluster", WELL), ("port", WELL), ("peers", OPEN),
    }  # fmt: skip
    texts = {one.about: one.text for one in found}
    assert texts["instance"] == f"{place.a.id}, according to the metadata service"
    assert "its peers are b at 127.77.1.12:12345" in texts["cluster"]
    assert texts["port"] == "the security groups allow UDP 12345"
    assert ATTACH in texts["key"]


def test_looking_changes_nothing(place: Place) -> None:
    with place.server.lock:
        place.zone.force(place.b.id, True, place.server.now())
        before = place.zone.record.since(0)
    place.found()
    with place.server.lock:
        place.zone.advance(place.server.now() + 3600)
        after = place.zone.record.since(len(before))
    assert place.server.holders() == {place.b.id}
    assert [entry for entry in after if entry.kind in ("holders", "operation")] == []
    mutations = [entry for entry in after if entry.kind == "answer" and entry.method == "PUT"]
    assert [(entry.operation, entry.status) for entry in mutations] == [(ATTACH, 404), (DETACH, 404)]


@pytest.mark.parametrize(
    ("options", "about", "level", "text", "cure"),
    [
        ({"host-priority": "900"}, "file", PROBLEM, "900", ""),
        ({"host-priority": "255"}, "file", WARNING, "runs as 252", ""),
        ({"address": "192.0.2.100", "bind-address": ":12345"}, "address", PROBLEM, "not an address of this host",
         "systemctl enable --now exoip-address@192.0.2.100.service"),
        ({"address": "2001:db8:0:1::/96"}, "address", PROBLEM, "2001:db8:0:1::/96 is not an address of this host",
         "systemctl enable --now exoip-address@2001:db8:0:1::-96.service"),
        ({"address": "2001:db8:0:1::/96"}, "cluster", PROBLEM, "no such Elastic IP", ""),
        ({"exoscale-api-endpoint": "http://127.0.0.1:1/v2"}, "API", PROBLEM, "", "check the network"),
        ({"exoscale-api-secret": "another-secret"}, "key", PROBLEM, "every call is forbidden: ",
         "create a new key with the role in exoip(8), THE KEY'S ROLE"),
        ({"address": "127.77.1.101"}, "cluster", PROBLEM, "no such Elastic IP", ""),
        ({"address": "127.77.1.101"}, "key", OPEN, "attach-instance-to-elastic-ip", ""),
        ({"exoscale-peer-group": "", "exoscale-peers": "127.77.1.12"}, "port", WELL, "allow UDP 12345", ""),
    ],
)  # fmt: skip
def test_each_broken_option(
    place: Place, options: dict[str, str], about: str, level: str, text: str, cure: str
) -> None:
    place.options |= options
    first, *_ = [one for one in place.of(about) if one[0] == level and text in one[1]]
    assert first[2].startswith(cure)


# What the host lacks.


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"notify": "/etc/exoip/hooks/no-such"}, "--notify /etc/exoip/hooks/no-such: there is no such file"),
        ({"notify": "/etc/passwd"}, "--notify /etc/passwd: this user cannot execute it"),
        ({"bind-address": "192.0.2.1:12345"}, "--bind-address 192.0.2.1:12345 is not an address of this machine"),
        ({"metrics-listen": "192.0.2.1:9479"}, "--metrics-listen 192.0.2.1:9479 is not an address of this machine"),
        ({"control-socket": "/etc/passwd"}, "--control-socket /etc/passwd exists and is no socket"),
        ({"control-socket": "/etc"}, "--control-socket /etc exists and is no socket"),
        ({"control-socket": "/nowhere/x"}, "--control-socket /nowhere/x: there is no directory /nowhere"),
    ],
)  # fmt: skip
def test_what_would_end_the_start_is_named(place: Place, options: dict[str, str], text: str) -> None:
    place.options |= options
    ((level, found, _),) = place.of("host")
    assert level == PROBLEM
    assert found.startswith(text)


def test_an_address_that_another_program_has(place: Place) -> None:
    place.options |= {
        "metrics-listen": place.server.endpoint.split("/")[2],
        "control-socket": f"{place.folder}/control",
    }
    other = ControlServer(place.options["control-socket"], lambda *_: b'{"version": 1, "ok": false}\n')
    with closing(HeartbeatSocket(place.address, 12345)), closing(other):
        found = place.of("host")
        assert [(level, text.split()[0], "is in use" in text) for level, text, _ in found] == [
            (PROBLEM, "--bind-address", True), (PROBLEM, "--metrics-listen", True), (PROBLEM, "--control-socket", True)
        ]  # fmt: skip
        (place.folder / "run/web").mkdir(parents=True)
        (place.folder / "run/web/control").touch()
        found = place.of("host")
        assert {level for level, _, _ in found} == {OPEN}
        assert {text.partition("; but ")[2] for _, text, _ in found} == {"it may be web, which does not answer"}


@pytest.mark.parametrize(
    ("had", "wanted", "level"),
    [
        ("{}.12:12345", "{}.12:12345", WELL),
        (":12345", "{}.12:12345", WELL),
        ("{}.11:12345", "{}.12:12345", PROBLEM),
        (":12346", "{}.12:12345", PROBLEM),
        ("{}.11:12345", ":12345", OPEN),
        ("0.0.0.0:12345", "{}.12:12345", OPEN),
    ],
)
def test_what_the_running_daemon_has_is_no_obstacle(
    place: Place, monkeypatch: pytest.MonkeyPatch, had: str, wanted: str, level: str
) -> None:
    """But another address of the same port is one, if it is in use."""
    net = place.address.rpartition(".")[0]
    had, address = had.format(net), wanted.format(net)
    configuration = {"bind_address": had, "metrics_listen": had}
    state = {"eip": place.options["address"], "configuration": configuration, "peers": []}
    monkeypatch.setattr(check, "send", lambda *_: {"status": state})
    place.options |= {"bind-address": address, "metrics-listen": address}
    with closing(HeartbeatSocket(f"{net}.12", 12345)), closing(listen(f"{net}.12", 12345)):
        found = place.of("host")
    assert [one[0] for one in found] == [level] * (1 if level == WELL else 2)
    if level == OPEN:
        assert {text.partition("; but ")[2] for _, text, _ in found} == {f"it may be web, which has {had}"}


def test_nothing_follows_a_file_that_is_wrong(place: Place) -> None:
    place.options["host-priority"] = "900"
    assert len(place.found()) == 1
    (found,) = examine(ControlSocket("web", Path("/x")), Path("/nowhere/web.conf"), Path("/x"), {})
    assert "No such file" in found.text


def test_variables_of_the_shell_do_not_count_but_credentials_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXOSCALE_API_SECRET", "of-somebody-else")
    monkeypatch.setenv("IF_ADDRESS", "192.0.2.1")
    assert not [one for one in place.found(IF_ADDRESS="192.0.2.1") if one.level == PROBLEM]
    place.options["exoscale-api-secret"] = ""
    (found,) = place.found()
    assert "exoscale-api-secret (-xs" in found.text
    (place.folder / "credstore").mkdir()
    (place.folder / "credstore/exoip.web.api-secret").write_text(SECRET + "\n")
    assert not [one for one in place.found() if one.level == PROBLEM]
    place.options["exoscale-api-secret"] = "an-old-one-in-the-file"
    assert not [one for one in place.found() if one.level == PROBLEM], "credentials win over the file"
    (place.folder / "credstore/exoip.web.api-secret").write_bytes(b"\xff")
    assert place.found()[0].text.endswith("exoip.web.api-secret', line 1: is not UTF-8 text")


def test_a_file_that_the_daemon_cannot_read(place: Place) -> None:
    own = next(group.gr_name for group in check.grp.getgrall() if group.gr_gid == os.getgid())
    path = place.file
    for mode, cures in ((0o640, 0), (0o604, 0), (0o440, 0), (0o600, 1)):
        path.chmod(mode)
        assert ["chmod 0640" in one.cure for one in check.file_access(path, own)] == [True] * cures, oct(mode)
    other = next(group.gr_name for group in check.grp.getgrall() if group.gr_gid not in (os.getgid(), *os.getgroups()))
    path.chmod(0o640)
    (found,) = check.file_access(path, other)
    assert f"chown root:{other}" in found.cure
    assert list(check.file_access(path, "no-such-group-here")) == []


@pytest.mark.slow
def test_a_metadata_service_that_does_not_answer(place: Place) -> None:
    place.options["exoscale-metadata-url"] = "http://127.0.0.1:1"
    found = place.found()
    assert [one.level for one in found if one.about == "instance"] == [PROBLEM]
    assert [one.level for one in found if one.about == "API"] == [WELL], "and the rest is looked at all the same"
    assert not [one for one in found if one.about == "cluster"]


def test_an_api_that_is_out_of_order_leaves_things_open(place: Place) -> None:
    place.fault("status", path="/instance", status=503)
    assert {level for level, _, _ in place.of("key")} == {WELL, OPEN}
    assert [text for level, text, _ in place.of("key") if level == OPEN and "list-instances" in text]


def test_an_api_that_fails_each_call_with_the_key_grants_nothing(place: Place) -> None:
    for path in ("/elastic-ip", "/instance", "/operation", "/security-group"):
        place.fault("status", path=path, status=503)
    assert {level for level, _, _ in place.of("key")} == {OPEN}, "and no empty list of what it allows"


def test_a_call_that_is_forbidden_says_nothing_about_those_that_fail(place: Place) -> None:
    place.refuse("list-elastic-ips")
    for path in ("/instance", "/operation", "/security-group"):
        place.fault("status", path=path, status=503)
    problem, *others = place.of("key")
    assert problem[1].startswith("lacks list-elastic-ips: ")
    assert {level for level, _, _ in others} == {OPEN}


def test_every_call_is_forbidden_if_all_that_were_tried_are(place: Place) -> None:
    place.refuse("list-elastic-ips", "list-instances", "get-instance", "get-operation", "list-security-groups")
    ((level, text, _),) = place.of("key")
    assert (level, text.partition(":")[0]) == (PROBLEM, "every call is forbidden")


@pytest.mark.parametrize(
    "operation",
    ["list-elastic-ips", "list-instances", "get-instance", "get-operation", "list-security-groups", ATTACH, DETACH],
)
def test_each_right_that_a_key_lacks_is_named(place: Place, operation: str) -> None:
    place.refuse(operation)
    problems = [(text, cure) for level, text, cure in place.of("key") if level == PROBLEM]
    assert len(problems) == 1, problems
    assert problems[0][0].startswith(f"lacks {operation}: ")
    assert problems[0][1] == f"allow '{operation}' in the key's role: exoip(8), THE KEY'S ROLE"


def test_the_permissions_that_are_tried(place: Place) -> None:
    place.fault("hang", method="PUT", seconds=0.1)
    with closing(Client(place.server.endpoint, KEY, SECRET, mutation_timeout=0.2)) as client:
        found = list(permissions(client, place.a.id, place.zone.eip.id, with_group=True))
        *_, last = permissions(client, "", "", with_group=False)
    reads = ["list-elastic-ips", "list-instances", "get-instance", "get-operation", "list-security-groups"]
    assert [one.operation for one in found if one.granted] == reads
    assert [(one.operation, one.granted) for one in found[-2:]] == [(ATTACH, None), (DETACH, None)]
    assert last == Permission(DETACH, None, "the Elastic IP's id is unknown", tried=False)


# The cluster and the port.


def test_a_node_that_is_not_in_its_group(place: Place) -> None:
    with place.server.lock:
        place.zone.leave_group(place.a.id, "web", place.server.now())
    (warning,) = [text for level, text, _ in place.of("cluster") if level == WARNING]
    assert warning.startswith("this instance is not in group web: ")


@pytest.mark.parametrize(
    ("rule", "level"),
    [
        ({"protocol": "udp", "first": 12345, "last": 12345, "network": "0.0.0.0/0"}, WELL),
        ({"protocol": "all", "first": 1, "last": 65535, "source": "other"}, WELL),
        ({"protocol": "udp", "first": 12000, "last": 13000, "network": "127.0.0.0/8"}, WELL),
        ({"protocol": "udp", "first": 12000, "last": 13000, "network": "127.77.2.0/24"}, WARNING),
        ({"protocol": "tcp", "first": 12345, "last": 12345, "source": "other"}, WARNING),
        ({"protocol": "udp", "first": 12346, "last": 12346, "source": "other"}, WARNING),
        ({"protocol": "udp", "first": 12345, "last": 12345, "source": "third"}, WARNING),
        (None, WARNING),
    ],
)
def test_a_port_that_is_shut(place: Place, rule: dict[str, object] | None, level: str) -> None:
    with place.server.lock:
        for one in (place.a, place.b):
            place.zone.join_group(one.id, "other", place.server.now())
            place.zone.leave_group(one.id, "web", place.server.now())
        if rule:
            place.zone.let_in("other", **rule)  # type: ignore[arg-type]
    place.options["exoscale-peer-group"] = "other"
    found = place.of("port")
    assert {each for each, _, _ in found} == {level}
    if level == WARNING:
        assert [text for _, text, _ in found] == [
            "no rule allows UDP 12345 from b at 127.77.1.12:12345",
            "no rule allows UDP 12345 to b at 127.77.1.12:12345",
        ]
        cure = "exo compute security-group rule add other --protocol udp --port 12345 --security-group other"
        assert {each for _, _, each in found} == {cure}


def another_group_of_the_members(place: Place) -> None:
    """The rule of the peer group admits another group, to which all members belong."""
    place.zone.let_in("cluster", "udp", 12345, 12345, source="web")


def a_rule_of_another_group(place: Place) -> None:
    """The peer group has no rule; another group of the same instances has it."""
    place.zone.let_in("web", "udp", 12345, 12345, source="web")


def external_sources(place: Place) -> None:
    """The rule admits a group without members, whose external sources are the nodes' addresses."""
    place.zone.add_external_source("nodes", "127.0.0.0/8")
    place.zone.let_in("cluster", "udp", 12345, 12345, source="nodes")


@pytest.mark.parametrize("setup", [another_group_of_the_members, a_rule_of_another_group, external_sources])
def test_every_legal_way_to_let_the_heartbeats_in(place: Place, setup: Callable[[Place], None]) -> None:
    with place.server.lock:
        group = place.zone.add_group("web")
        place.zone._groups[group.id] = replace(group, rules=())  # what the fixture let in
        for one in (place.a, place.b):
            place.zone.join_group(one.id, "cluster", place.server.now())
    place.options["exoscale-peer-group"] = "cluster"
    assert {level for level, _, _ in place.of("port")} == {WARNING}
    with place.server.lock:
        setup(place)
    assert place.of("port") == [(WELL, "the security groups allow UDP 12345", "")]


def test_a_group_whose_rules_are_not_shown(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_views, "security_group", lambda group: {"id": group.id, "name": group.name})
    found = place.of("port")
    assert [(level, "the API does not show the rules" in text) for level, text, _ in found] == [(OPEN, True)] * 2


def test_a_private_network_has_no_rules(place: Place) -> None:
    peers = f"192.168.7.12={place.b.id}"
    place.options |= {"exoscale-peer-group": "", "exoscale-peers": peers, "bind-address": "192.168.7.11:12345"}
    assert {level for level, _, _ in place.of("port")} == {OPEN}


def test_a_group_without_other_members_must_let_its_members_in(place: Place) -> None:
    with place.server.lock:
        place.zone.leave_group(place.b.id, "web", place.server.now())
    assert place.of("port") == [(WELL, "the security groups allow UDP 12345", "")]


def test_a_managed_elastic_ip(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = json_views.elastic_ip
    monkeypatch.setattr(json_views, "elastic_ip", lambda eip: {**plain(eip), "healthcheck": {"mode": "tcp"}})
    (found,) = (one for one in place.found() if one.level == WARNING)
    assert "health check of Exoscale's own" in found.text
    assert "manual" in found.cure


def test_a_proxy_that_is_ignored(place: Place) -> None:
    assert [level for level, _, _ in place.of("API")] == [WELL]
    (warning,) = [text for level, text, _ in place.of("API", HTTPS_PROXY="http://proxy:3128") if level == WARNING]
    assert warning.startswith("HTTPS_PROXY ignored: exoip uses no proxy")


def test_a_configuration_that_is_only_in_the_environment(place: Place) -> None:
    variables = {BY_NAME[name].variables[0]: text for name, text in place.options.items()}
    control = ControlSocket("web", place.folder / "run/web/control")
    found = list(examine(control, None, place.folder / "credstore", variables))
    assert found[0] == Finding(WELL, "file", "the environment is valid, for 127.77.1.100")
    assert {one.level for one in found} == {WELL, OPEN}


# The command, beside daemons.


def configuration(cluster: Cluster, node: Process, path: Path) -> Path:
    """The file that says what a node's command line says."""
    names = {"xi": "address", "P": "host-priority", "t": "advertisement-interval", "r": "dead-ratio", "l": "bind-address",
             "xm": "exoscale-metadata-url", "xe": "exoscale-api-endpoint", "xz": "exoscale-zone", "xk": "exoscale-api-key",
             "G": "exoscale-peer-group", "-metrics-listen": "metrics-listen", "-control-socket": "control-socket"}  # fmt: skip
    words = node.words[1:]
    lines = [
        f"{names[name[1:]]} = {text}" for name, text in zip(words[::2], words[1::2], strict=False) if name[1:] in names
    ]
    path.write_text("\n".join([*lines, f"exoscale-api-secret = {node.env['IF_EXOSCALE_API_SECRET']}", ""]))
    path.chmod(0o640)
    return path


@pytest.mark.slow
def test_the_command_beside_daemons(tmp_path: Path) -> None:
    ctl = Ctl(tmp_path)
    with Cluster(nodes=2, folder=tmp_path, observed=False) as cluster:
        own = ["--metrics-listen", f"{cluster['n1'].address}:{cluster.port}", "--control-socket", f"{tmp_path}/own"]
        cluster["n1"].words[1:1] = own
        cluster.start()
        cluster.settle("n1")
        file = str(configuration(cluster, cluster["n1"], tmp_path / "n1.conf"))
        words = ("check", "n1", "--config", file, "--credentials-dir", str(tmp_path))
        text = ctl(*words)
        assert f"UDP {cluster.port} is allowed: every running peer is heard" in text, "whatever the rules say"
        assert f"peers     n2 ({cluster['n2'].address}) is heard" in text
        assert {line.split()[0] for line in text.splitlines()} == {"ok"}
        told = json.loads(ctl(*words, "--json"))
        assert (told["version"], told["level"]) == (1, "healthy")
        assert {one["level"] for one in told["findings"]} == {"well"}
        assert cluster.holders() == {"n1"}
        other = tmp_path / "other.conf"
        other.write_text(re.sub("control-socket = .*", "", Path(file).read_text()))
        other.chmod(0o640)
        found = re.findall(r"FAIL +host +(\S+) .* is in use", ctl("check", "second", *words[2:3], str(other), code=2))
        assert found == ["--bind-address", "--metrics-listen"], "of another daemon"
        there = f"bind-address = {cluster['n2'].address}"
        other.write_text(re.sub(r"bind-address = [\d.]*", there, Path(file).read_text()))
        assert "FAIL        host      --bind-address" in ctl(*words[:3], str(other), *words[4:], code=2)
        other.write_text(Path(file).read_text().replace(f":{cluster.port}\n", ":9\n"))
        text = ctl(*words[:3], str(other), *words[4:], code=1)
        assert "no other program has UDP" in text
        assert "no rule allows UDP 9 from n2" in text, "what is heard on another port shows nothing"
        cluster["n2"].stop()
        until(lambda: "is not heard" in ctl(*words, code=None), "the peer is missed")
        text = ctl(*words, code=1)
        assert f"-> check that exoip runs there, and that both nodes allow UDP {cluster.port}" in text
        assert f"no rule allows UDP {cluster.port} from n2" in text
        with cluster.server.lock:
            cluster.zone.let_in(GROUP, "udp", cluster.port, cluster.port, source=GROUP)
        assert "no rule" not in ctl(*words, code=1)
        ctl.env |= environment_of(cluster["n1"])
        assert "the environment is valid" in ctl("check", "n1", "--credentials-dir", str(tmp_path), code=1)


def environment_of(node: Process) -> dict[str, str]:
    """The variables that say what a node's command line says."""
    words = zip(node.words[1::2], node.words[2::2], strict=False)
    given = {BY_SPELLING[word].variables[0]: text for word, text in words}
    return given | {name: text for name, text in node.env.items() if name.startswith("IF_")}


def test_an_instance_that_does_not_exist(tmp_path: Path) -> None:
    """The ones that do exist are named, and no option that was not given."""
    ctl, name = Ctl(tmp_path), f"web-{uuid4().hex[:8]}"
    ctl.env |= {"EXOSCALE_API_KEY": "EXOofanothertool"}
    text = ctl("check", name, code=3, errors=True)
    assert f"there is no /etc/exoip/{name}.conf, and no daemon called {name} runs here" in text
    assert " -" not in text
    for running in ("eip", "web"):
        (tmp_path / "run" / running).mkdir(parents=True)
        (tmp_path / "run" / running / "control").touch()
    assert "there are: eip, web" in ctl("check", name, code=3, errors=True)
    assert "web runs without /etc/exoip/web.conf: name its file" in ctl("check", "web", code=3, errors=True)
    text = ctl("check", name, "--config", "/nowhere/web.conf", code=2)
    assert re.match(r"FAIL +file +.*No such file", text)
