"""From the text of one option to its value: addresses, peers and URLs. The rules are those of `values`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from exoip.config.values import instance_id, quote
from exoip.heartbeat.socket_address import SocketAddress

DEFAULT_PORT = 12345
_ENDPOINT = "must be a URL like https://api-ch-gva-2.exoscale.com/v2"


@dataclass(frozen=True, slots=True)
class Peer:
    """One node given by `-p`.

    `address`: an IPv4 or IPv6 literal in its canonical form. `port`: None means the port we bind.
    `instance_id`: a lower-case UUID, or None when it is to be asked of the API.
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


def elastic_ip(text: str) -> str:
    """An IPv4 address: the 24 bytes of a heartbeat have no room for another."""
    host, slash, mask = text.partition("/")
    example = "must be the Elastic IP, an IPv4 address like 198.51.100.50"
    if slash and mask not in ("32", "255.255.255.255"):
        raise ValueError(f"{example}: one address, so /32 or nothing behind it")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(example) from None
    if address.version == 6:
        raise ValueError(f"{example}: heartbeats can not carry an IPv6 Elastic IP")
    if address.is_unspecified or address.is_multicast or address.is_reserved:
        raise ValueError(f"{example}: no instance can have this one")
    return str(address)


def bind_address(text: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port`, `:port` or a bare address; the host is "" for every address."""
    example = f"must be :{DEFAULT_PORT}, 192.0.2.7:{DEFAULT_PORT} or [2001:db8::7]:{DEFAULT_PORT}"
    try:
        host, port = _host_and_port(text)
        address = "" if host == "" and port is not None else str(_ip(host))
    except ValueError as error:
        raise ValueError(f"{example}: {error}") from None
    return address, DEFAULT_PORT if port is None else port


def places(text: str) -> tuple[tuple[str, int], ...]:
    """Where to connect to: `host:port`, `[v6]:port`, or `:port` on this host; several with commas or blanks between."""
    found = []
    for entry in filter(None, re.split(r"[,\s]+", text)):
        try:
            host, port = _host_and_port(entry)
            if port is None:
                raise ValueError("the port is missing")
            address = _ip(host or "127.0.0.1")
            if address.is_unspecified or address.is_multicast:
                raise ValueError("nothing listens there")
        except ValueError as error:
            raise ValueError(
                f"must be an address and a port, like 127.0.0.1:443, which {quote(entry)} is not: {error}"
            ) from None
        found.append((str(address), port))
    if not found or len(set(found)) < len(found):
        raise ValueError("must be an address and a port, like 127.0.0.1:443, each once, with commas between several")
    return tuple(found)


def listen(text: str) -> tuple[str, int]:
    """Where to listen: `host:port`, `[v6]:port` or `:port`; the host is "" for every address."""
    example = "must be an address and a port, like 127.0.0.1:9479 or :9479"
    try:
        host, port = _host_and_port(text)
        if port is None:
            raise ValueError("the port is missing")
        return (str(_ip(host)) if host else "", port)
    except ValueError as error:
        raise ValueError(f"{example}: {error}") from None


def peers(text: str) -> tuple[Peer, ...]:
    """Entries of the form `address[:port][=instance-id]`, between commas or blanks."""
    entries = tuple(_peer(entry) for entry in re.split(r"[,\s]+", text) if entry)
    if not entries:
        raise ValueError("must be address[:port][=instance-id], several with commas between: there is none")
    return entries


def _peer(entry: str) -> Peer:
    where, equals, instance = entry.partition("=")
    try:
        host, port = _host_and_port(where)
        address = _ip(host)
        if address.is_unspecified or address.is_multicast:
            raise ValueError("no instance can have this address")
        return Peer(str(address), port, instance_id(instance) if equals else None)
    except ValueError as error:
        raise ValueError(f"must be address[:port][=instance-id], which {quote(entry)} is not: {error}") from None


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
        return address.ipv4_mapped or address
    return address


def api_endpoint(text: str) -> str:
    """The URL with `/v2` at its end and no slash after it. Plain http is for a simulated zone on loopback only."""
    url = _url(text, _ENDPOINT)
    path = url.path.rstrip("/")
    if path not in ("", "/v2"):
        old = "; this is API v1, which Exoscale has switched off" if path in ("/compute", "/v1") else ""
        raise ValueError(f"{_ENDPOINT}, or be left out: its path is /v2{old}")
    if url.scheme != "https" and not re.fullmatch(r"localhost|::1|127(\.[0-9]{1,3}){3}", url.hostname or ""):
        raise ValueError(f"{_ENDPOINT}: https, plain http is for loopback only")
    return f"{url.scheme}://{url.netloc.lower()}/v2"


def check_urls(text: str) -> tuple[str, ...]:
    """URLs that a health check may ask for, with commas or blanks between; a comma in a URL is written %2C."""
    found = []
    for entry in filter(None, re.split(r"[,\s]+", text)):
        bare, _, query = entry.partition("?")
        url = _url(bare, "must be a URL like http://127.0.0.1:8080/healthz")
        if "#" in query or not re.fullmatch(r"[!-~]*", query):
            raise ValueError("must be a URL like http://127.0.0.1:8080/healthz: no fragment, no blank in it")
        found.append(f"{url.scheme}://{url.netloc.lower()}{url.path or '/'}{'?' if query else ''}{query}")
    if not found or len(set(found)) < len(found):
        raise ValueError("must be a URL like http://127.0.0.1:8080/healthz, each once, with commas between several")
    return tuple(found)


def metadata_url(text: str) -> str:
    """The URL before `/latest/meta-data/…`, without a slash at its end."""
    url = _url(text, "must be a URL like http://metadata.exoscale.com")
    return f"{url.scheme}://{url.netloc.lower()}{url.path.rstrip('/')}"


def _url(text: str, example: str) -> SplitResult:
    try:
        if not re.fullmatch(r"[!-~]+", text):
            raise ValueError("a blank or another character that a URL can not have")
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
        if url.scheme not in ("http", "https"):
            raise ValueError("it must begin with https:// (or http://)")
        if "@" in url.netloc or "?" in text or "#" in text:
            raise ValueError("no user, query or fragment in it")
        bare = str(_ip(host)) if ":" in host else host
        usable = re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+", bare) and port != 0
        if not usable or ("[" in url.netloc and ":" not in host):
            raise ValueError("no usable host and port in it")
    except ValueError as error:
        raise ValueError(f"{example}: {error}") from None
    return url
