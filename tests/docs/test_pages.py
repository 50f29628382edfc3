"""Holds every page to the tree: links, files, commands, widths; README to one screenful after the
other in the order of a newcomer's questions; and the architecture's table of rooms to the code.
"""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from exoip.config import parse
from exoip.ctl.options import build_parser as build_ctl_parser
from exoip.sandbox.options import build_parser
from tests.docs.pages import (
    ARCHITECTURE,
    BUILT,
    CHANGELOG,
    CONTRIBUTING,
    PAGES,
    README,
    blocks,
    command_lines,
    page_name,
    rows,
    section,
)
from tests.fresh.__main__ import COMMANDS, INSIDE
from tests.support.paths import ROOT
from tests.unit.test_rooms import ROOMS

CONFIG_FILE = "/etc/exoip/eip.conf"
DOC = "/usr/share/doc/exoip/"
MOST_LINES = {README: 150, CONTRIBUTING: 80}

of_each_page = pytest.mark.parametrize("page", PAGES, ids=page_name)


def shipped() -> dict[Path, str]:
    """The pages that the package installs, by their path below its folder of documents."""
    listed = [ROOT / line for line in (ROOT / "packaging/debian/exoip.docs").read_text().split()]
    pages = [page for path in listed for page in (sorted(path.rglob("*.md")) if path.is_dir() else [path])]
    return {page: page_name(page) for page in pages}


def links(page: Path) -> list[tuple[str, str]]:
    """The file and the anchor of each link that leads to a file."""
    found = [target.partition("#") for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    return [(file, anchor) for file, _, anchor in found if "://" not in file]


# README.


def test_the_readme_answers_a_newcomers_questions_in_order() -> None:
    assert re.findall(r"^## (.*)$", README.read_text(), re.M) == [
        "See it work",
        "Two instances in six steps",
        "At 3 a.m.",
        "What it refuses to do",
        "More",
    ]


@pytest.mark.parametrize("page", MOST_LINES, ids=page_name)
def test_a_page_to_begin_with_is_short(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= MOST_LINES[page]


def test_the_readme_leads_to_every_page_for_readers() -> None:
    linked = {(README.parent / file).resolve() for file, _ in links(README) if file}
    assert linked >= {page for page in shipped() if page != README}


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
    assert len(list(command_lines("exoipctl"))) >= 20


@pytest.mark.parametrize("line", sorted(set(command_lines("exoip"))))
def test_every_exoip_command_is_understood(line: str, config_file: Path) -> None:
    words = [str(config_file) if word == CONFIG_FILE else word for word in shlex.split(line)[1:]]
    if "--help" in words or "--version" in words:
        with pytest.raises(SystemExit, match=r"^0$"):
            parse.parse(words, {})
    elif "-c" in words:
        parse.parse(words, {})


@pytest.mark.parametrize("line", sorted(set(command_lines("exoip-sandbox"))))
def test_every_sandbox_command_is_understood(line: str) -> None:
    build_parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("line", sorted(set(command_lines("exoipctl"))))
def test_every_exoipctl_command_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    if len(words) == 1:  # a command's name alone stands for the command
        words.append("--help")
        with pytest.raises(SystemExit, match=r"^0$"):
            build_ctl_parser().parse_args(words)
    else:
        build_ctl_parser().parse_args(words)


# What any page names.


def paths_named(page: Path) -> set[str]:
    """What looks like a path of this repository, in backticks or in a shell block."""
    folders = "|".join(
        path.name.replace(".", r"\.") for path in ROOT.iterdir() if path.is_dir() and path.name != ".git"
    )
    text = page.read_text()
    quoted = re.findall(r"`([^`\s]+)`", text) + [word for block in blocks(page, "sh") for word in block.split()]
    return {name.rstrip(".,;") for name in quoted if re.match(rf"(\./)?({folders})/", name)}


@of_each_page
def test_every_file_named_exists(page: Path) -> None:
    named = {name.removeprefix("./") for name in paths_named(page)}
    proofs = ROOT / "tests"  # SECURITY.md names its proofs from there
    found = {name for name in named if list(ROOT.glob(name)) or (proofs / name.partition("::")[0]).exists()}
    missing = {name for name in named - found if not name.startswith(BUILT)}
    assert not missing


@of_each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for file, anchor in links(page):
        linked = page.parent / file if file else page
        assert linked.exists(), file
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, anchor


@pytest.mark.parametrize("page", shipped(), ids=page_name)
def test_an_installed_page_links_to_installed_pages_only(page: Path) -> None:
    """The package keeps the layout of the tree, so a link that holds here holds there."""
    for file, _ in links(page):
        assert not file or (page.parent / file).resolve() in shipped(), file


def test_every_installed_example_that_is_named_is_installed() -> None:
    listed = [ROOT / line for line in (ROOT / "packaging/debian/exoip.examples").read_text().split()]
    roots = {path.name: path for pattern in listed for path in ROOT.glob(page_name(pattern))}
    sources = [*PAGES, *(ROOT / "man").iterdir(), *(ROOT / "packaging").rglob("*.conf"), *(ROOT / "systemd").iterdir()]
    named = {name for source in sources for name in re.findall(rf"{DOC}examples/([\w./-]*\w)", source.read_text())}
    assert len(named) >= 4
    for name in named:
        first, _, rest = name.partition("/")
        assert first in roots, name
        assert (roots[first] / rest).exists(), name


@of_each_page
def test_lines_are_not_endless(page: Path) -> None:
    code = "".join(blocks(page))
    long = [
        line
        for line in page.read_text().splitlines()
        if len(line) > 100 and not line.startswith(("|", "    ")) and line not in code
    ]
    assert long == []


# Phrases of a translation, which readers stumbled over.
STUMBLES = re.compile(r"\b(can not|so that who|in other hands|is told of|what is wrong is told|for ever)\b", re.I)


def test_no_text_stumbles() -> None:
    """Of pages, manual, catalog, scripts, the code with its messages, and scenarios."""
    texts = [*PAGES, *(ROOT / "man").iterdir(), *(ROOT / "systemd").iterdir(), *(ROOT / "script").iterdir()]
    texts += [*(ROOT / "exoip").rglob("*.py"), *(ROOT / "tests/scenarios").glob("*.txt")]
    found = [(path.name, match[0]) for path in texts for match in STUMBLES.finditer(path.read_text())]
    assert found == []


def test_each_script_is_run_as_the_first_one_in_a_fresh_tree() -> None:
    first = {command.split()[0] for command in COMMANDS}
    assert first | set(INSIDE) == {f"script/{path.name}" for path in (ROOT / "script").iterdir()}


def test_the_table_of_rooms_is_that_of_the_code() -> None:
    named = [row[0].strip("`") for row in rows(section(ARCHITECTURE, "Rooms"))]
    assert named == [f"exoip/{room}" for room in ROOMS]


def test_the_version_has_its_entry() -> None:
    version = importlib.import_module("exoip").__version__
    assert re.search(rf"^## {re.escape(version)}\b", CHANGELOG.read_text(), re.M)
