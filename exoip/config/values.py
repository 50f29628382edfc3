"""Read the text of one option: words, numbers, names, secrets. `addresses` reads the others.

A reader takes stripped, non-empty text and returns the value, or raises ValueError with what is
allowed ("must be ..."); the caller adds the option, the text and its source. Readers resolve no
name and open no file. Shown by tests/unit/config/test_parse.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from exoip.config.model import HIGHEST_PRIORITY, LOWEST_PRIORITY
from exoip.heartbeat.wire import UUID_PATTERN

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")
_QUOTES = ("'", '"')
_BEFORE_COMMENT = re.compile(r"""(?>"[^"]*"|'[^']*'|(?!(?:^|(?<=\s))\#).)*""")
CUT = "..."  # ends what is too long to quote
_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029]"
# The options whose values are not shown. They begin the next line, if a line break is missing.
_IN_FILE = "exoscale-api-key|exoscale-api-secret|auth-key"
_ANYWHERE = f"{_IN_FILE}|EXOSCALE_API_KEY|EXOSCALE_API_SECRET|IF_AUTH_KEY|-x[ks]"
_RUN_ON = re.compile(rf"(?<![?&-])({_IN_FILE})\s*=")  # not ?auth-key= of a URL, nor --auth-key= of a command
_SEVERAL = re.compile(rf"{_CONTROL}|({_ANYWHERE})[\s=:]")
_YES = ("yes", "true", "on", "1", "t")  # Go's flags write true and t
_NO = ("no", "false", "off", "0", "f")
# What examples write where a value belongs. No real key has three dots in a row, or is a word.
_PLACEHOLDER = re.compile(r"(?i)(EXO)?[x*.]+|.*\.\.\..*|<.*>|PUT-IT-HERE|CHANGE-?ME|YOUR[_-](API[_-])?(KEY|SECRET)")


class Secret:
    """The API secret, or a key of the heartbeats. Only `reveal()` gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself: for signatures, and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "****"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    __hash__ = None  # type: ignore[assignment]  # nothing may look secrets up


def quote(text: str, longest: int = 80) -> str:
    """Quote a text for an error: on one line, at most `longest` characters, without a URL's user
    and password.
    """
    text = re.sub(r"//[^/]*@", "//****@", text)
    return repr(text if len(text) <= longest else text[: longest - len(CUT)] + CUT)


def run_on(text: str) -> str:
    """Return the name of a secret that a value of the file runs on into, or ""."""
    found = _RUN_ON.search(text)
    return found[1] if found else ""


def may_hide_secret(text: str) -> bool:
    """Return whether a text is rather several values than one, so that no part of it is shown."""
    return _SEVERAL.search(text) is not None


def unquoted(text: str) -> str:
    """Return a value of the file without its comment, and without quotes around the whole of it.

    Raises ValueError for a quote without its partner at either end, which is rather a slip.
    """
    text = _BEFORE_COMMENT.match(text)[0].strip()  # type: ignore[index]  # it matches anything
    first, last = text[:1], text[-1:]
    if first in _QUOTES and first == last and text.count(first) == 2:
        return text[1:-1].strip()
    if any(end in _QUOTES and text.count(end) % 2 for end in (first, last)):
        raise ValueError("a quote without its partner")
    return text


@dataclass(frozen=True, slots=True)
class Number:
    """Reads a decimal number from `low` to `high`, both included."""

    low: float
    high: float
    unit: str = ""

    def __call__(self, text: str) -> float:
        value = float(text) if _DECIMAL.fullmatch(text) else -1.0  # nan, inf, 1e3 and 1_0 are not numbers here
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


@dataclass(frozen=True, slots=True)
class Text:
    """Reads printable text that matches `pattern`, in lower case if `lower`."""

    pattern: str
    wanted: str
    lower: bool = False

    def __call__(self, text: str) -> str:
        text = text.lower() if self.lower else text
        if not text.isprintable() or not re.fullmatch(self.pattern, text):
            raise ValueError(f"must be {self.wanted}")
        return text


@dataclass(frozen=True, slots=True)
class OneOf(Generic[E]):
    """Reads a member of `kind`, in upper or lower case."""

    kind: type[E]

    def __call__(self, text: str) -> E:
        if text.lower() not in list(self.kind):
            raise ValueError(f"must be one of {', '.join(self.kind)}")
        return self.kind(text.lower())


@dataclass(frozen=True, slots=True)
class Like(Generic[T]):
    """Reads with `read`, and puts before its errors what is `wanted`."""

    read: Callable[[str], T]
    wanted: str

    def __call__(self, text: str) -> T:
        try:
            return self.read(text)
        except ValueError as error:
            raise ValueError(f"must be {self.wanted}: {error}") from None


@dataclass(frozen=True, slots=True)
class Several(Generic[T]):
    """Reads different entries with commas or blanks between, each with `read`."""

    read: Callable[[str], T]
    wanted: str

    def __call__(self, text: str) -> tuple[T, ...]:
        found: list[T] = []
        for entry in filter(None, re.split(r"[,\s]+", text)):
            try:
                found.append(self.read(entry))
            except ValueError as error:
                raise ValueError(f"must be {self.wanted}, which {quote(entry)} is not: {error}") from None
            if found[-1] in found[:-1]:
                raise ValueError(f"must be {self.wanted}: {found[-1]} is listed twice")
        if not found:
            raise ValueError(f"must be {self.wanted}, with commas between several")
        return tuple(found)


def flag(text: str) -> bool:
    """Read yes or no, in the words of Go's flags too."""
    if text.lower() not in _YES + _NO:
        raise ValueError("must be yes or no (true or false, 1 or 0, on or off)")
    return text.lower() in _YES


