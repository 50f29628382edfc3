"""Make a certificate for 127.0.0.1, so that tests and benchmarks speak TLS as in production."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


class Certificate:
    """A self-signed certificate in `folder`, for the address 127.0.0.1.

    `path`: the file to trust; `hashed_name`: its name in a folder of trusted certificates;
    `server`: the TLS context that serves with it.
    """

    def __init__(self, folder: Path) -> None:
        self.path, key = folder / "certificate.pem", folder / "key.pem"
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        words += ["-keyout", str(key), "-out", str(self.path), "-subj", "/CN=exoip test"]
        _openssl(*words, "-addext", "subjectAltName=IP:127.0.0.1")
        self.hashed_name = f"{_openssl('x509', '-hash', '-noout', '-in', str(self.path)).strip()}.0"
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self.path, key)


def _openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True, timeout=60).stdout
