"""The chapters of docs/operating.md: the commands that they show, and what these print."""

from __future__ import annotations

import re

from tests.support.paths import ROOT

PAGE = ROOT / "docs/operating.md"


def _chapter(heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    assert found, f"{PAGE.name} has no chapter {heading!r}"
    return found[1]


def commands(heading: str) -> list[str]:
    """The commands of a chapter, in their order."""
    found = re.findall(r"^ *```sh\n(.*?)^ *```$", _chapter(heading), re.M | re.S)
    return [line.strip() for block in found for line in block.splitlines()]


def sample(heading: str) -> str:
    """What one of them prints, as the chapter shows it."""
    (found,) = re.findall(r"^```text\n(.*?)^```$", _chapter(heading), re.M | re.S)
    return str(found)
