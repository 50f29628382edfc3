"""Every failure that docs/protocol.md speaks of names what shows it, and that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import SCENARIOS, expanded
from tests.simulation.scenario import files
from tests.support.paths import ROOT, TESTS

ROW = re.compile(r"^\| (?P<what>.+?) \| (?P<then>.+?) \|$", re.MULTILINE)


def rows(text: str, heading: str) -> dict[str, str]:
    """The rows of the table under a heading: the first cell, and the second."""
    part = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {row["what"]: row["then"] for row in ROW.finditer(part) if row["what"] not in ("what", "---")}


PROOFS = rows((TESTS / "simulation" / "README.md").read_text(), "Every failure has its proof")
FAILURES = rows((ROOT / "docs/protocol.md").read_text(), "When something fails")


def test_every_failure_of_the_protocol_has_a_row() -> None:
    assert len(FAILURES) >= 10
    assert not FAILURES.keys() - PROOFS.keys()


def test_every_scenario_and_test_that_is_named_exists() -> None:
    for what, shown in PROOFS.items():
        for proof in expanded(shown.split(", ")):
            if not proof.startswith("`"):
                assert proof in SCENARIOS, f"{what}: there is no scenario {proof}"
                continue
            name, _, function = proof.strip("`").partition("::")
            assert (TESTS / name).exists(), f"{what}: there is no {name}"
            assert f"def {function}" in (TESTS / name).read_text(), f"{what}: there is no {proof}"


def test_scenarios_have_numbers_of_their_own_and_begin_with_prose() -> None:
    assert len(set(SCENARIOS)) == len(SCENARIOS)
    for path in files():
        first = path.read_text().splitlines()[0]
        assert first[:1] not in ("", ">", " "), f"{path.name} does not begin with prose"
        assert "\n> expect " in path.read_text(), f"{path.name} expects nothing"


# Modules without a rule of their own: vocabulary, and what only joins others.
WITHOUT_RULES = {"calls", "events", "findings", "model", "options", "peers", "clock", "topology", "running_node"}
SHOWN = re.compile(r"Shown\s+by\s+(.+?)\.(?=\s|\"|$)", re.DOTALL)


def modules() -> list[Path]:
    """The modules of the daemon and of exoipctl; the sandbox has no rules to show."""
    return [
        path
        for path in sorted((ROOT / "exoip").glob("*/*.py"))
        if path.parent.name != "sandbox" and not path.name.startswith("__")
    ]


def proofs_of(path: Path) -> list[str]:
    """The scenarios, test classes and test files that a module names."""
    lists = SHOWN.findall(path.read_text())
    return [proof for shown in lists for proof in expanded(re.split(r",\s+|\s+and\s+", shown))]


@pytest.mark.parametrize("path", modules(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_rule_names_what_shows_it_and_that_exists(path: Path) -> None:
    tests = "\n".join(file.read_text() for file in (TESTS / "unit").rglob("test_*.py"))
    assert proofs_of(path) or path.stem in WITHOUT_RULES
    for proof in proofs_of(path):
        shown = proof in SCENARIOS or f"class {proof}:" in tests or (ROOT / proof.partition("::")[0]).is_file()
        assert shown, f"there is no {proof}"


def test_the_rules_of_the_core_are_shown_one_by_one() -> None:
    assert sum(len(proofs_of(path)) for path in modules() if path.parent.name == "core") > 60
