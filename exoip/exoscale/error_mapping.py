"""From a call that went wrong to one of the exceptions of `errors.py`.

The texts come from whoever answered: they are shown as one printable line of limited length, and nothing else is done
with them. Never in there: the API secret, the Authorization header.
"""

from __future__ import annotations

import json
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from exoip.errors import (
    ApiConflict,
    ApiError,
    ApiForbidden,
    ApiInvalid,
    ApiNotFound,
    ApiTimeout,
    ApiUnavailable,
    ApiUnreachable,
)
from exoip.exoscale.models import one_line

LONGEST_RETRY_AFTER = 300.0  # seconds; who asks for more is asked again sooner
CLOCK_TOLERANCE = 60.0  # seconds that our clock may differ from the API's before a refusal is blamed on it
_REFUSED = (401, 403)
_BY_STATUS: dict[int, type[ApiError]] = {401: ApiForbidden, 403: ApiForbidden, 404: ApiNotFound, 409: ApiConflict}


def from_exception(error: requests.RequestException, label: str, endpoint: str) -> ApiError:
    """Return the error for a call, named `label`, that got no answer from `endpoint` or one that is no HTTP."""
    kind: type[ApiError] = ApiUnavailable
    if isinstance(error, requests.Timeout):
        kind = ApiTimeout
    elif isinstance(error, requests.ConnectionError):
        kind = ApiUnreachable
    return kind(f"{label} at {endpoint}: {one_line(str(error))}", call=label)


def from_response(response: requests.Response, label: str, operation: str, now: float) -> ApiError:
    """Return the error for an answer that is no 2xx.

    `operation`: the call's name in the rules of a key's role; `now`: Unix time in seconds by our clock.
    """
    status = response.status_code
    kind = _BY_STATUS.get(status)
    if kind is None:
        kind = ApiInvalid if 400 <= status < 500 and status != 429 else ApiUnavailable
    said = error_text(response.content) or one_line(response.reason or "", 60)
    if 300 <= status < 400:
        said = f"a redirect to {one_line(response.headers.get('Location', 'nowhere'))}, which is not followed"
    text = f"{label}: status {status}: {said}" if said else f"{label}: status {status}"
    if status in _REFUSED:
        text += f"; check the API key, its secret, and that its role allows {operation}" + _clock_text(response, now)
    return kind(text, call=label, retry_after=_retry_after(response, now))


def error_text(body: bytes) -> str:
    """Return what an error's body says: its message, error, title, detail and errors, else the body as text."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return one_line(body[:4096].decode("utf-8", "replace"))
    if not isinstance(answer, dict):
        return one_line(str(answer)) if isinstance(answer, str) else one_line(body[:4096].decode("utf-8", "replace"))
    errors = answer.get("errors")
    candidates = [answer.get(name) for name in ("message", "error", "title", "detail")]
    candidates += errors[:10] if isinstance(errors, list) else []
    texts = (one_line(_text_of(candidate)) for candidate in candidates)
    return one_line(": ".join(dict.fromkeys(filter(None, texts)))) or one_line(body[:4096].decode("utf-8", "replace"))


def _text_of(value: Any) -> str:
    if isinstance(value, dict):  # {"message": …}
        value = value.get("message")
    return value if isinstance(value, str) else ""


def _date(text: str | None) -> float | None:
    """Return an HTTP date as Unix time in seconds, None for anything else."""
    try:
        date = parsedate_to_datetime(text or "")
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _retry_after(response: requests.Response, now: float) -> float | None:
    """Return the seconds to wait, at most LONGEST_RETRY_AFTER. A date there counts from the answer's own Date."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:16]), LONGEST_RETRY_AFTER)
    until = _date(text)
    if until is None:
        return None
    sent = _date(response.headers.get("Date"))
    return min(max(until - (now if sent is None else sent), 0.0), LONGEST_RETRY_AFTER)


def _clock_text(response: requests.Response, now: float) -> str:
    sent = _date(response.headers.get("Date"))
    if sent is None or abs(now - sent) < CLOCK_TOLERANCE:
        return ""
    side = "ahead of" if now > sent else "behind"
    return (
        f"; this host's clock is {abs(now - sent):.0f} s {side} the API's, which makes signatures invalid: "
        "set it right (NTP)"
    )
