"""Two live masters never detach each other: cuts in one or both directions, by either id, with
operations and calls of any length, at any moment; also if no detach works for minutes.
"""

from __future__ import annotations

import random

import pytest

from tests.simulation.language import Commands

MINUTES = 6  # watched after the cut


def plan(seed: int, *, blocked: bool) -> list[str]:
    """Return the commands of one cut. `blocked`: no detach works for a while after it."""
    rng = random.Random(seed)
    names = "abc"[: rng.choice((2, 2, 2, 3))]
    commands = [f"node {name} prio={prio}" for name, prio in zip(names, rng.sample((10, 20, 30), 3), strict=False)]
    operation = rng.choice((0.2, rng.uniform(0.1, 3), rng.uniform(3, 9)))
    commands += [f"latency all {rng.uniform(0.02, 0.9):.2f}s", f"operation all {operation:.2f}s", "start all"]
    commands += [f"advance {rng.uniform(60, 90):.2f}s", "measure"]
    one, other = rng.sample(names, 2)
    split = f"split {one} {''.join(name for name in names if name != one)}"
    commands.append(rng.choice((f"drop {one}->{other}", f"drop {one}->*", f"drop *->{one}", split)))
    if rng.random() < 0.3:
        commands.append(f"operation {one} {rng.uniform(0.1, 9):.2f}s")
    if rng.random() < 0.3:
        commands += [f"api {one} {rng.choice(('detach', 'read', 'all'))} {rng.choice(('fail', 'hang'))}"]
        commands += [f"advance {rng.uniform(1, 120):.2f}s", f"api {one} ok"]
    if blocked:
        commands += [f"api all detach {rng.choice(('fail', 'refuse', 'operation', 'hang'))}"]
        commands += [f"advance {rng.uniform(20, 240):.2f}s", "api all ok"]
    return [*commands, f"advance {MINUTES}m"]


def with_dates(commands: list[str], rng: random.Random) -> list[str]:
    """Return the commands with servers whose clocks differ, and answers that do not tell the time."""
    names = [command.split()[1] for command in commands if command.startswith("node ")]
    start, measure = commands.index("start all"), commands.index("measure")
    ahead = [f"date {name} {rng.choice((0, 10, rng.uniform(0, 10))):.1f}s" for name in names]
    untold = [f"date {rng.choice(names)} {how}" for how in ("none poll read", "none", "still") if rng.random() < 0.3]
    return [*commands[:start], *ahead, *commands[start:measure], *untold, *commands[measure:]]


def hole(seed: int, *, blocked: bool) -> float:
    """Return the seconds for which nobody held."""
    commands = Commands(seed)
    for command in with_dates(plan(seed, blocked=blocked), random.Random(f"{seed}/dates")):
        commands.run(command)
    return commands.meter.hole


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_in_cuts(start: int) -> None:
    assert [seed for seed in range(start, start + 10) if hole(seed, blocked=False) > 1e-6] == []


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_in_cuts_without_a_detach(start: int) -> None:
    assert [seed for seed in range(start, start + 10) if hole(seed, blocked=True) > 1e-6] == []
