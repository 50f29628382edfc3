"""A simulated Exoscale zone: its objects, who holds the Elastic IP (EIP), and pending operations.

Pure.

There is no socket, thread or clock here: every method takes `now`, in seconds of any origin. So the
same zone runs behind HTTP in real time (`server.py`) and inside a simulator in virtual time. It is
not thread-safe: callers that share a zone hold a lock around each call (`SandboxServer.lock`).

It behaves as the real one does:

- Attaching does not move. Several instances may hold an EIP; a move is an attach here and a detach
  there.
- A mutation is asynchronous: it is checked when called, returns a pending operation at once, and
  takes effect `operation_seconds` later. Whatever is due takes effect in the order of completion,
  each at its own time, before anything is read or changed.
- Attaching an attached EIP succeeds and changes nothing. Detaching one that is not attached is
  rejected as `detach_unattached` says.
- An IPv6 Elastic IP needs an instance with an IPv6 address; the attach is rejected otherwise. (That
  the real API rejects it is documented; with which status is not, here it is 409.)
- A destroyed instance loses its EIPs; a stopped one keeps them.

`call_lifecycle.py` turns calls (method, path, body) into these methods, with latency, faults and
roles. A simulator may use either. Only `call_lifecycle.py` records calls.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import replace
from typing import Literal, TypedDict, Unpack

from exoip.sandbox.faults import CallPolicy
from exoip.sandbox.inventory import Inventory, lookup
from exoip.sandbox.model import Conflict, NotFound, Operation, make_id
from exoip.sandbox.record import Record

Action = Literal["attach", "detach"]
Unattached = Literal["404", "409", "operation", "success"]
COMMANDS = {"attach": "attach-instance-to-elastic-ip", "detach": "detach-instance-from-elastic-ip"}


class Plan(TypedDict, total=False):
    """How an operation will go. `key` is the API key that started it.

    `seconds` overrides `operation_seconds` (infinite: the operation never ends). With a `reason`
    the operation fails with it and changes nothing; with `expires` it ends in the state timeout
    instead.
    """

    key: str
    seconds: float | None
    reason: str
    expires: bool


class Zone(Inventory, CallPolicy):
    """One zone. These attributes may be changed at any time:

    operation_seconds  how long an operation takes
    detach_unattached  a detach of an EIP that is not attached: rejected with "404" or "409", or
                       accepted with an "operation" that fails with not-found, or a "success"
    bare_groups        True: a single instance names its security groups by id only
    groups_listed      False: the list of instances does not say their security groups
    ip_filter          False: the service ignores the `ip-address` filter and returns all instances
    endpoint           the URL of its API, as /zone shows it; set by the server
    """

    def __init__(self, name: str = "ch-gva-2", eip: str | None = None, *, operation_seconds: float = 0.2) -> None:
        record = Record()
        Inventory.__init__(self, name, record)
        CallPolicy.__init__(self, record)
        self.operation_seconds = operation_seconds
        self.detach_unattached: Unattached = "404"
        self.bare_groups = self.groups_listed = True
        self.endpoint = ""
        self._operations: dict[str, Operation] = {}
        self._due: list[tuple[float, int, str]] = []
        if eip is not None:
            self.add_elastic_ip(eip)

    def operation(self, operation_id: str, now: float) -> Operation:
        self.advance(now)
        return lookup(self._operations, operation_id, "Operation")

    def operations(self, now: float) -> list[Operation]:
        """Return all operations, oldest first."""
        self.advance(now)
        return list(self._operations.values())

    def attach(self, eip_id: str, instance_id: str, now: float, **plan: Unpack[Plan]) -> Operation:
        """Start to attach the EIP to the instance.

        Raises NotFound for an unknown id, Conflict for an IPv6 EIP if the instance has no IPv6.
        """
        if self.elastic_ip(eip_id).version == 6 and self.instance(instance_id, now).ipv6 is None:
            raise Conflict(f"instance {instance_id} has no IPv6 address")
        return self._start("attach", eip_id, instance_id, now, plan)

    def detach(self, eip_id: str, instance_id: str, now: float, **plan: Unpack[Plan]) -> Operation:
        """Start to detach the EIP from the instance. Raises NotFound for an unknown id.

        If it is not attached at `now`: NotFound, Conflict, or an operation, as `detach_unattached`
        says.
        """
        eip, instance = self.elastic_ip(eip_id), self.instance(instance_id, now)
        if eip.id not in instance.elastic_ips:
            message = f"Elastic IP {eip.ip} is not attached to instance {instance.id}"
            if self.detach_unattached == "404":
                raise NotFound(message)
            if self.detach_unattached == "409":
                raise Conflict(message)
        return self._start("detach", eip_id, instance_id, now, plan)

    def advance(self, now: float) -> None:
        """Apply everything that is due by `now`, in order. An earlier `now` changes nothing."""
        while self._due and self._due[0][0] <= now:
            at, _, operation_id = heapq.heappop(self._due)
            self._finish(self._operations[operation_id], at)

    def next_due(self) -> float:
        """Return when the next operation takes effect, for a simulator's calendar; infinite if none
        is pending.
        """
        return self._due[0][0] if self._due else math.inf

    def _start(self, action: Action, eip_id: str, instance_id: str, now: float, plan: Plan) -> Operation:
        seconds = plan.get("seconds")
        number = len(self._operations)
        operation = Operation(
            id=make_id(self.name, "operation", number),
            action=action,
            eip=self.elastic_ip(eip_id).id,
            instance=self.instance(instance_id, now).id,
            started=now,
            completes=now + (self.operation_seconds if seconds is None else seconds),
            key=plan.get("key", ""),
            reason=plan.get("reason", ""),
            expires=plan.get("expires", False),
        )
        self._operations[operation.id] = operation
        if operation.completes < math.inf:
            heapq.heappush(self._due, (operation.completes, number, operation.id))
        return operation

    def _finish(self, operation: Operation, at: float) -> None:
        """Complete an operation: apply it unless it fails, and record its end."""
        instance = self._instances.get(operation.instance)
        reason = operation.reason
        if instance is None:
            reason = reason or "not-found"
        elif operation.action == "detach" and operation.eip not in instance.elastic_ips:
            reason = reason or ("" if self.detach_unattached == "success" else "not-found")
        state = "timeout" if operation.expires else "failure" if reason else "success"
        if state == "success" and instance is not None:
            change = instance.elastic_ips.union if operation.action == "attach" else instance.elastic_ips.difference
            changed = replace(instance, elastic_ips=change({operation.eip}))
            self._put(changed, at, operation.key, COMMANDS[operation.action])
        self._operations[operation.id] = replace(operation, state=state, reason=reason)
        self.record.add(
            "operation",
            at,
            key=operation.key,
            operation=COMMANDS[operation.action],
            eip=operation.eip,
            instance=operation.instance,
            outcome=reason or state,
            detail=operation.id,
        )
