"""Carry out the requests of the control socket: return the state, or change the node.

Everything goes through the node, whose lock is held only for a moment, and every change is logged
with the user who asked for it. The control socket answers one request at a time, so a slow disk
delays operators and nothing else. Shown by tests/unit/operator/test_control_commands.py.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from exoip.config.parse import Config
from exoip.core.node import Node
from exoip.core.snapshot import PeerView, Snapshot
from exoip.core.unfit import FAILOVER, OPERATOR
from exoip.errors import ConfigError, ControlRequestError
from exoip.operator import control_protocol
from exoip.operator.control_protocol import Change, Drain, Failover, Metrics, Priority, Status, Undrain
from exoip.operator.successor import afterwards, is_bystander, obstacle, protection, successor
from exoip.telemetry.log import log
from exoip.telemetry.status import StatusInput, describe_running, describe_starting

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ControlledNode:
    """A node that takes part. `facts` returns what else is known, `display_name` an instance's
    name.
    """

    node: Node
    facts: Callable[[], StatusInput]
    display_name: Callable[[str], str]
    metrics: Callable[[], str]


class DrainFile(Protocol):
    """Remembers across restarts that an operator drained this node.

    `save` and `forget` return why that failed, or "".
    """

    def load(self) -> str:
        """Return why this node is drained, or ""."""

    def save(self, why: str, /) -> str:
        """Remember the reason."""

    def forget(self) -> str:
        """Forget it."""


class ControlCommands:
    """Answers requests. Before `serve` only the status is available; `waiting` is why.

    `clock` is the node's clock, `wall` turns a moment of it into Unix time.
    """

    def __init__(
        self, config: Config, drained: DrainFile, clock: Callable[[], float], wall: Callable[[float], float]
    ) -> None:
        self._config, self.drained, self._clock, self._wall = config, drained, clock, wall
        self._started = time.time()
        self._served: ControlledNode | None = None
        self.waiting = ""

    def serve(self, served: ControlledNode) -> None:
        """Carry out requests on this node from now on."""
        self._served = served

    def answer(self, line: bytes, uid: int) -> bytes:
        """Return the answer, a line, to a request of that user. Never raises."""
        try:
            answer = {"version": control_protocol.VERSION, "ok": True, **self._carry_out(line, uid)}
            return json.dumps(answer, allow_nan=False).encode() + b"\n"
        except ControlRequestError as error:
            return control_protocol.rejection(str(error))
        except Exception as error:  # our bug, but it must not end a daemon that works
            log(logging.ERROR, "a request on the control socket failed: %r", error)
            return control_protocol.rejection(f"the daemon failed to do it: {type(error).__name__}")

    def _carry_out(self, line: bytes, uid: int) -> Answer:
        request, served = control_protocol.parse(line), self._served
        if served is None:
            if isinstance(request, Status):
                return {"status": describe_starting(self._config, self.waiting, self._started, time.time())}
            why = self.waiting or "it has just been started"
            raise ControlRequestError(f"this node does not take part yet; try again later: {why}")
        if isinstance(request, Metrics):
            try:
                return {"metrics": served.metrics()}
            except ConfigError as error:  # a package is missing
                raise ControlRequestError(str(error)) from error
        view, facts = served.node.snapshot(self._clock()), served.facts()
        if isinstance(request, Status):
            return {"status": describe_running(view, facts, served.display_name, self._started, self._wall)}
        return self._change(served, view, facts, request, f"{request.by or 'somebody'} (uid {uid})")

    def _change(self, served: ControlledNode, view: Snapshot, facts: StatusInput, request: Change, who: str) -> Answer:
        match request:
            case Drain():
                return self._drain(served, view, f"drained by {who}" + (f": {request.why}" if request.why else ""))
            case Undrain():
                return self._undrain(served, view, who)
            case Failover():
                return self._failover(
                    served, view, request, who, obstacle(view, facts.topology.eip_label, served.display_name)
                )
            case Priority():
                before = served.node.set_priority(request.priority, self._clock())
                log(
                    logging.INFO, "the configured priority %d is now %d, requested by %s", before, request.priority, who
                )
                said = f"priority {request.priority} (was {before}) until the next reload or restart"
                said += f"; the configuration says {facts.config.host_priority}"
                kept = protection(view, facts.topology.eip_label, served.display_name)
                return {"said": [said, kept] if kept else [said], "before": before}

    def _drain(self, served: ControlledNode, view: Snapshot, why: str) -> Answer:
        problem = self.drained.save(why)
        log(logging.WARNING, "%s", why)
        served.node.set_unfit(OPERATOR, why, self._clock())
        end = f", but only until its daemon ends: {problem}" if problem else " until `exoipctl undrain`"
        said = [f"this node steps aside{end}"]
        if view.holds:
            other = successor(view)
            said.append(_expected(served, other) if other else "it keeps serving, because no other node can")
        return {"said": said, "lasting": not problem}

    def _undrain(self, served: ControlledNode, view: Snapshot, who: str) -> Answer:
        problem = self.drained.forget()
        log(logging.INFO, "undrained by %s", who)
        for source in (OPERATOR, FAILOVER):
            served.node.set_unfit(source, "", self._clock())
        if left := served.node.snapshot(self._clock()).unfit_reasons:
            said = [f"this node still steps aside: {left[0].why}"]
        else:
            said = ["this node takes part again" if view.unfit_reasons else "this node was not drained"]
        if problem:
            said.append(f"the next start drains it again: {problem}")
        return {"said": said, "lasting": not problem}

    def _failover(self, served: ControlledNode, view: Snapshot, request: Failover, who: str, obstacle: str) -> Answer:
        if obstacle and (view.leaving or not request.force):
            raise ControlRequestError(f"no failover: {obstacle}")
        until, why = self._clock() + request.seconds, f"failover requested by {who}"
        forced = f"forced, although {obstacle}"
        log(logging.WARNING, "%s, for %g s%s", why, request.seconds, f", {forced}" if obstacle else "")
        served.node.set_unfit(FAILOVER, why, self._clock(), until)
        said = [f"this node steps aside for {request.seconds:g} s"]
        if obstacle:
            said.append(forced)
        other = None if is_bystander(view) else successor(view)
        if other:
            said.append(_expected(served, other))
        said.append(afterwards(view, served.node.config().instance_id, request.seconds, served.display_name))
        return {"said": said, "expected": other and other.instance_id, "until": round(self._wall(until), 3)}


def _expected(served: ControlledNode, other: PeerView) -> str:
    return f"{served.display_name(other.instance_id)} is expected to take over"
