"""Real daemons under real faults: each sort in turn, some at random; and that a run notices what it is there to notice.

`script/chaos` runs as many random faults as one has time for.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from exoip.core.peers import Role
from exoip.core.snapshot import PeerView, Snapshot, status
from exoip.sandbox import faults as sandbox
from exoip.sandbox.record import Record
from tests.demo.partition import PartitionError
from tests.process.faults import orders, partition, plan, transcript
from tests.process.faults.__main__ import CAN_NOT, failed, main, summary
from tests.process.faults.actions import Deeds
from tests.process.faults.chaos import Report, Run
from tests.process.faults.partition import Cut
from tests.process.faults.plan import Fault, Plan
from tests.process.faults.process_probe import Cost, Life, Status, Witness
from tests.support.cluster import ATTACH
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE

DEAD = 0.9
LASTING = float("inf")
SEEDS = range(30)

# -- real runs ---------------------------------------------------------------------------------------------------------

RUNS: dict[str, tuple[str, ...]] = {sort: ("--in-turn", sort) for sort in plan.IN_TURN}
RUNS["by chance"] = ("--faults", "16", "--seed", "1681")
AT_ONCE = 12
HELD_ON = 20.0  # seconds that a node which does not let go is waited for: after 30 s the other detaches it

# What a daemon does, from its reload on, that it must not; and what is to be told of it.
BREAKS: dict[str, str] = {
    "mutations.Mutations._relief = lambda self: None": f"not quiet within {HELD_ON:.0f} s: ",
    "mutations.Mutations._relief = lambda self: ('why not', {'successor': ''})": "a detach in spell 2 left nobody that lives for ",
    f"client.Client.attach = lambda self, eip, _: attach(self, eip, '{plan.instance_id('n1')}')": f"n2 asks for {ATTACH} of n1",
    "HookCaller.put = lambda self, state: state.role == 'MASTER' and put(self, state)": "and its program was told ('MASTER', ",
    "os._exit(4)": "ended unasked, with 4",
    "print('Traceback (most recent call last):', flush=True)": "logs: Traceback",
    "kept.append(open('/dev/null'))": "open files, and had",
    "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()": "threads, and had",
    "kept.append(b'x' * (8 << 20))": "KiB of memory, and had",
}
PROGRAM = """
import os, threading, time
from tests.support.node import main
from exoip.core import mutations
from exoip.daemon import reload
from exoip.exoscale import client
from exoip.operator.hooks import HookCaller
kept, start, attach, put = [], reload.start, client.Client.attach, HookCaller.put
def broken(*words):
    {}
    start(*words)
