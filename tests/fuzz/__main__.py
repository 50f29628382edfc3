"""Fuzzes what takes in bytes of others: `script/fuzz [TARGET...] [--seconds N] [--inputs N] [--seed
N] [--plain]`.

    receiver       datagrams on their way to the election, with and without a key: nothing but a member's proven heartbeat changes anything
    http           what a server of the API or of metadata sends: an answer or an error of the transport, of bounded size
    answers        a JSON body as the API's client takes it apart
    metadata       a body of the metadata service
    configuration  the file of -c: a configuration or an error, and neither shows a secret
    control        lines on the control socket

Each target is a function of bytes that raises when a promise is broken. With atheris (Google's, of
PyPI) the search is guided by the coverage of the code; without it, or with --plain, inputs are
mutated examples, and the seed tells all of them. What breaks is printed as hex and can be tried
again with --hex.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import importlib
import importlib.util
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from exoip.config.parse import Config, describe, parse
from exoip.core.node import Node
from exoip.core.peers import ElectionConfig
from exoip.daemon.heartbeat_threads import HeartbeatLink, Receiver
from exoip.errors import ApiError, ConfigError, ControlRequestError
from exoip.exoscale import client, metadata
from exoip.exoscale.connection import HEAD_LIMIT, Budget, Connection
from exoip.heartbeat.authentication import AuthMode, AuthPolicy
from exoip.heartbeat.wire import SIGNED, SIGNED_V6, SIZE, SIZE_V6, Heartbeat, encode
from exoip.operator import control_protocol
from tests.support.paths import ROOT

Target = Callable[[bytes], None]
SECONDS = 10.0
EIP, EIP_V6, OWN = "198.51.100.50", "2001:db8:0:1::1", "00000000-0000-4000-8000-00000000000f"
PACKED_V6 = bytes.fromhex("20010db8000000010000000000000001")
IDS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(3)]
ADDRESSES = ["192.0.2.0", "192.0.2.1", "2001:db8::2", "203.0.113.9"]  # those of the members, and of a stranger
KEY, SECRET, WALL = b"a-key-of-all-the-nodes", "9sEcReT-x_Yz0", 1_800_000_000.0
RULES = (AuthPolicy((KEY,)), AuthPolicy((KEY,), AuthMode.ACCEPT), AuthPolicy((KEY,), AuthMode.SEND), AuthPolicy())


class Broken(AssertionError):
    """A promise is broken."""


# -- datagrams --------------------------------------------------------------------------------------------------------


class Inlet:
    """A channel without a socket: what it is given waits in it."""

    capacity = 100
    socket = 0  # any descriptor: nothing here waits for it

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes, str]] = []

    def receive(self) -> tuple[bytes, str] | None:
        return self.waiting.pop(0) if self.waiting else None

    def set_filter(self, _steps: bytes | None) -> bool:
        return True

    def dropped(self) -> int:
        return 0


class Hearing:
    """A node and its receiver, by one set of rules. It lives on from input to input, as the daemon
    does.
    """

    def __init__(self, eip: str, auth_policy: AuthPolicy) -> None:
        self.now, self.eip, self.auth_policy, self.events = 1000.0, eip, auth_policy, 0
        members = {one: (address, 1) for one, address in zip(IDS, ADDRESSES, strict=False)}
        self.node = Node(ElectionConfig(OWN), eip, members, self.now, emit=self._count)
        self.inlet = Inlet()
        link = HeartbeatLink(self.inlet, self.node, self._count, auth_policy, lambda: self.now, lambda: WALL)  # type: ignore[arg-type]
        self.receiver = Receiver(link)

    def _count(self, _event: object) -> None:
        self.events += 1

    def __call__(self, datagram: bytes, address: str) -> None:
        self.now += 0.01
        self.node.next_advert(self.now)  # else it would find that it has slept
        peers, refused = self.node._election.peers, self.node._dropped.counts.total()
        before = {one: peer.last_seen for one, peer in peers.items()}
        received = datagram[: SIGNED_V6 + 1]  # no more of it is read from the socket
        self.receiver.accept(received, address)
        changed = {one for one, peer in peers.items() if peer.last_seen != before.get(one)}
        if peers.keys() != set(IDS) or not changed <= {proven(received, address, self.eip, self.auth_policy)}:
            raise Broken(f"{datagram.hex()} of {address} changed {sorted(changed)}")
        if bool(changed) == (self.node._dropped.counts.total() != refused):
            raise Broken(f"{datagram.hex()} of {address} is neither taken nor counted")
        kept = len(self.node._dropped._others) + len(self.node._dropped._members)
        if kept > 500 or len(self.node.admission._stamps._senders) > len(IDS) or len(self.node._dropped.counts) > 12:
            raise Broken("more and more is kept")


def proven(datagram: bytes, address: str, eip: str, auth_policy: AuthPolicy) -> str:
    """The member whose heartbeat this may be, said without the code under test; "" when of none."""
    if eip == EIP:
        size, signed, start = SIZE, SIGNED, b"\2\1" + datagram[2:3] * 2 + bytes(map(int, EIP.split(".")))
    else:
        size, signed, start = SIZE_V6, SIGNED_V6, b"\2\2" + datagram[2:3] * 2 + PACKED_V6
    head, trailer = datagram[:size], datagram[size:]
    who = next((one for one in IDS if head == start + bytes.fromhex(one.replace("-", ""))), "")
    if not who or ADDRESSES[IDS.index(who)] != address or len(datagram) not in (size, signed):
        return ""
    if (
        not auth_policy.keys
        or auth_policy.mode is AuthMode.SEND
        or (not trailer and auth_policy.mode is AuthMode.ACCEPT)
    ):
        return who
    good = hmac.new(KEY, datagram[:-16], hashlib.sha256).digest()[:16] == datagram[-16:]
    return who if good else ""


def receiver() -> Target:
    """The first byte says by which rules and for which Elastic IP, the second of which address; the
    rest is the datagram.
    """
    hearing = [Hearing(eip, auth_policy) for eip in (EIP, EIP_V6) for auth_policy in RULES]

    def target(data: bytes) -> None:
        if len(data) >= 2:
            hearing[data[0] % len(hearing)](data[2:], ADDRESSES[data[1] % len(ADDRESSES)])

    return target


def datagrams(chance: random.Random) -> bytes:
    """An example for the receiver: a good heartbeat of some member, signed or not, perhaps with a
    stamp of long ago.
    """
    who, hearing = chance.randrange(len(IDS)), chance.randrange(2 * len(RULES))
    beat = encode(Heartbeat(chance.randrange(256), EIP if hearing < len(RULES) else EIP_V6, IDS[who]))
    stamp = int((WALL + chance.choice([0, 0, chance.uniform(-1e3, 1e3)]) + chance.random()) * 1e6)
    return bytes([hearing, who]) + chance.choice([beat, RULES[0].sign(beat, stamp), RULES[0].sign(beat, stamp)])


# -- what servers say -------------------------------------------------------------------------------------------------


def http() -> Target:
    limit = 1024

    def target(data: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                theirs.sendall(data)
            theirs.shutdown(socket.SHUT_WR)
            connection, budget = Connection("127.0.0.1", 1, None), Budget(5.0)
            connection._sock = ours
            try:
                _, body = connection.exchange("GET", b"", limit, budget)
            except (OSError, ValueError) as error:
                if isinstance(error, TimeoutError):
                    raise Broken("it waits for a server that has ended") from error
            except Exception as error:
                if not type(error).__module__.startswith("http."):
                    raise
            else:
                if len(body) > limit or budget.received > limit + HEAD_LIMIT:
                    raise Broken("more is read than may be")

    return target


def replies(chance: random.Random) -> bytes:
    """An example of what a server sends."""
    body = chance.choice([b"{}", b'{"instances": []}', b"", b"x" * 2000])
    framed = {
        "length": b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        "close": b"Connection: close\r\n\r\n" + body,
    }[chance.choice(["length", "chunked", "close"])]
    return b"HTTP/1.1 %d OK\r\nServer: x\r\n" % chance.choice([200, 200, 204, 304, 100, 404, 503]) + framed


def answers() -> Target:
    """A body, as if it had come with status 200, to each call."""
    api = client.Client("http://127.0.0.1:1/v2", "EXOtest", SECRET)

    class Transport:
        def send(self, _request: object, _timeout: float) -> Any:
            return self

        status_code, content, headers = 200, b"", {"Date": "Tue, 14 Nov 2023 22:13:20 GMT"}

    transport = Transport()
    api._transport = transport  # type: ignore[assignment]
    calls: list[Callable[[], object]] = [
        api.zones, api.elastic_ips, api.security_groups, api.instances,
        lambda: api.instance(IDS[0]), lambda: api.operation(IDS[0]), lambda: api.attach(IDS[1], IDS[0]),
    ]  # fmt: skip

    def target(data: bytes) -> None:
        transport.content = data
        for call in calls:
            try:
                call()
            except ApiError as error:
                told(str(error))

    return target


def bodies(chance: random.Random) -> bytes:
    """An example of a body of the API."""
    one = {"id": chance.choice(IDS), "name": "n1", "state": "running", "public-ip": "192.0.2.1", "ipv6-address": "2001:db8::1",
           "elastic-ips": [{"id": IDS[1]}], "security-groups": [{"id": IDS[2]}], "reason": "busy", "message": "x"}  # fmt: skip
    name = chance.choice(["instances", "elastic-ips", "security-groups", "zones"])
    return json.dumps(
        chance.choice([one, {name: [one]}, {name: []}, {"zones": [{"name": "z", "api-endpoint": "https://x"}]}])
    ).encode()


def a_metadata_service() -> Target:
    def target(data: bytes) -> None:
        text = data.decode("ascii", "replace").strip()
        for read in (metadata.uuid, metadata._zone_name):
            try:
                found = read(text)
            except ValueError as error:
                told(str(error))
            else:
                if not found.replace("-", "").isalnum() or len(found) > 40:
                    raise Broken(f"{found!r} gets into a URL")

    return target


def told(text: str) -> None:
    """What an error says is one line and not endless, whatever it is about."""
    if not text.isprintable() or len(text) > 1500 or SECRET in text:
        raise Broken(f"an error says {text[:200]!r}")


# -- what people write ------------------------------------------------------------------------------------------------


def configuration() -> Target:
    path = Path(tempfile.mkdtemp(prefix="exoip-fuzz-"), "web.conf")
    environ = {"IF_ADDRESS": EIP, "IF_EXOSCALE_API_KEY": "EXOtest", "IF_EXOSCALE_API_SECRET": SECRET}
    path.touch(mode=0o640)

    def target(data: bytes) -> None:
        path.write_bytes(data)
        try:
            made = parse(["-W", "-c", str(path)], environ)
        except ConfigError as error:
            told(str(error))
        else:
            if not isinstance(made, Config) or SECRET in describe(made) + repr(made):
                raise Broken("it shows the secret")

    return target


def files(chance: random.Random) -> bytes:
    """An example of a configuration file: some lines of the one that comes with the package."""
    lines = (ROOT / "packaging" / "example.conf").read_text().splitlines()
    lines = [line.lstrip("#") if " = " in line else line for line in lines]
    return "\n".join(chance.sample(lines, chance.randrange(1, 12))).encode() + b"\nexoscale-peers = 192.0.2.7\n"


def control() -> Target:
    def target(data: bytes) -> None:
        try:
            control_protocol.parse(data)
        except ControlRequestError as error:
            told(str(error))

    return target


def requests(chance: random.Random) -> bytes:
    """An example of a request on the control socket."""
    return json.dumps({
        "version": 1, "request": chance.choice(["status", "drain", "undrain", "failover", "priority"]),
        **chance.choice([{}, {"why": "x", "by": "y"}, {"for": 60, "force": True}, {"priority": 7}]),
    }).encode()  # fmt: skip


TARGETS: dict[str, tuple[Callable[[], Target], Callable[[random.Random], bytes]]] = {
    "receiver": (receiver, datagrams),
    "http": (http, replies),
    "answers": (answers, bodies),
    "metadata": (a_metadata_service, lambda chance: chance.choice([IDS[0], "ch-gva-2"]).encode()),
    "configuration": (configuration, files),
    "control": (control, requests),
}


# -- the search -------------------------------------------------------------------------------------------------------


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The same with some things changed."""
    out = bytearray(data)
    kinds = chance.choice([(2, 3), (0, 1, 2, 3, 4, 5)])  # half of them keep their length
    for _ in range(chance.choice([0, 1, 1, 2, 3, 8])):
        at, kind = chance.randrange(len(out) + 1), chance.choice(kinds)
        if kind == 0:
            out[at:at] = chance.randbytes(chance.choice([1, 1, 2, 24, 48]))
        elif kind == 1:
            del out[at : at + chance.choice([1, 1, 2, 24])]
        elif kind == 2 and at < len(out):
            out[at] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        elif kind == 3 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 4:
            out[at:at] = out[at : at + chance.randrange(30)]
        elif kind == 5:
            out[at:at] = chance.choice([b"\r\n", b"9" * 30, b"\0", b'"', b"{", b"[" * 50, b",", b"\xff", b"-1", b"="])
    return bytes(out)


