"""Holds the package to its module map: who imports whom, what stays pure, who ends the process, how long things are.

Everything is read from the syntax tree; nothing is imported, so that imports inside functions and under TYPE_CHECKING
count like any other.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "exoip"

# Which modules of exoip each module may import. README's module map shows the same: change both, with the reason.
# `errors` and the package itself (for `__version__`) are anybody's.
MAY_IMPORT: dict[str, str] = {
    # the vocabulary
    "errors": "",
    "wire": "",
    "authentication": "",
    "calls": "",
    "events": "",
    # the pure core: who should hold the address, and which call follows from that
    "peers": "events",
    "damping": "",
    "election": "damping peers events",
    "fitness": "calls",
    "aside": "events fitness",
    "knowledge": "",
    "operation": "calls",
    "moves": "election calls events fitness knowledge operation",
    "timetable": "calls",
    "reads": "election calls events fitness knowledge moves timetable",
    "yielding": "election events knowledge moves reads",
    "ownership": "aside election calls events fitness knowledge moves reads yielding",
    "refusals": "events",
    "admission": "authentication wire",
    "sieve": "wire",
    "schedule": "peers wire",
    "snapshot": "admission aside calls election knowledge ownership peers",
    "verdict": "peers snapshot",
    "handover": "peers snapshot",
    "rise": "",
    "stance": "events peers",
    # the configuration
    "values": "",
    "addresses": "values",
    "settings": "addresses authentication values",
    "options": "addresses values",
    "commandline": "options values",
    "sources": "commandline options values",
    "checks": "addresses options sources values",
    "config": "addresses authentication checks settings sources commandline options values",
    # the API
    "signing": "",
    "resources": "",
    "connection": "",
    "failures": "resources",
    "transport": "connection",
    "api": "signing resources failures transport",
    "metadata": "resources transport",
    "discovery": "api resources metadata config values",
    # the threads
    "node": "admission aside authentication election ownership wire calls events refusals schedule snapshot",
    "heartbeats": "admission authentication node sieve wire events",
    "transition": "node api calls",
    "messages": "events",
    "journal": "events messages",
    "starts": "journal",
    # the operator's own programs and services
    "child": "",
    "health": "child events journal rise settings transport",
    "hooks": "child events settings stance",
    # the metrics
    "tally": "calls events peers",
    "metrics": "events health hooks peers rise snapshot tally",
    "scrapes": "addresses journal",
    "requisites": "hooks metrics settings",
    # the operator's way in
    "orders": "settings",
    "report": "calls config discovery events health snapshot verdict",
    "drained": "journal",
    "steering": "aside config drained handover journal node orders report snapshot",
    "control": "journal orders",
    # the shell
    "footprint": "",  # imported first by __main__, so it imports none of ours
    "remembered": "config discovery journal",
    "reload": "config discovery requisites",
    "watch": "config events journal node reload snapshot",
    "companions": "child config events health hooks journal metrics node rise scrapes settings stance tally watch",
    "daemon": "*",  # all above
    "__main__": "footprint config values daemon discovery api journal requisites transition",
}
MAY_IMPORT["daemon"] = " ".join(MAY_IMPORT.keys() - {"daemon", "__main__"})
ANYBODYS = {"", "errors"}

# The same for the modules of exoipctl, which the daemon never imports: first those of its own, then those of the daemon that it shares.
CTL_MAY_IMPORT: dict[str, tuple[str, str]] = {
    "levels": ("", ""),
    "words": ("levels", ""),
    "asking": ("levels", "orders"),
    "status": ("words", ""),
    "history": ("", "events"),
    "failovers": ("history", ""),
    "journal": ("", ""),
    "timeline": ("failovers words", ""),
    "told": ("asking failovers history journal timeline words", "orders"),
    "rights": ("", "api"),
    "checkup": ("asking rights status", "api config discovery metadata options"),
    "examine": ("asking checkup levels words", "orders"),
    "options": ("asking", "orders settings"),
    "commands": ("asking levels status words", "orders"),
    "__main__": ("*", ""),
}
CTL_MAY_IMPORT["__main__"] = (" ".join(CTL_MAY_IMPORT.keys() - {"__main__"}), "")

# Same input, same output: time is an argument, and nothing is sent, logged or waited for.
PURE = set(
    "wire calls events peers damping election fitness aside knowledge operation moves timetable reads yielding"
    " ownership"
    " refusals admission authentication sieve schedule snapshot verdict handover rise stance orders signing".split()
)
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

# What one module may import when it is asked for what needs it, and the extra that brings it.
OPTIONAL = {"metrics": {"prometheus-client": "prometheus_client"}}

LONGEST_MODULE = 250  # lines
LONGEST_FUNCTION = 40  # lines, from `def` to its last


def modules_imported(source: str, package: str = "exoip") -> set[str]:
    """The dotted names of all modules that a module of `package` imports, however it writes that.

    `from x import y` yields both `x` and `x.y`, for `y` may be a module.
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


