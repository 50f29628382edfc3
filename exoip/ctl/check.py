"""The command `check`: examine all that a daemon needs, one thing at a time, and say how to fix
what is wrong.

It reads the configuration file, or the environment if there is none, queries the metadata service
and the API with the key in it, and asks the running daemon about its peers. It changes nothing, but
binds the daemon's sockets for a moment.
Shown by tests/unit/ctl/test_check.py.
"""

from __future__ import annotations

import grp
import stat
from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from exoip.config import host_address
from exoip.config.addresses import elastic_ip_label
from exoip.config.options import BY_NAME, OPTIONS
from exoip.config.parse import Config, parse
from exoip.config.sources import read_text
from exoip.ctl import reachability
from exoip.ctl.client import ControlSocket, NoAnswer, Rejected, find_socket, list_sockets, send
from exoip.ctl.findings import OPEN, PROBLEM, WARNING, WELL, Finding
from exoip.ctl.permissions import Permission, permissions
from exoip.ctl.terminal import CODES, CRITICAL, DEGRADED, FAINT, GREEN, HEALTHY, RED, YELLOW, as_json, style_for
from exoip.daemon import trial
from exoip.errors import AddressInUse, ApiError, ConfigError
from exoip.exoscale import discovery
from exoip.exoscale.client import Client
from exoip.exoscale.models import printable
from exoip.exoscale.topology import Member

_LABELS = {WELL: ("ok", GREEN), WARNING: ("warning", YELLOW), PROBLEM: ("FAIL", RED), OPEN: (OPEN, FAINT)}
_PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
FILES = Path("/etc/exoip")
GROUP = "exoip"  # the group that the unit's daemon runs as


