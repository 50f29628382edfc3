"""The harsh world itself: a seed decides everything, what it decides is a scenario, and shrinking keeps
a failure.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import coverage, faults, plan_api
from tests.simulation.plan import CUTS, FAULTS, HARMLESS, KINDS, Plan, plan
from tests.simulation.run import Run, shrink
from tests.simulation.scenario import ScenarioError, run
from tests.simulation.single import one_round
from tests.support.paths import ROOT

FORMED = ("node a prio=10", "node b prio=20", "node c prio=30", "start a", "start b", "start c", "advance 60s")
# A master whose attach is answered with a long Retry-After keeps the EIP from the able node c.
STUCK = Plan(0, (*FORMED, "health a ok", "api b attach effect=no failure=unavailable retry=300s", "kill a"), ("c",))


def violated(plan: Plan) -> list[str]:
    return Run(plan).run().violations


def test_a_seed_decides_everything() -> None:
    assert plan(7) == plan(7) != plan(8)
    first, second = (Run(plan(7), quiet=False).run() for _ in range(2))
    assert (first.violations, first.transcript, first.rules) == (second.violations, second.transcript, second.rules)


def test_every_kind_of_fault_is_drawn_and_each_has_its_commands() -> None:
    plans = [plan(seed) for seed in range(600)]
    assert {kind for one in plans for kind in one.kinds} == set(KINDS) == set(FAULTS)
    assert {*CUTS, *HARMLESS} <= set(KINDS)
    words = {word for one in plans for command in one.commands for word in re.findall(r"[a-z]+=", command)}
    assert {"effect=", "failure=", "retry=", "takes=", "lands=", "operation=", "lag=", "lists=", "rate="} <= words
    sites = {command.split()[2] for one in plans for command in one.commands if command.startswith("api ")}
    assert {*plan_api.KINDS, "all"} <= sites


def test_an_able_core_without_faults_violates_nothing() -> None:
    assert violated(Plan(0, FORMED, ("a",), ("restart a 300ms",))) == []


@pytest.mark.parametrize(
    ("commands", "found"),
    [
        (("api b attach hang", "kill a"), ""),
        (("kill a", "advance 2s", "detach-by-hand b"), ""),
        (("api all attach hang", "detach-by-hand a", "advance 90s"), ""),
        (("crash a", "crash b", "crash c", "kill a", "advance 90s"), ""),
    ],
)
def test_the_judge_blames_nobody_without_an_able_node(commands: tuple[str, ...], found: str) -> None:
    assert not violated(Plan(0, (*FORMED, *commands), ("c",)))


def test_the_judge_sees_a_hole_a_dead_holder_and_too_many_moves() -> None:
    run = Run(Plan(0, FORMED, ("a",)))
    run.run()
    world, judge = run.world, run.judge
    for name in "abc":
        world.hosts[name].node.set_unfit = None  # type: ignore[method-assign, union-attr, assignment]
        world.callers.append(lambda host, lane, call: True)  # no call gets through, and the judge does not know
    world.hosts["b"].kill()
    world.zone.force(world.hosts["b"].id, True, world.now)
    world.look()
    run._watch(400.0)
    assert any("a dead holder beside a live one" in one for one in judge.violations)
    world.zone.force(world.hosts["a"].id, False, world.now)
    world.look()
    run._watch(400.0)
    assert any("no live holder" in one for one in judge.violations)


def test_a_failing_run_is_shrunk_and_stays_a_failing_scenario(tmp_path: Path) -> None:
    def stuck(candidate: Plan) -> bool:
        return any("attach effect=no" in line for line in candidate.commands) and "kill a" in candidate.commands

    short = shrink(STUCK, stuck)
    assert short.commands == (STUCK.commands[-2], "kill a")
    file = tmp_path / "found.txt"
    file.write_text(Plan(0, (*FORMED, "kill a", "kill b", "kill c"), ("a",)).scenario(60, 30))
    assert "> able a" in file.read_text()
    run(file)
    file.write_text(file.read_text().replace("> able a", "> kill a") + "> expect holders a b\n")
    with pytest.raises(ScenarioError):
        run(file)


WATCHED = """
import re, sys
from tests.simulation import coverage
from tests.simulation.plan import plan
from tests.simulation.run import Run
coverage.watch_constants()
rules = [set(Run(plan(seed)).run().rules) for seed in range(3)]
print(coverage.table({rule: sum(rule in one for one in rules) for rule in set().union(*rules)}, 3))
"""


def test_the_table_of_coverage_has_every_rule_and_every_constant_of_the_protocol() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], cwd=ROOT, capture_output=True, text=True, check=True)
    text = (ROOT / "docs" / "protocol.md").read_text()
    constants = re.findall(r"^\| `(core\.[a-z_]+\.[A-Z_]+)`", text, re.MULTILINE)
    assert constants
    for rule in (*coverage.RULES, *constants):
        assert f"of 3  {rule}\n" in done.stdout, f"{rule} is not in the table"
    assert "3 of 3  attach\n" in done.stdout
    assert "3 of 3  core.mutations.POLL\n" in done.stdout


def test_any_150_seeds_in_a_row_contain_each_single_fault() -> None:
    rounds = [one_round(number) for number in range(20)]
    assert all({fault for run in one for fault in run} == {*faults.FAULTS} for one in rounds)
    assert max(map(len, rounds)) * 3 * 2 <= 150  # every third seed, and a whole round in any two
