"""Fixtures of exoipctl's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.ctl import Ctl


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    return Ctl(tmp_path)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes that hear each other, and nobody else."""
    with Cluster(nodes=2, folder=tmp_path, observed=False) as made:
        made.start()
        made.settle("n1")
        yield made
