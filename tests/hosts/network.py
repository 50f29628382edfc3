"""The network of the hosts: a bridge in the namespace that the tests run in (the hub), and a
namespace a host, joined by a cable.

All of it is gone with the last process of the tests, whatever ends them. A cut is a rule in
nftables' bridge table.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence

HUB = "203.0.113.1"
EIP = "198.51.100.50"
ADDRESSES = {"a": "203.0.113.11", "b": "203.0.113.12", "c": "203.0.113.13"}
HUB_V6, PREFIX = "2001:db8::ff", "2001:db8:0:1::/96"
ADDRESSES_V6 = {"a": "2001:db8::1", "b": "2001:db8::2", "c": "2001:db8::3"}  # as the simulated zone gives them
PORT = 12345  # of the heartbeats


def command(*words: str, text: str | None = None) -> str:
    """What a command prints; its words when it fails."""
    done = subprocess.run(words, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}"
    return done.stdout


def cable(name: str) -> str:
    """The hub's end of a host's cable."""
    return f"cable-{name}"


def build(addresses: Mapping[str, str] = ADDRESSES) -> None:
    """Build it in this namespace, which is to be new."""
    command("ip", "link", "set", "lo", "up")
    command("ip", "link", "add", "hub", "type", "bridge")
    command("ip", "address", "add", f"{HUB}/24", "dev", "hub")
    command("ip", "address", "add", f"{HUB_V6}/64", "dev", "hub", "nodad")
    command("ip", "link", "set", "hub", "up")
    for name, address in addresses.items():
        command("ip", "netns", "add", name)
        command("ip", "link", "add", cable(name), "type", "veth", "peer", "name", "eth0", "netns", name)
        command("ip", "link", "set", cable(name), "master", "hub")
        command("ip", "-n", name, "link", "set", "lo", "up")
        command("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        command("ip", "-n", name, "address", "add", f"{ADDRESSES_V6[name]}/64", "dev", "eth0", "nodad")
        command("ip", "-n", name, "link", "set", "eth0", "up")
        # It answers for the Elastic IP on lo, but must not answer for it on the wire by itself.
        command("ip", "netns", "exec", name, "sysctl", "-q", "net.ipv4.conf.all.arp_ignore=1")


def plug(name: str, in_: bool) -> None:
    """Plug a host's cable in, or pull it: a host without power answers nothing."""
    command("ip", "link", "set", cable(name), "up" if in_ else "down")


def route(name: str) -> None:
    """Route the prefix to a host, as the cloud does it to the holder."""
    command("ip", "-6", "route", "replace", PREFIX, "via", ADDRESSES_V6[name], "dev", "hub")


def forget(name: str) -> None:
    """Make a host's loopback interface as it is before a machine boots: its namespace outlives the
    machine.
    """
    for what in (("link", "set", "lo", "down"), ("address", "flush", "dev", "lo"), ("link", "set", "lo", "up")):
        command("ip", "-n", name, *what)


@contextlib.contextmanager
def cut(one: Sequence[str], other: Sequence[str], hub: bool) -> Iterator[None]:
    """Drop what goes between the hosts `one` and the hosts `other`, and, if `hub`, between `one`
    and the hub, where the API is.
    """
    ones, others = ("{ " + ", ".join(f'"{cable(name)}"' for name in side) + " }" for side in (one, other))
    lines = [
        "table bridge cut {",
        "  chain forward { type filter hook forward priority 0;",
        f"    iifname {ones} oifname {others} counter drop; iifname {others} oifname {ones} counter drop; }}",
    ]
    if hub:
        lines += [
            f"  chain input {{ type filter hook input priority 0; iifname {ones} drop; }}",
            f"  chain output {{ type filter hook output priority 0; oifname {ones} drop; }}",
        ]
    command("nft", "-f", "-", text="\n".join([*lines, "}"]))
    try:
        yield
    finally:
        command("nft", "delete", "table", "bridge", "cut")