def siblings_imported(source: str) -> set[str]:
    """The modules and sub-packages of exoip that a top-level module imports, by name; "" is the package itself."""
    known = MAY_IMPORT.keys() | {"sandbox", "ctl"} | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    dotted = [name.split(".") for name in modules_imported(source)]
    names = {parts[1] if len(parts) > 1 else "" for parts in dotted if parts[0] == "exoip"}
    return {name if name in known else "" for name in names}


def outsiders_imported(source: str) -> set[str]:
    """The top-level names of what a module imports from outside exoip."""
    return {name.split(".")[0] for name in modules_imported(source)} - {"exoip", ""}


def ends_process(source: str, *, zero_allowed: bool = False, guard_allowed: bool = False) -> list[int]:
    """The lines that end the process: `sys.exit`, `os._exit`, `SystemExit`, `exit`, however imported.

    With `zero_allowed`, ending it with status 0 is fine (`--help`); with `guard_allowed`, ending it under
    `if __name__ == "__main__":` is.
    """
    tree = ast.parse(source)
    fine = {
        part
        for node in ast.walk(tree)
        if (guard_allowed and isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'")
        or (zero_allowed and isinstance(node, ast.Call) and [ast.unparse(a) for a in node.args] in ([], ["0"]))
        for part in ast.walk(node)
    }
    enders = {"sys.exit", "os._exit", "os.abort", "_exit", "SystemExit", "exit", "quit"}
    return sorted(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in enders
        if isinstance(node.ctx, ast.Load) and node not in fine and not is_caught(node, tree)
    )


def is_caught(node: ast.AST, tree: ast.AST) -> bool:
    """Whether `node` names what an `except` clause catches: catching an exit is not making one."""
    handlers = [handler.type for handler in ast.walk(tree) if isinstance(handler, ast.ExceptHandler) and handler.type]
    return any(node in set(ast.walk(caught)) for caught in handlers)


def long_parts(source: str) -> list[str]:
    """What of a module goes past the ceilings, in words."""
    tree = ast.parse(source)
    theory = tree.body[0] if ast.get_docstring(tree) else None  # a module may explain itself at any length
    lines = len(source.splitlines()) - ((theory.end_lineno or 0) if theory else 0)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(f.name, f.lineno, (f.end_lineno or f.lineno) - f.lineno + 1) for f in functions]
    return [f"{lines} lines below its docstring, at most {LONGEST_MODULE}"] * (lines > LONGEST_MODULE) + [
        f"line {line}: {name} has {length} lines, at most {LONGEST_FUNCTION}"
        for name, line, length in lengths
        if length > LONGEST_FUNCTION
    ]


def production() -> list[Path]:
    """The modules of the daemon: those directly in the package."""
    return sorted(PACKAGE.glob("*.py"))


def everything() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


by_name = {"ids": name_of}


# The package.


def test_every_module_has_its_row() -> None:
    strangers = {path.stem for path in production()} - MAY_IMPORT.keys() - {"__init__"}
    assert not strangers, f"modules without a row in the module map: {sorted(strangers)}"
    packages = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert packages <= {"sandbox", "ctl"}, f"sub-packages without a place in the module map: {sorted(packages)}"


