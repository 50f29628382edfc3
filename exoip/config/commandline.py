"""Reads the words of the command line by the rules of Go's flag package, which exoip's users have in their scripts.

One dash is as good as two, a value follows behind `=` or as the next word, a flag may have a value behind `=`. No
message contains a value, and of an unknown option no more than can hardly be a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from exoip.config.options import BY_SPELLING, OPTIONS, Kind, Option
from exoip.errors import UsageError


def walk(argv: Sequence[str]) -> Iterator[tuple[Option, str]]:
    """Each option with its text, as Go's flags are read: a value is the next word, whatever it begins with."""
    words = iter(enumerate(argv, 1))
    before = "exoip"
    for position, word in words:
        spelling, equals, text = word.partition("=")
        option = BY_SPELLING.get(spelling)
        if option is None:
            cluster = _cluster(word)
            if not cluster:
                raise UsageError(_unknown(spelling, position, before))
            yield from ((each, "yes") for each in cluster)
            before = word
            continue
        if not equals and option.kind is Kind.VALUE:
            _, text = next(words, (0, None))  # type: ignore[assignment]
            if text is None or text.partition("=")[0] in BY_SPELLING:
                raise UsageError(f"{spelling}: its value is missing{_example(option)}")
        elif not equals:
            text = "yes"
        if not text.strip():
            raise UsageError(f"{spelling}: its value is empty (a variable that is not set?){_example(option)}")
        yield option, text.strip()
        before = spelling


def _example(option: Option) -> str:
    return f"; write {option.usual} {option.metavar or 'yes'}"


def _cluster(word: str) -> list[Option]:
    """`-Wv` is -W -v; nothing that takes a value can be part of it."""
    options = [BY_SPELLING.get(f"-{letter}") for letter in word[1:]] if re.fullmatch(r"-[A-Za-z]{2,6}", word) else []
    flags = [option for option in options if option and option.kind in (Kind.MODE, Kind.FLAG)]
    return flags if len(flags) == len(options) else []


def _unknown(spelling: str, position: int, before: str) -> str:
    if not re.match(r"--?[^-]", spelling):
        return (
            f"argument {position} (after {before}) belongs to no option; it is not shown, as it might be a secret: "
            "exoip takes options only, and a value with blanks needs quotes"
        )
    glued = max((each for each in BY_SPELLING if _is_glued(each, spelling)), key=len, default="")
    if is_harmless(spelling) and not (glued and BY_SPELLING[glued].secret):
        return f"unknown option {spelling}{nearest(spelling) or ':'} exoip --help lists the options"
    if glued:
        return f"unknown option {glued}... (argument {position}), did you mean {glued}={BY_SPELLING[glued].metavar}?"
    return f"unknown option (argument {position}, not shown, as it might hold a secret): exoip --help lists the options"


def _is_glued(known: str, spelling: str) -> bool:
    """`-P20`, `-xsSECRET`: a known option and its value without anything between, which Go's flags do not have."""
    return BY_SPELLING[known].kind is Kind.VALUE and spelling.startswith(known)


def is_harmless(name: str) -> bool:
    """Letters and dashes only, and not long: an option's name with an error in it, hardly a secret."""
    return bool(re.fullmatch(r"[A-Za-z_-]{1,32}", name))


def nearest(name: str, *, in_file: bool = False) -> str:
    known = {option.name: option for option in OPTIONS if option.in_file or not in_file}
    known |= {name.removeprefix("exoscale-"): option for name, option in known.items()}
    wanted = name.strip("-").lower().replace("_", "-")
    match = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    if not match:
        return ""
    return f", did you mean {known[match[0]].name if in_file else known[match[0]].usual}?"
