"""Collect the text of each option from command line, environment, credentials and file.

configargparse parses them and decides which wins. It is helped twice: credentials are given to it
as variables, and a value is joined to its option, because argparse takes one with a dash for an
option. No message here contains a value, because it might be a secret; those of argparse are never
shown. Shown by tests/unit/config/test_parse.py.
"""

from __future__ import annotations

import argparse
import difflib
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TextIO

import configargparse

from exoip import __version__
from exoip.config.help import help_text
from exoip.config.options import BY_NAME, BY_SPELLING, OPTIONS, Kind, Option
from exoip.config.values import quote, run_on, unquoted
from exoip.errors import ConfigError, UsageError

COMMAND_LINE = "command line"
DEFAULT = "default"
_LARGEST_FILE = 1 << 20  # bytes; so that -c /dev/zero comes to an end
LONGEST_PATH = 4096  # PATH_MAX of Linux
_OURS = "IF_EXOSCALE_"  # no other program's variables begin so
_NEARLY = 0.85  # similarity from which another IF_* variable is taken for a misspelt one of ours
_IFUPDOWN = ("IF_HWADDRESS",)  # of ifupdown's own variables those that are that similar


@dataclass(frozen=True, slots=True)
class Setting:
    """The text of one option, stripped and not empty, and where it comes from."""

    text: str
    source: str


def error_for(*sources: str) -> type[ConfigError]:
    """Return what to raise about values from there: UsageError if one is the command line."""
    return UsageError if COMMAND_LINE in sources else ConfigError


@dataclass(slots=True)
class Collected:
    """What was found. `settings`: by option name, defaults included.

    `secrets`: every secret seen, also those that do not win. It is filled first, so that an
    error handler can remove them from the message.
    """

    settings: dict[str, Setting] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def note(self, option: Option, text: str) -> None:
        """Note the text if it is a secret, or several with commas between."""
        if option.secret and text:
            self.secrets |= {text, *(part.strip() for part in text.split(",") if part.strip())}


def collect(argv: Sequence[str], environ: Mapping[str, str], found: Collected) -> None:
    """Fill `found`. SystemExit(0): --help or --version was given and has been printed.

    UsageError: an unknown option, a missing value, a stray word. ConfigError: a file or credential
    that cannot be read, or a line of the file that is not understood.
    """
    words = list(_join(argv, found))
    given = _parse(words)
    variables, origins = _environment(environ, given, found)
    path = given["config"]
    file = _File(path or "", found)
    content = read_text(Path(path)) if path else None
    texts = _parse(words, file, env_vars=variables, config_file_contents=content)
    origins |= {name: COMMAND_LINE for name, text in given.items() if text is not None}
    for name, text in texts.items():
        if text is not None:
            found.settings[name] = Setting(text, origins.get(name) or file.source(name))
        elif (default := BY_NAME[name].default) is not None:
            found.settings[name] = Setting(default, DEFAULT)
    if path and any(BY_NAME[name].secret for name in file.lines) and _is_public(Path(path)):
        found.warnings.append(f"{file.name} holds a secret and every user can read it: chmod 0640 it")


# -- the command line -------------------------------------------------------------------------------------------------


def _join(argv: Sequence[str], found: Collected) -> Iterator[str]:
    """Join each option and its value with "=".

    As in Go, a value may begin with a dash, and a flag takes no value from the next word.
    """
    words = list(argv)
    while words:
        word = words.pop(0)
        spelling, equals, text = word.partition("=")
        option = BY_SPELLING.get(spelling)
        if option is None or option.kind is Kind.PRINT:
            yield word
            continue
        if not equals and option.kind is not Kind.VALUE:
            text = "yes"
        elif not equals and words and words[0].partition("=")[0] not in BY_SPELLING:
            text = words.pop(0)
        if not text.strip():
            raise UsageError(
                f"{spelling} has no value (a variable that is not set?): write {option.usual} {option.metavar}"
            )
        found.note(option, text.strip())
        yield f"{spelling}={text.strip()}"


class _Store(argparse.Action):
    """Keeps the last text of an option, or all of them with commas between if it repeats."""

    def __call__(self, _: Any, namespace: argparse.Namespace, values: Any, *__: Any) -> None:
        before, text = getattr(namespace, self.dest), values or "--"  # argparse takes the value -- away
        joined = f"{before},{text}" if before and BY_NAME[self.dest].repeats else text
        setattr(namespace, self.dest, joined)


class _Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    def format_help(self) -> str:
        return help_text()

    def error(self, *_: object) -> NoReturn:
        """Show none of argparse's own messages: they quote values."""
        raise UsageError("the command line is not understood: exoip --help lists the options")

    def _get_option_tuples(self, _: str) -> list[object]:
        return []  # exact spellings only: argparse's allow_abbrev does not cover options with one dash


def _parse(words: list[str], file: _File | None = None, **sources: Any) -> dict[str, str | None]:
    """Return the text of each option by name, None if no source has one."""
    parser = _Parser(prog="exoip", add_help=False, config_file_parser_class=file)
    for option in OPTIONS:
        if option.kind is Kind.PRINT:
            version = {"version": f"exoip {__version__}"} if option.name == "version" else {}
            parser.add_argument(*option.spellings, action=option.name, **version)
        else:
            variable = next(iter(option.variables), None)
            parser.add_argument(*option.spellings, dest=option.name, action=_Store, env_var=variable)
    namespace, unknown = parser.parse_known_args(words, **{"env_vars": {}, **sources})
    if unknown:
        raise UsageError(f"{_unknown(unknown[0].partition('=')[0])}: exoip --help lists the options")
    return dict(vars(namespace))


