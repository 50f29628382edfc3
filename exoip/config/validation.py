"""Check across options: missing values, contradictions, addresses that cannot go together.

Each check takes the values by field of `Config`, and the settings (text and source) by option name.
An error names every option that has part in it, and the source of each. Shown by
tests/unit/config/test_parse.py.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from exoip.config.addresses import Peer, elastic_network
from exoip.config.options import BY_NAME, OPTIONS, Option
from exoip.config.sources import DEFAULT, LONGEST_PATH, Setting, error_for
from exoip.config.values import quote
from exoip.errors import ConfigError

SAFE_DEAD_RATIO = 2  # a smaller one moves the Elastic IP when one heartbeat is lost

Values = Mapping[str, Any]
Settings = Mapping[str, Setting]
_UNSET = Setting("", DEFAULT)


def check(values: Values, settings: Settings, *, watching: bool) -> None:
    """Raise ConfigError or UsageError if the values cannot work together."""
    missing = [_ways(option) for option in OPTIONS if option.required and values[option.field] is None]
    if watching and not values["peers"] and values["peer_group"] is None:
        missing.append(f"{_ways(BY_NAME['exoscale-peer-group'])} or {_ways(BY_NAME['exoscale-peers'])}")
    if missing:
        file = values["config_file"]
        read = f"{quote(file, LONGEST_PATH)} was read" if file else "no file was read: -c names one"
        raise ConfigError(f"{', '.join(missing)}: missing; {read}")
    _check_contradictions(values, settings)
    _check_addresses(values, settings)


def _ways(option: Option) -> str:
    """Name an option as the file does, and the other ways to set it."""
    credential = [f"credential {option.credential}"] if option.credential else []
    return f"{option.name} ({', '.join([f'-{option.short}', *option.variables, *credential])})"


def _check_contradictions(values: Values, settings: Settings) -> None:
    if values["peers"] and values["peer_group"] is not None:
        _reject(settings, "exoscale-peers", "exoscale-peer-group", "exclude each other: leave one out")
    # Either may be meant, wherever they come from; --no-preempt=no takes the flag back.
    if values["no_preempt"] and settings["preempt-delay"].source != DEFAULT:
        _reject(settings, "no-preempt", "preempt-delay", "exclude each other: no-preempt is an endless delay")
    key, secret = values["api_key"], values["api_secret"].reveal()
    if key == secret or (secret.startswith("EXO") and not key.startswith("EXO")):
        what = "are the same" if key == secret else "look exchanged: a key begins with EXO"
        _reject(settings, "exoscale-api-key", "exoscale-api-secret", what)
    if "auth-mode" in settings and not values["auth_keys"]:
        _reject(settings, "auth-mode", "needs a key: auth-key is missing")
    if values["api_secret"] in values["auth_keys"]:
        _reject(settings, "auth-key", "exoscale-api-secret", "are the same: the heartbeats need a key of their own")


def _check_addresses(values: Values, settings: Settings) -> None:
    """Check that the Elastic IP is no node's own address, and that each peer is in reach."""
    elastic_ip, (host, port) = elastic_network(values["address"]), values["bind_address"]
    if host and ipaddress.ip_address(host) in elastic_ip:
        what = f"overlap: {host} belongs to the Elastic IP; bind this instance's own address, or every one"
        _reject(settings, "bind-address", "address", what)
    seen: dict[tuple[str, int] | str, Peer] = {}
    for peer in values["peers"]:
        if ipaddress.ip_address(peer.address) in elastic_ip:
            _reject(
                settings, "exoscale-peers", "address", f"both name {peer.address}: a peer has an address of its own"
            )
        if not in_reach(host, peer.address):
            _reject(settings, "exoscale-peers", "bind-address", f"cannot meet: {host} does not reach {peer.address}")
        for key in filter(None, ((peer.address, peer.port or port), peer.instance_id)):
            if key in seen:
                _reject(settings, "exoscale-peers", f"names one node twice, {seen[key]} and {peer}")
            seen[key] = peer


def in_reach(bind_host: str, peer: str) -> bool:
    """Return whether a socket bound there can send to the peer at all."""
    if bind_host in ("", "::"):
        return True
    return ipaddress.ip_address(bind_host).version == ipaddress.ip_address(peer).version


def _reject(settings: Settings, *names_and_what: str) -> NoReturn:
    *names, what = names_and_what
    sources = [settings.get(name, _UNSET).source for name in names]
    subject = " and ".join(f"{BY_NAME[name].label} ({source})" for name, source in zip(names, sources, strict=True))
    raise error_for(*sources)(f"{subject} {what}")


def warnings(values: Values, settings: Settings) -> Iterator[str]:
    """Yield a sentence about each value that works, but hardly as intended."""
    priority, ratio = settings["host-priority"], settings["dead-ratio"]
    if int(priority.text) != values["host_priority"]:
        yield (
            f"host-priority {int(priority.text)} ({priority.source}) runs as {values['host_priority']}: 0 and 253 to "
            "255 mean something else between the nodes"
        )
    if values["dead_ratio"] < SAFE_DEAD_RATIO:
        yield (
            f"dead-ratio {values['dead_ratio']:g} ({ratio.source}) is small: one lost heartbeat moves the Elastic IP; "
            f"{SAFE_DEAD_RATIO} or more is safe"
        )
