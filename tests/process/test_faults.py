"""Real daemons under real faults: each sort in turn, and some at random.

`script/chaos` runs any number of random faults, and with --in-turn those that are `long` here.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from exoip.sandbox import faults as sandbox
from tests.process.faults import orders, plan
from tests.process.faults.__main__ import UNAVAILABLE
from tests.process.faults.chaos import Run
from tests.process.faults.plan import Fault, Plan
from tests.support.cluster import ATTACH
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE

DEAD = 0.9  # seconds

# What a broken daemon does after its reload, and the violation that must be reported.
BREAKS: dict[str, str] = {
    f"client.Client.attach = lambda self, eip, _: attach(self, eip, '{plan.instance_id('n1')}')": f"n2 asks for {ATTACH} of n1",
    "print('Traceback (most recent call last):', flush=True)": "logs: Traceback",
    "kept.append(open('/dev/null'))": "open files, and had",
}
PROGRAM = """
from tests.support.node import main
from exoip.daemon import reload
from exoip.exoscale import client
kept, start, attach = [], reload.start, client.Client.attach
def broken(*words):
    {}
    start(*words)
reload.start = broken
main()
"""


def run(*words: str) -> None:
    """Run the faults in a process of its own, which can enter a network namespace."""
    command = [sys.executable, "-m", "tests.process.faults", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=15 * PATIENCE)
    if done.returncode == UNAVAILABLE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"quiet after .* holds\n", done.stdout)
    print(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize("sort", plan.IN_TURN)
def test_after_each_fault_in_turn_the_best_node_alone_holds(sort: str) -> None:
    run("--in-turn", sort)


@pytest.mark.long
def test_after_faults_by_chance_the_best_node_alone_holds() -> None:
    run("--faults", "8", "--seed", "1681")


@pytest.mark.parametrize("name", BREAKS, ids=list(BREAKS.values()))
def test_a_daemon_that_does_wrong_is_noticed(name: str) -> None:
    faults = [(Fault(0.0, "reload", "n2", detail=30),), (Fault(0.0, "host", "n1", 2 * DEAD),)]
    broken = Plan("broken", {"n1": 10, "n2": 20}, tuple(faults), strict=True)
    report = Run(broken, tell=lambda _: None, program=[sys.executable, "-c", PROGRAM.format(name)]).run()
    assert BREAKS[name] in report.violation, report.transcript
    assert "zone: holders EXOn1" in report.transcript


def test_every_fault_of_the_sandbox_is_ordered_in_every_form() -> None:
    made = [sandbox.Fault(**order.fields) for order in orders.ORDERS.values()]  # type: ignore[arg-type]
    wanted = {(kind, when) for kind, whens in sandbox.KINDS.items() for when in whens}
    assert {(fault.kind, fault.when) for fault in made} == wanted