def test_the_map_has_no_circle() -> None:
    order = list(TopologicalSorter({name: allowed.split() for name, allowed in MAY_IMPORT.items()}).static_order())
    assert order[-1] == "__main__"


@pytest.mark.parametrize("path", production(), **by_name)
def test_imports_only_what_the_map_allows(path: Path) -> None:
    allowed = ANYBODYS | set(MAY_IMPORT.get(path.stem, "").split())
    if path.stem in ANYBODYS | {"__init__"}:
        allowed = {""}
    excess = siblings_imported(path.read_text()) - allowed
    assert not excess, f"{path.stem} may not import {sorted(excess)}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "ctl").glob("*.py")), **by_name)
def test_exoipctl_imports_only_what_its_map_allows(path: Path) -> None:
    own, shared = CTL_MAY_IMPORT[path.stem] if path.stem != "__init__" else ("", "")
    dotted = [name for name in modules_imported(path.read_text(), "exoip.ctl") if name.startswith("exoip.")]
    names = [name.split(".") for name in dotted]
    found_own = {parts[2] for parts in names if parts[1] == "ctl" and len(parts) > 2}
    found_shared = {parts[1] for parts in names if parts[1] != "ctl"} - {"__version__"}
    modules = {each.stem for each in (PACKAGE / "ctl").glob("*.py")}
    assert found_own & modules <= set(own.split())
    assert found_shared <= set(shared.split()) | ANYBODYS


def test_the_map_of_exoipctl_names_its_modules_and_has_no_circle() -> None:
    modules = {path.stem for path in (PACKAGE / "ctl").glob("*.py")} - {"__init__"}
    assert modules == CTL_MAY_IMPORT.keys()
    order = list(TopologicalSorter({name: own.split() for name, (own, _) in CTL_MAY_IMPORT.items()}).static_order())
    assert order[-1] == "__main__"
    assert {name for _, shared in CTL_MAY_IMPORT.values() for name in shared.split()} <= MAY_IMPORT.keys()


def test_the_sandbox_has_no_circle() -> None:
    graph = {path.stem: path.read_text() for path in (PACKAGE / "sandbox").glob("*.py") if path.stem != "__init__"}
    dotted = {name: modules_imported(source, "exoip.sandbox") for name, source in graph.items()}
    inside = {name: {f"exoip.sandbox.{other}" for other in graph} & found for name, found in dotted.items()}
    order = TopologicalSorter({f"exoip.sandbox.{name}": found for name, found in inside.items()}).static_order()
    assert list(order)[-1] == "exoip.sandbox.__main__"


@pytest.mark.parametrize("path", production(), **by_name)
def test_pure_modules_import_no_clock_no_network_no_log(path: Path) -> None:
    if path.stem in PURE:
        assert not outsiders_imported(path.read_text()) & IMPURE


@pytest.mark.parametrize("path", everything(), **by_name)
def test_imports_nothing_but_the_standard_library_and_the_run_time_dependencies(path: Path) -> None:
    source = path.read_text()
    optional = OPTIONAL.get(path.stem, {}) if path.parent == PACKAGE else {}
    assert outsiders_imported(source) <= sys.stdlib_module_names | set(RUN_TIME.values()) | set(optional.values())
    assert not outsiders_imported(source) & {"importlib", "runpy", "pkgutil"}, "hides imports from this test"
    assert "__import__" not in source


@pytest.mark.parametrize("path", everything(), **by_name)
def test_only_main_ends_the_process(path: Path) -> None:
    if path.stem != "__main__":
        sandbox = path.parent != PACKAGE
        lines = ends_process(path.read_text(), zero_allowed=path.stem in {"config", "options"}, guard_allowed=sandbox)
        assert not lines, f"{name_of(path)} ends the process at lines {lines}: raise, and let __main__ exit"


@pytest.mark.parametrize("path", everything(), **by_name)
def test_stays_under_the_ceilings(path: Path) -> None:
    assert long_parts(path.read_text()) == []


