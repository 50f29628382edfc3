"""Sign API requests: EXO2-HMAC-SHA256. Pure: the expiry is passed in.

Five segments are signed, joined by newlines, with none at the end:

1. ``METHOD path``: the path as sent (percent-escaped, with ``/v2``), without the query
2. the exact bytes of the body, or nothing
3. the decoded values of the query parameters, sorted by parameter name, joined by nothing
4. nothing (no header is signed)
5. the expiry: Unix time in decimal

Source: https://openapi-v2.exoscale.com, and the official clients, which make the same signatures.
Shown by tests/unit/exoscale/test_signing.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping


def authorization(
    method: str, path: str, query: Mapping[str, str], body: bytes, key: str, secret: str, expires: int
) -> str:
    """Return the value of the Authorization header.

    `method` in capitals; `path` and `body` exactly as sent; `query` decoded; `expires` in seconds
    of Unix time. Raises ValueError for a blank parameter, because clients disagree on how to sign
    it.
    """
    names = sorted(query)
    blank = [name for name in names if not name or not query[name]]
    if blank:
        raise ValueError(f"query parameter {blank[0]!r} is blank and cannot be signed reliably: leave it out")
    values = "".join(query[name] for name in names)
    message = b"\n".join((f"{method} {path}".encode(), body, values.encode(), b"", str(expires).encode()))
    signature = base64.b64encode(hmac.digest(secret.encode(), message, hashlib.sha256)).decode()
    signed = f",signed-query-args={';'.join(names)}" if names else ""
    return f"EXO2-HMAC-SHA256 credential={key}{signed},expires={expires},signature={signature}"
