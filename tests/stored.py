"""What is stored of jobs, read from the tables as the model of it tells the same."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from model import Edit, Record, Transition, Version
from sqlalchemy import Connection, text

WIRE_NAMES = {
    "name": "name",
    "description": "description",
    "collaboration_id": "collaborationIdentifier",
    "trained_model_arn": "trainedModelArn",
    "trained_model_version_identifier": "trainedModelVersionIdentifier",
    "configured_model_algorithm_association_arn": "configuredModelAlgorithmAssociationArn",
    "payer_account_id": "mlModelInferencePayerAccountId",
    "metrics_status": "metricsStatus",
    "metrics_status_details": "metricsStatusDetails",
    "logs_status": "logsStatus",
    "logs_status_details": "logsStatusDetails",
}
COLUMNS = (*WIRE_NAMES, "create_time", "output_accept", "output_account_ids", "extra")
"""Every column that AWS fills, but for the status and updateTime."""


class Stored(NamedTuple):
    """All that is stored of a job, and which version of its row that is."""

    record: Record
    row_version: str


Snapshot = dict[str, dict[str, Stored]]
"""What is stored of all jobs, by membership and ARN."""


def snapshot(connection: Connection, memberships: Iterable[str]) -> Snapshot:
    """Read all of it in one transaction of its own."""
    with connection.begin():
        return read(connection, memberships)


def read(connection: Connection, memberships: Iterable[str]) -> Snapshot:
    """Read all of it in the caller's transaction."""
    asked = {"memberships": list(memberships)}
    taken: Snapshot = {membership: {} for membership in memberships}
    rows = connection.execute(text(_JOBS), asked).mappings().all()
    history = _by_job(connection.execute(text(_HISTORY), asked), Transition)
    edits = _by_job(connection.execute(text(_EDITS), asked), Edit)
    for row in rows:
        record = _record(row, history.pop(row["job_key"], ()), edits.pop(row["job_key"], ()))
        taken[row["membership_id"]][row["job_arn"]] = Stored(record, row["row_version"])
    return taken


_JOBS = """
    SELECT job.*, job.xmin::text AS row_version, membership_id
    FROM cleanrooms_etl.inference_job AS job JOIN cleanrooms_etl.membership USING (membership_key)
    WHERE membership_id = ANY (:memberships)
"""
_HISTORY = """
    SELECT job_key, changed_time, from_status, from_time, to_status, not_before, observed_at, time_basis
    FROM cleanrooms_etl.status_transition JOIN cleanrooms_etl.inference_job USING (job_key, membership_key)
    JOIN cleanrooms_etl.membership USING (membership_key)
    WHERE membership_id = ANY (:memberships) ORDER BY changed_time
"""
_EDITS = """
    SELECT job_key, observed_at, edit.update_time, changes
    FROM cleanrooms_etl.job_edit AS edit JOIN cleanrooms_etl.inference_job USING (job_key)
    JOIN cleanrooms_etl.membership USING (membership_key)
    WHERE membership_id = ANY (:memberships) ORDER BY observed_at
"""

T = TypeVar("T")


def _by_job(rows: Iterable[Any], make: Callable[..., T]) -> dict[int, tuple[T, ...]]:
    found: dict[int, tuple[T, ...]] = {}
    for key, *columns in rows:
        found[key] = (*found.get(key, ()), make(*columns))
    return found


def _record(row: Any, history: tuple[Transition, ...], edits: tuple[Edit, ...]) -> Record:
    assert (row["status"], row["status_since"]) == (history[-1].to_status, history[-1].changed_time)
    assert row["first_seen_at"] == history[0].observed_at
    record = Record(
        seen_at=history[-1].observed_at,
        version=Version(row["job_arn"], row["status"], row["update_time"], {name: row[name] for name in COLUMNS}),
        history=history,
        edits=edits,
        stale_runs=row["stale_runs"],
        absent_listings=row["absent_listings"],
        absent_since=row["absent_since"],
    )
    assert row["changed_at"] >= max(record.moments)
    return record
