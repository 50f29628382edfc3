"""The command `check`: what has to be in order for a daemon to do its work, looked at one by one; what is not, with what mends it.

It reads the file, asks the metadata service and the API with the file's key, and asks the running daemon; it changes nothing.
"""

from __future__ import annotations

import grp
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from exoip.config.options import OPTIONS
from exoip.config.parse import Config, parse
from exoip.ctl.client import Daemon, Refused, Unanswered, ask
from exoip.ctl.permissions import Right, rights
from exoip.ctl.status import called
from exoip.errors import ApiError, ConfigError
from exoip.exoscale import discovery
from exoip.exoscale.client import Client
from exoip.exoscale.models import SecurityGroup
from exoip.exoscale.topology import Topology

WELL, WARNING, PROBLEM, OPEN = "well", "warning", "problem", "not checked"
GROUP = "exoip"  # as which the unit's daemon runs


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `cure`: what mends it, "" where it is well or the text says so itself."""

    level: str
    about: str
    text: str
    cure: str = ""


class Checkup:
    """Of one daemon, by its file. `credentials`: the folder in which root keeps the unit's credentials."""

    def __init__(self, one: Daemon, file: Path, credentials: Path) -> None:
        self._daemon, self._file, self._credentials = one, file, credentials
        self._config: Config | None = None

    def run(self) -> Iterator[Finding]:
        """Look at everything; what can not be looked at before something else is mended is left out."""
        yield from self._of_the_file()
        if self._config is None:
            return
        yield _of_the_address(self._config.address)
        own_id, endpoint, findings = _whereabouts(self._config)
        yield from findings
        if endpoint:
            try:
                with closing(discovery.client_for(self._config, endpoint)) as client:
                    yield from _of_the_api(self._config, client, own_id)
            except ConfigError as error:
                yield Finding(PROBLEM, "API", str(error))
        yield from self._of_the_daemon()

    # -- the file -----------------------------------------------------------------------------------------------------

    def _of_the_file(self) -> Iterator[Finding]:
        try:
            self._config = parse(["-W", "-c", str(self._file)], self._environment())
        except ConfigError as error:
            yield Finding(PROBLEM, "file", str(error))
            return
        yield Finding(WELL, "file", f"{self._file} is understood, for {self._config.address}")
        yield from (Finding(WARNING, "file", warning) for warning in self._config.warnings)
        yield from _of_its_mode(self._file)

    def _environment(self) -> dict[str, str]:
        """What the unit's credentials would say, as variables: both win over the file, and the shell's own variables do not count."""
        found = {}
        for option in OPTIONS:
            path = self._credentials / f"exoip.{self._daemon.name}.{option.credential}"
            if option.credential and path.is_file():
                try:
                    found[option.variables[0]] = path.read_text().strip()
                except (OSError, UnicodeDecodeError) as error:
                    raise ConfigError(f"credential {path} can not be read: {error}") from error
        return found

    # -- the daemon ---------------------------------------------------------------------------------------------------

    def _of_the_daemon(self) -> Iterator[Finding]:
        try:
            told = ask(self._daemon, "status")["status"]
        except (Unanswered, Refused) as error:
            yield Finding(OPEN, "peers", f"only a running daemon knows of them: {error}")
            return
        if "peers" not in told:
            yield Finding(OPEN, "peers", told["health"]["reasons"][0])
            return
        for peer in told["peers"]:
            if peer["member"]:
                yield _of_a_peer(peer, told["configuration"]["bind_address"])


def _of_its_mode(file: Path) -> Iterator[Finding]:
    """Whether the unit's daemon, which is no root, can read the file, where its group is known on this host."""
    try:
        group, status = grp.getgrnam(GROUP).gr_gid, file.stat()
    except (KeyError, OSError):
        return
    readable = status.st_mode & stat.S_IROTH or (status.st_gid == group and status.st_mode & stat.S_IRGRP)
    if not readable:
        cure = f"chown root:{GROUP} {file} && chmod 0640 {file}"
        yield Finding(PROBLEM, "file", f"the daemon, which runs as {GROUP}, can not read it", cure)


def _of_the_address(address: str) -> Finding:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((address, 0))
    except OSError:
        cure = f"systemctl enable --now exoip-address@{address}.service"
        return Finding(
            PROBLEM, "address", f"{address} is no address of this host, so it would not take its traffic", cure
        )
    return Finding(WELL, "address", f"{address} is on this host")


def _whereabouts(config: Config) -> tuple[str, str, list[Finding]]:
    """This instance's id and the API's URL, each "" when it is not to be known, and the findings."""
    findings, own_id, endpoint = [], config.instance_id or "", config.api_endpoint or ""
    try:
        own_id = discovery.own_instance_id(config)
        _, endpoint = discovery.zone_and_endpoint(config)
        asked = "" if config.instance_id else ", as the metadata service says"
        findings.append(Finding(WELL, "instance", f"{own_id}{asked}"))
    except ConfigError as error:
        findings.append(Finding(PROBLEM, "instance", str(error)))
    return own_id, endpoint, findings


