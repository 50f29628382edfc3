"""Holds the package to its rooms: who imports whom, what is pure, who ends the process, how long
things are.

Everything is read from the syntax tree, so imports inside functions and under TYPE_CHECKING count
too.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE, ROOT

# A room imports only from itself and from the rooms before it. docs/architecture.md shows the same table.
ROOMS = ("heartbeat", "core", "config", "exoscale", "telemetry", "operator", "daemon", "ctl", "sandbox")
GROUND = {"errors", "streams", "thread"}  # any room may import these
BESIDE = GROUND | {"__init__", "__main__"}  # the only files beside the rooms
SEPARATE = {"sandbox": set(ROOMS) - {"sandbox"}}  # no other room imports the simulated zone

# Same input, same output: time is an argument, and nothing is sent, logged or waited for.
PURE = {f"core/{name}" for name in ("*",)} | {
    f"{room}/{name}"
    for room, names in {
        "heartbeat": "wire authentication admission flood_filter",
        "exoscale": "signing",
        "telemetry": "assessment status",
        "operator": "successor control_protocol",
    }.items()
    for name in names.split()
}
LOCKED = {"core/node": {"threading"}}  # the one lock around the pure core
IMPURE = {
    *("time", "datetime", "socket", "ssl", "select", "selectors", "http", "urllib3", "requests", "systemd", "sdnotify"),
    *("threading", "queue", "asyncio", "concurrent", "multiprocessing", "subprocess", "signal", "logging", "os", "sys"),
}
RUN_TIME = {
    "requests": "requests",
    "sdnotify": "sdnotify",
    "systemd-python": "systemd",
    "configargparse": "configargparse",
}
OPTIONAL = {"telemetry/metrics": {"prometheus-client": "prometheus_client"}}  # imported when needed; has an extra

MOST_MODULES = 18  # in a room, beside its __init__
LONGEST_MODULE = 300  # lines
LONGEST_FUNCTION = 40  # lines, from `def` to its last
WIDEST_PROSE = 100  # columns of docstrings and of comments on a line of their own


def modules_imported(source: str, package: str = "exoip") -> set[str]:
    """Return the dotted names of all modules that a module of `package` imports.

    `from x import y` yields both `x` and `x.y`, because `y` may be a module.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, node.module] if node.module else parents)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def name_of(path: Path) -> str:
    """Return `core/election` for exoip/core/election.py."""
    return str(path.relative_to(PACKAGE).with_suffix(""))


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
by_module = pytest.mark.parametrize("name", MODULES)


def siblings_imported(name: str) -> set[str]:
    """Return the modules of exoip that a module imports, by name; a room's `__init__` counts only
    if nothing below it is named.
    """
    dotted = modules_imported(MODULES[name].read_text(), package_of(MODULES[name]))
    named = {"/".join(one.split(".")[1:]) for one in dotted if one.split(".")[0] == "exoip"}
    return {one for one in named if one in MODULES}


def outsiders_imported(source: str) -> set[str]:
    """Return the top-level names of what a module imports from outside exoip."""
    return {name.split(".")[0] for name in modules_imported(source)} - {"exoip", ""}


def ends_process(source: str, *, zero_allowed: bool = False, guard_allowed: bool = False) -> list[int]:
    """Return the lines that end the process: `sys.exit`, `os._exit`, `SystemExit`, `exit`, however
    imported.

    `zero_allowed` permits status 0 (`--help`); `guard_allowed` permits an end under `if __name__ ==
    "__main__":`.
    """
    tree = ast.parse(source)
    fine = {
        part
        for node in ast.walk(tree)
        if (guard_allowed and isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'")
        or (zero_allowed and isinstance(node, ast.Call) and [ast.unparse(a) for a in node.args] in ([], ["0"]))
        for part in ast.walk(node)
    }
    caught = {
        part
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler) and handler.type
        for part in ast.walk(handler.type)
    }
    enders = {"sys.exit", "os._exit", "os.abort", "_exit", "SystemExit", "exit", "quit"}
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in enders
        if isinstance(node.ctx, ast.Load) and node not in fine | caught
    )


def long_functions(source: str) -> list[str]:
    """Return the functions that are too long, with their lengths."""
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(f.name, f.lineno, (f.end_lineno or f.lineno) - f.lineno + 1) for f in functions]
    return [f"line {line}: {name} has {n} lines" for name, line, n in lengths if n > LONGEST_FUNCTION]


def wide_prose(source: str) -> list[int]:
    """Return the lines of docstrings and whole-line comments that are too wide."""
    lines = source.splitlines()
    documented = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docs = [node.body[0] for node in documented if ast.get_docstring(node, clean=False)]
    prose = {number for doc in docs for number in range(doc.lineno, (doc.end_lineno or 0) + 1)}
    prose |= {n for n, line in enumerate(lines, 1) if line.lstrip().startswith("# ") and "# --" not in line}
    return sorted(number for number in prose if len(lines[number - 1]) > WIDEST_PROSE)


def test_the_package_is_its_rooms() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(ROOMS)
    assert {name for name in MODULES if "/" not in name} <= BESIDE
    assert {name.count("/") for name in MODULES} == {0, 1}, "rooms have no rooms inside"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_and_is_not_crowded(room: str) -> None:
    init = ast.parse((PACKAGE / room / "__init__.py").read_text())
    assert ast.get_docstring(init), "what comes in, what goes out, which file owns which rule"
    assert len([name for name in MODULES if name.startswith(f"{room}/")]) - 1 <= MOST_MODULES