def test_nothing_is_called_utils() -> None:
    assert [name_of(path) for path in everything() if path.stem in {"utils", "util", "helpers", "common", "misc"}] == []


# The project file.


def test_run_time_dependencies_are_these_four() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [
        requirement.split(";")[0].split("[")[0].rstrip("<>=!~., 0123456789").lower()
        for requirement in project["dependencies"]
    ]
    assert sorted(names) == sorted(RUN_TIME)


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_is_optional_is_imported_inside_functions_only_and_has_an_extra(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    at_once = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)], [])
    assert not outsiders_imported(ast.unparse(at_once)) & set(OPTIONAL[name].values())
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [re.split("[<>=]", one)[0] for one in extras[name]] == sorted(OPTIONAL[name])


def test_every_run_time_dependency_has_a_range() -> None:
    for requirement in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        assert ">=" in requirement, requirement
        assert ",<" in requirement, requirement


# The rules above, held to code that breaks them.


@pytest.mark.parametrize(
    ("source", "siblings"),
    [
        ("from exoip.daemon import main", {"daemon"}),
        ("from exoip import daemon", {"", "daemon"}),
        ("from exoip import __version__", {""}),
        ("import exoip.daemon as d", {"daemon"}),
        ("from . import daemon", {"", "daemon"}),
        ("from .daemon import main", {"daemon"}),
        ("from .sandbox.zone import Zone", {"sandbox"}),
        ("import exoip.sandbox", {"sandbox"}),
        ("def f():\n    from exoip.daemon import main", {"daemon"}),
        ("if TYPE_CHECKING:\n    from exoip.daemon import Daemon", {"daemon"}),
        ("import time", set()),
    ],
)
def test_finds_siblings_however_they_are_imported(source: str, siblings: set[str]) -> None:
    assert siblings_imported(source) == siblings


def test_finds_siblings_from_a_sub_package() -> None:
    assert modules_imported("from .. import api", "exoip.sandbox") == {"exoip", "exoip.api"}
    assert modules_imported("from ..api import Client", "exoip.sandbox") == {"exoip.api", "exoip.api.Client"}


@pytest.mark.parametrize(
    "source", ["import time", "from time import monotonic", "import http.client", "def f(): import logging"]
)
def test_finds_what_is_impure(source: str) -> None:
    assert outsiders_imported(source) & IMPURE


@pytest.mark.parametrize(
    "source",
    [
        "sys.exit(1)",
        "sys.exit(0)",
        "raise SystemExit(2)",
        "raise SystemExit",
        "from sys import exit\nexit(3)",
        "os._exit(70)",
        "from os import _exit\n_exit(1)",
        "stop = sys.exit",
        "try:\n    run()\nexcept SystemExit:\n    raise SystemExit(1)",
    ],
)
def test_finds_what_ends_the_process(source: str) -> None:
    assert ends_process(source)


@pytest.mark.parametrize(
    "source", ["parser.exit(2)", "try:\n    run()\nexcept (SystemExit, KeyError):\n    pass", "self.exit = 1"]
)
def test_does_not_take_this_for_an_end(source: str) -> None:
    assert not ends_process(source)


def test_exceptions_to_who_ends_the_process() -> None:
    assert not ends_process("raise SystemExit(0)", zero_allowed=True)
    assert ends_process("raise SystemExit(2)", zero_allowed=True)
    assert ends_process("print(sys.exit(1))", zero_allowed=True)
    assert not ends_process('if __name__ == "__main__":\n    sys.exit(main())', guard_allowed=True)
    assert ends_process('if __name__ == "__main__":\n    main()\nsys.exit(1)', guard_allowed=True)


def test_finds_what_is_too_long() -> None:
    assert long_parts("def f():\n" + "    x = 1\n" * LONGEST_FUNCTION) == ["line 1: f has 41 lines, at most 40"]
    assert long_parts("def f():\n" + "    x = 1\n" * (LONGEST_FUNCTION - 1)) == []
    assert long_parts("x = 1\n" * (LONGEST_MODULE + 1)) == ["251 lines below its docstring, at most 250"]
