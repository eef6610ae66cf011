"""What came of it, in figures: those that must be 0, and those that tell how hard it was tried."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from faults import comparison
from faults.comparison import Found

DURING, AFTER = "invariant violations during", "invariant violations after"
VIEWS = "views that show something else"
REWRITTEN = "rows rewritten without a change"
FAULTS, DEAD = "faults of the program", "workers that ended by themselves"
LATE = "changes known too late"
FAILED = "syncs that failed in the quiet"
WRONG = (*comparison.FIGURES, DURING, AFTER, VIEWS, REWRITTEN, FAULTS, DEAD, FAILED, LATE)

_EXAMPLES = 5
_LONGEST = 1_500  # characters of an example


@dataclass
class Figures:
    """Counted while it goes on; complete at the end."""

    seed: int
    tried: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)
    not_tried: list[str] = field(default_factory=list)
    wrong: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    others: dict[str, object] = field(default_factory=dict)

    @property
    def is_all_right(self) -> bool:
        return not any(self.wrong.values())

    def add(self, found: Iterable[Found]) -> None:
        """Count what is wrong."""
        for figure, what in found:
            self.wrong[figure].append(what)

    def lines(self) -> Iterator[str]:
        """Word them for people."""
        yield f"seed {self.seed}"
        yield from (
            f"  {self.survived[name]:>4} of {self.tried[name]:>3} survived  {name}" for name in sorted(self.tried)
        )
        yield from (f"  not tried here: {what}" for what in self.not_tried)
        yield from (f"{what}: {value}" for what, value in self.others.items())
        for figure in WRONG:
            examples = self.wrong[figure]
            yield f"{len(examples):>4}  {figure}"
            yield from (f"        {example[:_LONGEST]}" for example in examples[:_EXAMPLES])
        yield "all is as it should be" if self.is_all_right else f"WRONG: try again with SEED={self.seed}"