def _unknown(spelling: str) -> str:
    """Name an unknown option, unless it might be a secret in the wrong place."""
    secret = any(option.secret and spelling.startswith(option.spellings) for option in OPTIONS)
    if secret or not spelling.startswith("-") or not _is_harmless(spelling) or not spelling.strip("-"):
        return "an argument belongs to no option (it is not shown, as it might be a secret)"
    return f"unknown option {spelling}{_hint(spelling, (f'--{name}' for name in BY_NAME))}"


def _is_harmless(name: str) -> bool:
    """Return whether it is rather a misspelt option than a secret: short, of letters and dashes."""
    return bool(re.fullmatch(r"[A-Za-z_-]{1,32}", name))


def _hint(wrong: str, known: Iterable[str]) -> str:
    bare = {name.replace("exoscale-", ""): name for name in known}  # the part that is easily forgotten
    match = difflib.get_close_matches(wrong.replace("exoscale-", ""), bare, n=1)
    return f", did you mean {bare[match[0]]}?" if match else ""


# -- the environment and credentials ----------------------------------------------------------------------------------


def _environment(
    environ: Mapping[str, str], given: Mapping[str, str | None], found: Collected
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the first variable of each option, and by option name the source."""
    variables, origins = {}, {}
    for option in OPTIONS:
        texts = [(environ.get(each, "").strip(), f"environment {each}") for each in option.variables]
        if option.credential and given[option.name] is None and not any(text for text, _ in texts):
            directory = environ.get("CREDENTIALS_DIRECTORY", "")
            text = read_text(Path(directory, option.credential), optional=True).strip() if directory else ""
            texts.append((text, f"credential {option.credential}"))
        for text, origin in texts:
            found.note(option, text)
            if text and option.name not in origins:
                variables[option.variables[0]], origins[option.name] = text, origin
    known = {variable for option in OPTIONS for variable in option.variables}
    for variable in sorted(set(environ) - known):
        ours = variable.startswith(_OURS) or (
            variable not in _IFUPDOWN and difflib.get_close_matches(variable, known, n=1, cutoff=_NEARLY)
        )
        if ours and variable.startswith("IF_") and environ[variable] and _is_harmless(variable):
            found.warnings.append(f"the variable {variable} is unknown and not used{_hint(variable, known)}")
    return variables, origins


# -- files ------------------------------------------------------------------------------------------------------------


def _file_name(path: Path) -> str:
    """Quote the whole name of a file, which a person may want to copy."""
    return quote(str(path), LONGEST_PATH)


def read_text(path: Path, *, optional: bool = False) -> str:
    """Return the text of a file, "" if it is optional and missing. Raises ConfigError."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise ConfigError(f"{_file_name(path)} is larger than {_LARGEST_FILE} bytes: not a configuration file")
        return content.decode("utf-8-sig")
    except OSError as error:
        if optional and isinstance(error, FileNotFoundError | NotADirectoryError):
            return ""
        raise ConfigError(f"{_file_name(path)} cannot be read: {error.strerror or 'input/output error'}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{_file_name(path)}, line {line}: is not UTF-8 text") from None
    except ValueError:  # a NUL or a lone surrogate in the name
        raise ConfigError(f"{_file_name(path)} cannot be the name of a file") from None


def _is_public(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:  # gone since it was read
        return False


class _File(configargparse.ConfigFileParser):  # type: ignore[misc]
    """Parses `name = value` lines and keeps the line of each name.

    A `#` or `;` at the beginning of a line, or a `#` after a blank, begins a comment, but not
    inside quotes.
    """

    def __init__(self, path: str, found: Collected) -> None:
        self.name = f"file {path if path.isprintable() else quote(path, LONGEST_PATH)}"
        self.lines: dict[str, int] = {}  # by option name, where it is first
        self._found = found

    def __call__(self) -> _File:
        """Return the parser: older versions of configargparse take only something to call."""
        return self

    def source(self, name: str) -> str:
        """Return where the option is first, for messages."""
        return f"{self.name}, line {self.lines[name]}"

    def parse(self, stream: TextIO) -> dict[str, str]:
        """Return the texts by option name. Raises ConfigError, which names the line."""
        texts: dict[str, str] = {}
        for number, line in enumerate(stream, 1):
            line = line.strip()
            if not line or line[0] in "#;":
                continue
            name, _, rest = (part.strip() for part in line.partition("="))
            where = f"{self.name}, line {number}"
            option = BY_NAME.get(name)
            if option is None or not option.in_file:
                raise ConfigError(f"{where}: {_not_in_file(name)}")
            try:
                text = unquoted(rest)
            except ValueError:
                raise ConfigError(f"{where}: {name} has a quote without its partner: add it, or remove it") from None
            if not text:
                raise ConfigError(f"{where}: {name} has no value; write {name} = {option.metavar or 'yes'}")
            if secret := run_on(text):
                raise ConfigError(f"{where}: {name} runs on into {secret}: begin a new line there")
            self._found.note(option, text)
            if name in texts and not option.repeats:
                raise ConfigError(f"{where}: {name} is set a second time, first on line {self.lines[name]}")
            texts[name] = f"{texts[name]},{text}" if name in texts else text
            self.lines.setdefault(name, number)
        return texts


def _not_in_file(name: str) -> str:
    if not _is_harmless(name):
        return "is not of the form 'name = value' with the name of an option (not shown, as it might be a secret)"
    if name in BY_NAME:
        return f"{name} belongs on the command line, as {BY_NAME[name].usual}"
    return f"there is no option {name}{_hint(name, [option.name for option in OPTIONS if option.in_file])}"
