"""Collects the texts of the options from the command line, the environment, systemd's credentials and the file.

configargparse decides which of them wins. What it would not tell well at 3 a.m. is done before it sees anything:
the command line comes in the form `--name=text`, so that no message of argparse can quote a secret; variables are
reduced to one an option; the file is read strictly. No message here contains a value.
"""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TextIO

import configargparse

from exoip.config.commandline import is_harmless, nearest, walk
from exoip.config.options import BY_NAME, OPTIONS
from exoip.config.values import quote
from exoip.errors import ConfigError, UsageError

COMMAND_LINE = "command line"
DEFAULT = "default"
_LARGEST_FILE = 1 << 20  # bytes; so that -c /dev/zero comes to an end
_OURS = "IF_EXOSCALE_"  # other IF_* variables may be ifupdown's own, so a misspelt one can not be told


@dataclass(frozen=True, slots=True)
class Setting:
    """The text of one option, stripped and not empty, and where it came from."""

    text: str
    source: str

    @property
    def error(self) -> type[ConfigError]:
        """What to raise about it: exit status 2 or 78."""
        return UsageError if self.source == COMMAND_LINE else ConfigError


@dataclass(slots=True)
class Collected:
    """What was found: `settings` by option name, defaults included.

    `secrets` holds every secret seen, also those that do not win, and is filled first: whoever catches an error takes
    them out of its message.
    """

    settings: dict[str, Setting] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    def hide(self, text: str) -> None:
        """Take note of a secret, or of several with commas between."""
        self.secrets |= {text, *(part.strip() for part in text.split(",") if part.strip())}


def collect(argv: Sequence[str], environ: Mapping[str, str], found: Collected) -> None:
    """Fill `found`.

    UsageError: an unknown option, a missing value, a stray word. ConfigError: a file or credential that can not be
    read, or a line of the file that is not understood.
    """
    given: dict[str, str] = {}
    for option, text in walk(argv):
        if option.secret:
            found.hide(text)
        given[option.name] = f"{given[option.name]},{text}" if option.repeats and option.name in given else text
    variables, origins = _environment(environ, given, found)
    path = given.get("config")
    file = _File(path or "", found)
    namespace = _parser(file).parse_args(
        [f"--{name}={text}" for name, text in given.items()],
        config_file_contents=None if path is None else _read(Path(path)),
        env_vars=variables,
    )
    origins.update(dict.fromkeys(given, COMMAND_LINE))
    for name, option in BY_NAME.items():
        winner: str | None = getattr(namespace, name.replace("-", "_"))
        if winner is not None:
            found.settings[name] = Setting(winner, origins.get(name) or file.source(name))
        elif option.default is not None:
            found.settings[name] = Setting(option.default, DEFAULT)
    if path and any(BY_NAME[name].secret for name in file.lines) and _is_public(Path(path)):
        found.warnings.append(f"{file.name} holds a secret and every user may read it: chmod 0640 it")


def _parser(file: _File) -> _Parser:
    class Reader(configargparse.ConfigFileParser):  # type: ignore[misc]
        def parse(self, stream: TextIO) -> dict[str, str]:
            return file.parse(stream)

    parser = _Parser(
        prog="exoip",
        add_help=False,
        allow_abbrev=False,
        add_config_file_help=False,
        add_env_var_help=False,
        config_file_parser_class=Reader,
    )
    for option in OPTIONS:
        parser.add_argument(f"--{option.name}", env_var=next(iter(option.variables), None))
    return parser


class _Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    def error(self, *_: object) -> NoReturn:
        """No command line that `walk` has passed comes here; argparse's own message might quote a secret."""
        raise UsageError("the command line can not be understood: exoip --help lists the options")


