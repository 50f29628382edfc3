"""What was discovered, kept in the runtime directory, so that a daemon that crashed beats again at once.

Discovery takes several calls to the API; a restart must be shorter than the dead time, and must work while the API is down. So
a restart within the same boot and with the same configuration begins with what is remembered, and reads the group anew as soon as it
runs. A planned stop forgets it: the next start discovers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from exoip.config.parse import Config
from exoip.exoscale.discovery import Member, Topology
from exoip.telemetry.log import log

_DECIDES = (
    "address",
    "bind_host",
    "bind_port",
    "instance_id",
    "peers",
    "peer_group",
    "api_endpoint",
    "zone",
    "metadata_url",
)


class Remembered:
    """The topology in $RUNTIME_DIRECTORY; nothing is kept without one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        self._path = Path(folder, "topology.json") if folder else None

    def load(self, config: Config) -> Topology | None:
        """Return what is remembered for this very configuration, or None."""
        if self._path is None:
            return None
        try:
            kept = json.loads(self._path.read_text())
            if kept["for"] != _fingerprint(config):
                return None
            fields = kept["topology"]
            fields["members"] = tuple(Member(**member) for member in fields["members"])
            fields["warnings"] = tuple(fields["warnings"])
            return Topology(**fields)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log(logging.WARNING, "%s is of no use: %s", self._path, error)
            return None

    def save(self, config: Config, topology: Topology) -> None:
        """Remember `topology` for this configuration."""
        if self._path is None:
            return
        text = json.dumps({"for": _fingerprint(config), "topology": dataclasses.asdict(topology)})
        new = self._path.with_suffix(".new")
        try:
            new.write_text(text)
            new.replace(self._path)
        except OSError as error:
            log(logging.WARNING, "can not remember the group in %s: %s", self._path, error.strerror)

    def forget(self) -> None:
        """The next start discovers."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _fingerprint(config: Config) -> str:
    decides = [str(getattr(config, name)) for name in _DECIDES]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()
