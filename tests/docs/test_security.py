"""Every claim of SECURITY.md names tests, and these exist."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.support.paths import ROOT

PAGE = ROOT / "SECURITY.md"
TESTS = ROOT / "tests"
PROOF = re.compile(r"`((?:\w+/)*test_\w+\.py)(?:::(test_\w+))?`")


def claims() -> dict[str, str]:
    """The rows of the tables of claims: the claim, and the cell that names what shows it."""
    part = PAGE.read_text().split("\n## What it withstands\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", part, re.MULTILINE)
    return {claim: shown for claim, shown in rows if claim not in ("claim", "---")}


@cache
def functions_of(name: str) -> frozenset[str]:
    """The names of a file's test functions, those in classes too."""
    tree = ast.parse((TESTS / name).read_text())
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def missing(shown: str) -> list[str]:
    """What is named and is not there, or is no name of a test."""
    wrong = [part for part in shown.split(", ") if not PROOF.fullmatch(part)]
    for name, function in PROOF.findall(shown):
        if not (TESTS / name).exists() or not functions_of(name) or (function and function not in functions_of(name)):
            wrong.append(f"{name}::{function}")
    return wrong


def test_there_are_claims() -> None:
    assert len(claims()) >= 25


@pytest.mark.parametrize("claim", claims())
def test_a_claim_is_shown_by_tests_that_exist(claim: str) -> None:
    assert missing(claims()[claim]) == []


def test_what_the_text_names_exists_too() -> None:
    named = PROOF.findall(PAGE.read_text())
    assert len(named) >= len(claims())
    assert [one for one in named if missing(f"`{one[0]}{'::' + one[1] if one[1] else ''}`")] == []


@pytest.mark.parametrize(
    "shown",
    ["", "`test_wire.py", "`test_no_such_file.py`", "`test_wire.py::test_that_does_not_exist`", "`test_wire.py::KNOWN`", "by hand",
     "`test_wire.py`, trust me"],
)  # fmt: skip
def test_what_is_no_proof_is_noticed(shown: str) -> None:
    assert missing(shown)


def test_the_readme_points_to_it() -> None:
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text()