reload.start = broken
main()
"""


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, Future]]:
    """What comes of each chosen run, by name. They run beside each other, for they mostly wait."""
    items = [
        item for item in request.session.items if "outcomes" in item.fixturenames and item.module is request.module
    ]
    chosen = {item.callspec.params["name"] for item in items}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: pool.submit(_command if name in RUNS else _broken, name)
            for name in [*RUNS, *BREAKS]
            if name in chosen
        }
        pool.shutdown(cancel_futures=True)


def _command(name: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.process.faults", *RUNS[name]]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=15 * PATIENCE)


def _broken(name: str) -> Report:
    faults = [(Fault(0.0, "reload", "n2", detail=30),), (Fault(0.0, "host", "n1", 2 * DEAD),)]
    broken = Plan("broken", {"n1": 10, "n2": 20}, tuple(faults), strict=True)
    return Run(broken, tell=lambda _: None, program=[sys.executable, "-c", PROGRAM.format(name)], limit=HELD_ON).run()


@pytest.mark.parametrize("name", RUNS)
def test_after_each_quiet_the_best_node_alone_holds(outcomes: dict[str, Future], name: str) -> None:
    done = outcomes[name].result()
    if done.returncode == CAN_NOT:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"quiet after .* holds\n", done.stdout)
    print(done.stdout)


@pytest.mark.parametrize("name", BREAKS)
def test_a_daemon_that_does_wrong_is_noticed_and_told_of_with_all_there_is(
    outcomes: dict[str, Future], name: str
) -> None:
    report = outcomes[name].result()
    assert BREAKS[name] in report.violation, report.story
    told = failed(report, Path("all.log"), "script/chaos --seed 1")
    assert "FAULT 1: +0.00 reload n2 30" in told
    assert " exoip " not in told, "a log line's stamp is told twice"
    assert " n2: INFO " in told
    assert "zone: holders EXOn1" in report.story
    assert report.violation in told
    assert told.endswith("again: script/chaos --seed 1")
    assert "all.log" in told


# -- plans -------------------------------------------------------------------------------------------------------------


def test_a_seed_makes_one_plan_and_another_seed_another() -> None:
    first, again, other = (plan.by_chance(seed, 50, DEAD) for seed in (1, 1, 2))
    assert first == again
    assert first.spells != other.spells


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_plan_asks_for_nothing_that_can_not_be_done(seed: int) -> None:
    whole = plan.by_chance(seed, 100, DEAD, nodes=3)
    assert whole.faults == 100
    down: set[str] = set()
    for spell in whole.spells:
        ended = [fault.node for fault in spell if fault.kind in plan.ENDS]
        touched = [fault.node for fault in spell if fault.kind in plan.DAEMON]
        assert len(touched) == len(set(touched)), "two faults of one daemon at a time"
        assert not down & set(touched), "a fault of a daemon that is just starting"
        assert whole.spared not in ended
        assert [fault.at for fault in spell] == sorted(fault.at for fault in spell)
        assert not (touched and any(fault.kind == "group" for fault in spell)), "a reload of a daemon that is not there"
        for fault in spell:
            assert fault.other != fault.node or not fault.node
            if fault.order and orders.ORDERS[fault.order.name].refuses and (ended or down):
                assert fault.order.path == orders.MUTATIONS, "a daemon that starts would end"
        down = {fault.node for fault in spell if fault.lasts == LASTING}
        assert len(down) < 3


def test_random_plans_have_every_kind_and_without_cuts_those_that_need_none() -> None:
    drawn = {fault.kind for seed in SEEDS for spell in plan.by_chance(seed, 100, DEAD).spells for fault in spell}
    assert drawn == set(plan.KINDS)
    uncut = [plan.by_chance(seed, 100, DEAD, cuts=False) for seed in SEEDS]
    assert {fault.kind for one in uncut for spell in one.spells for fault in spell} == drawn - set(plan.NETWORK)
    assert {one.damping for one in uncut} == {True, False}


def test_in_turn_is_every_kind_and_ends_and_freezes_each_node() -> None:
    faults = [fault for sort in plan.IN_TURN for spell in plan.in_turn(sort, DEAD).spells for fault in spell]
    assert {fault.kind for fault in faults} == set(plan.KINDS)
    for kind in ("crash", "freeze", "stop", "isolate"):
        assert {fault.node for fault in faults if fault.kind == kind} == {"n1", "n2", "n3"}, kind
    frozen = [fault.lasts for fault in faults if fault.kind == "freeze" and fault.node == "n1"]
    assert min(frozen) < DEAD < max(frozen)
    assert {fault.order.name for fault in faults if fault.order} == orders.ORDERS.keys()


def test_every_fault_of_the_sandbox_is_ordered_in_every_form() -> None:
    made = [sandbox.Fault(**order.fields) for order in orders.ORDERS.values()]  # type: ignore[arg-type]
    wanted = {(kind, when) for kind, whens in sandbox.KINDS.items() for when in whens}
    assert {(fault.kind, fault.when) for fault in made} == wanted


def test_every_kind_is_carried_out() -> None:
    assert all(hasattr(Deeds, f"_{kind}") for kind in plan.KINDS)


# -- cuts --------------------------------------------------------------------------------------------------------------


def test_the_rules_drop_both_ways_or_one_and_refuse_only_what_is_to_be_told() -> None:
    both, oneway, told = (
        Cut(["127.0.0.11"], ["127.0.0.12", "127.0.0.13"], 4711, oneway=oneway, told=told).rules("t", 9)
        for oneway, told in ((False, False), (True, False), (True, True))
    )
    there, back = "ip saddr { 127.0.0.11 } ip daddr { 127.0.0.12, 127.0.0.13 } ", "ip saddr { 127.0.0.12, 127.0.0.13 } "
    assert both.count(there) == both.count(back) == 1
    assert (oneway.count(there), oneway.count(back), oneway.count("output")) == (1, 0, 0)
    assert told.count(f"{there}udp dport 4711 drop") == 1
    assert told.index("output") < told.index("udp dport 4711 drop")
    names = {text.split()[2] for text in (both, oneway, told)}
    assert len(names) == 3, "two cuts at a time must not share a table"


def test_where_nothing_can_be_cut_it_says_why_and_that_it_is_not_to_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_command: object) -> None:
        raise PartitionError("no network namespace can be made: not permitted")

    monkeypatch.setattr(partition, "enter", refused)
    monkeypatch.setattr(partition, "inside", lambda: False)
    assert main(["--in-turn", "cuts"]) == CAN_NOT
    assert "can not be cut here: no network namespace can be made: not permitted" in capsys.readouterr().out


# -- looking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("yielded", [True, False])
def test_a_status_line_is_understood(role: Role, holds: bool, yielded: bool) -> None:
    peers = tuple(PeerView(str(one), "", one < 2, 10, 0.0, None, True) for one in range(3))
    node = Snapshot(0, role, "", 0, None, 10, holds, False, True, yielded, False, "attach timeout", peers, {})
    assert Status.of(status(node, "198.51.100.50")) == Status(role, 2, yielded, holds)


def test_a_status_line_without_a_role_is_none() -> None:
    assert Status.of("waiting for the API: no answer") == Status()


OTHER_PROGRAM = """
import socket, sys, threading, time
kept = []
{}
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ("pass", Cost()),
        ("kept.append(open('/dev/null'))", Cost(files=1)),
        ("threading.Thread(target=time.sleep, args=(99,), daemon=True).start()", Cost(threads=1)),
        ("kept.append(socket.create_connection(('127.0.0.1', {port})))", Cost(connections=1)),
        ("kept.append(socket.socket(type=socket.SOCK_DGRAM))", Cost(files=1)),
    ],
)
def test_the_cost_of_a_process_is_what_it_has(line: str, more: Cost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        costs = []
        for doing in ("pass", line.replace("{port}", str(server.getsockname()[1]))):
            words = [sys.executable, "-c", OTHER_PROGRAM.format(doing)]
            with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                costs.append(Cost.of(process.pid))
        before, after = costs
    grown = Cost(0, after.threads - before.threads, after.files - before.files, after.connections - before.connections)
    assert grown == more
    assert before.memory > 1000


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (Cost(2000, 6, 5, 2), ""),
        (Cost(1000, 6, 5, 0), ""),
        (Cost(2001, 6, 5, 1), "2001 KiB of memory"),
        (Cost(1000, 7, 5, 1), "7 threads"),
        (Cost(1000, 5, 5, 1), "5 threads"),
        (Cost(1000, 6, 6, 1), "6 open files"),
        (Cost(1000, 6, 5, 3), "3 TCP connections"),
    ],
)
def test_growth_is_told(last: Cost, told: str) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        witness = Witness(_Idle(), Path(folder))  # type: ignore[arg-type]
        stack.callback(witness.close)
        witness.lives.append(Life(1, Cost(1000, 6, 5, 1), last))
        grown = witness.grown(1000)
        assert bool(grown) == bool(told)
        assert told in "".join(grown)


