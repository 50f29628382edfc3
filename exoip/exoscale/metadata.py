"""Which instance am I, and where: asked of Exoscale's metadata service, else of what the machine itself knows.

The service answers plain text under `URL/latest/meta-data/`. Where it does not, as on an instance without a public
address, cloud-init has left the id in a file, and the hypervisor in the firmware (readable by root only). A third
place, the file `meta-data` on the volume labelled cidata, can not be read without mounting it: the message names it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from exoip.errors import ConfigError, MetadataUnavailable
from exoip.exoscale.models import one_line, uuid
from exoip.exoscale.transport import new_session

IDENTITY_FILES = (Path("/var/lib/cloud/data/instance-id"), Path("/sys/class/dmi/id/product_uuid"))
TIMEOUT = 2.0  # seconds, for one question
TRIES, PAUSE = 3, 1.0  # the network of a machine that boots may need some seconds more
_LIMIT = 1024  # bytes
_OK = 200
_BROKEN = 500  # and above: the service's own fault
_ZONE = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

Sleep = Callable[[float], None]


def instance_id(url: str, files: Sequence[Path] = IDENTITY_FILES, sleep: Sleep = time.sleep) -> str:
    """Return this instance's id. `url`: of the metadata service, without `/latest`. Raises ConfigError.

    `files` are looked at when the service does not answer, before it is asked again.
    """
    return _ask(url, "instance-id", uuid, lambda: _from_files(files), sleep)


def zone(url: str, sleep: Sleep = time.sleep) -> str:
    """Return the name of the zone that this instance is in, like "ch-gva-2". Raises ConfigError."""
    return _ask(url, "availability-zone", _zone_name, lambda: None, sleep)


def _ask(url: str, item: str, read: Callable[[str], str], otherwise: Callable[[], str | None], sleep: Sleep) -> str:
    where = f"{url.rstrip('/')}/latest/meta-data/{item}"
    trouble, kind = "", ConfigError
    for attempt in range(TRIES):
        if attempt:
            sleep(PAUSE)
        try:
            return read(_get(where))
        except (requests.RequestException, ValueError) as error:
            trouble = one_line(str(error))
            kind = MetadataUnavailable if isinstance(error, requests.RequestException | _ServerError) else ConfigError
        found = otherwise()
        if found is not None:
            return found
    raise kind(
        f"the metadata service (-xm) does not tell the {item}: GET {where}: {trouble}; give the instance's id by -i "
        "(IF_EXOSCALE_INSTANCE_ID) and its zone by -xz (IF_EXOSCALE_ZONE), for then it is not asked; on an instance "
        "without a public address both stand in the file meta-data of the volume /dev/disk/by-label/cidata"
    )


class _ServerError(ValueError):
    """The service answers that it does not work."""


def _get(url: str) -> str:
    with contextlib.closing(new_session(limit=_LIMIT)) as asking:
        request = requests.Request("GET", url, headers={"Accept": "text/plain"}).prepare()
        response = asking.send(request, timeout=TIMEOUT, allow_redirects=False)
    if response.status_code >= _BROKEN:
        raise _ServerError(f"status {response.status_code}")
    if response.status_code != _OK:
        raise ValueError(f"status {response.status_code}")
    return response.content.decode("ascii", "replace").strip()


def _zone_name(text: str) -> str:
    if not _ZONE.fullmatch(text):  # it becomes part of a host name
        raise ValueError(f"{one_line(text, 60)!r} is no zone's name")
    return text


def _from_files(files: Sequence[Path]) -> str | None:
    for file in files:
        with contextlib.suppress(OSError, ValueError), file.open("rb") as opened:
            return uuid(opened.read(_LIMIT).decode("ascii").strip())
    return None
