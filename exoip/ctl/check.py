"""The command `check`: examine all that a daemon needs, one thing at a time, and say how to fix
what is wrong.

It reads the configuration file, queries the metadata service and the API with the file's key, and
asks the running daemon about its peers. It changes nothing, as `test_looking_changes_nothing` in
tests/unit/ctl/test_check.py shows.
"""

from __future__ import annotations

import grp
import stat
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TextIO

from exoip.config import host_address
from exoip.config.options import OPTIONS
from exoip.config.parse import Config, parse
from exoip.ctl.client import ControlSocket, NoAnswer, Rejected, find_socket, send
from exoip.ctl.permissions import Permission, permissions
from exoip.ctl.status import peer_label
from exoip.ctl.terminal import CODES, CRITICAL, DEGRADED, FAINT, GREEN, HEALTHY, RED, YELLOW, as_json, style_for
from exoip.errors import ApiError, ConfigError
from exoip.exoscale import discovery
from exoip.exoscale.client import Client
from exoip.exoscale.models import SecurityGroup, printable
from exoip.exoscale.topology import Topology

WELL = "well"  # the levels of findings, as JSON names them
WARNING = "warning"
PROBLEM = "problem"
OPEN = "not checked"
_LABELS = {WELL: ("ok", GREEN), WARNING: ("warning", YELLOW), PROBLEM: ("FAIL", RED), OPEN: (OPEN, FAINT)}
GROUP = "exoip"  # the group that the unit's daemon runs as


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of examining one thing.

    `cure`: how to fix it, "" if nothing is wrong or the text says it.
    """

    level: str
    about: str
    text: str
    cure: str = ""


def show(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """Show the findings about one daemon, each as soon as it is known; return the code of the
    worst.
    """
    daemon = find_socket(options.name, options.runtime_dir)
    file = Path(options.config or f"/etc/exoip/{daemon.name}.conf")
    style, found = style_for(out, environ), list[Finding]()
    for finding in examine(daemon, file, Path(options.credentials_dir)):
        found.append(finding)
        if not options.json:
            label, color = _LABELS[finding.level]
            out.write(f"{style(label.ljust(12), color)}{finding.about.ljust(9)} {printable(finding.text)}\n")
            out.write(f"{'':22}-> {printable(finding.cure)}\n" if finding.cure else "")
            out.flush()  # the next one may take some seconds
    levels = {finding.level for finding in found}
    level = CRITICAL if PROBLEM in levels else DEGRADED if WARNING in levels else HEALTHY
    if options.json:
        out.write(as_json(level=level, findings=[asdict(finding) for finding in found]))
    return CODES[level]


def examine(daemon: ControlSocket, file: Path, credentials: Path) -> Iterator[Finding]:
    """Yield the findings about a daemon. `credentials`: the directory with the unit's credentials.

    What depends on something that is broken is left out.
    """
    try:
        config = parse(["-W", "-c", str(file)], _credentials(daemon.name, credentials))
    except ConfigError as error:
        yield Finding(PROBLEM, "file", str(error))
        return
    yield Finding(WELL, "file", f"{file} is valid, for {config.address}")
    yield from (Finding(WARNING, "file", warning) for warning in config.warnings)
    yield from file_access(file)
    yield _address(config.address)
    own_id, endpoint = config.instance_id or "", config.api_endpoint or ""
    try:
        own_id = discovery.own_instance_id(config)
        _, endpoint = discovery.zone_and_endpoint(config)
        source = "" if config.instance_id else ", according to the metadata service"
        yield Finding(WELL, "instance", f"{own_id}{source}")
    except ConfigError as error:
        yield Finding(PROBLEM, "instance", str(error))
    if endpoint:
        yield from _guarded("API", _api(config, endpoint, own_id))
    yield from _guarded("peers", _peers(daemon))


def _guarded(about: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the findings, the last one for an error: a wrong configuration, or what cannot be
    checked.
    """
    try:
        yield from findings
    except ConfigError as error:
        yield Finding(PROBLEM, about, str(error))
    except (ApiError, NoAnswer, Rejected) as error:
        yield Finding(OPEN, about, str(error))


def _credentials(name: str, directory: Path) -> dict[str, str]:
    """Return the unit's credentials as variables: both override the file.

    The shell's own variables do not count.
    """
    found = {}
    for option in OPTIONS:
        path = directory / f"exoip.{name}.{option.credential}"
        if option.credential and path.is_file():
            try:
                found[option.variables[0]] = path.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"cannot read credential {path}: {error}") from error
    return found


def file_access(file: Path, group_name: str = GROUP) -> Iterator[Finding]:
    """Yield a finding if the unit's daemon, which is not root, cannot read the file.

    Needs its group on this host.
    """
    try:
        group, status = grp.getgrnam(group_name).gr_gid, file.stat()
    except (KeyError, OSError):
        return
    if not (status.st_mode & stat.S_IROTH or (status.st_gid == group and status.st_mode & stat.S_IRGRP)):
        cure = f"chown root:{group_name} {file} && chmod 0640 {file}"
        yield Finding(PROBLEM, "file", f"the daemon, which runs as {group_name}, cannot read it", cure)


