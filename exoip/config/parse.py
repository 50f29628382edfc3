"""Make the `Config` from command line, environment, credentials and file.

Shown by tests/unit/config/test_parse.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from exoip.config import validation
from exoip.config.addresses import Peer
from exoip.config.help import describe
from exoip.config.model import HIGHEST_PRIORITY, LOWEST_PRIORITY, Mode
from exoip.config.options import OPTIONS, Config, Kind, Option
from exoip.config.sources import COMMAND_LINE, DEFAULT, Collected, Setting, collect, error_for
from exoip.config.values import CUT, Secret, may_hide_secret, quote
from exoip.errors import ConfigError, UsageError
from exoip.heartbeat.authentication import AuthMode

__all__ = ["HIGHEST_PRIORITY", "LOWEST_PRIORITY", "Config", "Mode", "Peer", "Secret", "describe", "parse"]

_SHORTEST_TO_HIDE = 4  # characters; no real secret is that short, and to star out every "a" would ruin a message


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Return the configuration from `argv` (without the program's name) and the environment.

    The command line overrides the environment and credentials, these override the file, and the
    file overrides the default. UsageError: the command line is wrong. ConfigError: something else
    is wrong or missing. Neither contains a secret. SystemExit(0): --help or --version has been
    printed.
    """
    found = Collected()
    try:
        collect(argv, environ, found)
        return _build(found)
    except ConfigError as error:
        raise type(error)(_hide(str(error), found.secrets)) from None  # the cause might show what the text must not


def _hide(message: str, secrets: set[str]) -> str:
    """Star out each secret, and what is left of it where `quote` cut it off."""
    for secret in sorted(secrets, key=len, reverse=True):
        for shown in (secret, repr(secret)[1:-1]):
            for length in range(len(shown), _SHORTEST_TO_HIDE - 1, -1):
                cut = CUT if length < len(shown) else ""
                message = message.replace(shown[:length] + cut, "****" + cut)
    return message


def _build(found: Collected) -> Config:
    settings = found.settings
    mode = _mode(settings)
    filled = [option for option in OPTIONS if option.field]
    values: dict[str, Any] = {option.field: _value(option, settings.get(option.name)) for option in filled}
    validation.check(values, settings, watching=mode is Mode.WATCH)
    if values["no_preempt"]:
        values["preempt_delay"] = math.inf
    if values["auth_keys"] and values["auth_mode"] is None:
        values["auth_mode"] = AuthMode.REQUIRE
    sources = {option.name: settings[option.name].source if option.name in settings else DEFAULT for option in filled}
    return Config(
        mode=mode,
        warnings=(*validation.warnings(values, settings), *found.warnings),
        sources=MappingProxyType({"mode": COMMAND_LINE} | sources),
        **values,
    )


def _mode(settings: Mapping[str, Setting]) -> Mode:
    modes = [option for option in OPTIONS if option.kind is Kind.MODE]
    given = [option for option in modes if _value(option, settings.get(option.name))]  # -W=no takes one back
    if len(given) != 1:
        found = " and ".join(option.usual for option in given) or "none"
        wanted = ", ".join(f"{option.usual} ({option.name})" for option in modes)
        raise UsageError(f"give exactly one mode, one of {wanted}: there is {found}")
    return Mode(given[0].name)


def _value(option: Option, setting: Setting | None) -> object:
    if setting is None:
        return option.absent
    try:
        return option.read(setting.text)
    except ValueError as error:
        shown, why = quote(setting.text), str(error)
        if option.credential:  # a key may be a secret in the wrong place
            shown = "(not shown)"
        elif may_hide_secret(setting.text):
            shown, why = "(not shown)", "must be on one line, without control characters or the name of a secret"
        raise error_for(setting.source)(f"{option.label} {shown} ({setting.source}) {why}") from None
