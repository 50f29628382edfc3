"""No program reads prose: whatever the sentences say, nodes, history, status and metrics do the
same.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exoip.config.parse import parse
from exoip.core.calls import Call, Outcome
from exoip.core.election import Election
from exoip.core.events import Event
from exoip.core.unfit import UnfitReason
from exoip.ctl.__main__ import run as exoipctl
from exoip.exoscale.topology import Topology
from exoip.telemetry import journal, metrics, status
from exoip.telemetry.assessment import assess
from exoip.telemetry.counters import Counters
from exoip.telemetry.messages import CURES, MESSAGES, PROBLEMS, TRIGGERS
from tests.simulation.scenario import files, run
from tests.simulation.world import EIP, instance_id
from tests.support.journals import NAMES, Journals, label

# What a program that reads prose would look for, beside nonsense.
BITS = [
    *("", "who holds", "this instance", "this node", "leaving", "(time passed)", "(own condition changed)", "refused", "unsigned", ": "),
    *("not heard for 9.99 s", "is dead: not heard for 99.00 s", "MASTER now, was BACKUP", "zzz", "?", "could not attach", "holds"),
    *(f"{instance_id(name)} {words}" for name in "abc" for words in ("holds and is heard", "peer-dead)", "advertises 1")),
]  # fmt: skip
WORDS = {"why", "reason", "reasons", "detail"}  # of what is told as JSON: for people

Reword = Callable[[int], None]


@pytest.fixture
def reword(monkeypatch: pytest.MonkeyPatch) -> Reword:
    """Let every sentence and every reason that the code makes from now on be random words, each
    time others.
    """

    def begin(seed: int) -> None:
        rng = random.Random(seed)

        def words() -> str:
            return " ".join(rng.choices(BITS, k=rng.randint(0, 5)))

        for kind, name in ((Event, "reason"), (Call, "why"), (UnfitReason, "why"), (Outcome, "detail")):
            monkeypatch.setattr(kind, "__init__", _after(kind.__init__, name, words))
        elect = Election._elect
        monkeypatch.setattr(Election, "_elect", lambda one, now: (*elect(one, now)[:2], words()))
        for name, row in MESSAGES.items():
            monkeypatch.setitem(MESSAGES, name, row._replace(sentence=words()))
        for table in (CURES, PROBLEMS, TRIGGERS):
            for key in table:
                monkeypatch.setitem(table, key, words())
        monkeypatch.setattr(journal, "OTHER_MASTER", words())

    return begin


def _after(init: Callable[..., None], name: str, words: Callable[[], str]) -> Callable[..., None]:
    def reworded(self: object, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        object.__setattr__(self, name, words())

    return reworded


def live() -> tuple[Journals, list[Any]]:
    """What happens to three nodes in some hours, and the state of each after each step: report,
    verdict, status line, metrics.
    """
    journals, states = Journals(), []
    world = journals.world
    a, b = journals["a"], journals["b"]
    for action in (
        a.kill,
        lambda: in_turn(lambda: setattr(a, "up", True), a.start),
        lambda: journals.aside("a", "operator", "drained by ann (uid 0): leaving"),
        lambda: journals.aside("a", "operator", ""),
        lambda: journals.aside("a", "health check", "health check http fails: who holds"),
        lambda: in_turn(lambda: journals.aside("a", "health check", ""), lambda: a.api.modes.update(attach="refuse")),
        lambda: world.split("a", "bc"),
        lambda: world.split(),
        a.api.modes.clear,
        lambda: in_turn(lambda: world.split("a", "bc"), lambda: a.api.modes.update(holders="fail")),
        lambda: in_turn(world.split, a.api.modes.clear),
        a.leave,
        a.start,
        lambda: world.zone.detach(world.eip_id, a.id, world.now),
        lambda: a.stall(30.0),
        lambda: world.split("a", "bc"),
        lambda: world.split(),
        a.kill,
        b.leave,
    ):
        journals.step(action, 200.0)
        states += [state(host.name, journals) for host in world.hosts.values() if host.node is not None]
    return journals, states


def in_turn(*actions: Callable[[], object]) -> None:
    for action in actions:
        action()


def own_metrics(text: str) -> list[str]:
    """Return the metrics but for those of this very process: its memory and processor time."""
    return [line for line in text.splitlines() if "process_" not in line]


def state(name: str, journals: Journals) -> Any:
    host = journals[name]
    assert host.node is not None
    config = parse(["-W", "-xi", EIP, "-G", "web", "-xk", "EXOa", "-xs", "hidden-secret"], {})
    topology = Topology(host.id, "ch-gva-2", "http://127.0.0.1/v2", EIP, instance_id("e"), ())
    now = host.node.snapshot(host.now)
    level, reasons = assess(now, label, str, (), host.api_health.view())
    told = status.describe_running(
        now, status.StatusInput(config, topology, api=host.api_health.view()), NAMES.__getitem__, 0.0, lambda at: at
    )
    scraped = metrics.MetricsInput(
        now,
        EIP,
        host.id,
        metrics.HeartbeatCounts(0, 0, 0),
        Counters().snapshot(),
        (),
        None,
        float,
        label,
        host.api_health.view(),
    )
    return [
        name,
        without_words(told),
        level,
        len(reasons),
        status.status_line(now, EIP, host.api_health.view()),
        own_metrics(metrics.render(scraped)),
    ]


def without_words(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: without_words(value) for name, value in told.items() if name not in WORDS}
    return [without_words(one) for one in told] if isinstance(told, list) else told


def history(journals: Journals, names: str, folder: Path) -> Any:
    path = folder / "journal.json"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in journals.of(names)))
    out, errors = io.StringIO(), io.StringIO()
    assert exoipctl(["history", "--json", "--input", str(path)], {}, out, errors) == 0, errors.getvalue()
    return without_words(json.loads(out.getvalue()))


def test_whatever_the_sentences_say_history_and_status_find_the_same(reword: Reword, tmp_path: Path) -> None:
    plain, states = live()
    several = ("abc", "a", "b", "c", "ab", "bc", "ac")
    found = {names: history(plain, names, tmp_path) for names in several}
    assert len(found["abc"]["failovers"]) >= 10
    assert any(one["seen"] for one in found["c"]["failovers"])
    assert {one[2] for one in states} == {"healthy", "degraded", "critical"}
    for seed in range(2):
        reword(seed)
        reworded, states_then = live()
        assert states_then == states
        assert {names: history(reworded, names, tmp_path) for names in several} == found
        assert {entry["MESSAGE"] for entry in reworded.of("abc")} != {entry["MESSAGE"] for entry in plain.of("abc")}


@pytest.mark.parametrize("path", files()[::10], ids=lambda path: path.stem)
def test_whatever_the_sentences_say_a_scenario_is_the_same(reword: Reword, path: Path) -> None:
    reword(1)
    assert run(path).text == path.read_text()
