"""The workers: the only threads that talk to the API.

There is one worker a lane of calls (`calls.Lane`), so a read in flight, even a hanging one, does not delay an attach.
A worker waits at the node for a call, carries it out, and gives back what came of it; everything else is decided in `ownership`.

Two clients, each with a connection of its own, serve the two lanes. Reads take the one that rested longest, mutations the one
that was used last: so the regular reads keep both connections open, and an attach never waits for a TLS handshake.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

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
from exoip.exoscale.client import Client, OperationRecord
from exoip.thread import SupervisedThread

_FAILURES: tuple[tuple[type[ExoipError], Failure], ...] = (  # the first that fits
    (ApiTimeout, Failure.TIMEOUT),
    (ApiUnreachable, Failure.UNREACHABLE),
    (ApiUnavailable, Failure.UNAVAILABLE),
    (ApiForbidden, Failure.FORBIDDEN),
    (ApiNotFound, Failure.NOT_SO),
    (ApiConflict, Failure.NOT_SO),
    (OperationFailed, Failure.OPERATION),
    (ExoipError, Failure.INVALID),
)
_ALREADY = ("conflict", "not-found")  # reasons of a failed operation that may mean: it is already so


class Clients:
    """The two clients, lent to one worker each at a time."""

    def __init__(self, first: Client, second: Client) -> None:
        self._lock = threading.Lock()
        self._current = (first, second)
        self._resting = [first, second]  # the one that rested longest comes first

    def borrow(self, lane: Lane) -> Client:
        """Return a client that nobody else uses; there are as many as lanes, so there always is one."""
        with self._lock:
            return self._resting.pop(0 if lane is Lane.READS else -1)

    def give_back(self, client: Client) -> None:
        """End the loan. One that was replaced meanwhile is closed."""
        with self._lock:
            current = client in self._current
            if current:
                self._resting.append(client)
        if not current:
            client.close()

    def replace(self, first: Client, second: Client) -> None:
        """Lend these from now on (another key); a call that is under way ends with the client that it has."""
        with self._lock:
            resting = self._resting
            self._current = (first, second)
            self._resting = [first, second]
        for client in resting:
            client.close()


class Executor:
    """Carries out one call at a time for each lane. Only `ExoipError` counts as a failure of the call; anything else is our bug."""

    def __init__(
        self, eip: str, eip_id: str, clients: Clients, refresh: Callable[[Client], None], clock: Callable[[], float]
    ) -> None:
        self._eip = eip
        self._eip_id = eip_id
        self._clients = clients
        self._refresh = refresh
        self._clock = clock

    def perform(self, lane: Lane, call: Call) -> Outcome:
        """Send the request that `call` asks for and return what came of it."""
        client = self._clients.borrow(lane)
        began = self._clock()
        try:
            return self._send(client, call, began)
        except (ApiError, ConfigError) as error:
            retry_after = getattr(error, "retry_after", None) or 0.0
            return Outcome(began, self._clock(), _classify(error), retry_after, str(error))
        finally:
            self._clients.give_back(client)

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
            text = (
                f"operation {operation.id} ended as {operation.state}: {operation.reason} {operation.message}".rstrip()
            )
            raise OperationFailed(text, reason=operation.reason)
        return Outcome(began, self._clock(), operation_id="" if operation.succeeded else operation.id)

    def _read(self, client: Client, instance_id: str, began: float) -> Outcome:
        try:
            instance = client.instance(instance_id)
        except ApiNotFound:
            return Outcome(began, self._clock())  # it is gone, so it holds nothing
        return Outcome(
            began,
            self._clock(),
            holds=self._eip_id in (instance.elastic_ip_ids or ()),
            running=instance.running,
            name=instance.name,
        )


def _classify(error: ExoipError) -> Failure:
    if isinstance(error, OperationFailed) and error.reason in _ALREADY:
        return Failure.NOT_SO
    return next(failure for kind, failure in _FAILURES if isinstance(error, kind))


class Worker(SupervisedThread):
    """The thread of one lane. A call may take as long as its timeout."""

    def __init__(
        self,
        lane: Lane,
        node: Node,
        executor: Executor,
        clock: Callable[[], float],
        round_time: float,
        count: Callable[[Call, Outcome], None] = lambda _call, _outcome: None,
    ) -> None:
        super().__init__(str(lane), clock, round_time)
        self._lane, self._node, self._executor, self._count = lane, node, executor, count

    def turn(self) -> None:
        """Wait for a call, carry it out and report its outcome to the node."""
        call = self._node.wait_call(self._lane, self._clock, self._round_time)
        if call is not None:
            outcome = self._executor.perform(self._lane, call)
            self._node.done(self._lane, call, outcome)
            self._count(call, outcome)
