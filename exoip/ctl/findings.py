"""Define what `check` finds, and its levels."""

from __future__ import annotations

from dataclasses import dataclass

WELL = "well"  # the levels of findings, as JSON names them
WARNING = "warning"  # this node can do its job, but something is wrong, such as a silent peer
PROBLEM = "problem"  # this node cannot do its job
OPEN = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of examining one thing.

    `cure`: how to fix it, "" if nothing is wrong or the text says it.
    """

    level: str
    about: str
    text: str
    cure: str = ""