def _environment(
    environ: Mapping[str, str], given: Mapping[str, str], found: Collected
) -> tuple[dict[str, str], dict[str, str]]:
    """One variable an option, under its first name, and by option name where it came from."""
    variables, origins = {}, {}
    for option in OPTIONS:
        texts = [(environ.get(each, "").strip(), f"environment {each}") for each in option.variables]
        if option.credential and option.name not in given and not any(text for text, _ in texts):
            directory = environ.get("CREDENTIALS_DIRECTORY", "")
            texts.append((_credential(directory, option.credential), f"credential {option.credential}"))
        for text, origin in texts:
            if text and option.secret:
                found.hide(text)
            if text and option.name not in origins:
                variables[option.variables[0]], origins[option.name] = text, origin
    known = {variable for option in OPTIONS for variable in option.variables}
    for variable in sorted(set(environ) - known):
        if variable.startswith(_OURS) and environ[variable] and is_harmless(variable):
            match = difflib.get_close_matches(variable, known, n=1)
            cure = f": did you mean {match[0]}?" if match else ""
            found.warnings.append(f"the variable {variable} is not known and not used{cure}")
    return variables, origins


def _credential(directory: str, name: str) -> str:
    path = Path(directory, name)
    return _read(path, optional=True).strip() if directory else ""


def _read(path: Path, *, optional: bool = False) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise ConfigError(f"{quote(str(path))} is larger than {_LARGEST_FILE} bytes: not a configuration file")
        return content.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        if optional:
            return ""
        raise ConfigError(f"{quote(str(path))} can not be read: {error.strerror} (option --config)") from error
    except OSError as error:
        raise ConfigError(f"{quote(str(path))} can not be read: {error.strerror or 'input/output error'}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{quote(str(path))}, line {line}: is not UTF-8 text") from None
    except ValueError:  # a NUL or a lone surrogate in the name
        raise ConfigError(f"{quote(str(path))} can not be the name of a file") from None


def _is_public(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:  # gone since it was read
        return False


class _File:
    """`name = value` lines. A `#` or `;` at the beginning of a line, or a `#` after a blank, begins a comment; quotes
    around a value keep a `#` in it."""

    def __init__(self, path: str, found: Collected) -> None:
        self.name = f"file {path if path.isprintable() else quote(path)}"
        self.lines: dict[str, int] = {}  # by option name, where it is first
        self._found = found

    def source(self, name: str) -> str:
        return f"{self.name}, line {self.lines[name]}"

    def parse(self, stream: TextIO) -> dict[str, str]:
        texts: dict[str, str] = {}
        for number, line in enumerate(stream, 1):
            line = line.strip()
            if not line or line[0] in "#;":
                continue
            name, _, rest = (part.strip() for part in line.partition("="))
            where = f"{self.name}, line {number}"
            option = BY_NAME.get(name)
            if option is None or not option.in_file:
                raise ConfigError(f"{where}: {self._not_an_option(name)}")
            text = _text(rest)
            if not text:
                raise ConfigError(f"{where}: {name} has no value; write {name} = {option.metavar or 'yes'}")
            if option.secret:
                self._found.hide(text)
            if name in texts and not option.repeats:
                raise ConfigError(f"{where}: {name} is there a second time, first on line {self.lines[name]}")
            texts[name] = f"{texts[name]},{text}" if name in texts else text
            self.lines.setdefault(name, number)
        return texts

    @staticmethod
    def _not_an_option(name: str) -> str:
        if not is_harmless(name):
            return "is not of the form 'name = value' with the name of an option (not shown, as it might be a secret)"
        if name in BY_NAME:
            return f"{name} belongs on the command line, as {BY_NAME[name].usual}"
        if name in {option.short for option in OPTIONS}:
            return f"{name} is a short option, the file takes the long names only"
        return f"there is no option {name}{nearest(name, in_file=True)}"


def _text(rest: str) -> str:
    quoted = re.fullmatch(r"""(["'])(?P<text>.*?)\1\s*(#.*)?""", rest)
    return (quoted["text"] if quoted else re.split(r"(?:^|\s)#", rest, maxsplit=1)[0]).strip()
