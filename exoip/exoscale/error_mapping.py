"""Map failed API calls to the exceptions of `errors.py`.

Texts from the API appear in messages as one printable line of limited length, and are used for
nothing else. The API secret and the Authorization header never appear.
Shown by tests/unit/exoscale/test_client.py, TestAnswers.
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
    WrongClock,
)
from exoip.exoscale.models import one_line

CLOCK_TOLERANCE = 60.0  # seconds that our clock may differ from the API's before a 401 or 403 is blamed on it
_BY_STATUS: dict[int, type[ApiError]] = {
    401: ApiForbidden,
    403: ApiForbidden,
    404: ApiNotFound,
    409: ApiConflict,
    429: ApiUnavailable,
}


def error_from_exception(error: requests.RequestException, label: str, endpoint: str) -> ApiError:
    """Return the error for the call `label`, which `endpoint` did not answer, or not in HTTP."""
    kind: type[ApiError] = ApiUnavailable
    if isinstance(error, requests.Timeout):
        kind = ApiTimeout
    elif isinstance(error, requests.ConnectionError):
        kind = ApiUnreachable
    return kind(f"{label} at {endpoint}: {one_line(str(error))}")


def error_from_response(response: requests.Response, label: str, permission: str, now: float) -> ApiError:
    """Return the error for an answer whose status is not 2xx.

    `permission`: the call's name in the rules of a role; `now`: our clock, in seconds of Unix time.
    """
    status = response.status_code
    kind = _BY_STATUS.get(status) or (ApiInvalid if 400 <= status < 500 else ApiUnavailable)
    reason = error_text(response.content) or one_line(response.reason or "", 60)
    if 300 <= status < 400:
        reason = f"a redirect to {one_line(response.headers.get('Location', 'nowhere'))}, which is not followed"
    text = f"{label}: status {status}: {reason}" if reason else f"{label}: status {status}"
    if kind is ApiForbidden:
        cure = f"check the API key, its secret, and that its role allows {permission}"
        if off := _clock_text(response, now):
            kind = WrongClock
            cure = f"{off}, which can make signatures invalid: set it (NTP); if other calls work, {cure}"
        text += f"; {cure}"
    return kind(text, retry_after=_retry_after(response, now))


def error_text(body: bytes) -> str:
    """Return what an error's body says: message, error, title, detail and errors, or its text."""
    text = one_line(body[:4096].decode("utf-8", "replace"))
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return text
    if isinstance(answer, str):
        return one_line(answer)
    if not isinstance(answer, dict):
        return text
    errors = answer.get("errors")
    candidates = [answer.get(name) for name in ("message", "error", "title", "detail")]
    candidates += errors[:10] if isinstance(errors, list) else []
    texts = (one_line(_text_of(candidate)) for candidate in candidates)
    return one_line(": ".join(dict.fromkeys(filter(None, texts)))) or text


def sent_at(response: requests.Response) -> float | None:
    """Return when it was sent, in Unix seconds by the API's clock; None if it has no Date."""
    return _date(response.headers.get("Date"))


def _text_of(value: Any) -> str:
    if isinstance(value, dict):  # {"message": ...}
        value = value.get("message")
    return value if isinstance(value, str) else ""


def _date(text: str | None) -> float | None:
    """Return an HTTP date as Unix time in seconds, or None for any other text."""
    try:
        date = parsedate_to_datetime(text or "")
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _retry_after(response: requests.Response, now: float) -> float | None:
    """Return the seconds to wait. A date counts from the answer's Date: our clock may be wrong."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:16])
    until = _date(text)
    if until is None:
        return None
    sent = sent_at(response)
    return max(until - (now if sent is None else sent), 0.0)


def _clock_text(response: requests.Response, now: float) -> str:
    sent = sent_at(response)
    if sent is None or abs(now - sent) < CLOCK_TOLERANCE:
        return ""
    side = "ahead of" if now > sent else "behind"
    return f"this host's clock is {abs(now - sent):.0f} s {side} the API's"
