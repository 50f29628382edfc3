"""Find the daemons of this host and send requests to their control sockets,
/run/exoip/NAME/control.

Shown by tests/unit/ctl/test_client.py.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import re
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exoip.ctl.terminal import CRITICAL, UNKNOWN
from exoip.errors import ExoipError
from exoip.operator.control_protocol import LONGEST_TEXT, VERSION

RUNTIME_DIR = "/run/exoip"
TIMEOUT = 5.0  # seconds for a whole exchange
_LARGEST_ANSWER = 1 << 24  # bytes
_NAME = re.compile(r"[A-Za-z0-9:_\\@-][A-Za-z0-9:_.\\@-]{0,100}")  # what systemd allows as an instance name

# What each failure means for the daemon, and its message. The first class that fits counts.
_FAILURES: tuple[tuple[tuple[type[OSError], ...], str, str], ...] = (
    (
        (FileNotFoundError,),
        UNKNOWN,
        "{name} is not running, or has no control socket: no {path} (see `systemctl status exoip@{name}`)",
    ),
    ((PermissionError,), UNKNOWN, "{name}: only root and the group exoip may use {path}"),
    ((ConnectionRefusedError,), CRITICAL, "{name} is not running: nothing listens at {path} any more"),
    ((ConnectionResetError,), CRITICAL, "{name}: no answer; {path} closed the connection"),
    ((TimeoutError, BlockingIOError), CRITICAL, "{name} did not answer within {timeout:.2g} s{order}"),
    ((OSError,), CRITICAL, "{name}: {path}: {error}"),
)


class NoAnswer(ExoipError):
    """No daemon answered. `level`: CRITICAL if it should have, UNKNOWN if nothing is known."""

    def __init__(self, message: str, level: str = UNKNOWN) -> None:
        super().__init__(message)
        self.level = level


class Rejected(ExoipError):
    """The daemon rejected the request; the message is its own."""


@dataclass(frozen=True, slots=True)
class ControlSocket:
    """A daemon's control socket.

    `name` is the instance of its unit, exoip@NAME.service. `timeout`: seconds for a whole exchange.
    """

    name: str
    path: Path
    timeout: float = TIMEOUT


def list_sockets(runtime_dir: str) -> list[ControlSocket]:
    """Return the control sockets that exist, by name.

    Raises NoAnswer if the directory cannot be read.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(runtime_dir) if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise NoAnswer(f"cannot read {runtime_dir}: {error.strerror}") from error
    found = [ControlSocket(name, Path(runtime_dir, name, "control")) for name in names]
    return [one for one in found if _exists(one.path)]


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        return error.errno != errno.ENOENT  # it may exist: the request will show what is wrong
    return True


def find_socket(name: str, runtime_dir: str) -> ControlSocket:
    """Return the control socket of a daemon, running or not.

    `name` is `web` or `exoip@web.service`.

    Raises NoAnswer if no unit can have that name.
    """
    instance = re.sub(r"^exoip@(.+?)(\.service)?$", r"\1", name)
    if not _NAME.fullmatch(instance):
        raise NoAnswer(f"{name!r} cannot be an instance name: use that of the file, web for /etc/exoip/web.conf")
    return ControlSocket(instance, Path(runtime_dir, instance, "control"))


def send(daemon: ControlSocket, request: str, **fields: object) -> dict[str, Any]:
    """Send a request and return the answer. Raises NoAnswer or Rejected."""
    line = json.dumps({"version": VERSION, "request": request, **fields}).encode() + b"\n"
    try:
        answer = json.loads(_exchange(daemon, line))
        version, granted = answer["version"], answer["ok"]
    except OSError as error:
        level, text = next((level, text) for kinds, level, text in _FAILURES if isinstance(error, kinds))
        reason, order = error.strerror or error, ", but may still carry this out" if fields else ""
        raise NoAnswer(
            text.format(name=daemon.name, path=daemon.path, timeout=daemon.timeout, error=reason, order=order), level
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NoAnswer(f"{daemon.name}: {daemon.path} is not answered by an exoip daemon") from None
    if version != VERSION:
        raise NoAnswer(f"{daemon.name}: the daemon uses protocol version {version!r}, this exoipctl version {VERSION}")
    if granted is not True:
        raise Rejected(f"{daemon.name}: {answer.get('error', 'no reason given')}")
    return dict(answer)


def _exchange(daemon: ControlSocket, line: bytes) -> bytes:
    """Send the line and return the answer. Raises OSError, also if that takes too long."""
    timeout = daemon.timeout
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX) as client:
        # With these timeouts, unlike settimeout's, connect waits for room in the daemon's queue
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            client.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(timeout), int(timeout % 1 * 1e6)))
        client.connect(str(daemon.path))
        with contextlib.suppress(BrokenPipeError):  # read what the daemon said before it closed
            client.sendall(line)
        answer = bytearray()
        while not answer.endswith(b"\n") and len(answer) <= _LARGEST_ANSWER:
            part = client.recv(1 << 16)
            if time.monotonic() > deadline:
                raise TimeoutError
            if not part:
                break
            answer += part
    if not answer:
        raise ConnectionResetError
    return bytes(answer)


def requester(environ: Mapping[str, str]) -> str:
    """Return the user who asks: the one who became root with sudo or doas, or else the process's
    own.
    """
    name = environ.get("SUDO_USER") or environ.get("DOAS_USER", "")
    if not name:
        with contextlib.suppress(KeyError):
            name = pwd.getpwuid(os.getuid()).pw_name
    return "".join(filter(str.isprintable, name))[:LONGEST_TEXT]
