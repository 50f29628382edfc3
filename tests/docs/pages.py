"""The project's Markdown pages, and how to find sections, tables, blocks and commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.simulation.scenario import files
from tests.support.paths import ROOT

README, CHANGELOG, CONTRIBUTING, SECURITY = (
    ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")
)
DOCS = ROOT / "docs"
ARCHITECTURE, CONFIGURATION, JOURNAL = (DOCS / f"{name}.md" for name in ("architecture", "configuration", "journal"))
OPERATING, PROTOCOL, MIGRATING = (DOCS / f"{name}.md" for name in ("operating", "protocol", "migrating-from-go"))
BUILT = ("build/", ".venv/")  # what the scripts make
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not page.relative_to(ROOT).parts[0].startswith(".") and page.relative_to(ROOT).parts[0] != "build"
)

SCENARIOS = [path.name.split("-")[0] for path in files()]  # their numbers, in order


def page_name(page: Path) -> str:
    """The path of a page within the project."""
    return str(page.relative_to(ROOT))


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one of the same rank or a higher."""
    text = page.read_text()
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.M | re.S)
    assert found, f"{page.name} has no section {heading!r}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables' bodies: lines with bars, without heads and rulers."""
    lines = text.splitlines()
    table = [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("|") and not re.match(r"\|[ |:-]+$", line) and not re.match(r"\|[ |:-]+$", after)
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def expanded(proofs: Iterable[str]) -> Iterator[str]:
    """The proofs of a list in which `02a-02d` stands for the scenarios from the one to the other."""
    for proof in proofs:
        first, dash, last = proof.partition("-")
        if first in SCENARIOS and dash:
            between = SCENARIOS[SCENARIOS.index(first) : SCENARIOS.index(last) + 1]
            assert len(between) > 1 and first[:2] == last[:2], f"{proof} is no range"
            yield from between
        else:
            yield proof


def blocks(page: Path, kind: str = r"\w*") -> list[str]:
    """The fenced blocks of a page, of one language or of any."""
    return re.findall(rf"^ *```{kind}\n(.*?)^ *```$", page.read_text(), re.M | re.S)


def command_lines(*programs: str) -> Iterator[str]:
    """Every command in the pages that runs one of the programs: in shell blocks and in backticks,
    without prompt, sudo, path, comment and `&`.
    """
    for page in PAGES:
        quoted = re.findall(rf"`((?:{'|'.join(programs)}) [^`]+)`", page.read_text())
        for block in [*blocks(page, "sh"), *quoted]:
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                words = shlex.split(line, comments=True)
                while words and words[0] in ("$", "sudo", "env"):
                    words = words[1:]
                if words and words[0].rpartition("/")[2] in programs:
                    ended = next((at for at, word in enumerate(words) if word in ("&", "|", "&&")), len(words))
                    yield shlex.join([words[0].rpartition("/")[2], *words[1:ended]])
