"""Write the output of --help and -n.

Shown by tests/unit/config/test_parse.py.
"""

from __future__ import annotations

import textwrap

from exoip import __version__
from exoip.config.options import BY_NAME, OPTIONS, Config, Kind, Option

_USAGE = "usage: exoip (-A | -D | -W) [options]\n\nKeep an Exoscale Elastic IP on a live instance.\n"
_NOTES = """\
There are four ways to write an option: --host-priority 10 (or -P 10, -P=10, --host-priority=10), the variable
IF_HOST_PRIORITY=10, the line host-priority = 10 in the file, and host-priority 10 in an ifupdown stanza, which
ifupdown turns into the variable. The command line overrides the environment and credentials, these override the
file, and the file overrides the default. An empty variable counts as not set. A yes-or-no option takes yes, no,
true, false, on, off, 1 or 0.

exit status: 0 done, 1 the operation failed, 2 wrong command line, 69 API out of reach (-A, -D), 77 key rejected by
the API, 78 wrong configuration
"""


def help_text() -> str:
    """Return what --help prints: for every option its names, variables, default and unit."""
    blocks = ["\n".join(_row(option)) for option in OPTIONS]
    modes = sum(option.kind is Kind.MODE for option in OPTIONS)
    return "\n".join([_USAGE, "mode, exactly one:", *blocks[:modes], "", "options:", *blocks[modes:], "", _NOTES])


def _row(option: Option) -> list[str]:
    names = [f"-{option.short}"] if option.short else []
    names += [f"--{option.name}"] if option.kind is not Kind.MODE else []
    head = "  " + ", ".join(names) + (f" {option.metavar}" if option.metavar else "")
    if option.kind is Kind.MODE:
        return [f"{head:<6}{option.help}"]
    facts = []
    if option.variables:
        credential = (f"the systemd credential {option.credential}",) if option.credential else ()
        facts.append(" or ".join((*option.variables, *credential)))
    if option.kind is not Kind.PRINT:
        facts.append("required" if option.required else f"default: {option.default or option.otherwise}")
    if option.unit:
        facts.append(f"unit: {option.unit}")
    body = [*textwrap.wrap(option.help, 108), *textwrap.wrap("; ".join(facts), 108, break_on_hyphens=False)]
    return [head, *("          " + line for line in body)]


def describe(config: Config, *more: str) -> str:
    """Return what -n prints: each option with its value and source, the warnings (`more` are those
    that a look at the host gave), and the verdict.
    """
    lines = [f"exoip {__version__}, mode {config.mode}, Elastic IP {config.address}"]
    for name, source in config.sources.items():
        option = BY_NAME.get(name)
        text = _plain(getattr(config, option.field if option else name))
        if option:
            unit = "" if text == "inf" else option.unit
            text = f"{text} {unit}".strip() if text else f"({option.otherwise})"
        lines.append(f"  {name:<22}  {text:<40}  {source}")
    warnings = [f"warning: {warning}" for warning in (*config.warnings, *more)]
    verdict = f"the configuration is valid{', but see the warnings above' if warnings else ''}"
    return "\n".join([*lines, "", *warnings, verdict, ""])


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.9g}"
    if type(value) is tuple:  # not a SocketAddress, which has a text of its own
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
