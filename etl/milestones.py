"""The moments of a job's life that its row keeps: what durations are made of. Pure builders, no connection.

`_time` is when it happened as far as is known; the true moment lies between `_not_before` and that.
"""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Label, and_, case, func, null
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from etl.jobs import ENDS, OPEN_STATUSES

NAMES = (
    "started_time", "started_not_before", "stopped_time", "stopped_not_before", "cancel_time", "cancel_not_before",
    "ended_time", "ended_not_before", "ended_status",
)  # fmt: skip

_RUNNING = "CREATE_IN_PROGRESS"
_CANCELLING = ("CANCEL_PENDING", "CANCEL_IN_PROGRESS")

_Columns = ReadOnlyColumnCollection[str, Any]


class Step(NamedTuple):
    """A change of a job's status; at its first sight `from_status` is null.

    Of a job that is listed again `not_before` is that of its NOT_LISTED: what it did meanwhile, nobody saw.
    """

    from_status: ColumnElement[Any]
    to_status: ColumnElement[Any]
    changed_time: ColumnElement[Any]
    not_before: ColumnElement[Any]


def after(step: Step, job: _Columns) -> list[Label[Any]]:
    """Return the milestones of a job after a change other than to NOT_LISTED, which moves none of them.

    `job` are the milestones before it, all null at first sight. `etl verify` reads the same from the history.
    """
    starts = step.to_status == _RUNNING
    stops = func.coalesce(step.from_status == _RUNNING, False)
    cancels = step.to_status.in_(_CANCELLING)
    # Seen again in the status that it had ended with, it has not ended anew. What an unknown one means, who knows.
    ends = and_(step.to_status.in_(ENDS), step.to_status.is_distinct_from(job.ended_status))
    goes_on = step.to_status.in_(OPEN_STATUSES)
    moments = {"time": step.changed_time, "not_before": step.not_before}
    values: dict[str, ColumnElement[Any]] = {}
    for kind, moment in moments.items():
        started, cancel = job[f"started_{kind}"], job[f"cancel_{kind}"]
        values[f"started_{kind}"] = case((and_(starts, job.started_time.is_(None)), moment), else_=started)
        values[f"stopped_{kind}"] = case((starts, null()), (stops, moment), else_=job[f"stopped_{kind}"])
        values[f"cancel_{kind}"] = case((and_(cancels, job.cancel_time.is_(None)), moment), else_=cancel)
        values[f"ended_{kind}"] = case((goes_on, null()), (ends, moment), else_=job[f"ended_{kind}"])
    values["ended_status"] = case((goes_on, null()), (ends, step.to_status), else_=job.ended_status)
    return [values[name].label(name) for name in NAMES]