class _Idle:
    """A process that was never started."""

    def __init__(self) -> None:
        self.name, self.env, self.lines = "n1", dict[str, str](), list[str]()


@pytest.mark.parametrize(
    "line", ["Traceback (most recent call last):", "12:00:00.000 exoip CRITICAL x", "3 log entries were dropped while"]
)
def test_what_must_never_be_logged_is_noticed(line: str) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        idle = _Idle()
        witness = Witness(idle, Path(folder))  # type: ignore[arg-type]
        stack.callback(witness.close)
        idle.lines += ["12:00:00.000 exoip INFO all is well"]
        witness.look()
        assert witness.wrong == []
        idle.lines.append(line)
        witness.look()
        witness.look()
        assert len(witness.wrong) == 1


@pytest.mark.parametrize(
    ("text", "notified"),
    [
        (None, ("", False)),
        ("", ("", False)),
        ("MAST", ("", False)),
        ("BACKUP no\nMASTER y", ("BACKUP", False)),
        ("BACKUP no\nMASTER yes\n", ("MASTER", True)),
    ],
)
def test_what_the_program_was_told_last_is_its_last_whole_line(text: str | None, notified: tuple[str, bool]) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        witness = Witness(_Idle(), Path(folder))  # type: ignore[arg-type]
        stack.callback(witness.close)
        if text is not None:
            (witness.folder / "told").write_text(text)
        assert witness.notified == notified


