"""Re-checks every invariant of the stored history, and of what is kept counted from it."""

from typing import NamedTuple

from sqlalchemy import Connection, text

from etl.verify import history, kept, schema
from etl.verify.check import Check

CHECKS = (*history.CHECKS, *kept.CHECKS, *schema.CHECKS)

_EXAMPLES = 5


class Finding(NamedTuple):
    """How many rows break an invariant, with some of them."""

    check: Check
    broken: int
    examples: list[str]


def findings(connection: Connection) -> list[Finding]:
    """Return what each check finds, all of them looking at the same state."""
    with connection.begin():
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        connection.execute(text("SET LOCAL array_nulls = on"))
        return [_finding(connection, check) for check in CHECKS]


def _finding(connection: Connection, check: Check) -> Finding:
    rows = text(
        f"SELECT count(*), (array_agg(broken.what))[1:{_EXAMPLES}] FROM ({check.query}) AS broken (what)"  # noqa: S608 - our own text
    )
    broken, examples = connection.execute(rows).one()
    return Finding(check, broken, examples or [])