@by_module
def test_no_import_points_upwards(name: str) -> None:
    room = name.split("/")[0]
    if room not in ROOMS:
        return
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    found = {sibling.split("/")[0] for sibling in siblings_imported(name)} - GROUND - {"__init__"}
    assert found <= allowed, f"{name} imports from {sorted(found - allowed)}"
    assert room == "sandbox" or "sandbox" not in found


def test_the_ground_imports_nothing() -> None:
    for name in GROUND & MODULES.keys():
        assert not siblings_imported(name) - GROUND


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: siblings_imported(name) - {name} for name in MODULES}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


@by_module
def test_pure_modules_import_no_clock_no_network_no_log(name: str) -> None:
    if name in PURE or f"{name.split('/')[0]}/*" in PURE:
        assert not outsiders_imported(MODULES[name].read_text()) & IMPURE - LOCKED.get(name, set())


@by_module
def test_imports_nothing_but_the_standard_library_and_the_run_time_dependencies(name: str) -> None:
    source = MODULES[name].read_text()
    assert outsiders_imported(source) <= sys.stdlib_module_names | {
        *RUN_TIME.values(),
        *OPTIONAL.get(name, {}).values(),
    }
    assert not outsiders_imported(source) & {"importlib", "runpy", "pkgutil"}, "hides imports from this test"
    assert "__import__" not in source


@by_module
def test_only_main_ends_the_process(name: str) -> None:
    if not name.endswith("__main__"):
        zero = name in {"ctl/options", "sandbox/options"}
        assert not ends_process(MODULES[name].read_text(), zero_allowed=zero), "raise, and let __main__ exit"


@by_module
def test_stays_under_the_ceilings(name: str) -> None:
    source = MODULES[name].read_text()
    assert len(source.splitlines()) <= LONGEST_MODULE
    assert long_functions(source) == []
    assert wide_prose(source) == []


@by_module
def test_nothing_is_called_utils(name: str) -> None:
    assert name.split("/")[-1] not in {"utils", "util", "helpers", "common", "misc"}


# The project file.


def project() -> dict[str, object]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"])


def test_run_time_dependencies_are_these_four() -> None:
    names = [re.split("[<>=!~., ]", requirement)[0] for requirement in project()["dependencies"]]
    assert sorted(names) == sorted(RUN_TIME)


def test_every_run_time_dependency_has_a_range() -> None:
    for requirement in project()["dependencies"]:
        assert ">=" in requirement, requirement
        assert ",<" in requirement, requirement


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_is_optional_is_imported_inside_functions_only_and_has_an_extra(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    at_once = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)], [])
    assert not outsiders_imported(ast.unparse(at_once)) & set(OPTIONAL[name].values())
    extra = project()["optional-dependencies"]["metrics"]
    assert [re.split("[<>=]", one)[0] for one in extra] == sorted(OPTIONAL[name])


# The rules above, held to code that breaks them.


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("from exoip.daemon import main", {"exoip.daemon", "exoip.daemon.main"}),
        ("import exoip.daemon as d", {"exoip.daemon"}),
        ("from ..core import node", {"exoip.core", "exoip.core.node"}),
        ("from . import status", {"exoip.ctl", "exoip.ctl.status"}),
        ("def f():\n    from exoip.daemon import main", {"exoip.daemon", "exoip.daemon.main"}),
        ("if TYPE_CHECKING:\n    from exoip.core.node import Node", {"exoip.core.node", "exoip.core.node.Node"}),
        ("def f(): import logging", {"logging"}),
    ],
)
def test_finds_what_is_imported_however_it_is_written(source: str, modules: set[str]) -> None:
    assert modules_imported(source, "exoip.ctl") == modules


@pytest.mark.parametrize(
    "source",
    ["sys.exit(1)", "sys.exit(0)", "raise SystemExit(2)", "raise SystemExit", "from sys import exit\nexit(3)",
     "os._exit(70)", "stop = sys.exit", "try:\n    run()\nexcept SystemExit:\n    raise SystemExit(1)"],
)  # fmt: skip
def test_finds_what_ends_the_process(source: str) -> None:
    assert ends_process(source)


def test_allows_what_does_not_end_it() -> None:
    assert not ends_process("parser.exit(2)\ntry:\n    run()\nexcept (SystemExit, KeyError):\n    self.exit = 1")
    assert not ends_process("raise SystemExit(0)", zero_allowed=True)
    assert ends_process("raise SystemExit(2)", zero_allowed=True)
    assert not ends_process('if __name__ == "__main__":\n    sys.exit(main())', guard_allowed=True)


def test_finds_a_long_function() -> None:
    assert long_functions("def f():\n" + "    x = 1\n" * LONGEST_FUNCTION) == ["line 1: f has 41 lines"]
    assert long_functions("def f():\n" + "    x = 1\n" * (LONGEST_FUNCTION - 1)) == []


def test_finds_wide_prose() -> None:
    wide = "w" * WIDEST_PROSE
    assert wide_prose(f'"""{wide}"""\nx = "{wide}"  # {wide}\n    # {wide}\n') == [1, 3]
