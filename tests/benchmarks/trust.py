"""The certificate of the bench's zone, so that the daemons speak TLS as they do in production."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from exoip.exoscale.transport import CA_FOLDER


class Trust:
    """A certificate for 127.0.0.1, made in `folder`: `server` serves by it; `trusted` has the system's certificates and this one."""

    def __init__(self, folder: Path) -> None:
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        made += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=bench"]
        _openssl(*made, "-addext", "subjectAltName=IP:127.0.0.1")
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(certificate, key)
        self.trusted = folder / "trusted"
        self.trusted.mkdir()
        for one in Path(CA_FOLDER).glob("*.0"):
            (self.trusted / one.name).symlink_to(one)
        (self.trusted / f"{_openssl('x509', '-hash', '-noout', '-in', str(certificate)).strip()}.0").symlink_to(
            certificate
        )


def _openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True, timeout=60).stdout
