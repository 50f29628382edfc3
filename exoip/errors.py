"""Define every exception that exoip raises on purpose.

    ExoipError
    |-- WireError                a datagram is not a heartbeat
    |-- ControlRequestError      a request on the control socket is malformed or rejected
    |-- OutOfThreads             the system has no thread left for us                   (exit 1)
    |-- ConfigError              the configuration cannot work as it stands              (exit 78)
    |   |-- UsageError           the command line itself is wrong                        (exit 2)
    |   |-- MetadataUnavailable  no answer from the metadata service: a unit waits       (exit 78)
    |   |-- AddressMissing       the address to bind is not there: a unit waits          (exit 78)
    |   `-- AddressInUse         another process has it                                  (exit 78)
    `-- ApiError                 an API request failed
        |-- ApiUnreachable       not sent: connection, name lookup or TLS failed         (exit 69)
        |   `-- ApiTimeout       no answer in time: the request may still take effect    (exit 69)
        |-- ApiUnavailable       429, 5xx, or no answer that makes sense                 (exit 69)
        |-- ApiForbidden         401 or 403: the key may not do this                     (exit 77)
        |   `-- WrongClock       ... or this host's clock is wrong: a unit waits         (exit 77)
        |-- ApiNotFound          404
        |-- ApiConflict          409
        |-- ApiInvalid           400 or another 4xx: the request itself is wrong
        `-- OperationFailed      the API accepted the request, but its operation failed

Libraries raise these; only `__main__` turns them into an exit code. A message says what failed,
with which value, and what to do about it. No message contains a secret.
"""

from __future__ import annotations


class ExoipError(Exception):
    """The root of the tree."""


class WireError(ExoipError, ValueError):
    """Report a datagram that is not a well-formed heartbeat.

    `cause` is a short, stable word for counting ("short", "version", ...).
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class ControlRequestError(ExoipError, ValueError):
    """Report a control request that is malformed or rejected; the message is the answer."""


class OutOfThreads(ExoipError):
    """Report that no thread can be started."""


class ConfigError(ExoipError):
    """Report a configuration that cannot work: the option, its value, and what is allowed."""


class UsageError(ConfigError):
    """Report a wrong command line: an unknown option, no mode or two, a malformed value."""


class MetadataUnavailable(ConfigError):
    """Report a metadata service that does not answer: perhaps only for a moment, as at boot."""


class AddressMissing(ConfigError):
    """Report an address to bind that this machine does not have: perhaps not yet, as at boot."""


class AddressInUse(ConfigError):
    """Report that another process has bound the address, or serves at the path."""


class ApiError(ExoipError):
    """Report an API request that failed. `retry_after`: seconds that the API asks for, or None."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ApiUnreachable(ApiError):
    """Report a request that was not sent: connection, name lookup or TLS failed."""


class ApiTimeout(ApiUnreachable):
    """Report a request without an answer in time; it may still take effect."""


class ApiUnavailable(ApiError):
    """Report an API that does not work: 429, 5xx, or no answer that makes sense."""


class ApiForbidden(ApiError):
    """Report 401 or 403: an unknown key, or a role without the permission."""


class WrongClock(ApiForbidden):
    """Report 401 or 403 while this host's clock is wrong: perhaps only for a moment, as at boot."""


class ApiNotFound(ApiError):
    """Report 404: there is no such object, or (detach) it is not attached."""


class ApiConflict(ApiError):
    """Report 409: the request does not fit the present state."""


class ApiInvalid(ApiError):
    """Report 400 or another 4xx: the request itself is wrong."""


class OperationFailed(ApiError):
    """Report an operation that ended as failure or timeout.

    `reason` is the API's word for it ("busy", "not-found", ...).
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason
