"""What no option can tell alone: what is missing, what contradicts, which addresses can not be meant together.

Each takes the values and the settings (text and source) by option name, and raises UsageError if the command line has
part in it, ConfigError if not. An error names every option of the contradiction and where each comes from.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, NoReturn

from exoip.config.addresses import Peer
from exoip.config.options import BY_NAME
from exoip.config.sources import COMMAND_LINE, DEFAULT, Setting
from exoip.errors import ConfigError, UsageError

Values = Mapping[str, Any]
Settings = Mapping[str, Setting]
_UNSET = Setting("", DEFAULT)


def required(values: Values, *, watching: bool) -> None:
    """The Elastic IP, the key and the secret; for -W also the peers."""
    for name in ("address", "exoscale-api-key", "exoscale-api-secret"):
        if name not in values:
            raise ConfigError(f"{_ways(name)} is missing")
    if watching and "exoscale-peers" not in values and "exoscale-peer-group" not in values:
        raise ConfigError(
            f"-W needs to know its peers: {_ways('exoscale-peers')} or {_ways('exoscale-peer-group')} is missing"
        )


def _ways(name: str) -> str:
    option = BY_NAME[name]
    variables = ", ".join(option.variables)
    credential = f", credential {option.credential}" if option.credential else ""
    return f"{option.label} ({variables}{credential}, or {name} in the file)"


def contradictions(values: Values, settings: Settings) -> None:
    """-p with -G; --no-preempt with --preempt-delay; key and secret exchanged; how to authenticate, but no key to do it with."""
    if "exoscale-peers" in values and "exoscale-peer-group" in values:
        _refuse(settings, "exoscale-peers", "exoscale-peer-group", "exclude each other: leave one out")
    # Which of the two is meant can not be told, wherever they come from; --no-preempt=no takes the flag back.
    if values["no-preempt"] and settings["preempt-delay"].source != DEFAULT:
        _refuse(settings, "no-preempt", "preempt-delay", "exclude each other: no-preempt is an endless delay")
    key, secret = values["exoscale-api-key"], values["exoscale-api-secret"].reveal()
    if key == secret or (secret.startswith("EXO") and not key.startswith("EXO")):
        what = "are the same" if key == secret else "look exchanged: a key begins with EXO"
        _refuse(settings, "exoscale-api-key", "exoscale-api-secret", what)
    if "auth-mode" in values and "auth-key" not in values:
        _refuse(settings, "auth-mode", "needs a key: auth-key is missing")
    if values["exoscale-api-secret"] in values.get("auth-key", ()):
        _refuse(settings, "auth-key", "exoscale-api-secret", "are the same: the heartbeats need a key of their own")


def addresses(values: Values, settings: Settings) -> None:
    """The Elastic IP is on every node, so it is no node's own; every peer once, and in reach of the bound address."""
    elastic_ip, (host, port) = values["address"], values["bind-address"]
    if host == elastic_ip:
        _refuse(settings, "bind-address", "address", "are the same: bind this instance's own address, or every one")
    seen: dict[tuple[str, int] | str, Peer] = {}
    for peer in values.get("exoscale-peers", ()):
        if peer.address == elastic_ip:
            _refuse(settings, "exoscale-peers", "address", f"both name {elastic_ip}: a peer has an address of its own")
        if not _in_reach(host, peer.address):
            _refuse(settings, "exoscale-peers", "bind-address", f"can not meet: {host} does not reach {peer.address}")
        for key in filter(None, ((peer.address, peer.port or port), peer.instance_id)):
            if key in seen:
                what = f"names {peer} twice" if seen[key] == peer else f"names one node twice, {seen[key]} and {peer}"
                _refuse(settings, "exoscale-peers", what)
            seen[key] = peer


def _in_reach(bind_host: str, peer: str) -> bool:
    """Whether a socket bound there can send to the peer at all."""
    if bind_host in ("", "::"):
        return True
    return ipaddress.ip_address(bind_host).version == ipaddress.ip_address(peer).version


def _refuse(settings: Settings, *names_and_what: str) -> NoReturn:
    *names, what = names_and_what
    sources = [settings.get(name, _UNSET).source for name in names]
    subject = " and ".join(f"{BY_NAME[name].label} ({source})" for name, source in zip(names, sources, strict=True))
    raise (UsageError if COMMAND_LINE in sources else ConfigError)(f"{subject} {what}")
