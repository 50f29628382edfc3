"""Reach loopback directly, whatever the environment says."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep proxies out."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,::1")
