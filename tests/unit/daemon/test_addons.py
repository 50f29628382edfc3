"""What an option needs from the host. tests/process/test_addons.py has the rest."""

from __future__ import annotations

import sys

import pytest

from exoip.config.parse import parse
from exoip.daemon.addons import require
from exoip.errors import ConfigError

BASE = ["-W", "-xi", "198.51.100.50", "-xk", "EXOtest", "-xs", "secret", "-p", "192.0.2.1"]


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ([], ""),
        (["--notify", "/nowhere/hook"], "--notify /nowhere/hook"),
        (["--metrics-listen", ":9479"], "python3-prometheus-client"),
    ],
)
def test_what_an_option_needs_is_required_and_named(monkeypatch, words, missing):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    if not missing:
        require(parse(BASE, {}))
        return
    with pytest.raises(ConfigError, match=missing):
        require(parse([*BASE, *words], {}))


def test_an_installed_package_is_enough():
    require(parse([*BASE, "--metrics-listen", ":9479"], {}))
