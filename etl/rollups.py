"""What is kept counted, so that a question about years does not read all of the history: by hour and by week.

A transaction that changes history notes from when on the counts of its membership are behind (`note`); the end of
the run counts those hours and weeks anew (`count_up`). In between, and after a run that was killed, the views count
them by themselves, with the same SQL: what they show is exact at any moment.

The caller owns the transaction, under the membership's lease: nothing here opens or commits one.
"""

from datetime import datetime

from sqlalchemy import Connection, func, select, text, update

from etl.tables import SCHEMA, membership

# Rows that are as they were are not written again.
_COUNT_HOURS = text(f"""
INSERT INTO {SCHEMA}.status_hour AS stored (membership_key, hour, held, entered, most_open)
SELECT membership_key, hour, held, entered, most_open
FROM {SCHEMA}.uncounted_hour WHERE membership_key = :owner
ON CONFLICT (membership_key, hour) DO UPDATE
SET held = excluded.held, entered = excluded.entered, most_open = excluded.most_open
WHERE (stored.held, stored.entered, stored.most_open)
    IS DISTINCT FROM (excluded.held, excluded.entered, excluded.most_open)
""")  # noqa: S608 - names of our own

_NUMBERS = ("jobs", "succeeded", "failed", "cancelled", "cancel_failed", "total_seconds", "run_seconds")

_COUNT_WEEKS = text(f"""
INSERT INTO {SCHEMA}.model_week AS stored
    (membership_key, week, trained_model_arn, trained_model_version_identifier, {', '.join(_NUMBERS)})
SELECT membership_key, week, trained_model_arn, trained_model_version_identifier, {', '.join(_NUMBERS)}
FROM {SCHEMA}.uncounted_week WHERE membership_key = :owner
ON CONFLICT (membership_key, week, trained_model_arn, trained_model_version_identifier) DO UPDATE
SET ({', '.join(_NUMBERS)}) = ROW ({', '.join(f'excluded.{name}' for name in _NUMBERS)})
WHERE ({', '.join(f'stored.{name}' for name in _NUMBERS)})
    IS DISTINCT FROM ({', '.join(f'excluded.{name}' for name in _NUMBERS)})
""")  # noqa: S608 - names of our own


def note(connection: Connection, membership_key: int, changed: datetime | None, created: datetime | None) -> None:
    """Note that the counts of a membership are behind.

    `changed` is the earliest moment of a new change of status, `created` the earliest creation of a job that is not
    counted as it is; None: there is none.
    """
    since = {
        "uncounted_hours_from": func.date_trunc("hour", changed, "UTC"),
        "uncounted_weeks_from": func.date_trunc("week", created, "UTC"),
    }
    if changed is None and created is None:
        return
    connection.execute(
        update(membership)
        .where(membership.c.membership_key == membership_key)
        .values({name: func.least(membership.c[name], moment) for name, moment in since.items()})
    )


def count_up(connection: Connection, membership_key: int) -> None:
    """Count what is behind, if anything is."""
    columns = membership.c
    behind = connection.execute(
        select(columns.uncounted_hours_from, columns.uncounted_weeks_from).where(
            columns.membership_key == membership_key
        )
    ).one()
    if behind == (None, None):
        return
    connection.execute(_COUNT_HOURS, {"owner": membership_key})
    connection.execute(_COUNT_WEEKS, {"owner": membership_key})
    connection.execute(
        update(membership)
        .where(columns.membership_key == membership_key)
        .values(uncounted_hours_from=None, uncounted_weeks_from=None)
    )
