"""Every exception that exoip raises on purpose.

    ExoipError
    |-- WireError             a datagram is not a heartbeat
    |-- RequestError          a request on the control socket is not one, or is refused
    |-- ConfigError           the configuration can not work as it stands          (exit 78)
    |   |-- UsageError        the command line itself is wrong                     (exit 2)
    |   `-- MetadataAway      no metadata service: what starts at boot waits for it   (exit 78)
    `-- ApiError              a call to the API did not give what was asked
        |-- ApiUnreachable    no answer: refused, dropped, name not resolved       (exit 69)
        |   `-- ApiTimeout    no answer in time: the call may still take effect    (exit 69)
        |-- ApiUnavailable    429, 5xx or an answer that is no API answer          (exit 69)
        |-- ApiRefused        401, 403: the key may not do this                    (exit 77)
        |-- ApiNotFound       404
        |-- ApiConflict       409
        |-- ApiInvalid        400 and every other 4xx: our request is wrong
        `-- OperationFailed   the API took the request, its operation then failed

Libraries raise these; only `__main__` turns them into an exit code. A message says what failed, with which value,
and what to do about it; none ever carries the API secret.
"""

from __future__ import annotations


class ExoipError(Exception):
    """The root of the tree."""


class WireError(ExoipError, ValueError):
    """A datagram is not a well-formed heartbeat. `cause` is a short, stable word for counting ("short", "version", …)."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class RequestError(ExoipError, ValueError):
    """A request on the control socket is not understood, or can not be granted; the message is the answer."""


class ConfigError(ExoipError):
    """The configuration can not work: names the option, its value, and what is allowed."""


class UsageError(ConfigError):
    """The command line is wrong: unknown option, no mode, two modes, a value that is malformed."""


class MetadataAway(ConfigError):
    """The metadata service does not answer: it may be away for a moment (at boot), or there may be none."""


class ApiError(ExoipError):
    """A call to the API did not give what was asked. `call` names it ("PUT /elastic-ip/…:attach")."""

    def __init__(self, message: str, *, call: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.call = call
        self.retry_after = retry_after  # seconds that the API asked us to wait, or None


class ApiUnreachable(ApiError):
    """No answer: connection refused or dropped, name not resolved, TLS failed."""


class ApiTimeout(ApiUnreachable):
    """No answer within the time-out; the call may still take effect."""


class ApiUnavailable(ApiError):
    """The API answers but does not work: 429, 5xx, or a body that is no API answer."""


class ApiRefused(ApiError):
    """401 or 403: the key is unknown, its role lacks the operation, or the clock is wrong."""


class ApiNotFound(ApiError):
    """404: no such thing, or (detach) not attached."""


class ApiConflict(ApiError):
    """409: the request does not fit the present state."""


class ApiInvalid(ApiError):
    """400, or another 4xx: the request itself is wrong."""


class OperationFailed(ApiError):
    """The operation ended as failure or timeout; `reason` is the API's word for it ("busy", "not-found", …)."""

    def __init__(self, message: str, *, call: str = "", reason: str = "") -> None:
        super().__init__(message, call=call)
        self.reason = reason