def priority(text: str) -> int:
    """Read 0 to 255, as the Go tool did, and move it into the range that the wire allows."""
    return min(max(Whole(0, 255)(text), LOWEST_PRIORITY), HIGHEST_PRIORITY)


def socket_path(text: str) -> str:
    """Read the path of a Unix socket: the kernel takes 107 bytes of it."""
    if not text.startswith("/") or not text.isprintable() or len(text.encode()) > 107:
        raise ValueError("must be an absolute path of at most 107 bytes")
    return text


def api_key(text: str) -> str:
    """Read the API key, which becomes part of a header."""
    if not re.fullmatch("[A-Za-z0-9_.~+/-]{1,255}", text):
        raise ValueError("must be an API key, like EXO0123456789abcdef01234567")
    return _filled_in(text)


def _filled_in(text: str) -> str:
    """Return the text, unless it is the placeholder of an example: "EXO...", "<secret>", "xxxx"."""
    if _PLACEHOLDER.fullmatch(text):
        raise ValueError("must be replaced: it is the placeholder of an example")
    return text


def api_secret(text: str) -> Secret:
    """Read the API secret."""
    if not re.fullmatch(r"[!-~]{1,1024}", text):
        raise ValueError("must be the API secret alone: printable ASCII, no blank or line break in it")
    return Secret(_filled_in(text))


def auth_keys(text: str) -> tuple[Secret, ...]:
    """Read one key, or the new and the old one with a comma between."""
    keys = [_filled_in(key) for key in re.split(r"\s*,\s*", text)]
    if not all(re.fullmatch(r"[!-+\--~]{16,256}", key) for key in keys):
        raise ValueError(
            "must be a key of 16 to 256 printable ASCII characters, without blank or comma; "
            "make one with: openssl rand -hex 32"
        )
    if len(keys) > 2 or len(set(keys)) < len(keys):
        raise ValueError("must be one key, or two different ones: the one that signs, a comma, the one still accepted")
    return tuple(Secret(key) for key in keys)


shell_line = Text(".{1,4096}", "one line for the shell: printable, up to 4096 characters")
program = Text("/[^/].{0,1021}[^/]", "the absolute path of a program, like /etc/exoip/hooks/notify")
instance_id = Text(UUID_PATTERN.pattern, "an instance's UUID, like 01234567-89ab-cdef-0123-456789abcdef", lower=True)
zone = Text("[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", "a zone's name, like ch-gva-2", lower=True)  # part of a host name
peer_group = Text(".{1,255}", "the name of a security group: printable, up to 255 characters")
