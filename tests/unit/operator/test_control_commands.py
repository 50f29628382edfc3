"""What the requests of the control socket do to a node in virtual time."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from exoip.config.parse import Config, parse
from exoip.core.unfit import OPERATOR, UnfitReason
from exoip.daemon.state_files import DrainedFile
from exoip.errors import ConfigError
from exoip.exoscale.topology import Member, Topology
from exoip.operator.control_commands import ControlCommands, ControlledNode
from exoip.operator.control_protocol import VERSION
from exoip.telemetry.status import StatusInput
from tests.simulation.world import EIP, instance_id
from tests.support.single_node import SingleNode, backup

NAMES = {instance_id(name): f"web-{name}" for name in "amz"}
EPOCH = 1_700_000_000.0


class Desk:
    """A bench with the control commands of its node, and a state directory."""

    def __init__(self, folder: Path, **options: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.drained = DrainedFile({"STATE_DIRECTORY": str(folder)})
        self.bench = SingleNode(**options)
        self.bench.node.set_unfit(OPERATOR, self.drained.load(), self.bench.now)
        self.config = config()
        self.missing = ""  # what metrics lack
        self.commands = ControlCommands(
            self.config, self.drained, clock=lambda: self.bench.now, wall=lambda at: EPOCH + at
        )

    def metrics(self) -> str:
        if self.missing:
            raise ConfigError(self.missing)
        return "a_metric 1\n"

    def serve(self) -> None:
        members = tuple(Member(instance_id(name), f"192.0.2.{ord(name)}", 12345, f"web-{name}") for name in "az")
        topology = Topology(instance_id("m"), "zone", "http://127.0.0.1/v2", EIP, instance_id("e"), members)
        self.commands.serve(
            ControlledNode(self.bench.node, lambda: StatusInput(self.config, topology), NAMES.__getitem__, self.metrics)
        )

    def ask(self, request: str, **fields: Any) -> dict[str, Any]:
        line = json.dumps({"version": VERSION, "request": request, **fields}).encode()
        answer: dict[str, Any] = json.loads(self.commands.answer(line, 1000))
        assert answer.pop("version") == VERSION
        return answer

    def said(self, request: str, **fields: Any) -> list[str]:
        answer = self.ask(request, **fields)
        assert answer["ok"], answer
        return list(answer["said"])

    def rejected(self, request: str, **fields: Any) -> str:
        answer = self.ask(request, **fields)
        assert answer["ok"] is False
        return str(answer["error"])


def config(*words: str) -> Config:
    return parse(["-W", "-xi", EIP, "-G", "web", "-xk", "EXOa", "-xs", "hidden-secret", *words], {})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Of a master that holds, beside z, which is fit."""
    one = Desk(tmp_path / "state")
    one.bench.beating["z"] = 20
    one.bench.until(lambda: one.bench.view.holds)
    one.serve()
    return one


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "exoip")


def test_a_drained_node_hands_over_and_stays_aside_until_it_is_undrained(desk: Desk, caplog) -> None:
    assert desk.said("drain", by="ann", why="new kernel") == [
        "this node steps aside until `exoipctl undrain`",
        "web-z is expected to take over",
    ]
    assert desk.drained.load() == "drained by ann (uid 1000): new kernel"
    assert "drained by ann (uid 1000): new kernel" in caplog.messages
    desk.bench.holding.add("z")
    desk.bench.until(lambda: not desk.bench.view.holds)
    desk.bench.advance(10_000.0)
    assert [reason.why for reason in desk.bench.view.unfit_reasons] == ["drained by ann (uid 1000): new kernel"]
    assert desk.said("undrain", by="bob") == ["this node takes part again"]
    assert "undrained by bob (uid 1000)" in caplog.messages
    assert desk.drained.load() == ""
    assert desk.bench.view.advertised == 10


def test_a_drain_outlives_a_restart(desk: Desk) -> None:
    desk.said("drain", by="ann")
    again = Desk(desk.folder)
    assert again.bench.view.unfit_reasons == (UnfitReason(OPERATOR, "drained by ann (uid 1000)"),)
    again.bench.advance(0.0)
    assert [priority for _, priority in again.bench.beats] == [254], "aside from its first heartbeat on"


def test_a_drained_node_serves_when_no_other_can(desk: Desk) -> None:
    del desk.bench.beating["z"]
    desk.bench.advance(5.0)
    assert desk.said("drain")[1] == "it keeps serving, because no other node can"
    desk.bench.advance(60.0)
    assert desk.bench.view.holds


def test_if_it_cannot_be_kept_that_is_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.drained = desk.commands.drained = DrainedFile({})
    desk.serve()
    answer = desk.ask("drain")
    assert answer["lasting"] is False
    assert answer["said"][0] == "this node steps aside, but only until its daemon ends: $STATE_DIRECTORY is not set"
    assert desk.bench.view.unfit_reasons
    assert desk.ask("undrain") == {"ok": True, "said": ["this node takes part again"], "lasting": True}
    (tmp_path / "drained").mkdir()
    desk.drained = desk.commands.drained = DrainedFile({"STATE_DIRECTORY": str(tmp_path)})
    assert desk.said("undrain") == [
        "this node was not drained",
        f"the next start drains it again: {tmp_path}/drained cannot be removed: Is a directory",
    ]


def test_an_undrained_node_may_have_other_reasons(desk: Desk) -> None:
    desk.said("drain")
    desk.bench.node.set_unfit("health check", "the web server is down", desk.bench.now)
    assert desk.said("undrain") == ["this node still steps aside: the web server is down"]


