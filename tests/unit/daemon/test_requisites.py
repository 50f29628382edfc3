"""What has to be on the host before a start."""

from __future__ import annotations

import sys

import pytest

from exoip.config.parse import parse
from exoip.daemon.requisites import check
from exoip.errors import ConfigError

BASE = ["-W", "-xi", "198.51.100.50", "-xk", "EXOx", "-xs", "secret", "-p", "192.0.2.1"]


def test_nothing_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    check(parse(BASE, {}))


def test_a_program_that_is_missing():
    with pytest.raises(ConfigError, match="--notify /nowhere/hook"):
        check(parse([*BASE, "--notify", "/nowhere/hook"], {}))


def test_a_package_that_is_missing(monkeypatch):
    check(parse([*BASE, "--metrics-listen", ":9479"], {}))
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match="python3-prometheus-client"):
        check(parse([*BASE, "--metrics-listen", ":9479"], {}))
