"""Finds the daemons of this host, and asks them: each has its control socket in a folder of its own name below /run/exoip."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exoip.ctl.levels import CRITICAL, UNKNOWN
from exoip.errors import ExoipError
from exoip.operator.control_protocol import LONGEST_TEXT, VERSION

RUNTIME = "/run/exoip"
TIMEOUT = 5.0  # seconds that an answer may take
_LARGEST = 1 << 24  # bytes of an answer
_AGAIN = 0.02

_INSTANCE = re.compile(r"[A-Za-z0-9:_\\@-][A-Za-z0-9:_.\\@-]{0,100}")  # what systemd allows of the name of an instance


class Unanswered(ExoipError):
    """Nobody answered; `level` says whether that is known to be bad, or nothing is known."""

    def __init__(self, message: str, level: str = UNKNOWN) -> None:
        super().__init__(message)
        self.level = level


class Refused(ExoipError):
    """The daemon does not do it; the message is its own."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon by the name of its unit's instance, and its socket."""

    name: str
    path: Path


def daemons(runtime: str) -> list[Daemon]:
    """Return the daemons that have a socket, by name. Raises Unanswered when the folder can not be looked into."""
    try:
        names = sorted(entry.name for entry in os.scandir(runtime) if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unanswered(f"{runtime} can not be read: {error.strerror}") from error
    found = [Daemon(name, Path(runtime, name, "control")) for name in names]
    return [one for one in found if _there(one.path)]


def _there(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:  # it may be: asking it will say what is wrong
        return True
    return True


def daemon(name: str, runtime: str) -> Daemon:
    """Return the daemon of that name, running or not. `exoip@web.service` and `web` are the same. Raises Unanswered."""
    short = re.sub(r"^exoip@(.+?)(\.service)?$", r"\1", name)
    if not _INSTANCE.fullmatch(short):
        raise Unanswered(
            f"{name!r} can not be the name of an instance: give that of its file, web for /etc/exoip/web.conf"
        )
    return Daemon(short, Path(runtime, short, "control"))


def ask(one: Daemon, request: str, **fields: object) -> dict[str, Any]:
    """Return the answer to a request. Raises Unanswered, or Refused."""
    line = json.dumps({"version": VERSION, "request": request, **fields}).encode() + b"\n"
    try:
        answer = json.loads(_exchange(one, line))
        version, granted = answer["version"], answer["ok"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unanswered(f"{one.name}: what answers at {one.path} is no exoip") from None
    if version != VERSION:
        raise Unanswered(f"{one.name}: the daemon speaks version {version!r}, this exoipctl version {VERSION}")
    if granted is not True:
        raise Refused(f"{one.name}: {answer.get('error', 'no reason given')}")
    return dict(answer)


def _exchange(one: Daemon, line: bytes) -> bytes:
    ends = time.monotonic() + TIMEOUT
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        try:
            _connect(client, str(one.path), ends)
            with contextlib.suppress(BrokenPipeError):  # what it said before it hung up is still to be read
                client.sendall(line)
            return _answer(client, ends)
        except ConnectionResetError:
            raise Unanswered(f"{one.name}: what listens at {one.path} hung up", CRITICAL) from None
        except FileNotFoundError:
            cure = f"systemctl status exoip@{one.name}"
            raise Unanswered(f"{one.name} does not run: there is no {one.path} ({cure} tells more)") from None
        except PermissionError:
            raise Unanswered(f"{one.name}: {one.path} is for root and the group exoip only") from None
        except ConnectionRefusedError:
            raise Unanswered(f"{one.name} does not run: nobody listens at {one.path} any more", CRITICAL) from None
        except TimeoutError:
            raise Unanswered(f"{one.name} did not answer within {TIMEOUT:g} s", CRITICAL) from None
        except OSError as error:
            raise Unanswered(f"{one.name}: {one.path}: {error.strerror or error}", CRITICAL) from error


def _connect(client: socket.socket, path: str, ends: float) -> None:
    """Connect; a socket with a time-out does not wait for room in the queue by itself."""
    while True:
        try:
            client.connect(path)
        except BlockingIOError as error:
            if error.errno != errno.EAGAIN or time.monotonic() >= ends:
                raise TimeoutError from error
            time.sleep(_AGAIN)
        else:
            return


def _answer(client: socket.socket, ends: float) -> bytes:
    came = bytearray()
    while not came.endswith(b"\n"):
        if (left := ends - time.monotonic()) <= 0:
            raise TimeoutError
        client.settimeout(left)
        part = client.recv(1 << 16)
        if not part or len(came) > _LARGEST:
            break
        came += part
    if not came:
        raise ConnectionResetError
    return bytes(came)


def asker(environ: Mapping[str, str]) -> str:
    """Return who asks: the user that became root by sudo, or else the user that we are."""
    name = environ.get("SUDO_USER") or environ.get("DOAS_USER", "")
    if not name:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = ""
    return "".join(filter(str.isprintable, name))[:LONGEST_TEXT]
