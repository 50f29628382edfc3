"""Runs the scenarios of tests/scenarios. `pytest tests/scenarios/test_scenarios.py --regenerate`
writes down anew what happens in them.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from tests.simulation.scenario import files, run


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    found, written = run(path).text, path.read_text()
    if request.config.getoption("--regenerate"):
        path.write_text(found)
        return
    difference = difflib.unified_diff(written.splitlines(), found.splitlines(), "written", "found", lineterm="", n=2)
    assert found == written, "\n".join([*list(difference)[:60], "… if it is better so, run with --regenerate"])
