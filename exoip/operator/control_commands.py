"""Carries out what the control socket asks: tells the state, and gives the node an operator's orders.

Everything goes through the node, whose lock is held for a moment only; every order is a line in the log that says who gave it. It is
called from the control socket's thread alone, so a disk that is slow delays an operator and nothing else.
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
from exoip.core.snapshot import Snapshot
from exoip.core.unfit import FAILOVER, OPERATOR
from exoip.errors import ConfigError, ControlRequestError
from exoip.operator import successor
from exoip.operator.control_protocol import (
    VERSION,
    Drain,
    Failover,
    Metrics,
    Order,
    Priority,
    Status,
    Undrain,
    parse,
    refusal,
)
from exoip.telemetry import status
from exoip.telemetry.log import log
from exoip.telemetry.status import StatusInput

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Steered:
    """A node that takes part: `facts` gives what is known beside it at present, `label` a person's words for an instance id."""

    node: Node
    facts: Callable[[], StatusInput]
    label: Callable[[str], str]
    metrics: Callable[[], str]


class DrainFile(Protocol):
    """Keeps across restarts that an operator drained this node. `save` and `forget` return why that failed, or ""."""

    def load(self) -> str:
        """Return why this node is drained, or ""."""

    def save(self, why: str, /) -> str:
        """Keep the reason."""

    def forget(self) -> str:
        """Keep it no longer."""


class Steering:
    """Answers requests. Until `serve` only the state is told; `waiting` is why it does not serve yet.

    `clock` is the node's clock, `wall` gives Unix time for a moment of it.
    """

    def __init__(
        self, config: Config, drained: DrainFile, clock: Callable[[], float], wall: Callable[[float], float]
    ) -> None:
        self._config, self.drained, self._clock, self._wall = config, drained, clock, wall
        self._started = time.time()
        self._steered: Steered | None = None
        self.waiting = ""

    def serve(self, steered: Steered) -> None:
        """Give orders to this node from now on."""
        self._steered = steered

    def answer(self, line: bytes, uid: int) -> bytes:
        """Return the answer, a line, to a request of that user. Whatever was sent, it raises nothing."""
        try:
            answer = {"version": VERSION, "ok": True, **self._carry_out(parse(line), uid)}
            return json.dumps(answer, allow_nan=False).encode() + b"\n"
        except ControlRequestError as error:
            return refusal(str(error))
        except Exception as error:  # our bug, but an operator's question must not end a daemon that works
            log(logging.ERROR, "a request on the control socket failed: %r", error)
            return refusal(f"the daemon could not do it: {type(error).__name__}")

    def _carry_out(self, request: Status | Metrics | Order, uid: int) -> Answer:
        steered = self._steered
        if steered is None:
            if isinstance(request, Status):
                return {"status": status.describe_starting(self._config, self.waiting, self._started, time.time())}
            raise ControlRequestError(
                f"this node takes no part yet, ask again: {self.waiting or 'it has just been started'}"
            )
        if isinstance(request, Status):
            now = steered.node.snapshot(self._clock())
            return {"status": status.describe_running(now, steered.facts(), steered.label, self._started, self._wall)}
        if isinstance(request, Metrics):
            try:
                return {"metrics": steered.metrics()}
            except ConfigError as error:  # a package is missing
                raise ControlRequestError(str(error)) from error
        said, rest = self._order(steered, request, f"{request.by or 'somebody'} (uid {uid})")
        return {"said": said, **rest}

    def _order(self, steered: Steered, order: Order, who: str) -> tuple[list[str], Answer]:
        facts, now = steered.facts(), self._clock()
        view = steered.node.snapshot(now)
        match order:
            case Drain():
                return self._drain(steered, view, f"drained by {who}" + (f": {order.why}" if order.why else ""))
            case Undrain():
                return self._undrain(steered, view, who)
            case Failover():
                why = successor.obstacle(view, facts.topology.eip, steered.label)
                if why and not order.force:
                    raise ControlRequestError(f"not handed over: {why}")
                return self._failover(steered, view, order, who, why)
            case Priority():
                before = steered.node.set_priority(order.priority, now)
                log(logging.INFO, "the configured priority %d is now %d, requested by %s", before, order.priority, who)
                said = f"the priority {before} is now {order.priority}, until the next reload or restart"
                return [f"{said}; the file says {facts.config.host_priority}"], {"before": before}

    def _drain(self, steered: Steered, view: Snapshot, why: str) -> tuple[list[str], Answer]:
        problem = self.drained.save(why)
        log(logging.WARNING, "%s", why)
        steered.node.set_unfit(OPERATOR, why, self._clock())
        said = ["this node steps aside until it is undrained"]
        if view.holds:
            other = successor.taker(view)
            said.append(
                f"{steered.label(other.instance_id)} is expected to take over"
                if other
                else "it goes on to serve, for nobody else can"
            )
        if problem:
            said.append(f"this does not outlive a restart: {problem}")
        return said, {"lasting": not problem}

    def _undrain(self, steered: Steered, view: Snapshot, who: str) -> tuple[list[str], Answer]:
        problem = self.drained.forget()
        log(logging.INFO, "undrained by %s", who)
        for source in (OPERATOR, FAILOVER):
            steered.node.set_unfit(source, "", self._clock())
        left = steered.node.snapshot(self._clock()).unfit_reasons
        said = ["this node takes part again" if view.unfit_reasons else "this node was not drained"]
        said = [f"this node still steps aside: {left[0].why}"] if left else said
        if problem:
            said.append(f"it is drained again at the next start: {problem}")
        return said, {"lasting": not problem}

    def _failover(
        self, steered: Steered, view: Snapshot, order: Failover, who: str, obstacle: str
    ) -> tuple[list[str], Answer]:
        now, other = self._clock(), successor.taker(view)
        own_id = steered.node.config().instance_id
        why = f"failover asked for by {who}"
        log(logging.WARNING, "%s, for %g s%s", why, order.seconds, f" in spite of this: {obstacle}" if obstacle else "")
        steered.node.set_unfit(FAILOVER, why, now, now + order.seconds)
        said = [f"this node steps aside for {order.seconds:g} s"]
        if obstacle:
            said.append(f"forced, in spite of this: {obstacle}")
        if other:
            said.append(f"{steered.label(other.instance_id)} is expected to take over")
        said.append(successor.afterwards(view, own_id, order.seconds, steered.label))
        rest = {"expected": other and other.instance_id, "until": round(self._wall(now + order.seconds), 3)}
        return said, rest
