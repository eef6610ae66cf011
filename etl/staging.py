"""Jobs on their way to be settled: as rows of the staging table, in the text that COPY reads.

Source: PostgreSQL, COPY, "Text Format".
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple, cast

import msgspec
import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from etl import reconcile
from etl.jobs import Job

_TEXTS = tuple(
    name
    for name in Job.__struct_fields__
    if name not in {"create_time", "update_time", "output_account_ids", "extra"}
)
_texts = attrgetter(*_TEXTS)
_COLUMNS = (*_TEXTS, "create_time", "update_time", "output_account_ids", "extra", "digest", "place")

_COPY = f"COPY {reconcile.staged_job.fullname} ({', '.join(_COLUMNS)}) FROM STDIN (ENCODING 'UTF8')"

_NULL = r"\N"
_ESCAPED = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


class Staged(NamedTuple):
    """A job to be settled, with the digest of its item and the item's place, from 1, among those read with it.

    What AWS tells of a single job has no digest that a listing could know again.
    """

    job: Job
    digest: str | None
    place: int


StagedJobs = dict[str, Staged]
"""Jobs to be settled, by ARN."""


def rows(jobs: Iterable[Staged]) -> bytes:
    """Return these jobs as rows; it takes no transaction, as the driver's own way to write them does.

    They are UTF-8, as COPY is told, and encoded one by one: a single text of all would be as wide in memory as its
    widest character.
    """
    return b"".join([_row(_cells(staged)).encode() for staged in jobs])


def _cells(staged: Staged) -> tuple[str | None, ...]:
    job, digest, place = staged
    times = _moment(job.create_time), _moment(job.update_time)
    return *_texts(job), *times, _array(job.output_account_ids), _json(job.extra), digest, str(place)


def _row(cells: Sequence[str | None]) -> str:
    row = "\t".join([_NULL if cell is None else cell for cell in cells])
    is_plain = row.count("\t") == len(cells) - 1 and row.count("\\") == cells.count(None)
    if not is_plain or "\n" in row or "\r" in row:  # to escape each cell takes three times as long as all of this
        row = "\t".join([_NULL if cell is None else cell.translate(_ESCAPED) for cell in cells])
    return row + "\n"


def _moment(moment: datetime) -> str:
    """Write a moment as msgspec does: `str` takes five times as long, and took a third of all that a row takes."""
    return _json(moment)[1:-1]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _array(words: Iterable[str]) -> str:
    """Write an array literal."""
    quoted = [word.replace("\\", r"\\").replace('"', r"\"") for word in words]
    return '{"' + '","'.join(quoted) + '"}' if quoted else "{}"


def copy(connection: Connection, staged: bytes) -> None:
    """Copy rows to a new staging table: in the driver's own connection, so in the same transaction.

    What the driver raises comes out as SQLAlchemy would raise it.
    """
    connection.execute(CreateTable(reconcile.staged_job))
    driver = cast(psycopg.Connection, connection.connection.driver_connection)
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY) as copying:
            copying.write(staged)
    except psycopg.Error as error:
        is_lost = driver.closed or driver.broken
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError(_COPY, None, error, connection_invalidated=is_lost) from error
