"""The certificate of the bench's zone, so that the daemons speak TLS as they do in production."""

from __future__ import annotations

from pathlib import Path

from exoip.exoscale.transport import CA_FOLDER
from tests.support.certificate import Certificate


class Trust:
    """A certificate for 127.0.0.1, made in `folder`.

    `server` serves with it; the folder `trusted` has the system's certificates and this one.
    """

    def __init__(self, folder: Path) -> None:
        certificate = Certificate(folder)
        self.server = certificate.server
        self.trusted = folder / "trusted"
        self.trusted.mkdir()
        for one in Path(CA_FOLDER).glob("*.0"):
            (self.trusted / one.name).symlink_to(one)
        (self.trusted / certificate.hashed_name).symlink_to(certificate.path)
