"""What a kind of fault is: a name, what it does, for how long, and what it must not meet."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random

from faults.scene import Scene

Breaking = Callable[[Scene, Random], Iterator[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    name: str
    begin: Callable[[Scene, Random], AbstractContextManager[None]]
    """On from entering to leaving."""
    least: float
    most: float
    """Seconds."""
    is_alone: bool
    """Whether no other such one may be on: two would undo each other."""
    is_possible: Callable[[Scene], bool]
    """Whether it can be tried on this machine."""
    times: int
    """How often it comes while others come once; 0: it takes long, and comes seldom."""

    def may_not_meet(self, other: "Kind") -> bool:
        """Whether one of the two has to be over before the other begins."""
        return self is other or (self.is_alone and other.is_alone)


KINDS: list[Kind] = []


def kind(
    least: float,
    most: float,
    *,
    is_alone: bool = False,
    is_possible: Callable[[Scene], bool] = lambda _: True,
    times: int = 1,
) -> Callable[[Breaking], Breaking]:
    """Make a kind of fault of a generator that begins it, yields while it is on, and ends it."""

    def make(breaking: Breaking) -> Breaking:
        name = breaking.__name__.replace("_", " ")
        KINDS.append(Kind(name, contextmanager(breaking), least, most, is_alone, is_possible, times))
        return breaking

    return make
