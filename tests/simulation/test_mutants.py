"""The mutants fit the code as it is; `script/mutants` runs them all."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.mutate import ROOT, apply, main
from tests.simulation.scenario import files


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_changes_one_place_and_can_be_run(mutant: Mutant, tmp_path: Path) -> None:
    module = f"exoip/{mutant.module}.py"
    (tmp_path / module).parent.mkdir(parents=True)
    shutil.copy(ROOT / module, tmp_path / module)
    apply(mutant, tmp_path)
    changed = (tmp_path / module).read_text()
    assert changed != (ROOT / module).read_text()
    ast.parse(changed)
    for word in mutant.noticed.split():
        assert any(path.name.startswith(word) for path in files()), f"there is no scenario {word}"


def test_a_broken_rule_is_noticed_and_the_command_says_by_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0", "equal priorities"]) == 0
    assert "39-equal-priorities" in capsys.readouterr().out
