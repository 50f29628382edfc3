"""Every failure that docs/protocol.md speaks of names what shows it, and that exists."""

from __future__ import annotations

import re

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
    numbers = {path.name.split("-")[0] for path in files()}
    for what, shown in PROOFS.items():
        for proof in shown.split(", "):
            if not proof.startswith("`"):
                assert proof in numbers, f"{what}: there is no scenario {proof}"
                continue
            name, _, function = proof.strip("`").partition("::")
            assert (TESTS / name).exists(), f"{what}: there is no {name}"
            assert f"def {function}" in (TESTS / name).read_text(), f"{what}: there is no {proof}"


def test_scenarios_have_numbers_of_their_own_and_begin_with_prose() -> None:
    numbers = [path.name.split("-")[0] for path in files()]
    assert len(set(numbers)) == len(numbers)
    for path in files():
        first = path.read_text().splitlines()[0]
        assert first[:1] not in ("", ">", " "), f"{path.name} does not begin with prose"
        assert "\n> expect " in path.read_text(), f"{path.name} expects nothing"


def test_every_scenario_and_test_class_that_a_rule_of_the_core_names_exists() -> None:
    numbers = {path.name.split("-")[0] for path in files()}
    tests = "\n".join(path.read_text() for path in (TESTS / "unit" / "core").glob("test_*.py"))
    proofs = [
        (path.name, proof)
        for path in (ROOT / "exoip" / "core").glob("*.py")
        for shown in re.findall(r"Shown by ([^.]+)\.", path.read_text())
        for proof in re.split(r",\s+", shown)
    ]
    assert len(proofs) > 60
    for name, proof in proofs:
        assert proof in numbers or f"class {proof}:" in tests, f"{name}: there is no {proof}"