def plain(name: str, seconds: float, inputs: int, seed: int) -> int:
    """Try mutated examples for so long, or so many; return how many it were."""
    make, example = TARGETS[name]
    target, chance, tried = make(), random.Random(seed), 0
    end = time.monotonic() + seconds
    while (tried < inputs) if inputs else (tried % 100 or time.monotonic() < end):
        data = mutated(example(chance), chance)
        try:
            target(data)
        except Exception:
            print(f"{name} breaks at input {tried} of seed {seed}: --hex {data.hex()}", file=sys.stderr)
            raise
        tried += 1
    return tried


def guided(name: str, seconds: float, inputs: int, seed: int) -> None:
    """Let atheris search; it ends the process."""
    atheris = importlib.import_module("atheris")
    make, example = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        chance = random.Random(seed)
        for number in range(64):
            Path(corpus, str(number)).write_bytes(example(chance))
        words = [f"-seed={seed or 1}", "-max_len=4096", "-print_final_stats=1", corpus]
        words += [f"-runs={inputs}"] if inputs else [f"-max_total_time={round(seconds)}"]
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], *words], make())
        atheris.Fuzz()


def search(name: str, options: argparse.Namespace) -> int:
    """Search one target, guided, in a process of its own; return its exit code."""
    print(f"{name}: instruments the code, which takes up to a minute, then searches", flush=True)
    words = [f"--seconds={options.seconds}", f"--inputs={options.inputs}", f"--seed={options.seed}", "--guided"]
    command = [sys.executable, "-m", "tests.fuzz", *words, name]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode:
        print(f"{name}:\n{done.stderr[-4000:]}", file=sys.stderr)
        return 1
    figures = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line or "DONE" in line]
    print(f"{name}, guided by coverage: {' '.join(' '.join(figures).split())}, seed {options.seed}", flush=True)
    return 0


def main(argv: Sequence[str]) -> int:
    """The command. As many guided searches as there are processors run at a time."""
    parser = argparse.ArgumentParser(
        prog="script/fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for each target ({SECONDS:g})")
    parser.add_argument("--inputs", type=int, default=0, help="so many for each target, in place of the time")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 30))
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--hex", help="only this input")
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if wrong := set(options.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(wrong))}")
    names = options.targets or list(TARGETS)
    if options.hex is not None:
        for name in names:
            TARGETS[name][0]()(bytes.fromhex(options.hex))
    elif options.guided:
        for name in names:
            guided(name, options.seconds, options.inputs, options.seed)
    elif options.plain or importlib.util.find_spec("atheris") is None:
        for name in names:
            began = time.monotonic()
            tried = plain(name, options.seconds, options.inputs, options.seed)
            rate = tried / (time.monotonic() - began)
            print(f"{name}: {tried} inputs, {rate:.0f} a second, seed {options.seed}", flush=True)
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return max(pool.map(lambda name: search(name, options), names))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
