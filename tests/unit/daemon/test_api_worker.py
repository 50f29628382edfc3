"""The API worker against a simulated zone: each call, each fault, and the connections."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exoip.core.calls import Call, Failure, Kind, Lane, Outcome
from exoip.core.node import Node
from exoip.core.peers import ElectionConfig, Role
from exoip.daemon.api_worker import ApiCaller, ApiWorker, ClientPool
from exoip.errors import ApiUnavailable, ConfigError
from exoip.exoscale.client import Client
from exoip.heartbeat.wire import Heartbeat
from exoip.sandbox.faults import Fault, Match
from exoip.sandbox.record import Entry
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone
from tests.support.waiting import PATIENCE, until

SHORT = 0.3  # seconds that a call may take which is not answered
EIP = "198.51.100.50"
KEY, SECRET = "EXOtest", "sEcReT"
STRANGER = "00000000-0000-4000-8000-00000000dead"


class Bed:
    """A zone with the instances a and b, and a caller with clients that are patient enough for a slow
    machine.
    """

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.clients = [Client(server.endpoint, KEY, SECRET) for _ in Lane]
        self.give_up_after(PATIENCE)
        self.zone = server.zone
        self.eip_id = server.zone.eip.id
        self.ids = {one.name: one.id for one in server.zone.instances(server.now())}
        self.refreshed: list[Client] = []
        self.lent = ClientPool(*self.clients)
        self.caller = ApiCaller(EIP, self.eip_id, self.lent, self.refreshed.append, time.monotonic)

    def perform(self, kind: Kind, name: str = "", operation: str = "", lane: Lane | None = None) -> Outcome:
        if lane is None:
            lane = Lane.MUTATIONS if kind in (Kind.ATTACH, Kind.DETACH, Kind.POLL) else Lane.READS
        return self.caller.perform(
            lane, Call(kind, self.ids.get(name, name), operation_id=operation, timeout=self.timeout)
        )

    def give_up_after(self, seconds: float) -> None:
        """Set the time-out of each call from now on."""
        self.timeout = seconds
        for client in self.clients:
            client._mutation_timeout = seconds

    def unanswered(self) -> list[Entry]:
        """Return the calls that have arrived and have no answer yet."""
        with self.server.lock:
            entries = self.zone.record.since(0)
        answered = {entry.arrived for entry in entries if entry.kind == "answer"}
        return [entry for entry in entries if entry.kind == "call" and entry.time not in answered]

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def fault(self, kind: str, **fields: Any) -> None:
        with self.server.lock:
            self.zone.add_fault(Fault(kind, **fields), self.server.now())

    def attach_by_hand(self, *names: str) -> None:
        with self.server.lock:
            for name in names:
                self.zone.attach(self.eip_id, self.ids[name], self.server.now(), seconds=0.0)
            self.zone.advance(self.server.now())

    def settings(self, **values: Any) -> None:
        with self.server.lock:
            for name, value in values.items():
                setattr(self.zone, name, value)


@pytest.fixture
def bed() -> Iterator[Bed]:
    zone = Zone("ch-gva-2", eip=EIP, operation_seconds=0.0)
    zone.add_key(KEY, SECRET)
    zone.add_instance("a", public_ip="192.0.2.1")
    zone.add_instance("b", public_ip="192.0.2.2")
    with SandboxServer(zone) as server, contextlib.closing(Bed(server)) as made:
        yield made


def until_done(bed: Bed, outcome: Outcome) -> Outcome:
    """Poll the operation of `outcome` until it is over."""
    while outcome.failure is None and outcome.operation_id:
        outcome = bed.perform(Kind.POLL, operation=outcome.operation_id)
    return outcome


class TestEachCall:
    def test_attach_and_detach(self, bed):
        for kind, held in ((Kind.ATTACH, {bed.ids["a"]}), (Kind.DETACH, set())):
            outcome = until_done(bed, bed.perform(kind, "a"))
            assert (outcome.failure, outcome.operation_id) == (None, "")
            assert bed.server.holders() == held

    def test_an_operation_under_way_is_named(self, bed):
        bed.settings(operation_seconds=1000.0)
        outcome = bed.perform(Kind.ATTACH, "a")
        assert outcome.failure is None
        assert outcome.operation_id
        assert bed.perform(Kind.POLL, operation=outcome.operation_id).operation_id == outcome.operation_id

    @pytest.mark.parametrize("holds", [True, False])
    @pytest.mark.parametrize("state", ["running", "stopped", "migrating"])
    def test_read(self, bed, holds, state):
        if holds:
            bed.attach_by_hand("b")
        with bed.server.lock:
            bed.zone.set_state(bed.ids["b"], state, bed.server.now())
        outcome = bed.perform(Kind.READ, "b")
        assert (outcome.failure, outcome.holds, outcome.name) == (None, holds, "b")
        assert outcome.running is (state in ("running", "migrating"))

    def test_read_of_one_that_is_gone(self, bed):
        outcome = bed.perform(Kind.READ, STRANGER)
        assert outcome.failure is Failure.NOT_SO

    def test_another_eip_is_not_ours(self, bed):
        with bed.server.lock:
            other = bed.zone.add_elastic_ip("198.51.100.51")
            bed.zone.attach(other.id, bed.ids["a"], bed.server.now(), seconds=0.0)
            bed.zone.advance(bed.server.now())
        assert not bed.perform(Kind.READ, "a").holds

    def test_holders(self, bed):
        bed.attach_by_hand("b")
        assert bed.perform(Kind.HOLDERS).candidates == (bed.ids["b"],)

    def test_holders_where_the_filter_is_ignored(self, bed):
        bed.settings(ip_filter=False)
        assert set(bed.perform(Kind.HOLDERS).candidates) == set(bed.ids.values())

    def test_refresh_is_given_the_client(self, bed):
        assert bed.perform(Kind.REFRESH).failure is None
        (client,) = bed.refreshed
        assert isinstance(client, Client)

    @pytest.mark.parametrize(
        ("error", "failure"),
        [(ApiUnavailable("no", retry_after=7.0), Failure.UNAVAILABLE), (ConfigError("no group"), Failure.INVALID)],
    )
    def test_refresh_that_fails(self, bed, error, failure):
        def refresh(client: Client) -> None:
            raise error

        caller = ApiCaller(EIP, bed.eip_id, bed.lent, refresh, time.monotonic)
        outcome = caller.perform(Lane.READS, Call(Kind.REFRESH))
        assert (outcome.failure, outcome.detail) == (failure, str(error))
        assert outcome.retry_after == (7.0 if failure is Failure.UNAVAILABLE else 0.0)

    def test_times_are_those_of_the_clock_that_was_given(self, bed):
        ticks = iter([100.0, 101.5])
        caller = ApiCaller(EIP, bed.eip_id, bed.lent, bed.refreshed.append, lambda: next(ticks))
        outcome = caller.perform(Lane.READS, Call(Kind.READ, bed.ids["a"]))
        assert (outcome.began, outcome.ended) == (100.0, 101.5)


CALLS = [Kind.ATTACH, Kind.DETACH, Kind.POLL, Kind.READ, Kind.HOLDERS]


@pytest.mark.slow
class TestEachFault:
    @pytest.fixture(params=CALLS)
    def ready(self, request, bed) -> Callable[[], Outcome]:
        """Return what performs a call of each kind, which would succeed."""
        kind: Kind = request.param
        operation = ""
        if kind is Kind.POLL:
            operation = bed.perform(Kind.ATTACH, "a").operation_id
        if kind is Kind.DETACH:
            bed.attach_by_hand("a")
        return lambda: bed.perform(kind, "" if kind is Kind.HOLDERS else "a", operation)

    @pytest.mark.parametrize(
        ("status", "failure"),
        [
            (400, Failure.INVALID),
            (401, Failure.FORBIDDEN),
            (403, Failure.FORBIDDEN),
            (409, Failure.NOT_SO),
            (418, Failure.INVALID),
            (429, Failure.UNAVAILABLE),
            (500, Failure.UNAVAILABLE),
            (502, Failure.UNAVAILABLE),
            (503, Failure.UNAVAILABLE),
        ],
    )
    def test_status(self, bed, ready, status, failure):
        bed.fault("status", status=status, message="the reason of it", retry_after=7)
        outcome = ready()
        assert (outcome.failure, outcome.retry_after) == (failure, 7.0)
        assert "the reason of it" in outcome.detail
        assert SECRET not in outcome.detail
        assert outcome.ended >= outcome.began
        assert outcome.answered_at is not None

    def test_404(self, bed, ready):
        bed.fault("status", status=404)
        outcome = ready()
        assert outcome.failure in (Failure.NOT_SO, None)
        assert not outcome.holds

    @pytest.mark.parametrize(
        ("kind", "failure"),
        [
            ("hang", Failure.TIMEOUT),
            ("drop", Failure.UNAVAILABLE),
            ("garbage", Failure.UNAVAILABLE),
            ("half", Failure.UNAVAILABLE),
        ],
    )
    def test_no_answer_or_nonsense(self, bed, ready, kind, failure):
        if kind == "hang":
            bed.give_up_after(SHORT)
        bed.fault(kind, **({"seconds": PATIENCE} if kind == "hang" else {}))
        assert ready().failure is failure

    def test_afterwards_the_connection_works_again(self, bed, ready):
        for kind in ("drop", "half", "garbage"):
            bed.fault(kind, count=1)
            ready()
        bed.give_up_after(SHORT)
        bed.fault("hang", count=1, seconds=PATIENCE)
        assert ready().failure is Failure.TIMEOUT
        bed.give_up_after(PATIENCE)
        assert ready().failure in (None, Failure.NOT_SO)  # a mutation that took effect meanwhile

    def test_nobody_listens(self, bed, ready):
        bed.server.close()
        assert ready().failure is Failure.UNREACHABLE

    def test_the_role_lacks_the_operation(self, bed, ready):
        with bed.server.lock:
            bed.zone.add_key(KEY, SECRET, refused=("attach-instance-to-elastic-ip", "detach-instance-from-elastic-ip"))
        outcome = ready()
        assert outcome.failure in (None, Failure.FORBIDDEN)
        if outcome.failure:
            assert "instance-" in outcome.detail, "the operation is not named"


class TestEffects:
    @pytest.mark.parametrize(("kind", "failure"), [("drop", Failure.UNAVAILABLE), ("hang", Failure.TIMEOUT)])
    def test_a_call_whose_answer_is_lost_may_take_effect(self, bed, kind, failure):
        seconds = {"seconds": PATIENCE} if kind == "hang" else {}
        bed.fault(kind, when="after", count=1, match=Match(method="PUT"), **seconds)
        if kind == "hang":
            bed.give_up_after(SHORT)
        assert bed.perform(Kind.ATTACH, "a").failure is failure
        bed.give_up_after(PATIENCE)
        assert bed.perform(Kind.READ, "a").holds

    def test_attach_of_one_that_is_attached(self, bed):
        bed.attach_by_hand("a")
        assert until_done(bed, bed.perform(Kind.ATTACH, "a")).failure is None

    @pytest.mark.parametrize("how", ["404", "409", "operation"])
    def test_detach_of_one_that_is_not_attached_is_perhaps_already_so(self, bed, how):
        bed.settings(detach_unattached=how)
        assert until_done(bed, bed.perform(Kind.DETACH, "a")).failure is Failure.NOT_SO

    def test_attach_to_one_that_is_gone(self, bed):
        assert bed.perform(Kind.ATTACH, STRANGER).failure is Failure.NOT_SO

    @pytest.mark.parametrize(
        ("fault", "failure"),
        [
            ({"kind": "operation-failure", "reason": "busy"}, Failure.OPERATION),
            ({"kind": "operation-failure", "reason": "unknown"}, Failure.OPERATION),
            ({"kind": "operation-failure", "reason": "not-found"}, Failure.NOT_SO),
            ({"kind": "operation-failure", "reason": "conflict"}, Failure.NOT_SO),
            ({"kind": "operation-timeout"}, Failure.OPERATION),
        ],
    )
    def test_an_operation_that_fails(self, bed, fault, failure):
        bed.fault(**fault)
        outcome = until_done(bed, bed.perform(Kind.ATTACH, "a"))
        assert outcome.failure is failure
        assert fault.get("reason", "timeout") in outcome.detail

    def test_an_operation_that_nobody_knows(self, bed):
        assert bed.perform(Kind.POLL, operation=STRANGER).failure is Failure.NOT_SO

    def test_a_bug_of_ours_is_no_failure_of_the_call_and_the_client_is_given_back(self, bed):
        for _ in range(3):
            with pytest.raises(ValueError, match="no-uuid"):
                bed.perform(Kind.READ, "no-uuid")
        assert bed.perform(Kind.READ, "a").failure is None


class _Lent:
    """A client that does nothing; it has only an identity."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.credentials = ("", "")


