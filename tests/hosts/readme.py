"""What the README tells a user to do on two instances: its commands and its configuration file, to
be done to the letter.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

README = Path(__file__, "../../../README.md").resolve()
CHAPTER = r"^## Two instances in six steps\n(.*?)^## "
ELSEWHERE = ("exo", "script/deb")  # done in the cloud, and on the machine that builds


@dataclass(frozen=True, slots=True)
class Chapter:
    """The commands of the chapter, in order; of the configuration its path and text, and how many
    commands come before it.
    """

    commands: tuple[str, ...]
    path: str
    configuration: str
    before: int

    def command(self, words: str) -> str:
        """The only command that has these words in it."""
        (found,) = (command for command in self.commands if words in command)
        return found

    def until(self, words: str) -> tuple[str, ...]:
        """The commands before the one that has these words in it."""
        return self.commands[: self.commands.index(self.command(words))]

    def since(self, words: str) -> tuple[str, ...]:
        """The commands from the one that has these words in it."""
        return self.commands[self.commands.index(self.command(words)) :]

    def option(self, name: str) -> str:
        """A value in the configuration."""
        found = re.search(rf"^{name} = (\S+)", self.configuration, re.M)
        assert found, f"README's configuration has no {name}"
        return found[1]


def chapter() -> Chapter:
    """The chapter as it stands: shell blocks, and commands in the running text that begin with a
    known program.
    """
    found = re.search(CHAPTER, README.read_text(), re.M | re.S)
    assert found, "README has no chapter that says how to run it"
    commands: list[str] = []
    file, before = "", 0
    for block in re.finditer(r"^ *```(\w+)\n(.*?)^ *```$|`((?:systemctl|cp|exoipctl) [^`]+)`", found[1], re.M | re.S):
        language, text, inline = block.groups()
        if inline:
            commands.append(inline)
        elif language == "sh":
            commands += [line for line in dedent(text).splitlines() if shlex.split(line)[0] not in ELSEWHERE]
        elif language == "ini":
            file, before = dedent(text), len(commands)
    path = re.match(r"# (/etc/exoip/\w+\.conf)\n", file)
    assert path, "README's configuration does not begin with its path"
    return Chapter(tuple(commands), path[1], file, before)
