"""Check a request's EXO2-HMAC-SHA256 signature, as the service does.

Written from the description of the scheme, without the client's code, so that each checks the
other. Five segments are signed, joined by newlines: `METHOD path`; the body; the decoded values of
the signed query parameters in the order that the header names them; nothing (no header is signed);
the expiry as Unix time.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping

from exoip.sandbox.model import Forbidden, Invalid, Key, Unauthenticated

SCHEME = "EXO2-HMAC-SHA256"
Query = tuple[tuple[str, str], ...]


def claimed_key(header: str | None) -> str:
    """Return the key that an Authorization header names, "" if it is malformed. Checks nothing."""
    try:
        return _fields(header)["credential"]
    except Unauthenticated:
        return ""


def verify(
    header: str | None, method: str, path: str, query: Query, body: bytes, keys: Mapping[str, Key], wall: float
) -> Key:
    """Return the key that signed the request.

    `path` is as sent, `query` decoded, `wall` the Unix time now.

    Raises Unauthenticated (no signature, or malformed), Forbidden (unknown key, wrong, expired) or
    Invalid (a query parameter twice: clients disagree on how to sign that).
    """
    fields = _fields(header)
    names = [name for name, _ in query]
    if len(set(names)) != len(names):
        raise Invalid(f"a query parameter is given twice: {', '.join(sorted(names))}")
    signed = fields["signed-query-args"].split(";") if fields["signed-query-args"] else []
    if sorted(signed) != sorted(names):
        raise Forbidden(f"the signature covers the query parameters {signed}, the request has {names}")
    if fields["credential"] not in keys:
        raise Forbidden(f"Invalid credentials: unknown API key {fields['credential']}")
    key = keys[fields["credential"]]
    values = dict(query)
    message = b"\n".join(
        (
            f"{method} {path}".encode(),
            body,
            "".join(values[name] for name in signed).encode(),
            b"",
            fields["expires"].encode(),
        )
    )
    expected = hmac.new(key.secret.encode(), message, "sha256").digest()
    if not hmac.compare_digest(expected, _decoded(fields["signature"])):
        raise Forbidden("Invalid signature")
    if int(fields["expires"]) <= wall:
        raise Forbidden(f"Signature expired: {fields['expires']} is past, the time is {int(wall)}")
    return key


def _fields(header: str | None) -> dict[str, str]:
    """Return the parts of an Authorization header; `signed-query-args` is "" if absent.

    Raises Unauthenticated.
    """
    if not header:
        raise Unauthenticated("the request is not signed: no Authorization header")
    scheme, _, rest = header.partition(" ")
    fields = {"signed-query-args": ""} | dict(re.findall(r"(?:^|,)\s*([a-z-]+)=([^,]*)", rest))
    missing = [name for name in ("credential", "expires", "signature") if not fields.get(name)]
    if scheme != SCHEME or missing or not re.fullmatch(r"[0-9]{1,12}", fields["expires"]):
        raise Unauthenticated(
            f"malformed Authorization header, not {SCHEME} credential=…[,signed-query-args=a;b],expires=…,signature=…"
        )
    return fields


def _decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return b""
