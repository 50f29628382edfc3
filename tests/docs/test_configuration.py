"""Holds docs/configuration.md and docs/migrating-from-go.md to the code: options, exit codes, the
key's role, signals, the stanza of ifupdown.

`script/test tests/docs --regenerate` writes the table of the options anew.
"""

from __future__ import annotations

import json
import re

import pytest

from exoip.config import parse
from exoip.config.options import OPTIONS, Kind, Option
from exoip.daemon import command, signals
from exoip.exoscale import client, discovery
from tests.docs.generated import check_generated
from tests.docs.pages import CONFIGURATION, MIGRATING, blocks, rows, section
from tests.support.paths import ROOT

HEAD = "| option | environment | default | meaning |\n| --- | --- | --- | --- |\n"


def option_row(option: Option) -> str:
    """One option as the table has it."""
    spelt = [f"`-{option.short}`"] if option.short else []
    spelt += [f"`--{option.name}`"] if option.kind is not Kind.MODE else []
    credential = [f"credential `{option.credential}`"] if option.credential else []
    default = f"{option.default} {option.unit}".strip() if option.default is not None else option.otherwise
    variables = ", ".join([f"`{name}`" for name in option.variables] + credential)
    return f"| {', '.join(spelt)} | {variables} | {default} | {option.help} |\n"


def test_the_options_are_those_of_the_program(request: pytest.FixtureRequest) -> None:
    expected = "".join(map(option_row, OPTIONS))
    check_generated(request, CONFIGURATION, (HEAD, "\n## "), f"{expected}")


def test_the_exit_codes_are_those_of_the_program() -> None:
    listed = {int(row[0]) for row in rows(section(CONFIGURATION, "Exit codes"))}
    assert listed == {0} | {code for _, code in command._CODES}


def test_the_ifupdown_stanza_still_works() -> None:
    """ifupdown turns each line `name value` into the variable IF_NAME."""
    stanza = next(block for block in blocks(MIGRATING) if "up exoip -W &" in block)
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
    (shown,) = blocks(CONFIGURATION, "json")
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
        assert f"`{file}`" in section(CONFIGURATION, "The peers")


def test_the_signals_are_those_that_are_caught() -> None:
    named = set(re.findall(r"`(SIG[A-Z0-9]+)`", section(CONFIGURATION, "Signals")))
    assert named == {number.name for number in {*signals.STOP, *signals.CAUGHT_EARLY}}
