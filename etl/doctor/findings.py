"""What a check says: one line with a verdict, what was looked at, and what to do."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` may have lines of its own: a policy, or statements to run."""

    check: str
    verdict: Verdict
    subject: str
    said: str
    remedy: str = ""


def unseen(check: str, subject: str, why: str) -> Finding:
    """Say in one line, in the place of all that depends on a check that failed, that it was not looked at."""
    return Finding(check, "warn", subject, f"not looked at: {why}", "mend that, and run `etl doctor` again")
