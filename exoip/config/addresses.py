"""Read the text of one option: addresses, peers and URLs. `values` has the rules for readers.

Shown by tests/unit/config/test_parse.py.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from exoip.config.values import Like, Several, instance_id, quote
from exoip.heartbeat.socket_address import SocketAddress

DEFAULT_PORT = 12345
PREFIX_LENGTH = 96  # bits that the addresses of an IPv6 Elastic IP have in common


@dataclass(frozen=True, slots=True)
class Peer:
    """One node given by `-p`.

    `address`: an IPv4 or IPv6 literal in its canonical form. `port`: None for the port that we
    bind. `instance_id`: a lower-case UUID, or None to ask the API for it.
    """

    address: str
    port: int | None
    instance_id: str | None

    def __post_init__(self) -> None:
        canonical = str(_ip(self.address)), self.instance_id and instance_id(self.instance_id)
        if canonical != (self.address, self.instance_id) or not 1 <= (1 if self.port is None else self.port) <= 65535:
            raise ValueError(f"{self} is not a peer in canonical form")

    def __str__(self) -> str:
        where = self.address if self.port is None else str(SocketAddress(self.address, self.port))
        return where + (f"={self.instance_id}" if self.instance_id else "")


def elastic_network(eip: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the addresses of an Elastic IP: one of IPv4, or the prefix around one of IPv6."""
    address = ipaddress.ip_interface(eip).ip
    return ipaddress.ip_network((address, 32 if address.version == 4 else PREFIX_LENGTH), strict=False)


def elastic_ip_label(eip: str) -> str:
    """Return an Elastic IP as people read it: an IPv4 address, or an IPv6 prefix."""
    return str(elastic_network(eip)) if ":" in eip else eip


def _elastic_ip(text: str) -> str:
    """Read an Elastic IP. Discovery rejects what is no prefix of the zone: it can list those."""
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:  # whose text has the whole value
        raise ValueError("it is neither") from None
    address, length = found.ip, found.network.prefixlen
    if address.version == 4 and not re.fullmatch(r"[^/]+(/32|/255\.255\.255\.255)?", text):
        raise ValueError("one address, so /32 or nothing after it")
    if address.version == 6 and address.ipv4_mapped:
        raise ValueError(f"it is an IPv4 address, so write {address.ipv4_mapped}")
    if address.is_unspecified or address.is_multicast or address.is_reserved or address.is_link_local:
        raise ValueError("no Elastic IP is such an address")
    if "%" in text:
        raise ValueError("an address with an interface behind a % is not supported")
    return str(address) if length == address.max_prefixlen else f"{address}/{length}"


def _bind_address(text: str) -> SocketAddress:
    host, port = _host_and_port(text)
    if port is None:
        return SocketAddress(str(_ip(host)), DEFAULT_PORT)
    return SocketAddress(str(_ip(host)) if host else "", port)


def _listen_address(text: str) -> SocketAddress:
    host, port = _host_and_given_port(text)
    return SocketAddress(str(_ip(host)) if host else "", port)


def _tcp_target(entry: str) -> SocketAddress:
    host, port = _host_and_given_port(entry)
    return SocketAddress(_unicast(host or "127.0.0.1", "nothing listens there"), port)


def _peer(entry: str) -> Peer:
    where, equals, instance = entry.partition("=")
    host, port = _host_and_port(where)
    address = _unicast(host, "no instance can have this address")
    return Peer(address, port, instance_id(instance) if equals else None)


def _unicast(host: str, why_not: str) -> str:
    address = _ip(host)
    if address.is_unspecified or address.is_multicast:
        raise ValueError(why_not)
    return str(address)


def _host_and_given_port(text: str) -> tuple[str, int]:
    host, port = _host_and_port(text)
    if port is None:
        raise ValueError("the port is missing")
    return host, port


def _host_and_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or ":" not in host:
            raise ValueError("brackets belong around an IPv6 address, a colon and the port behind them")
        return host, _port(rest[1:]) if rest else None
    if text.count(":") != 1:  # a bare IPv6 address, or a bare host
        return text, None
    host, _, port = text.partition(":")
    return host, _port(port)


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"a port is a number from 1 to 65535, not {quote(text)}")
    return int(text)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if re.fullmatch(r"[0-9]+", host):
            raise ValueError(f"{host} alone is no address; a port has a colon before it") from None
        if re.search(r"[A-Za-z]", host) and ":" not in host:
            raise ValueError(f"{quote(host)} is a name: write its address, names are not resolved") from None
        raise ValueError(f"{quote(host)} is not an IP address") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError("an address with an interface behind a % is not supported")
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address.is_link_local:
            raise ValueError("a link-local address says nothing without its interface: use a global one")
    return address


def _api_endpoint(text: str) -> str:
    url = _url(text)
    path = url.path.rstrip("/")
    if path not in ("", "/v2"):
        old = "; this is API v1, which Exoscale has switched off" if path in ("/compute", "/v1") else ""
        raise ValueError(f"its path is /v2{old}")
    if url.scheme != "https" and not re.fullmatch(r"localhost|::1|127(\.[0-9]{1,3}){3}", url.hostname or ""):
        raise ValueError("https, plain http is for loopback only")  # a simulated zone
    return f"{url.scheme}://{url.netloc.lower()}/v2"


def _http_target(entry: str) -> str:
    """Read a URL for a health check, in normal form; a comma in it is written %2C."""
    bare, _, query = entry.partition("?")
    if "#" in entry or not re.fullmatch(r"[!-~]*", query):
        raise ValueError("no fragment or blank in it")
    url = _url(bare)
    return f"{url.scheme}://{url.netloc.lower()}{url.path or '/'}{'?' if query else ''}{query}"


def _metadata_url(text: str) -> str:
    url = _url(text)
    return f"{url.scheme}://{url.netloc.lower()}{url.path.rstrip('/')}"


def _url(text: str) -> SplitResult:
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("a blank or another character that a URL cannot have")
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:  # whose text has parts of the value
        raise ValueError("no usable host and port in it") from None
    if url.scheme not in ("http", "https"):
        raise ValueError("it must begin with https:// (or http://)")
    if "@" in url.netloc:
        raise ValueError("no user or password in it")
    if "?" in text or "#" in text:
        raise ValueError("no query or fragment in it")
    bare = str(_ip(host)) if ":" in host else host
    usable = re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+", bare) and port != 0
    if not usable or ("[" in url.netloc and ":" not in host):
        raise ValueError("no usable host and port in it")
    return url


# What the option table reads with. The result is in canonical form; a host of "" is every address.
elastic_ip = Like(
    _elastic_ip, "the Elastic IP, an IPv4 address like 198.51.100.50 or an IPv6 prefix like 2001:db8:0:1::/96"
)
bind_address = Like(_bind_address, f":{DEFAULT_PORT}, 192.0.2.7:{DEFAULT_PORT} or [2001:db8::7]:{DEFAULT_PORT}")
listen_address = Like(_listen_address, "an address and a port, like 127.0.0.1:9479 or :9479")
peers = Several(_peer, "address[:port][=instance-id]")
tcp_targets = Several(_tcp_target, "an address and a port, like 127.0.0.1:443")
http_targets = Several(_http_target, "a URL like http://127.0.0.1:8080/healthz")
api_endpoint = Like(_api_endpoint, "a URL like https://api-ch-gva-2.exoscale.com/v2, or be left out")
metadata_url = Like(_metadata_url, "a URL like http://metadata.exoscale.com")
