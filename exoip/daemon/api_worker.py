"""The API workers: the only threads that call the API.

They decide nothing; `core/ownership.py` does.

There is one worker for each lane of calls, so that a read in flight, even one that hangs, does not
delay an attach. A worker waits at the node for a call, makes it, and reports the outcome to the
node.

Each of the two clients has a connection of its own. A read takes the client that rested longest, a
mutation the one that was used last. So the regular reads keep both connections open, and an attach
never waits for a TLS handshake. Shown by tests/unit/daemon/test_api_worker.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from exoip.core.calls import Call, Failure, Kind, Lane, Outcome
from exoip.core.node import Node
from exoip.errors import (
    ApiConflict,
    ApiError,
    ApiForbidden,
    ApiNotFound,
    ApiTimeout,
    ApiUnavailable,
    ApiUnreachable,
    ConfigError,
    ExoipError,
    OperationFailed,
)
from exoip.exoscale.client import Client
from exoip.exoscale.models import OperationRecord
from exoip.thread import ROUND_TIME, SupervisedThread

_FAILURES: tuple[tuple[type[ExoipError], Failure], ...] = (  # the first that matches counts
    (ApiTimeout, Failure.TIMEOUT),
    (ApiUnreachable, Failure.UNREACHABLE),
    (ApiUnavailable, Failure.UNAVAILABLE),
    (ApiForbidden, Failure.FORBIDDEN),
    (ApiNotFound, Failure.NOT_SO),
    (ApiConflict, Failure.NOT_SO),
    (OperationFailed, Failure.OPERATION),
    (ExoipError, Failure.INVALID),
)
_ALREADY_SO = ("conflict", "not-found")  # reasons of a failed operation that may mean that nothing was to do


class ClientPool:
    """The two clients, which keep their connections across reloads; each call borrows one."""

    def __init__(self, first: Client, second: Client) -> None:
        self._lock = threading.Lock()
        self._all = (first, second)
        self._resting = [first, second]  # the one that rested longest comes first

    def borrow(self, lane: Lane) -> Client:
        """Return a client that no other worker uses. There are as many clients as lanes."""
        with self._lock:
            return self._resting.pop(0 if lane is Lane.READS else -1)

    def give_back(self, client: Client) -> None:
        """Return a client to the pool."""
        with self._lock:
            self._resting.append(client)

    def sign_with(self, key: str, secret: str) -> None:
        """Sign each call from the next one on with this key."""
        for client in self._all:
            client.credentials = (key, secret)


class ApiCaller:
    """Makes the API request of a `Call` and turns the answer into an `Outcome`.

    Only ApiError and ConfigError count as a failure of the call. Any other exception is a bug of
    ours and passes through. `refresh` reads the group again with the client that it is given.
    """

    def __init__(
        self, eip: str, eip_id: str, clients: ClientPool, refresh: Callable[[Client], None], clock: Callable[[], float]
    ) -> None:
        self._eip, self._eip_id = eip, eip_id
        self._clients, self._refresh, self._clock = clients, refresh, clock

    def perform(self, lane: Lane, call: Call) -> Outcome:
        """Make the request that `call` asks for; return the outcome."""
        client = self._clients.borrow(lane)
        client.read_timeout, client.answered_at = call.timeout, None
        try:
            outcome = self._attempt(client, call)
            return replace(outcome, answered_at=client.answered_at)
        finally:
            self._clients.give_back(client)

    def _attempt(self, client: Client, call: Call) -> Outcome:
        began = self._clock()
        try:
            return self._send(client, call, began)
        except (ApiError, ConfigError) as error:
            retry_after = getattr(error, "retry_after", None) or 0.0
            return Outcome(began, self._clock(), _classify(error), retry_after, str(error))

    def _send(self, client: Client, call: Call, began: float) -> Outcome:
        match call.kind:
            case Kind.ATTACH:
                return self._operation(client.attach(self._eip_id, call.instance_id), began)
            case Kind.DETACH:
                return self._operation(client.detach(self._eip_id, call.instance_id), began)
            case Kind.POLL:
                return self._operation(client.operation(call.operation_id), began)
            case Kind.READ:
                return self._read(client, call.instance_id, began)
            case Kind.HOLDERS:
                found = client.instances(ip_address=self._eip)
                return Outcome(began, self._clock(), candidates=tuple(instance.id for instance in found))
            case Kind.REFRESH:
                self._refresh(client)
                return Outcome(began, self._clock())

    def _operation(self, operation: OperationRecord, began: float) -> Outcome:
        if operation.failed:
            text = f"operation {operation.id} ended as {operation.state}: {operation.reason} {operation.message}"
            raise OperationFailed(text.rstrip(), reason=operation.reason)
        return Outcome(began, self._clock(), operation_id="" if operation.succeeded else operation.id)

    def _read(self, client: Client, instance_id: str, began: float) -> Outcome:
        instance = client.instance(instance_id)
        holds = instance.holds(self._eip_id)
        return Outcome(began, self._clock(), holds=holds, running=instance.running, name=instance.name)


def _classify(error: ExoipError) -> Failure:
    if isinstance(error, OperationFailed) and error.reason in _ALREADY_SO:
        return Failure.NOT_SO
    return next(failure for kind, failure in _FAILURES if isinstance(error, kind))


class ApiWorker(SupervisedThread):
    """The thread of one lane.

    A call may take as long as its timeout. `count` gets each call and its outcome first.
    """

    def __init__(
        self,
        lane: Lane,
        node: Node,
        caller: ApiCaller,
        count: Callable[[Call, Outcome], None],
        clock: Callable[[], float],
        round_time: float = ROUND_TIME,
    ) -> None:
        super().__init__(str(lane), clock, round_time)
        self._lane, self._node, self._caller, self._count = lane, node, caller, count

    def turn(self) -> None:
        """Wait for a call, make it and report its outcome to the node."""
        call = self._node.wait_call(self._lane, self._clock, self._round_time)
        if call is not None:
            outcome = self._caller.perform(self._lane, call)
            self._count(call, outcome)
            self._node.done(self._lane, call, outcome)
