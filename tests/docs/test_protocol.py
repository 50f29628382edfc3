"""Holds docs/protocol.md to the code: bounds and constants."""

from __future__ import annotations

import importlib

from tests.docs.pages import PROTOCOL, SCENARIOS, expanded, rows, section
from tests.simulation.formula import evaluate


def test_every_bound_comes_to_what_its_example_says() -> None:
    assert "h = 1, D = 3, d = 0.01, L = 0.3, O = 0.2" in section(PROTOCOL, "Bounds")
    names = {"h": 1, "D": 3, "d": 0.01, "L": 0.3, "O": 0.2, "P": 0.25}
    names["A"] = names["L"] / 2 + names["O"]
    names["S"] = names["P"] + 1.5 * names["L"]
    bounds = rows(section(PROTOCOL, "Bounds"))
    assert len(bounds) >= 9
    for _, what, formula, example, scenarios in bounds:
        assert f"{evaluate(formula.strip('`'), names):.2f}" == example, what
        assert {*expanded(scenarios.split(", "))} <= {*SCENARIOS}, what


def test_every_fixed_time_is_that_of_the_code() -> None:
    table = rows(section(PROTOCOL, "The times that are fixed"))
    assert len(table) > 20
    for name, value in table:
        module, _, constant = name.strip("`").rpartition(".")
        assert getattr(importlib.import_module(f"exoip.{module}"), constant) == float(value), name
