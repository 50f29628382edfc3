"""Holds README.md and docs/protocol.md to the code: options, exit codes, commands, journal fields,
rooms, bounds, links.

`pytest tests/docs/test_readme.py --regenerate` writes the table of the options anew.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from exoip import __main__
from exoip.config import parse
from exoip.config.options import OPTIONS, Kind, Option
from exoip.daemon import supervisor
from exoip.exoscale import client, discovery
from exoip.sandbox.options import build_parser
from exoip.telemetry import journal
from exoip.telemetry.messages import MESSAGES
from tests.simulation.formula import evaluate
from tests.support.paths import ROOT
from tests.unit.test_rooms import ROOMS

README, PROTOCOL, CHANGELOG = ROOT / "README.md", ROOT / "docs/protocol.md", ROOT / "CHANGELOG.md"
OPERATING, SECURITY, CONTRIBUTING = ROOT / "docs/operating.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"
PAGES = (README, OPERATING, PROTOCOL, CHANGELOG, SECURITY, CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md")))
BUILT = ("build/", ".venv/")  # what the scripts make
CONFIG_FILE = "/etc/exoip/eip.conf"

by_name = {"ids": lambda page: page.name}


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one of the same rank or a higher."""
    text = page.read_text()
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.M | re.S)
    assert found, f"{page.name} has no section {heading!r}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables' bodies: lines with bars, without heads and rulers."""
    lines = text.splitlines()
    table = [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("|") and not re.match(r"\|[ |:-]+$", line) and not re.match(r"\|[ |:-]+$", after)
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def blocks(page: Path, kind: str = r"\w*") -> list[str]:
    """The fenced blocks of a page, of one language or of any."""
    return re.findall(rf"^ *```{kind}\n(.*?)^ *```$", page.read_text(), re.M | re.S)


def command_lines(*programs: str) -> Iterator[str]:
    """Every command in README's shell blocks that runs one of the programs, without prompt, sudo,
    path, comment and `&`.
    """
    for block in blocks(README, "sh"):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            words = shlex.split(line, comments=True)
            while words and words[0] in ("$", "sudo", "env"):
                words = words[1:]
            if words and words[0].rpartition("/")[2] in programs:
                ended = next((at for at, word in enumerate(words) if word in ("&", "|", "&&")), len(words))
                yield shlex.join([words[0].rpartition("/")[2], *words[1:ended]])


# Options and exit codes.


def option_row(option: Option) -> str:
    """One option as README's table has it."""
    spelt = [f"`-{option.short}`"] if option.short else []
    spelt += [f"`--{option.name}`"] if option.kind is not Kind.MODE else []
    credential = [f"credential `{option.credential}`"] if option.credential else []
    default = f"{option.default} {option.unit}".strip() if option.default is not None else option.otherwise
    variables = ", ".join([f"`{name}`" for name in option.variables] + credential)
    return f"| {', '.join(spelt)} | {variables} | {default} | {option.help} |"


def test_the_options_are_those_of_the_program(request: pytest.FixtureRequest) -> None:
    expected = [option_row(option) for option in OPTIONS]
    found = re.findall(r"^\| `-.*\|$", section(README, "Options"), re.M)
    if request.config.getoption("--regenerate"):
        README.write_text(README.read_text().replace("\n".join(found), "\n".join(expected)))
        return
    assert found == expected, "run pytest tests/docs/test_readme.py --regenerate"


def test_the_exit_codes_are_those_of_the_program() -> None:
    listed = {int(row[0]) for row in rows(section(README, "Exit codes"))}
    assert listed == {0} | {code for _, code in __main__._CODES}


# Commands and files that a reader copies.


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """README's configuration file."""
    found = [block for block in blocks(README, "ini") if CONFIG_FILE in block]
    assert len(found) == 1, f"README shows {CONFIG_FILE} {len(found)} times"
    path = tmp_path / "eip.conf"
    path.write_text(found[0])
    path.chmod(0o640)
    return path


def test_the_configuration_file_is_good(config_file: Path) -> None:
    parsed = parse.parse(["-W", "-c", str(config_file)], {})
    assert parsed.warnings == ()
    assert parsed.peer_group
    assert parsed.advertisement_interval == 1


def test_there_are_commands_to_look_at() -> None:
    assert len(list(command_lines("exoip"))) >= 4
    assert len(list(command_lines("exoip-sandbox"))) >= 2


@pytest.mark.parametrize("line", list(command_lines("exoip")))
def test_every_exoip_command_is_understood(line: str, config_file: Path) -> None:
    words = [str(config_file) if word == CONFIG_FILE else word for word in shlex.split(line)[1:]]
    if "--help" in words:
        with pytest.raises(SystemExit, match=r"^0$"):
            parse.parse(words, {})
    else:
        parse.parse(words, {})


@pytest.mark.parametrize("line", list(command_lines("exoip-sandbox")))
def test_every_sandbox_command_is_understood(line: str) -> None:
    build_parser().parse_args(shlex.split(line)[1:])


def test_the_ifupdown_stanza_still_works() -> None:
    """ifupdown turns each line `name value` into the variable IF_NAME."""
    stanza = next(block for block in blocks(README) if "up exoip -W &" in block)
    lines = [line.split("#")[0].split(None, 1) for line in stanza.splitlines() if line.strip()]
    environ = {
        f"IF_{name.upper().replace('-', '_')}": value.strip()
        for name, value in lines
        if name not in ("auto", "iface", "up", "down")
    }
    parsed = parse.parse(["-W"], environ)
    assert parsed.warnings == ()
    assert (parsed.mode, parsed.host_priority, parsed.peer_group) == (parse.Mode.WATCH, 20, "web")


def test_the_role_allows_what_exoip_calls_and_no_more() -> None:
    (shown,) = blocks(README, "json")
    policy = json.loads(shown)
    assert policy == json.loads((ROOT / "packaging" / "iam-role.json").read_text())
    rules = policy["services"]["compute"]["rules"]
    allowed = {word for rule in rules for word in re.findall(r"'([a-z-]+)'", rule["expression"])}
    calls = {value for value in vars(client).values() if isinstance(value, client._ApiCall)}
    assert allowed == {call.permission for call in calls if call.signed}
    assert policy["default-service-strategy"] == "deny"
    assert {rule["action"] for rule in rules} == {"allow"}


def test_the_files_of_the_identity_are_those_that_are_read() -> None:
    for file in discovery.metadata.IDENTITY_FILES:
        assert f"`{file}`" in README.read_text()


def test_the_signals_are_those_that_are_caught() -> None:
    named = set(re.findall(r"`(SIG[A-Z0-9]+)`", README.read_text()))
    assert named == {number.name for number in supervisor.SIGNALS}


# The journal.


def test_the_message_ids_are_those_of_the_events() -> None:
    text = README.read_text()
    listed = {row[1].strip("`"): row[0].strip("`") for row in rows(section(README, "The journal")) if len(row[1]) == 34}
    assert listed
    known = {row.message_id: str(row.name) for row in MESSAGES.values()}
    assert all(known.get(name) == what for name, what in listed.items()), listed
    assert set(re.findall(r"\b[0-9a-f]{32}\b", text)) <= known.keys()
    events = set(re.findall(r"EXOIP_EVENT=([a-z-]+)", text))
    assert events
    assert events <= set(known.values())


def test_the_journal_fields_are_those_that_are_written() -> None:
    source = Path(journal.__file__).read_text()
    written = {f"EXOIP_{name}" for name in (*journal._FIELDS.values(), *journal._MILLISECONDS.values())} | set(
        re.findall(r'"(EXOIP_[A-Z_]+)"', source)
    )
    named = set(re.findall(r"\bEXOIP_[A-Z_]+\b", section(README, "The journal")))
    assert named == written


# The rooms.


def test_the_table_of_rooms_is_that_of_the_code() -> None:
    named = [row[0].strip("`") for row in rows(section(README, "The code"))]
    assert named == [f"exoip/{room}" for room in ROOMS]


# docs/protocol.md.


def test_every_bound_comes_to_what_its_example_says() -> None:
    assert "h = 1, D = 3, d = 0.01, L = 0.3, O = 0.2" in section(PROTOCOL, "Bounds")
    names = {"h": 1, "D": 3, "d": 0.01, "L": 0.3, "O": 0.2, "P": 0.25}
    names["A"] = names["L"] / 2 + names["O"]
    names["S"] = names["P"] + 1.5 * names["L"]
    bounds = rows(section(PROTOCOL, "Bounds"))
    assert len(bounds) >= 9
    for _, what, formula, example, scenarios in bounds:
        assert f"{evaluate(formula.strip('`'), names):.2f}" == example, what
        for number in scenarios.split(", "):
            assert list((ROOT / "tests/scenarios").glob(f"{number}*")), f"{what}: no scenario {number}"


def test_every_fixed_time_is_that_of_the_code() -> None:
    table = rows(section(PROTOCOL, "The times that are fixed"))
    assert len(table) > 20
    for name, value in table:
        module, _, constant = name.strip("`").rpartition(".")
        assert getattr(importlib.import_module(f"exoip.{module}"), constant) == float(value), name


# What any page names.


def paths_named(page: Path) -> set[str]:
    """What looks like a path of this repository, in backticks or in a shell block."""
    folders = "|".join(
        path.name.replace(".", r"\.") for path in ROOT.iterdir() if path.is_dir() and path.name != ".git"
    )
    text = page.read_text()
    quoted = re.findall(r"`([^`\s]+)`", text) + [word for block in blocks(page, "sh") for word in block.split()]
    return {name.rstrip(".,;") for name in quoted if re.match(rf"(\./)?({folders})/", name)}


@pytest.mark.parametrize("page", PAGES, **by_name)
def test_every_file_named_exists(page: Path) -> None:
    named = {name.removeprefix("./") for name in paths_named(page)}
    proofs = ROOT / "tests"  # SECURITY.md names its proofs from there
    found = {name for name in named if list(ROOT.glob(name)) or (proofs / name.partition("::")[0]).exists()}
    missing = {name for name in named - found if not name.startswith(BUILT)}
    assert not missing


@pytest.mark.parametrize("page", PAGES, **by_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, target


@pytest.mark.parametrize("page", PAGES, **by_name)
def test_lines_are_not_endless(page: Path) -> None:
    code = "".join(blocks(page))
    long = [line for line in page.read_text().splitlines() if len(line) > 140 and line[:1] != "|" and line not in code]
    assert long == []


def test_the_version_has_its_entry() -> None:
    version = importlib.import_module("exoip").__version__
    assert re.search(rf"^## {re.escape(version)}\b", CHANGELOG.read_text(), re.M)