def show(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """Show the findings about one daemon, each as soon as it is known; return the code of the
    worst. Raises NoAnswer if there is nothing of that name.
    """
    daemon = find_socket(options.name, options.runtime_dir)
    file = _file(options.config, daemon, environ)
    style, found = style_for(out, environ), list[Finding]()
    for finding in examine(daemon, file, Path(options.credentials_dir), environ):
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


def _file(given: str | None, daemon: ControlSocket, environ: Mapping[str, str]) -> Path | None:
    """Return the file to examine, None if the configuration is in the environment only."""
    file = Path(given or FILES / f"{daemon.name}.conf")
    if given or file.exists():
        return file
    if any(environ.get(variable) for variable in BY_NAME["address"].variables):  # a key alone may be for other tools
        return None
    if daemon.path.exists():
        raise NoAnswer(
            f"{daemon.name} runs without {file}: name its file with --config, or run this with its environment"
        )
    running = {one.name for one in list_sockets(str(daemon.path.parent.parent))}
    names = sorted(running | {path.stem for path in FILES.glob("*.conf")})
    raise NoAnswer(
        f"there is no {file}, and no daemon called {daemon.name} runs here; "
        + (f"there are: {', '.join(names)}" if names else f"{FILES} has no *.conf")
    )


def examine(
    daemon: ControlSocket, file: Path | None, credentials: Path, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield the findings about a daemon. `credentials`: the directory with the unit's credentials.

    Without a file, `environ` is the configuration. What depends on something that is broken is left
    out.
    """
    words, variables = (["-W"], environ) if file is None else (["-W", "-c", str(file)], {})
    where = "the environment" if file is None else str(file)
    try:
        config = parse(words, {**variables, **_credentials(daemon.name, credentials)})
    except ConfigError as error:
        yield Finding(PROBLEM, "file", str(error))
        return
    yield Finding(WELL, "file", f"{where} is valid, for {config.address}")
    yield from (Finding(WARNING, "file", warning) for warning in config.warnings)
    yield from file_access(file) if file is not None else ()
    yield _address(config.address)
    state, silence, own = _running(daemon, config)
    yield from _host(config, own, daemon.name, silent=bool(silence) and daemon.path.exists())
    own_id, endpoint = config.instance_id or "", config.api_endpoint or ""
    try:
        own_id = discovery.own_instance_id(config)
        _, endpoint = discovery.zone_and_endpoint(config)
        source = "" if config.instance_id else ", according to the metadata service"
        yield Finding(WELL, "instance", f"{own_id}{source}")
    except ConfigError as error:
        yield Finding(PROBLEM, "instance", str(error))
    yield from _proxies(environ)
    if endpoint:
        yield from _guarded("API", _api(config, endpoint, own_id, _heard(state, config)))
    yield from [Finding(OPEN, "peers", silence)] if silence else reachability.peers(state)


def _heard(state: dict[str, Any], config: Config) -> set[Member]:
    """Return the members that the daemon hears; none if it does not listen where `config` says."""
    if not state or state["configuration"]["bind_address"] != str(config.bind_address):
        return set()
    peers = [peer for peer in state.get("peers", ()) if peer["alive"] and peer["member"]]
    return {Member(peer["instance"], peer["address"], peer["port"], peer["name"] or "") for peer in peers}


def _running(daemon: ControlSocket, config: Config) -> tuple[dict[str, Any], str, dict[str, str]]:
    """Return the state of the running daemon, or why there is none; and what it has by field.

    The one at the path in the file is meant only if it has the same Elastic IP.
    """
    silence, eip = "", elastic_ip_label(config.address)
    for path in [daemon.path, *([Path(config.control_socket)] if config.control_socket else [])]:
        try:
            state = send(replace(daemon, path=path), "status")["status"]
        except (NoAnswer, Rejected) as error:
            silence = silence or str(error)
            continue
        if path == daemon.path or elastic_ip_label(state["eip"]) == eip:
            bound = {name: state["configuration"].get(name) or "" for name in ("bind_address", "metrics_listen")}
            return state, "", bound | {"control_socket": str(path)}
    return {}, silence, {}


def _host(config: Config, own: Mapping[str, str], name: str, *, silent: bool) -> Iterator[Finding]:
    """Yield what this host lacks. `silent`: it is not known what the daemon of that name has."""
    found = list(trial.obstacles(config, own))
    for error, had in found:
        if had or (silent and isinstance(error, AddressInUse)):
            which = f"has {had}" if had else "does not answer"
            yield Finding(OPEN, "host", f"{error}; but it may be {name}, which {which}")
        else:
            yield Finding(PROBLEM, "host", str(error))
    if not found:
        yield Finding(WELL, "host", f"no other program has UDP {config.bind_address}; what the options need is here")


def _proxies(environ: Mapping[str, str]) -> Iterator[Finding]:
    names = [name for name in _PROXIES if environ.get(name)]
    if names:
        text = f"{' and '.join(names)} ignored: exoip uses no proxy, it connects to the API directly"
        yield Finding(WARNING, "API", text, "let this node reach the API without a proxy")


def _guarded(about: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the findings, the last one for an error: a wrong configuration, or what cannot be
    checked.
    """
    try:
        yield from findings
    except ConfigError as error:
        yield Finding(PROBLEM, about, str(error))
    except ApiError as error:
        yield Finding(OPEN, about, str(error))


def _credentials(name: str, directory: Path) -> dict[str, str]:
    """Return the unit's credentials as variables: both override the file.

    The shell's own variables do not count.
    """
    found = {}
    for option in OPTIONS:
        path = directory / f"exoip.{name}.{option.credential}"
        if option.credential and path.is_file():
            found[option.variables[0]] = read_text(path).strip()
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


def _api(config: Config, endpoint: str, own_id: str, heard: Collection[Member]) -> Iterator[Finding]:
    with closing(discovery.client_for(config, endpoint)) as client:
        try:
            client.zones()
        except ApiError as error:
            cure = "check the network, the name server, the firewall and the API's status page"
            yield Finding(PROBLEM, "API", str(error), cure)
            return
        yield Finding(WELL, "API", f"{client.endpoint} answers")
        eip = None
        with suppress(ApiError):
            eip = next((eip for eip in client.elastic_ips() if eip.is_meant_by(config.address)), None)
        if eip is not None and eip.managed:
            text = f"{eip.ip} has a health check of Exoscale's own, which moves its traffic too"
            yield Finding(WARNING, "address", text, "use an Elastic IP without a health check: a manual one")
        tried = list(permissions(client, own_id, eip.id if eip else "", with_group=config.peer_group is not None))
        yield from _key(tried)
        needed = [one for one in tried if one.operation.startswith(("list", "get-instance"))]
        if own_id and not any(one.granted is False for one in needed):
            yield from _guarded("cluster", _cluster(config, client, heard))


def _key(rights: list[Permission]) -> Iterator[Finding]:
    denied = [one for one in rights if one.granted is False]
    granted = [one.operation for one in rights if one.granted]
    if denied and len(denied) == sum(one.tried for one in rights):
        cure = "create a new key with the role in exoip(8), THE KEY'S ROLE"
        yield Finding(PROBLEM, "key", f"every call is forbidden: {denied[0].why}", cure)
        return
    for one in denied:
        cure = f"allow '{one.operation}' in the key's role: exoip(8), THE KEY'S ROLE"
        yield Finding(PROBLEM, "key", f"lacks {one.operation}: {one.why}", cure)
    for one in rights:
        if one.granted is None:
            yield Finding(OPEN, "key", f"whether it allows {one.operation}: {one.why}")
    if granted:
        yield Finding(WELL, "key", f"allows {', '.join(granted)}")


def _cluster(config: Config, client: Client, heard: Collection[Member]) -> Iterator[Finding]:
    topology = discovery.discover(config)
    peers = f"its peers are {', '.join(map(str, topology.members))}" if topology.members else "there are no peers"
    zone = f"zone {topology.zone}" if topology.zone else "the zone of that API"
    yield Finding(WELL, "cluster", f"{topology.eip_label} is in {zone}; {peers}")
    yield from (Finding(WARNING, "cluster", warning) for warning in topology.warnings)
    yield from _guarded("port", reachability.ports(config, client, topology, heard))