def test_a_failover_hands_over_and_comes_back(desk: Desk, caplog) -> None:
    desk.bench.beating["z"] = 20
    answer = desk.ask("failover", by="ann", **{"for": 60})
    assert answer["said"] == [
        "this node steps aside for 60 s",
        "web-z is expected to take over",
        "this node is the better one (10 against 20) and takes it back after 60 s, or later if flap damping delays it",
    ]
    assert answer["expected"] == instance_id("z")
    assert answer["until"] == EPOCH + desk.bench.now + 60
    assert "failover requested by ann (uid 1000), for 60 s" in caplog.messages
    began = desk.bench.now
    desk.bench.holding.add("z")
    desk.bench.until(lambda: not desk.bench.view.holds)
    assert desk.drained.load() == "", "a failover does not outlive a restart"
    desk.bench.until(lambda: desk.bench.view.advertised == 10)
    assert 59.9 < desk.bench.now - began < 60.2


def test_a_failover_is_taken_back_by_undrain(desk: Desk) -> None:
    desk.said("failover")
    assert desk.said("undrain") == ["this node takes part again"]
    assert desk.bench.view.advertised == 10


def test_a_failover_that_nobody_would_take_is_rejected_unless_forced(desk: Desk) -> None:
    desk.bench.beating["z"] = 254
    desk.bench.advance(2.0)
    why = "no node can take over: web-a is not heard; web-z is unfit, drained, or releasing it right now"
    assert desk.rejected("failover") == f"no failover: {why}"
    assert desk.bench.view.advertised == 10
    answer = desk.ask("failover", force=True)
    assert answer["said"] == [
        "this node steps aside for 600 s",
        f"forced, although {why}",
        "it moves as soon as another node can take over",
    ]
    assert answer["expected"] is None
    assert desk.bench.view.advertised == 253
    desk.bench.advance(60.0)
    assert desk.bench.view.holds, "it stays here meanwhile"
    desk.bench.node.leave(desk.bench.now)
    assert desk.rejected("failover", force=True) == "no failover: this node is already leaving"


def test_a_forced_failover_of_a_node_beside_the_master_moves_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "state")
    desk.bench = backup()
    desk.serve()
    answer = desk.ask("failover", force=True)
    assert answer["said"] == [
        "this node steps aside for 600 s",
        f"forced, although this node does not hold {EIP}; the master is web-a",
        "this moves nothing; meanwhile this node takes over only if no other node can",
    ]
    assert answer["expected"] is None
    held = set(desk.bench.holding)
    desk.bench.advance(60.0)
    assert (desk.bench.holding, desk.bench.view.advertised) == (held, 254)
    del desk.bench.beating["a"]
    desk.bench.until(lambda: desk.bench.view.holds)


def test_another_priority_lasts_until_the_next_reload(desk: Desk, caplog) -> None:
    answer = desk.ask("priority", priority=33, by="ann")
    assert answer["said"] == ["priority 33 (was 10) until the next reload or restart; the configuration says 10"]
    assert answer["before"] == 10
    assert "the configured priority 10 is now 33, requested by ann (uid 1000)" in caplog.messages
    assert desk.bench.view.priority == desk.bench.view.advertised == 33
    desk.bench.node.set_config(desk.bench.config, 30.0, desk.bench.now)
    assert desk.bench.view.priority == 10


@pytest.mark.parametrize(
    ("delay", "limit"), [(math.inf, ", because of --no-preempt"), (9.0, " for the preemption delay of 9 s")]
)
def test_a_priority_that_moves_nothing_says_so(tmp_path: Path, delay: float, limit: str) -> None:
    desk = Desk(tmp_path, preempt_delay=delay)
    desk.bench.beating["z"] = 20
    desk.bench.until(lambda: desk.bench.view.holds)
    desk.serve()
    _, kept = desk.said("priority", priority=33)
    assert kept == f"this node keeps {EIP} from a better one{limit}; `exoipctl failover` moves it at once"
    desk.bench.advance(6.0)
    assert desk.bench.view.advertised == 0


def test_nor_does_one_beside_a_holder_that_is_protected(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.bench.beating["z"] = 0
    desk.bench.advance(6.0)
    desk.serve()
    _, kept = desk.said("priority", priority=1)
    limit = "for its preemption delay, or for good if it has --no-preempt"
    assert kept == f"web-z keeps {EIP} from a better node {limit}; `exoipctl failover` there moves it at once"
    del desk.bench.beating["z"]
    desk.bench.advance(6.0)
    assert len(desk.said("priority", priority=2)) == 1, "it is dead"


def test_metrics_are_given_or_the_missing_package_is_named(desk: Desk) -> None:
    assert desk.ask("metrics")["metrics"] == "a_metric 1\n"
    desk.missing = "apt install it"
    assert desk.rejected("metrics") == "apt install it"


def test_until_it_serves_it_says_why_and_rejects_orders(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.commands.waiting = "waiting for the API: 503"
    told = desk.ask("status")["status"]
    assert told["daemon"]["phase"] == "starting"
    assert told["health"] == {
        "level": "critical",
        "reasons": ["this node does not take part yet: waiting for the API: 503"],
    }
    for request, fields in (("drain", {}), ("undrain", {}), ("failover", {}), ("priority", {"priority": 3})):
        assert (
            desk.rejected(request, **fields)
            == "this node does not take part yet; try again later: waiting for the API: 503"
        )
    assert desk.drained.load() == ""


def test_a_malformed_request_is_rejected_and_our_own_bug_logged(desk: Desk, caplog) -> None:
    assert desk.rejected("priority", priority=900).startswith("priority: priority must be a whole number")
    assert json.loads(desk.commands.answer(b"\x00", 0))["ok"] is False
    desk.commands.serve(None)  # type: ignore[arg-type]
    desk.commands._served = object()  # type: ignore[assignment]
    assert desk.rejected("status") == "the daemon failed to do it: AttributeError"
    assert "a request on the control socket failed" in caplog.text
