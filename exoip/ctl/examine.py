"""What `check` prints: a line for each finding, and below it what mends it; or JSON."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from exoip.ctl.check import OPEN, PROBLEM, WARNING, WELL, Checkup, Finding
from exoip.ctl.client import daemon
from exoip.ctl.levels import CODES, CRITICAL, DEGRADED, HEALTHY
from exoip.ctl.terminal import FAINT, GREEN, RED, YELLOW, paint_for, plain
from exoip.operator.control_protocol import VERSION

_COLOURS = {WELL: GREEN, WARNING: YELLOW, PROBLEM: RED, OPEN: FAINT}


def check(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """`check`: of one daemon."""
    one = daemon(options.name, options.runtime_dir)
    file = Path(options.config or f"/etc/exoip/{one.name}.conf")
    findings = Checkup(one, file, Path(options.credentials_dir)).run()
    paint, found = paint_for(out, environ), list[Finding]()
    for finding in findings:
        found.append(finding)
        if not options.json:
            out.write(
                f"{paint(finding.level.ljust(12), _COLOURS[finding.level])}{finding.about.ljust(9)} {plain(finding.text)}\n"
            )
            out.write(f"{'':22}-> {plain(finding.cure)}\n" if finding.cure else "")
            out.flush()  # the next one may take some seconds
    level = _level(found)
    if options.json:
        out.write(
            json.dumps({"version": VERSION, "level": level, "findings": [asdict(one) for one in found]}, indent=2)
            + "\n"
        )
    return CODES[level]


def _level(found: list[Finding]) -> str:
    levels = {finding.level for finding in found}
    return CRITICAL if PROBLEM in levels else DEGRADED if WARNING in levels else HEALTHY
