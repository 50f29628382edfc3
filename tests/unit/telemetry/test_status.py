"""The state as JSON: of nodes in virtual time, against the schema that is shipped."""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import replace
from typing import Any

import jsonschema

from exoip.config.parse import parse
from exoip.core.calls import Failure, Kind
from exoip.core.events import EventName
from exoip.exoscale.topology import Member, Topology
from exoip.telemetry import status as report
from exoip.telemetry.addon_views import CheckView, Health
from exoip.telemetry.journal import Told
from exoip.telemetry.messages import MESSAGES
from tests.simulation.world import EIP, instance_id
from tests.support.paths import ROOT
from tests.support.single_node import SingleNode, backup, master

SCHEMA = json.loads((ROOT / "packaging/examples/status.schema.json").read_text())
NAMES = {instance_id(name): f"web-{name}" for name in "amz"}
EPOCH, STARTED = 1_700_000_000.0, 1_699_999_000.0
WORDS = ("-W", "-xi", EIP, "-G", "web", "-xk", "EXOa", "-xs", "hidden-secret")
MEMBERS = tuple(Member(instance_id(name), f"192.0.2.{ord(name)}", 12345, f"web-{name}") for name in "az")
TOPOLOGY = Topology(instance_id("m"), "ch-gva-2", "http://127.0.0.1/v2", EIP, instance_id("e"), MEMBERS)

CHECKS = (
    CheckView("tcp 127.0.0.1:443", Health.PASSING, 1.0, runs=9),
    CheckView("command", Health.FAILING, 2.0, "exit status 1: nginx is not running", 9, 4, 0.1),
)
EVENTS = (
    Told(EPOCH + 1, EventName.PEER_ALIVE, "info", "web-a (host-a) is alive, at priority 20"),
    Told(EPOCH + 2, EventName.PEER_DEAD, "warning", "web-z (host-z) is dead: not heard for 3.00 s"),
)


