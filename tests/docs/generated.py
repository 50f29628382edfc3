"""Compares the parts of documents that are generated from tables, and writes them anew with
--regenerate.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def check_generated(request: pytest.FixtureRequest, path: Path, around: tuple[str, str], expected: str) -> None:
    """Check that `expected` stands between the first of the two texts and the next of the second."""
    text = path.read_text()
    before, begin, rest = text.partition(around[0])
    found, end, after = rest.partition(around[1])
    assert begin, f"{path.name} lacks {around[0]!r}"
    assert end, f"{path.name} lacks {around[1]!r}"
    if request.config.getoption("--regenerate"):
        path.write_text(before + begin + expected + end + after)
        return
    assert found == expected, "run pytest tests/docs --regenerate"
