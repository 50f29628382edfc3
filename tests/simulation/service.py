"""What the simulated API does with one call: it changes or shows the sandbox's zone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exoip.core.calls import Call, Failure, Kind, Outcome
from exoip.sandbox.model import ZoneError
from tests.simulation import group
from tests.simulation.api import Reply

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.world import World


def serve(world: World, host: Host, call: Call, began: float, reply: Reply) -> Outcome:
    """Carry out a call in the zone at this moment; return its outcome."""
    try:
        match call.kind:
            case Kind.ATTACH | Kind.DETACH:
                move = world.zone.attach if call.kind is Kind.ATTACH else world.zone.detach
                reason = "unknown" if reply.operation_fails else ""
                seconds = world.rng.uniform(*host.api.operation) if reply.operation is None else reply.operation
                operation = move(
                    world.eip_id, call.instance_id, world.now, key=host.name, seconds=seconds, reason=reason
                )
                world.look()
                world.at(operation.completes, world.complete_operations)
                return Outcome(began, began, operation_id=operation.id)
            case Kind.POLL:
                operation = world.zone.operation(call.operation_id, world.now)
                if operation.state in ("failure", "timeout"):
                    known = operation.reason in ("not-found", "conflict")
                    failure = Failure.NOT_SO if known else Failure.OPERATION
                    return Outcome(began, began, failure, detail=operation.reason)
                return Outcome(began, began, operation_id="" if operation.state == "success" else operation.id)
            case Kind.READ:
                instance = world.zone.instance(call.instance_id, world.now)
                holds = instance.id in world.holders_at(world.now - reply.lag)
                return group.read(instance, holds, began)
            case Kind.HOLDERS:
                share, holders = reply.lists, sorted(world.holders_at(world.now - reply.lag))
                listed = tuple(one for one in holders if share >= 1.0 or world.rng.random() < share)
                return Outcome(began, began, candidates=listed)
            case Kind.REFRESH:
                return group.refresh(world, host, reply, began)
    except ZoneError as error:
        return Outcome(began, began, Failure.NOT_SO, detail=str(error))


def untouched(call: Call, began: float) -> Outcome:
    """Return the outcome of a call that the API accepted and did nothing about."""
    return Outcome(began, began, operation_id=call.operation_id)
