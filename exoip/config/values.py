"""From the text of one option to its value: words, numbers, names. `addresses` has those with an address in them.

Every reader takes stripped, non-empty text and returns the value, or raises ValueError whose text says what is
allowed ("must be …"): the caller puts the option, the text and where it came from before it. Nothing here
resolves a name, opens a file or knows where a text came from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")
_YES = ("yes", "true", "on", "1", "t")  # Go's flags write true and t
_NO = ("no", "false", "off", "0", "f")


class Secret:
    """The API secret, or a key of the heartbeats. Nothing prints it by accident: only `reveal()` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself: for signatures, and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "****"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    __hash__ = None  # type: ignore[assignment]  # nothing may look secrets up


def quote(text: str) -> str:
    """The text as an error shows it: one line, not endless, without a URL's user and password."""
    text = re.sub(r"//[^/]*@", "//****@", text)
    return repr(text if len(text) <= 80 else text[:77] + "...")


@dataclass(frozen=True, slots=True)
class Number:
    """Reads a decimal number from `low` to `high`, both included."""

    low: float
    high: float
    unit: str = ""

    def __call__(self, text: str) -> float:
        value = float(text) if _DECIMAL.fullmatch(text) else -1.0  # so that nan, inf, 1e3, 1_0 are no numbers here
        if not self.low <= value <= self.high:
            unit = f" {self.unit}, written without the unit" if self.unit else ""
            raise ValueError(f"must be a number from {self.low:g} to {self.high:g}{unit}")
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """Reads a whole number from `low` to `high`, both included."""

    low: int
    high: int

    def __call__(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not self.low <= int(text) <= self.high:
            raise ValueError(f"must be a whole number from {self.low} to {self.high}")
        return int(text)


def shell_line(text: str) -> str:
    if not text.isprintable() or len(text) > 4096:
        raise ValueError("must be one line for the shell: printable, up to 4096 characters")
    return text


@dataclass(frozen=True, slots=True)
class Choice:
    """Reads one of some words."""

    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        if text.lower() not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}")
        return text.lower()


def program(text: str) -> str:
    if not re.fullmatch(r"/[^/].*[^/]", text) or not text.isprintable() or len(text) > 1024:
        raise ValueError("must be the absolute path of a program, like /etc/exoip/hooks/notify")
    return text


def priority(text: str) -> int:
    """0 to 255 as the Go tool took it; what runs is clamped to 1..252 later, with a warning."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > 255:
        raise ValueError("must be a whole number from 0 to 255 (the lowest wins)")
    return int(text)


def socket_path(text: str) -> str:
    """The kernel keeps no more of it, and from where a relative one leads would be anybody's guess."""
    if not text.startswith("/") or not text.isprintable() or len(text.encode()) > 107:
        raise ValueError("must be an absolute path of at most 107 bytes")
    return text


def flag(text: str) -> bool:
    if text.lower() not in _YES + _NO:
        raise ValueError("must be yes or no (true or false, 1 or 0, on or off)")
    return text.lower() in _YES


def instance_id(text: str) -> str:
    if not _UUID.fullmatch(text.lower()):
        raise ValueError("must be an instance's UUID, like 01234567-89ab-cdef-0123-456789abcdef")
    return text.lower()


def zone(text: str) -> str:
    """It becomes part of the API's host name, hence no more than what fits there."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", text.lower()):
        raise ValueError("must be a zone's name, like ch-gva-2")
    return text.lower()


def peer_group(text: str) -> str:
    if not text.isprintable() or len(text) > 255:
        raise ValueError("must be the name of a security group: printable, up to 255 characters")
    return text


def api_key(text: str) -> str:
    """Goes into a header, between `credential=` and a comma."""
    if not re.fullmatch(r"[A-Za-z0-9_.~+/-]{1,255}", text):
        raise ValueError("must be an API key, like EXO0123456789abcdef01234567")
    return text


def api_secret(text: str) -> Secret:
    if not re.fullmatch(r"[!-~]{1,1024}", text):
        raise ValueError("must be the API secret alone: printable ASCII, no blank or line break in it")
    return Secret(text)


def auth_keys(text: str) -> tuple[Secret, ...]:
    """One key, or the new and the old one with a comma between."""
    keys = re.split(r"\s*,\s*", text)
    if not all(re.fullmatch(r"[!-+\--~]{16,256}", key) for key in keys):
        raise ValueError(
            "must be a key of 16 to 256 printable ASCII characters, without blank or comma: openssl rand -hex 32 makes one"
        )
    if len(keys) > 2 or len(set(keys)) < len(keys):
        raise ValueError(
            "must be one key, or two different ones: the one that signs, a comma, the one that is still believed"
        )
    return tuple(Secret(key) for key in keys)