def lending() -> tuple[ClientPool, _Lent, _Lent]:
    one, two = _Lent("one"), _Lent("two")
    return ClientPool(one, two), one, two  # type: ignore[arg-type]


class TestClientPool:
    def use(self, clients: ClientPool, lane: Lane) -> str:
        client = clients.borrow(lane)
        clients.give_back(client)
        return client.name  # type: ignore[attr-defined,no-any-return]

    def test_reads_go_over_both_in_turn(self):
        clients, _, _ = lending()
        assert [self.use(clients, Lane.READS) for _ in range(4)] == ["one", "two", "one", "two"]

    def test_a_mutation_takes_the_one_that_was_used_last(self):
        clients, _, _ = lending()
        for last in ("one", "two", "one"):
            assert self.use(clients, Lane.READS) == last
            assert self.use(clients, Lane.MUTATIONS) == last
            assert self.use(clients, Lane.MUTATIONS) == last

    def test_never_one_client_to_two(self):
        clients, _, _ = lending()
        reading = clients.borrow(Lane.READS)
        moving = clients.borrow(Lane.MUTATIONS)
        assert reading is not moving
        clients.give_back(moving)
        assert clients.borrow(Lane.MUTATIONS) is moving

    def test_a_change_of_the_key_reaches_a_client_that_is_in_use_too(self):
        clients, one, two = lending()
        clients.borrow(Lane.READS)
        clients.sign_with("EXOother", "secret")
        assert one.credentials == two.credentials == ("EXOother", "secret")


