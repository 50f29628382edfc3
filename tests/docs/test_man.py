"""The manual pages and the example against the tables of options: names, variables, credentials,
defaults, units.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from exoip.config.options import BY_NAME, OPTIONS, Kind, Option
from exoip.config.parse import parse
from exoip.ctl.options import build_parser as build_ctl_parser
from exoip.ctl.terminal import CODES
from exoip.daemon import command, signals
from exoip.errors import ConfigError
from exoip.sandbox.options import build_parser
from exoip.telemetry import journal
from tests.docs.generated import check_generated
from tests.support.paths import ROOT

PAGES = sorted((ROOT / "man").iterdir())
IN_FILE = [option for option in OPTIONS if option.in_file]


def text_of(name: str) -> str:
    """A page's source, without the roff marks that stand between words."""
    source = (ROOT / "man" / name).read_text()
    return source.replace("\\-", "-").replace("\\(dq", '"').replace("\\&", "").replace("\\e", "\\")


def items(page: str) -> dict[str, str]:
    """The items of a page's lists: by the words of their `.It` line, what stands below."""
    parts = re.split(r"^\.It ", text_of(page), flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def prose(text: str) -> str:
    """Return a sentence as roff source."""
    return "\n".join(textwrap.wrap(f"{text[0].upper()}{text[1:]}.", 100, break_on_hyphens=False))


def configuration_item(option: Option, page: str) -> str:
    """Return the item of an option in exoip.conf(5); what is below its first sentence in the page
    is kept.
    """
    kept = re.search(
        rf"^\.It Cm {option.name} Ns[^\n]*\n.*?\.\n(.*?)^\.Pp\n(?:Default|Required)", page, re.MULTILINE | re.DOTALL
    )
    amount = f" {option.unit.removesuffix('s') if option.default == '1' else option.unit}" if option.unit else ""
    names = [name for name in (option.short, f"-{option.name}") if name]
    credential = f"Credential:\n.Li {option.credential} .\n" if option.credential else ""
    return (
        f".It Cm {option.name} Ns = Ns Ar {option.metavar or 'yes'}\n{prose(option.help)}\n{kept[1] if kept else ''}.Pp\n"
        f"{'Required' if option.required else f'Default: {option.default or option.otherwise}{amount}'}.\n"
        f"Command line:\n.Fl {' , Fl '.join(names)} .\nEnvironment:\n.Ev {' , Ev '.join(option.variables)} .\n{credential}"
    )


def command_item(option: Option) -> str:
    names = [name for name in (option.short, None if option.kind is Kind.MODE else f"-{option.name}") if name]
    metavar = f" Ar {option.metavar}" if option.metavar else ""
    return f".It Fl {' , Fl '.join(names)}{metavar}\n{prose(option.help)}\n"


def test_the_configuration_page_says_what_the_option_table_says(request: pytest.FixtureRequest) -> None:
    page = (ROOT / "man" / "exoip.conf.5").read_text()
    expected = "".join(configuration_item(option, page) for option in IN_FILE)
    check_generated(request, ROOT / "man" / "exoip.conf.5", (".Bl -tag -width Ds\n", ".El\n"), expected)


def test_the_command_page_says_what_the_option_table_says(request: pytest.FixtureRequest) -> None:
    expected = "".join(command_item(option) for option in OPTIONS)
    check_generated(request, ROOT / "man" / "exoip.8", (".Sh OPTIONS\n.Bl -tag -width Ds\n", ".El\n"), expected)


def test_the_command_page_has_every_exit_status_and_signal() -> None:
    page = items("exoip.8")
    codes = {0, *(code for _, code in command._CODES)}
    assert {int(head.removeprefix("Li ")) for head in page if re.match(r"Li \d+$", head)} == codes
    named = {name for head in page if head.startswith("Dv ") for name in head.removeprefix("Dv ").split(" , ")}
    assert named == {number.name for number in {*signals.STOP, *signals.CAUGHT_EARLY}}


def test_the_configuration_page_names_what_a_reload_cannot_change() -> None:
    chapter = text_of("exoip.conf.5").partition(".Sh RELOAD")[2].partition(".Sh ")[0]
    named = re.findall(r"^\.Cm (\S+)", chapter, re.MULTILINE)
    assert set(named) == {option.name for option in OPTIONS if not option.reload}


def test_the_command_page_names_every_journal_field() -> None:
    fields = set(re.findall(r'"(EXOIP_[A-Z_]+)"', Path(journal.__file__).read_text()))
    fields |= {f"EXOIP_{name}" for name in (*journal._FIELDS.values(), *journal._MILLISECONDS.values())}
    chapter = text_of("exoip.8").partition(".Sh THE JOURNAL")[2].partition(".Sh ")[0]
    assert len(fields) > 10
    assert fields <= set(re.findall(r"EXOIP_[A-Z_]+", chapter))


def test_the_command_page_names_what_the_keys_role_has_to_allow() -> None:
    """The operations of the calls that are signed."""
    source = (ROOT / "exoip" / "exoscale" / "client.py").read_text()
    signed = [name for name, rest in re.findall(r'_ApiCall\("([a-z-]+)", (.*)\)', source) if "signed=False" not in rest]
    assert len(signed) > 5
    chapter = text_of("exoip.8").partition(".Sh THE KEY'S ROLE")[2].partition(".Sh ")[0]
    assert sorted(signed) == sorted(re.findall(r"'([a-z-]+)'", chapter))


def _actions(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.Action]]:
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [(name, action) for name, parser in commands.choices.items() for action in parser._actions]