def _address(eip: str) -> Finding:
    if not host_address.is_here(eip):
        return Finding(PROBLEM, "address", host_address.missing(eip), host_address.cure(eip))
    return Finding(WELL, "address", f"{eip} is an address of this host")


def _api(config: Config, endpoint: str, own_id: str) -> Iterator[Finding]:
    with closing(discovery.client_for(config, endpoint)) as client:
        try:
            client.zones()
        except ApiError as error:
            cure = "check the network, the name server, the firewall and the API's status page"
            yield Finding(PROBLEM, "API", str(error), cure)
            return
        yield Finding(WELL, "API", f"{client.endpoint} answers")
        eip_id = ""
        with suppress(ApiError):
            eip_id = next((eip.id for eip in client.elastic_ips() if eip.is_meant_by(config.address)), "")
        tried = list(permissions(client, own_id, eip_id, with_group=config.peer_group is not None))
        yield from _key(tried)
        needed = [one for one in tried if one.operation.startswith(("list", "get-instance"))]
        if own_id and not any(one.granted is False for one in needed):
            yield from _guarded("cluster", _cluster(config, client))


def _key(tried: list[Permission]) -> Iterator[Finding]:
    denied = [one for one in tried if one.granted is False]
    if denied and not any(one.granted for one in tried):
        cure = "create a new key with the role in exoip(8), THE KEY'S ROLE"
        yield Finding(PROBLEM, "key", f"every call is forbidden: {denied[0].why}", cure)
        return
    for one in denied:
        cure = f"allow '{one.operation}' in the key's role: exoip(8), THE KEY'S ROLE"
        yield Finding(PROBLEM, "key", f"lacks {one.operation}: {one.why}", cure)
    for one in tried:
        if one.granted is None:
            yield Finding(OPEN, "key", f"whether it allows {one.operation}: {one.why}")
    yield Finding(WELL, "key", f"allows {', '.join(one.operation for one in tried if one.granted)}")


def _cluster(config: Config, client: Client) -> Iterator[Finding]:
    topology = discovery.discover(config)
    peers = f"its peers are {', '.join(map(str, topology.members))}" if topology.members else "there are no peers"
    zone = f"zone {topology.zone}" if topology.zone else "the zone of that API"
    yield Finding(WELL, "cluster", f"{topology.eip_label} is in {zone}; {peers}")
    yield from (Finding(WARNING, "cluster", warning) for warning in topology.warnings)
    yield from _guarded("port", _ports(config, client, topology))


def _ports(config: Config, client: Client, topology: Topology) -> Iterator[Finding]:
    if config.peer_group is None:
        text = "not checked for a list of peers: on a public network the security groups must allow the heartbeats"
        yield Finding(OPEN, "port", text)
        return
    groups = client.security_groups()
    yield from (_port(group, config, topology) for group in groups if config.peer_group in (group.id, group.name))


def _port(group: SecurityGroup, config: Config, topology: Topology) -> Finding:
    """Whether the rules of the peer group allow the heartbeats of every member."""
    port, name = config.bind_address.port, group.name or group.id
    if group.rules is None:
        text = f"the API does not show the rules of {name}: it must allow UDP {port} from {name}"
        return Finding(OPEN, "port", text, f"exo compute security-group show {name}")
    fitting = [rule for rule in group.rules if rule.protocol in ("udp", "all") and rule.first <= port <= rule.last]
    networks = [ip_network(rule.network, strict=False) for rule in fitting if rule.network]
    if any(rule.group == group.id for rule in fitting):
        blocked = []
    else:
        blocked = [one for one in topology.members if not any(ip_address(one.address) in net for net in networks)]
    if not blocked and (topology.members or fitting):
        return Finding(WELL, "port", f"{name} allows UDP {port}")
    source = f" from {', '.join(map(str, blocked))}" if blocked else ""
    cure = f"exo compute security-group rule add {name} --protocol udp --port {port} --security-group {name}"
    return Finding(PROBLEM, "port", f"no rule of {name} allows UDP {port}{source}", cure)


def _peers(daemon: ControlSocket) -> Iterator[Finding]:
    state = send(daemon, "status")["status"]
    if "peers" not in state:
        yield Finding(OPEN, "peers", state["health"]["reasons"][0])
        return
    port = state["configuration"]["bind_address"].rpartition(":")[2]
    yield from (_peer(peer, port) for peer in state["peers"] if peer["member"])


def _peer(peer: dict[str, Any], port: str) -> Finding:
    name = peer_label(peer)
    if peer["alive"]:
        return Finding(WELL, "peers", f"{name} is heard")
    if peer["denied"]:
        text = f"{name} sends heartbeats, but they are dropped ({peer['denied']})"
        return Finding(PROBLEM, "peers", text, "give all nodes the same auth-key")
    if not peer.get("running", True):
        return Finding(OPEN, "peers", f"{name} is not heard, because its instance does not run")
    both = f"UDP {port}" if port == str(peer["port"]) else f"UDP {port} here and UDP {peer['port']} there"
    cure = f"check that exoip runs there, and that both nodes allow {both}"
    return Finding(PROBLEM, "peers", f"{name} is not heard", cure)