@pytest.mark.slow
class TestWorkers:
    @pytest.fixture
    def working(self, bed) -> Iterator[tuple[Bed, Node]]:
        """The node a with its two workers, and its peer b."""
        members = {bed.ids["b"]: ("192.0.2.2", 12345)}
        node = Node(
            ElectionConfig(bed.ids["a"], 10, 0.1, 3.0),
            EIP,
            members,
            time.monotonic(),
            emit=lambda event: None,
            verify_interval=0.5,
        )
        workers = [
            ApiWorker(lane, node, bed.caller, lambda _call, _outcome: None, time.monotonic, 0.2) for lane in Lane
        ]
        end = threading.Event()

        def beat() -> None:
            while not end.is_set():
                node.wait_advert(time.monotonic, 0.05)
                node.tick(time.monotonic())

        threads = [*workers, threading.Thread(target=beat, daemon=True)]
        for thread in threads:
            thread.start()
        yield bed, node
        end.set()
        for worker in workers:
            worker.stopping.set()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def test_a_node_alone_takes_the_eip(self, working):
        bed, node = working
        until(lambda: bed.server.holders() == {bed.ids["a"]}, "it comes about")
        until(lambda: node.snapshot(time.monotonic()).holds, "it comes about")

    def test_a_hanging_read_does_not_delay_the_attach(self, working):
        bed, node = working
        bed.attach_by_hand("b")

        def heard_as(role: Role) -> bool:
            node.heard(Heartbeat(5, EIP, bed.ids["b"]), "192.0.2.2", time.monotonic())
            return node.snapshot(time.monotonic()).role is role

        until(lambda: heard_as(Role.BACKUP), "b is its master")
        bed.fault("hang", seconds=PATIENCE, match=Match(method="GET"))
        until(lambda: heard_as(Role.BACKUP) and bed.unanswered(), "a read hangs")
        (read,) = bed.unanswered()
        until(lambda: bed.ids["a"] in bed.server.holders(), "b is dead and a attaches")
        assert bed.unanswered() == [read]
        bed.server.close()  # ends the read

    def test_through_trouble_to_the_eip(self, working):
        bed, node = working
        for kind in ("drop", "half"):  # a third failure in a row would cost ten seconds
            bed.fault(kind, count=1)
        until(lambda: bed.server.holders() == {bed.ids["a"]}, "it comes about")
        until(lambda: node.snapshot(time.monotonic()).role is Role.MASTER, "it comes about")
