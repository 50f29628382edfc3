"""The configuration: what the command line, the environment, credentials and a file say, as one frozen `Config`.

`parse` is the way in. Its modules: `settings` (what comes out), `options` (the table), `values` and `addresses` (text to value),
`commandline` and `sources` (where the texts come from), `checks` (what goes together). Names are not resolved and nothing is asked of
a network here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from exoip import __version__
from exoip.config import validation
from exoip.config.addresses import Peer
from exoip.config.model import HIGHEST_PRIORITY, LOWEST_PRIORITY, Config, HealthChecks, Hook, Mode
from exoip.config.options import BY_NAME, BY_SPELLING, OPTIONS, Kind, Option, help_text
from exoip.config.sources import COMMAND_LINE, DEFAULT, Collected, Setting, collect
from exoip.config.values import Secret, quote
from exoip.errors import ConfigError, UsageError
from exoip.heartbeat.authentication import AuthMode
from exoip.heartbeat.socket_address import SocketAddress

__all__ = ["HIGHEST_PRIORITY", "LOWEST_PRIORITY", "Config", "Mode", "Peer", "Secret", "describe", "parse"]

SAFE_DEAD_RATIO = 2
# Where the value of an option is in Config, if not under the option's own name
FIELDS = {
    f"check-{name}": f"health.{name}" for name in ("command", "tcp", "http", "interval", "timeout", "rise", "fall")
}
FIELDS |= {"notify": "hook.program", "notify-timeout": "hook.timeout", "metrics-listen": "metrics"}
_SHORTEST_TO_HIDE = 4  # characters; no real secret is that short, and to star out every "a" would ruin a message


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """The configuration from `argv` (without the program's name), the environment and what these name.

    UsageError: the command line is wrong. ConfigError: something else is, or is missing. Neither contains the secret.
    SystemExit(0): --help or --version was there and has been printed. The command line beats environment and
    credentials, these beat the file, the file beats the default.
    """
    options = (BY_SPELLING.get(word.partition("=")[0]) for word in argv)
    wanted = {option.name for option in options if option and option.kind is Kind.PRINT}
    if wanted:
        sys.stdout.write(help_text() if "help" in wanted else f"exoip {__version__}\n")
        raise SystemExit(0)
    found = Collected()
    try:
        collect(argv, environ, found)
        return _build(found)
    except ConfigError as error:
        raise type(error)(_hide(str(error), found.secrets)) from None  # the cause might show what the text must not


def _hide(message: str, secrets: set[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_TO_HIDE:
            message = message.replace(secret, "****").replace(repr(secret)[1:-1], "****")
    return message


def _build(found: Collected) -> Config:
    settings = found.settings
    mode = _mode(settings)
    values: dict[str, Any] = {name: _value(BY_NAME[name], setting) for name, setting in settings.items()}
    validation.required(values, watching=mode is Mode.WATCH)
    validation.contradictions(values, settings)
    validation.addresses(values, settings)
    bind_host, bind_port = values["bind-address"]
    return Config(
        mode=mode,
        address=values["address"],
        bind_host=bind_host,
        bind_port=bind_port,
        instance_id=values.get("exoscale-instance-id"),
        peers=values.get("exoscale-peers", ()),
        peer_group=values.get("exoscale-peer-group"),
        host_priority=min(max(values["host-priority"], LOWEST_PRIORITY), HIGHEST_PRIORITY),
        dead_ratio=values["dead-ratio"],
        advertisement_interval=values["advertisement-interval"],
        api_key=values["exoscale-api-key"],
        api_secret=values["exoscale-api-secret"],
        api_endpoint=values.get("exoscale-api-endpoint"),
        zone=values.get("exoscale-zone"),
        metadata_url=values["exoscale-metadata-url"],
        preempt_delay=math.inf if values["no-preempt"] else values["preempt-delay"],
        flap_damping=values["flap-damping"],
        verify_interval=values["verify-interval"],
        leave_timeout=values["leave-timeout"],
        auth_keys=values.get("auth-key", ()),
        auth_mode=AuthMode(values.get("auth-mode", AuthMode.REQUIRE)) if "auth-key" in values else None,
        verbose=values["verbose"],
        log_stdout=values["log-stdout"],
        check_config=values["check-config"],
        config_file=values.get("config"),
        control_socket=values.get("control-socket"),
        warnings=(*_warnings(values, settings), *found.warnings),
        sources=_sources(settings),
        **_companions(values),
    )


def _companions(values: Mapping[str, Any]) -> dict[str, Any]:
    """What runs beside the node, by the names of Config."""
    health = HealthChecks(
        values.get("check-command"),
        values.get("check-tcp", ()),
        values.get("check-http", ()),
        values["check-interval"],
        values["check-timeout"],
        values["check-rise"],
        values["check-fall"],
    )
    hook = Hook(values.get("notify"), values["notify-timeout"])
    return {"health": health, "hook": hook, "metrics": values.get("metrics-listen")}


def _mode(settings: Mapping[str, Setting]) -> Mode:
    modes = [option for option in OPTIONS if option.kind is Kind.MODE]
    # "-W=no" is how Go's flags take one back
    given = [option for option in modes if option.name in settings and _value(option, settings[option.name])]
    if len(given) != 1:
        found = " and ".join(option.usual for option in given) or "none"
        wanted = ", ".join(f"{option.usual} ({option.name})" for option in modes)
        raise UsageError(f"exactly one mode must be given, one of {wanted}: there is {found}")
    return Mode(given[0].name)


def _value(option: Option, setting: Setting) -> object:
    shown = "(not shown)" if option.credential else quote(setting.text)  # a key may be a secret in the wrong place
    try:
        return option.read(setting.text)
    except ValueError as error:
        raise setting.error(f"{option.label} {shown} ({setting.source}) {error}") from None


def _warnings(values: Mapping[str, Any], settings: Mapping[str, Setting]) -> Iterator[str]:
    priority, ratio = values["host-priority"], values["dead-ratio"]
    runs_as = min(max(priority, LOWEST_PRIORITY), HIGHEST_PRIORITY)
    if runs_as != priority:
        yield (
            f"host-priority {priority} ({settings['host-priority'].source}) runs as {runs_as}: 0 and 253 to 255 mean "
            "something else between the nodes"
        )
    if ratio < SAFE_DEAD_RATIO:
        yield (
            f"dead-ratio {ratio:g} ({settings['dead-ratio'].source}) is small: one lost heartbeat moves the Elastic "
            f"IP; {SAFE_DEAD_RATIO} or more is safe"
        )


def _sources(settings: Mapping[str, Setting]) -> Mapping[str, str]:
    sources = {"mode": COMMAND_LINE}
    for option in OPTIONS:
        if option.kind in (Kind.VALUE, Kind.FLAG):
            sources[option.name] = settings[option.name].source if option.name in settings else DEFAULT
    return MappingProxyType(sources)


def describe(config: Config) -> str:
    """What -n prints: a line for each option with its value and where it comes from, then the warnings. Never a secret."""
    shown = {
        "mode": str(config.mode),
        "bind-address": str(SocketAddress(config.bind_host, config.bind_port)),
        "exoscale-peers": ", ".join(map(str, config.peers)),
        "no-preempt": _plain(config.preempt_delay == math.inf),
        "auth-key": ", ".join(map(repr, config.auth_keys)),
        "config": config.config_file or "",
        "metrics-listen": str(SocketAddress(*config.metrics)) if config.metrics else "",
        "check-tcp": ", ".join(str(SocketAddress(*each)) for each in config.health.tcp),
        "check-http": ", ".join(config.health.http),
    }  # fmt: skip
    lines = [f"exoip {__version__}, mode {config.mode}, Elastic IP {config.address}"]
    for name, source in config.sources.items():
        option = BY_NAME.get(name)
        field = name.removeprefix("exoscale-").replace("-", "_")
        text = shown[name] if name in shown else _plain(attrgetter(FIELDS.get(name, field))(config))
        if option:
            unit = "" if text == "inf" else option.unit
            text = f"{text} {unit}".strip() if text else f"({option.otherwise})"
        lines.append(f"  {name:<22}  {text:<40}  {source}")
    return "\n".join(lines + [f"warning: {warning}" for warning in config.warnings]) + "\n"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.9g}"
    return "" if value is None else str(value)