# -- telling -----------------------------------------------------------------------------------------------------------


def test_logs_the_record_and_the_faults_are_told_in_the_order_of_time() -> None:
    began = 1_700_000_000.0
    first, second = (transcript._clock(began + seconds) for seconds in (1, 3))
    log = transcript.of_log("n1", [f"{first} exoip INFO one", f"{second} exoip ERROR two", "  more of two"], began)
    record = Record()
    record.wall_offset = began
    record.add("call", 0.5, method="GET", operation="get-instance")
    record.add("call", 2.0, key="EXOn1", method="PUT", operation=ATTACH, instance="id-of-n1")
    record.add("holders", 2.5, instance="id-of-n1", holders=("id-of-n1",))
    zone = transcript.of_record(list(record), {"id-of-n1": "n1"}, began)
    text = transcript.merged([log, zone, [(began + 2.2, "FAULT 1")]])
    assert [line.split(" ", 1)[1].strip() for line in text.splitlines()] == [
        "n1: INFO one",
        f"zone: call EXOn1 PUT {ATTACH} n1",
        "FAULT 1",
        "zone: holders n1 -> n1",
        "n1: ERROR two",
        "n1:   more of two",
    ]
    assert transcript.merged([log], began + 2).count("\n") == 1


def test_a_log_that_runs_past_midnight_stays_in_order() -> None:
    late = 1_700_000_000.0
    while transcript._clock(late)[:5] != "23:59":
        late += 60.0 - late % 60
    log = transcript.of_log("n1", ["23:59:59.000 exoip INFO one", "00:00:01.000 exoip INFO two"], late)
    assert log[1][0] - log[0][0] == pytest.approx(2.0)


A, AB, B, NOBODY = frozenset("a"), frozenset("ab"), frozenset("b"), frozenset[str]()


@pytest.mark.parametrize(
    ("holders", "hosts", "found"),
    [
        ([(1, A, False), (2, AB, False), (3, B, False)], [], []),
        ([(1, A, False), (2, NOBODY, False), (5, B, False)], [], [(2, 3, False)]),
        ([(1, A, False), (2, NOBODY, True), (5, B, False)], [], [(2, 3, True)]),
        ([(1, A, False), (4, AB, False)], [(2, "a", False)], [(2, 2, True)]),
        ([(1, A, False)], [(2, "a", False), (3, "a", True)], [(2, 1, True)]),
        ([(1, AB, False), (3, A, False), (4, AB, False)], [(2, "a", False)], [(3, 1, False)]),
        ([(1, A, False), (4, AB, False)], [(2, "b", False), (3, "b", True)], []),
    ],
)
def test_the_time_without_a_live_holder_is_counted_and_laid_on_who_made_it(
    holders: list, hosts: list, found: list
) -> None:
    assert transcript.holes(holders, hosts) == found


def test_the_summary_tells_of_moves_holes_quiet_and_growth() -> None:
    report = Report(
        Plan("seed 1", {"n1": 10}, ()), moves=7, calm_after=[1.0, 3.0], holes=[(0.5, 2, False), (2.0, 1, True)]
    )
    report.lives["n1"] = [Life(1, Cost(1000, 6, 5, 1), Cost(1500, 6, 5, 1), 9)]
    told = summary(report)
    for words in (
        "detaches: 7",
        "3.0 s at most",
        "longest 0.50 s (spell 2)",
        "longest 2.00 s (spell 1)",
        "memory: 500 KiB",
    ):
        assert words in told
    assert "9 faults, 1000 -> 1500 KiB, 6 -> 6 threads" in told