def strict(schema: Any) -> Any:
    """The schema, with every name forbidden that it does not have."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(part) for name, part in schema.items()}
    return closed | ({"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {})


def valid(described: dict[str, Any]) -> dict[str, Any]:
    """Return `described` as an answer carries it, after a check against the schema."""
    one = {"name": "web", "level": described["health"]["level"], "error": None, "status": described}
    printed = json.loads(json.dumps({"version": 1, "level": "healthy", "instances": [one]}, allow_nan=False))
    jsonschema.validate(printed, strict(SCHEMA))
    status: dict[str, Any] = printed["instances"][0]["status"]
    return status


def status_of(bench: SingleNode, *words: str, topology: Topology = TOPOLOGY) -> dict[str, Any]:
    config = parse([*WORDS, *words], {})
    given = report.StatusInput(config, topology, CHECKS, EVENTS, bench.api.view())
    return valid(report.describe_running(bench.view, given, NAMES.__getitem__, STARTED, lambda at: EPOCH + at))


def mute() -> SingleNode:
    """A backup that cannot send and hears nobody, longer than a dead time after it has stood back."""
    bench = backup(peers="a")
    bench.node.set_mute("Operation not permitted", bench.now)
    bench.beating.clear()
    bench.until(lambda: bench.view.yielded)
    bench.advance(20.0)
    assert bench.view.yielded
    return bench


def test_of_a_master() -> None:
    bench = master()
    status = status_of(bench)
    assert (status["role"], status["holds"], status["master"]) == (
        "master",
        True,
        {"instance": instance_id("m"), "name": None},
    )
    assert status["at"] == EPOCH + bench.now
    assert EPOCH < status["since"] <= status["api"]["answered_at"] <= status["at"]
    assert status["daemon"] == {"version": report.__version__, "started": STARTED, "phase": "running"}
    assert [peer["name"] for peer in status["peers"]] == ["web-a", "web-z"]
    assert {peer["priority"] for peer in status["peers"]} == {None}, "never heard"


def test_of_a_backup_each_peer_as_last_heard_and_read() -> None:
    status = status_of(backup())
    a, z = status["peers"]
    assert (a["alive"], a["priority"], a["member"], a["port"]) == (True, 5, True, 12345)
    assert (a["holds"], a["read_at"] > EPOCH) == (True, True), "the next best node reads the master"
    assert (a["never_heard"], a["elsewhere"], z["never_heard"]) == (False, None, True)
    assert status["at"] - 1.0 <= a["heard_at"] <= status["at"]
    assert (z["alive"], z["heard_at"]) == (False, None)
    assert status["master"] == {"instance": instance_id("a"), "name": "web-a"}
    assert status["reason"].startswith("web-a is at priority 5"), "ids are replaced"


def test_a_backup_that_read_a_peer_before_it_was_stopped() -> None:
    """It does not read it again; the group is read by all."""
    topology = replace(TOPOLOGY, members=(MEMBERS[0], replace(MEMBERS[1], running=False)))
    _, z = status_of(backup(), topology=topology)["peers"]
    assert (z["running"], z["alive"], z["never_heard"]) == (False, False, False)


def test_of_one_that_just_started() -> None:
    status = status_of(SingleNode())
    assert (status["role"], status["holds"], status["in_doubt"], status["read_at"]) == ("listening", False, True, None)
    assert status["api"]["answered_at"] is None


def test_of_one_in_trouble() -> None:
    bench = SingleNode(preempt_delay=math.inf)
    bench.failing[Kind.ATTACH] = Failure.FORBIDDEN
    bench.until(lambda: bool(bench.view.again))
    status = status_of(bench, "--no-preempt")
    (failing,) = status["api"]["failing"]
    assert (failing["call"], failing["failure"]) == ("attach", "refused")
    assert EPOCH < failing["since"] < status["at"]
    (again,) = status["api"]["again"]
    assert again["job"] == "attach"
    assert again["at"] > status["at"]
    assert status["preempt_delay"] is status["configuration"]["preempt_delay"] is None
    assert status["health"]["level"] == "critical"
    assert status["aside"][0]["why"] == "could not attach"
    assert status["aside"][0]["until"] > status["at"]


def test_a_call_that_fails_in_another_way_fails_since_the_first() -> None:
    bench = SingleNode()
    bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
    bench.advance(10)
    (before,) = status_of(bench)["api"]["failing"]
    bench.failing[Kind.ATTACH] = Failure.FORBIDDEN
    bench.advance(40)
    (after,) = status_of(bench)["api"]["failing"]
    assert (before["failure"], after["failure"]) == ("unavailable", "refused")
    assert before["since"] == after["since"]


def test_of_one_that_is_drained_leaves_and_has_dropped_datagrams() -> None:
    bench = master()
    bench.node.set_unfit("operator", "drained", bench.now)
    bench.node.drop("192.0.2.1", "short", bench.now)
    bench.node.drop("192.0.2.1", "identity", bench.now)
    status = status_of(bench)
    assert status["aside"] == [{"cause": "operator", "why": "drained", "until": None}]
    assert status["refused"] == {"identity": 1, "short": 1}
    bench.node.leave(bench.now)
    assert status_of(bench)["daemon"]["phase"] == "leaving"


def test_of_one_that_cannot_send() -> None:
    """It stands back until it can, and a dead time more."""
    bench = mute()
    status = status_of(bench)
    assert (status["role"], status["stand_back_until"], status["mute"]) == ("backup", None, "Operation not permitted")
    bench.node.set_mute("", bench.now)
    status = status_of(bench)
    assert (status["stand_back_until"] > status["at"], status["mute"]) == (True, None)


def test_of_one_that_waits() -> None:
    config = parse([*WORDS, "-l", "[::1]:1234"], {})
    for why in ("waiting for the API: 503", ""):
        status = valid(report.describe_starting(config, why, STARTED, STARTED + 1))
        assert status["daemon"]["phase"] == "starting"
        assert status["eip"] == EIP
        assert status["configuration"]["bind_address"] == "[::1]:1234"


def test_secrets_are_not_in_it_but_that_there_is_a_key_is() -> None:
    status = status_of(master(), "--auth-key", "hidden-key-of-the-cluster")
    assert not re.search("hidden|EXOa", json.dumps(status))
    assert status["configuration"]["auth_mode"] == "require"


def test_the_health_checks() -> None:
    passing, failing = status_of(master())["checks"]
    assert (passing["health"], passing["why"], passing["results"], passing["bad"]) == ("passing", None, 9, 0)
    assert (failing["health"], failing["since"], failing["bad"]) == ("failing", EPOCH + 2.0, 4)


def test_a_peer_whose_heartbeats_are_dropped() -> None:
    bench = backup()
    bench.node.admission.denied[instance_id("z")] = "signature", bench.now
    status = status_of(bench)
    assert [peer["denied"] for peer in status["peers"]] == [None, "signature"]
    assert any("web-z" in reason and "(signature)" in reason for reason in status["health"]["reasons"])


def test_the_schema_names_what_is_described_and_nothing_else() -> None:
    """A running daemon describes every name that the schema has."""

    def parts(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, list | dict):
            inner = [part for one in (value.values() if isinstance(value, dict) else value) for part in parts(one)]
            return inner + ([value] if isinstance(value, dict) else [])
        return []

    bench = SingleNode()
    bench.failing[Kind.ATTACH] = Failure.FORBIDDEN
    bench.until(lambda: bool(bench.view.again))
    schemas = [
        part["properties"] for part in parts(SCHEMA["$defs"]["status"]) if isinstance(part.get("properties"), dict)
    ]
    assert {name for one in schemas for name in one} == {name for one in parts(status_of(bench)) for name in one}


def test_the_cure_of_silence_names_the_missing_rule() -> None:
    config = parse([*WORDS], {})
    given = report.StatusInput(config, replace(TOPOLOGY, shut_out=(instance_id("z"),)))
    rule = "exo compute security-group rule add web --protocol udp --port 12345 --security-group web"
    assert given.cure_of_silence(instance_id("z")) == f"no rule allows UDP 12345 from it: {rule}"
    assert "check that exoip runs there" in given.cure_of_silence(instance_id("a"))


def test_the_schema_knows_every_level_of_an_event() -> None:
    levels = {logging.getLevelName(row.level).lower() for row in MESSAGES.values() if row.level > logging.DEBUG}
    events = SCHEMA["$defs"]["status"]["properties"]["events"]
    assert set(events["items"]["properties"]["level"]["enum"]) == levels | {"error"}, "a forbidden call is an error"