def test_the_sandbox_page_has_every_command_option_and_choice() -> None:
    page = text_of("exoip-sandbox.1")
    words = set(re.findall(r"[\w-]+", page))
    for name, action in _actions(build_parser()):
        assert any(head.split()[:2] == ["Cm", name] for head in items("exoip-sandbox.1")), name
        for spelling in action.option_strings:
            assert f"Fl {spelling[1:]}" in page, f"{name} {spelling}"
        if "reason" not in action.dest:
            assert set(action.choices or ()) <= words, f"{name} {action.dest}"


def test_the_page_of_exoipctl_has_every_command_option_choice_and_exit_status() -> None:
    page, heads = text_of("exoipctl.8"), list(items("exoipctl.8"))
    synopsis = page.partition(".Sh SYNOPSIS")[2].partition(".Sh ")[0]
    for name, action in _actions(build_ctl_parser()):
        assert any(head.split()[:2] == ["Cm", name] for head in heads), name
        assert f".Cm {name}\n" in synopsis or f".Op Cm {name} " in synopsis, name
        for spelling in (word for word in action.option_strings if word.startswith("--") and word != "--help"):
            item = f"Fl {spelling[1:]}"
            (head,) = {head for head in heads if head == item or head.startswith(f"{item} ")}
            assert all(f" {choice}" in head for choice in action.choices or ()), f"{name} {spelling}"
            assert f"Op {item}" in synopsis, f"{name} {spelling}"
            if action.default not in (None, False, "", []):
                body = items("exoipctl.8")[head].partition(".It")[0]
                assert f"default: {action.default}".removesuffix(".0") in body, f"{name} {spelling}"
    assert {int(head.split()[1]) for head in heads if re.match(r"Li \d$", head)} == set(CODES.values())


def test_the_example_has_every_option_with_its_default_and_can_be_read(tmp_path: Path) -> None:
    lines = dict(re.findall(r"^#([a-z-]+) = (.*)$", (ROOT / "packaging" / "example.conf").read_text(), re.MULTILINE))
    assert set(lines) == {option.name for option in IN_FILE}
    for name, value in lines.items():
        assert BY_NAME[name].default in (None, value), name
    for left_out in ("exoscale-peers", "exoscale-peer-group"):
        file = tmp_path / "web.conf"
        chosen = {name: value for name, value in lines.items() if name not in (left_out, "no-preempt")}
        chosen |= {
            "exoscale-api-secret": "not-a-real-secret",
            "exoscale-api-key": "EXO0123456789",
            "auth-key": "k" * 16,
        }
        file.write_text("".join(f"{name} = {value}\n" for name, value in chosen.items()))
        file.chmod(0o640)
        config = parse(["-W", "-c", str(file)], {})
        assert config.warnings == ()
        file.write_text(file.read_text().replace("k" * 16, lines["auth-key"]))
        with pytest.raises(ConfigError, match=r"--auth-key .* must be replaced: it is the placeholder"):
            parse(["-W", "-c", str(file)], {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_man_renders_it_without_a_warning(page: Path) -> None:
    man = shutil.which("man")
    if man is None:
        pytest.skip("no man here; script/setup installs it where it can use apt")
    env = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "MANROFFSEQ": "", "MANWIDTH": "80"}
    words = [man, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, env=env)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_it_refers_only_to_pages_that_exist(page: Path) -> None:
    own = {path.name for path in PAGES}
    debian = {"interfaces.5", "journalctl.1", "systemctl.1", "systemd-creds.1"}
    for name, section in re.findall(r"^\.Xr (\S+) (\d)", page.read_text(), re.MULTILINE):
        assert f"{name}.{section}" in own | debian
