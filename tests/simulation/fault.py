"""What one row of `faults` is."""

from __future__ import annotations

from dataclasses import dataclass

T = "0.02"
TAKEN = f"expect hole <= D + d + A + {T}"
CUT_UP = "drop *->*"  # each node hears nobody
ALONE = f"expect within D + d + A + S + A + {T}: holders N"  # … and the dead one is cleared
CUT = "drop H->* *->H"
QUIET = ("advance 240s", "expect no hole")  # both may hold for a while
TWO, THREE, FOUR, MORE = (2,), (3,), (4,), (3, 4)
FAST = ("interval=500ms",)  # nodes that are cut off notice it at nearly the same time
NOTHING = ("advance 40s", "expect mutations == 0", "expect no hole")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from the commands that make it to what is expected.

    `nodes`: the numbers of nodes of a world in which it can happen. `needs`: terms of the nodes, or
    of the world, that it takes.
    """

    name: str
    commands: tuple[str, ...]
    nodes: tuple[int, ...] = (2, 3, 4)
    needs: tuple[str, ...] = ()

    @property
    def slow(self) -> bool:
        """Whether answers take so long that for ten minutes all jobs have more time, or whether an
        attach has no effect, so that a node reads itself before its next clear.
        """
        return any("takes=" in command or "attach effect=no" in command for command in self.commands)

    @property
    def terms(self) -> dict[str, str]:
        """The needs by name."""
        return dict(need.split("=") for need in self.needs)

    def fits(self, other: Fault) -> bool:
        """Whether both can happen in the same world."""
        agree = all(other.terms.get(name, value) == value for name, value in self.terms.items())
        return agree and not {*self.nodes}.isdisjoint(other.nodes)
