"""The mutants fit the code as it is; `script/mutants` runs them all."""

from __future__ import annotations

import ast

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.mutate import broken, main
from tests.simulation.scenario import files


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_changes_one_place_and_can_be_run(mutant: Mutant) -> None:
    ast.parse(broken(mutant))
    assert mutant.old != mutant.new
    for word in mutant.noticed.split():
        assert any(path.name.startswith(word) for path in files()), f"there is no scenario {word}"


def test_a_broken_rule_is_noticed_and_the_command_says_by_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0", "equal priorities"]) == 0
    assert "39-equal-priorities" in capsys.readouterr().out
