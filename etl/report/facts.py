"""The facts of a report: read from the views in one snapshot, a few rows for each chart and table."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.errors import QueryCanceled
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from etl.report import queries
from etl.report.period import Asked, Period, Step

Row = Mapping[str, Any]

# What a page shows at most, so that it can be read, and stays small whatever the database holds.
MODELS = 15
JOBS = 20
MEMBERSHIPS = 50
FRESHNESS = 100

_STRIDES = {"week": 6, "month": 6}  # hours

VIEWS = (
    "capacity", "history_gaps", "inference_jobs", "job_timings", "open_jobs", "status_counts_hourly",
    "status_dim", "status_transitions", "sync_freshness", "sync_runs",
)  # fmt: skip


class UnreadableError(Exception):
    """The views are not there, or not for us: one line that says what to do."""


class TooSlowError(Exception):
    """The database gave up a query: one line that says how to ask for less."""


class UnknownMembershipError(Exception):
    """A membership was asked for that the database knows nothing of."""


class Facts(NamedTuple):
    """All that a report tells; what is asked of each is in `queries`."""

    now: datetime
    first: datetime | None
    period: Period
    step: Step
    memberships: Sequence[str]
    counts: Row
    held: Sequence[Row]
    ended: Sequence[Row]
    models: Sequence[Row]
    spread: Sequence[Row]
    open_jobs: Sequence[Row]
    capacity: Sequence[Row]
    accounts: Sequence[Row]
    slowest: Sequence[Row]
    failed: Sequence[Row]
    freshness: Sequence[Row]
    gaps: Sequence[Row]
    windows: Row


def read(connection: Connection, asked: Asked, memberships: Sequence[str] = ()) -> Facts:
    """Read the facts of a period, of these memberships (none named: of all), all of them of one moment.

    Raises `UnreadableError`, `UnknownMembershipError`, `TooSlowError`, and `PeriodError`.
    """
    try:
        return _read_in_one_snapshot(connection, asked, memberships)
    except DBAPIError as error:
        if isinstance(error.orig, QueryCanceled):
            raise TooSlowError(
                "the database ended a query after its statement_timeout: ask for fewer --days, or for one"
                " --membership"
            ) from error
        raise


def _read_in_one_snapshot(connection: Connection, asked: Asked, memberships: Sequence[str]) -> Facts:
    with connection.begin():
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        # A plan of many small parts takes longer to compile than to run.
        connection.execute(text("SET LOCAL jit = off"))
        _check_views(connection)
        _check_memberships(connection, memberships)
        return _read(connection, asked, memberships)


def _check_views(connection: Connection) -> None:
    found = connection.execute(text(queries.READABLE), {"views": list(VIEWS)}).all()
    if missing := sorted(set(VIEWS) - {row.view for row in found}):
        raise UnreadableError(f"the database has no view cleanrooms.{missing[0]}: run `etl db upgrade`")
    if hidden := sorted(row.view for row in found if not row.may_read):
        raise UnreadableError(
            f"this role may not read the view cleanrooms.{hidden[0]}: let the owner run `etl db grant` for it"
        )


def _check_memberships(connection: Connection, memberships: Sequence[str]) -> None:
    for membership in memberships:
        if not connection.scalar(text(queries.KNOWN_MEMBERSHIP), {"id": membership}):
            raise UnknownMembershipError(
                f"--membership {membership!r} is not in the database: the view sync_freshness lists the configured"
            )


def _read(connection: Connection, asked: Asked, memberships: Sequence[str]) -> Facts:
    chosen: dict[str, Any] = {"memberships": list(memberships) or None}

    def rows(query: str, **parameters: Any) -> list[Row]:
        # What a query does not mention is not bound.
        return [dict(row) for row in connection.execute(text(query), {**chosen, **parameters}).mappings()]

    (moment,) = rows(queries.MOMENT)
    period = asked.period(moment["now"])
    step = period.step(moment["first"])
    chosen.update(period._asdict(), step=step.name)
    return Facts(
        now=moment["now"],
        first=moment["first"],
        period=period,
        step=step,
        memberships=memberships,
        counts=rows(queries.COUNTS)[0],
        held=rows(queries.HELD, stride=_STRIDES.get(step.name, 1)),
        ended=rows(queries.ENDED),
        models=rows(queries.MODELS, most=MODELS),
        spread=rows(queries.SPREAD),
        open_jobs=rows(queries.OPEN_JOBS, most=JOBS),
        capacity=rows(queries.CAPACITY, most=MEMBERSHIPS),
        accounts=rows(queries.ACCOUNTS, most=JOBS),
        slowest=rows(queries.SLOWEST, most=JOBS),
        failed=rows(queries.FAILED, most=JOBS),
        freshness=rows(queries.FRESHNESS, most=FRESHNESS),
        gaps=rows(queries.GAPS),
        windows=rows(queries.WINDOWS)[0],
    )