# -- the API ------------------------------------------------------------------------------------------------------------


def _of_the_api(config: Config, client: Client, own_id: str) -> Iterator[Finding]:
    try:
        client.zones()
    except ApiError as error:
        yield Finding(
            PROBLEM, "API", str(error), "look at the network, the name server, the firewall, and the API's status page"
        )
        return
    yield Finding(WELL, "API", f"{client.endpoint} answers")
    try:
        eip_id = next((eip.id for eip in client.elastic_ips() if eip.ip == config.address), "")
    except ApiError:
        eip_id = ""
    tried = list(rights(client, own_id, eip_id, with_group=config.peer_group is not None))
    yield from _of_the_key(tried)
    if (
        any(right.granted is False for right in tried if right.operation.startswith(("list", "get-instance")))
        or not own_id
    ):
        return
    try:
        topology = discovery.discover(config)
    except ConfigError as error:
        yield Finding(PROBLEM, "cluster", str(error))
    except ApiError as error:
        yield Finding(OPEN, "cluster", str(error))
    else:
        yield from _of_the_cluster(config, client, topology)


def _of_the_key(tried: list[Right]) -> Iterator[Finding]:
    refused = [right for right in tried if right.granted is False]
    if refused and len(refused) == len([right for right in tried if right.granted is not None]):
        yield Finding(
            PROBLEM,
            "key",
            f"every call is refused: {refused[0].why}",
            "make a new key of the role that exoip(8) shows, THE KEY'S ROLE",
        )
        return
    for right in refused:
        cure = f"allow '{right.operation}' in the key's role: exoip(8), THE KEY'S ROLE"
        yield Finding(PROBLEM, "key", f"may not {right.operation}: {right.why}", cure)
    for right in tried:
        if right.granted is None:
            yield Finding(OPEN, "key", f"whether it may {right.operation}: {right.why}")
    granted = [right.operation for right in tried if right.granted]
    yield Finding(WELL, "key", f"may {', '.join(granted)}")


def _of_the_cluster(config: Config, client: Client, topology: Topology) -> Iterator[Finding]:
    members = ", ".join(map(str, topology.members)) or "nobody"
    yield Finding(
        WELL, "cluster", f"{topology.eip} is in zone {topology.zone or 'of that API'}; the peers are {members}"
    )
    yield from (Finding(WARNING, "cluster", warning) for warning in topology.warnings)
    if config.peer_group is None:
        text = "on a private network nothing is closed; on the public one the security groups have to let the heartbeats in"
        yield Finding(OPEN, "port", text)
        return
    try:
        groups = client.security_groups()
    except ApiError as error:
        yield Finding(OPEN, "port", str(error))
        return
    yield from (
        _of_the_port(group, config, topology) for group in groups if config.peer_group in (group.id, group.name)
    )


def _of_the_port(group: SecurityGroup, config: Config, topology: Topology) -> Finding:
    port, name = config.bind_address.port, group.name or group.id
    cure = f"exo compute security-group rule add {name} --protocol udp --port {port} --security-group {name}"
    if group.rules is None:
        show = f"exo compute security-group show {name}"
        return Finding(
            OPEN, "port", f"the API does not tell the rules of {name}: UDP {port} has to be let in from {name}; {show}"
        )
    fitting = [rule for rule in group.rules if rule.protocol in ("udp", "all") and rule.first <= port <= rule.last]
    networks = [ip_network(rule.network, strict=False) for rule in fitting if rule.network]
    shut_out = [
        member
        for member in topology.members
        if not any(rule.group == group.id for rule in fitting)
        and not any(ip_address(member.address) in network for network in networks)
    ]
    if not shut_out and (topology.members or fitting):
        return Finding(WELL, "port", f"UDP {port} is let in by {name}")
    who = f" from {', '.join(map(str, shut_out))}" if shut_out else ""
    return Finding(PROBLEM, "port", f"no rule of {name} lets UDP {port} in{who}", cure)


def _of_a_peer(peer: Mapping[str, Any], bind_address: str) -> Finding:
    who = called(dict(peer))
    if peer["alive"]:
        return Finding(WELL, "peers", f"{who} is heard")
    if peer["denied"]:
        return Finding(
            PROBLEM, "peers", f"{who} beats, but is refused ({peer['denied']})", "give all nodes the same auth-key"
        )
    port = bind_address.rpartition(":")[2]
    cure = f"see that exoip runs there, and that UDP {port} is let in here and UDP {peer['port']} there"
    return Finding(PROBLEM, "peers", f"{who} is not heard", cure)
