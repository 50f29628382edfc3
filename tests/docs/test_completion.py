"""The completions of bash against the tables of options: what bash offers is what the programs
take.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from exoip.config.options import OPTIONS, Kind
from exoip.ctl import options as ctl
from exoip.sandbox.options import build_parser
from tests.docs.generated import check_generated
from tests.support.paths import ROOT

COMPLETIONS = ROOT / "packaging" / "completion"
SANDBOX = build_parser()
CTL = ctl.build_parser()


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))


COMMANDS, CTL_COMMANDS = commands_of(SANDBOX), commands_of(CTL)


def offered(*words: str) -> set[str]:
    """What bash offers for the last of the words; no start-up file is read."""
    program = words[0]
    script = (
        f"source {shlex.quote(str(COMPLETIONS / program))}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; "
        f'"_{program.replace("-", "_")}" && printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    bash = shutil.which("bash") or "/bin/bash"
    done = subprocess.run([bash, "--norc", "--noprofile", "-euc", script], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def words(options: Iterable[str]) -> str:
    return textwrap.indent(textwrap.fill(" ".join(options), 110, break_on_hyphens=False), " " * 8) + "\n"


def test_the_words_are_those_of_the_option_table(request: pytest.FixtureRequest) -> None:
    names = [(f"-{option.short}" if option.short else "", f"--{option.name}") for option in OPTIONS]
    spelt = [
        name for option, pair in zip(OPTIONS, names, strict=True) for name in pair[: 2 - (option.kind is Kind.MODE)]
    ]
    values = [each for option in OPTIONS if option.kind is Kind.VALUE for each in option.spellings if each[:2] != "--"]
    for variable, found in (("options", filter(None, spelt)), ("values", values)):
        check_generated(request, COMPLETIONS / "exoip", (f'local {variable}="\n', '    "\n'), words(found))


def short_and_long() -> set[str]:
    short = {f"-{option.short}" for option in OPTIONS if option.short}
    return short | {f"--{option.name}" for option in OPTIONS if option.kind is not Kind.MODE}


def test_every_option_is_offered_and_nothing_else() -> None:
    assert offered("exoip", "") == short_and_long()
    assert offered("exoip", "-W", "-v", "--exoscale-p") == {"--exoscale-peers", "--exoscale-peer-group"}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: str(option.name))
def test_a_value_is_not_completed_with_options(option: object) -> None:
    assert option in OPTIONS
    for spelling in option.spellings:  # type: ignore[attr-defined]
        found = offered("exoip", spelling, "")
        if option.kind is Kind.VALUE:  # type: ignore[attr-defined]
            assert not found & short_and_long()
        else:
            assert found == short_and_long()


def test_a_file_is_offered_for_config(tmp_path: Path) -> None:
    file = tmp_path / "web.conf"
    file.touch()
    for words in (("-c", str(tmp_path) + "/w"), ("--config", "=", str(tmp_path) + "/w"), ("-config", str(file))):
        assert offered("exoip", "-W", *words) == {str(file)}


def test_every_command_of_the_sandbox_is_offered() -> None:
    assert offered("exoip-sandbox", "") == {*COMMANDS, "-h", "--help"}


def _actions() -> Iterator[tuple[str, argparse.Action]]:
    for name, parser in COMMANDS.items():
        yield from ((name, action) for action in parser._actions)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_of_the_sandbox_is_offered(command: str) -> None:
    found = offered("exoip-sandbox", command, "")
    options = {spelling for name, action in _actions() if name == command for spelling in action.option_strings}
    words = {
        word
        for name, action in _actions()
        if name == command and not action.option_strings
        for word in action.choices or ()
    }
    if command == "set":
        described = COMMANDS[command].description or ""
        words = {f"{name.strip()}=" for name in described.partition(":")[2].split(",")}
    assert found == options | words


def test_the_values_of_the_sandboxs_options_are_offered() -> None:
    for command, action in _actions():
        for spelling in action.option_strings:
            found = offered("exoip-sandbox", command, spelling, "")
            if action.choices:
                assert found == set(map(str, action.choices)), (command, spelling)
            elif action.nargs != 0:
                assert not found, (command, spelling)


# exoipctl.


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {spelling for action in parser._actions for spelling in action.option_strings}


def test_every_command_of_exoipctl_is_offered() -> None:
    assert offered("exoipctl", "") == {*CTL_COMMANDS, *options_of(CTL)}


@pytest.mark.parametrize("command", CTL_COMMANDS)
def test_every_option_of_a_command_of_exoipctl_is_offered(command: str, tmp_path: Path) -> None:
    assert offered("exoipctl", command, "-") == options_of(CTL_COMMANDS[command])
    for name in ("web", "mail-2", "down"):
        (tmp_path / name).mkdir()
    for name in ("web", "mail-2"):
        (tmp_path / name / "control").touch()
    before = ("exoipctl", "--runtime-dir", str(tmp_path), command)
    assert offered(*before, "") == options_of(CTL_COMMANDS[command]) | {"web", "mail-2"}
    assert offered(*before, "m") == {"mail-2"}


def test_the_values_of_the_options_of_exoipctl_are_offered(tmp_path: Path) -> None:
    (tmp_path / "exoip").mkdir()
    for name, parser in [("", CTL), *CTL_COMMANDS.items()]:
        for action in parser._actions:
            for spelling in action.option_strings:
                found = offered("exoipctl", *filter(None, [name]), spelling, "")
                if action.choices:
                    assert found == set(map(str, action.choices)), (name, spelling)
                elif action.nargs != 0 and spelling not in (
                    "--runtime-dir",
                    "--credentials-dir",
                    "--input",
                    "--config",
                ):
                    assert not found, (name, spelling)
    assert offered("exoipctl", "--runtime-dir", f"{tmp_path}/e") == {f"{tmp_path}/exoip"}
    for words in (("history", "--input"), ("check", "--config"), ("check", "--credentials-dir")):
        assert offered("exoipctl", *words, f"{tmp_path}/e") == {f"{tmp_path}/exoip"}
