"""Scenario files: prose, commands and what came of them, in one text that a person reads and a
machine checks.

    Prose stands at the margin.
    > node a prio=10            a command
         3.000  a  role …       what happened during it, written by --regenerate, never by hand

A scenario holds when every `expect` is met, the witness has nothing to complain of, and running it
gives the very text of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.simulation.expectations import Unmet
from tests.simulation.language import Commands
from tests.simulation.witness import Witness
from tests.simulation.words import CommandError

FOLDER = Path(__file__).parent.parent / "scenarios"
HEAD, TAIL = 40, 20  # of what happened during one command, so much is shown


class ScenarioError(AssertionError):
    """A scenario that does not hold; says where and why."""


@dataclass(frozen=True, slots=True)
class Run:
    """A scenario that ran: the text that its file should have, and how much time went by in it."""

    text: str
    virtual: float


def files() -> list[Path]:
    """All scenarios, in the order in which to read them."""
    return sorted(FOLDER.glob("*.txt"))


def run(path: Path) -> Run:
    """Run a scenario. Raises ScenarioError at the first expectation that is not met, or at the end
    for what the witness has seen.
    """
    commands, lines = Commands(), []
    witness = Witness(commands.world)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith(" "):
            continue  # what happened the last time
        lines.append(line.rstrip())
        if not line.startswith("> "):
            continue
        began = len(commands.world.transcript or [])
        try:
            said = commands.run(line[2:])
        except (Unmet, CommandError) as error:
            happened = "\n".join((commands.world.transcript or [])[-25:])
            raise ScenarioError(f"{path.name}:{number}: {line}\n{error}\n{happened}") from error
        lines += _shortened((commands.world.transcript or [])[began:])
        lines += [f"    {text}" for text in said]
    _check_strangers(path, commands)
    if witness.violations:
        raise ScenarioError(f"{path.name}: {'; '.join(witness.violations)}")
    return Run("\n".join(lines).rstrip() + "\n", commands.world.now)


def _check_strangers(path: Path, commands: Commands) -> None:
    """No call ever names an instance that is no member."""
    world = commands.world
    for at, name, kind, target in world.mutations:
        if target not in world.by_id:
            raise ScenarioError(f"{path.name}: at {at:.3f} {name} wants to {kind} {target}, which is no member")


def _shortened(happened: list[str]) -> list[str]:
    lines = ["    " + line for line in happened]
    left_out = len(lines) - HEAD - TAIL
    if left_out <= 1:
        return lines
    return [*lines[:HEAD], f"    … {left_out} more lines …", *lines[-TAIL:]]
