"""What is kept counted, by hour and by week, so that a question about years does not read all of the history.

A transaction that changes history notes from when on the counts of its membership are behind (`note`); once the
listing is read, the run counts those hours and weeks anew (`count_up`). In between, and after a run that was
broken off or killed, the views count them by themselves with the same SQL (`uncounted_hour`, `uncounted_week`):
what they show is always exact.

The caller owns the transaction, under the membership's lease: nothing here opens or commits one.
"""

from datetime import datetime

from sqlalchemy import Connection, func, select, text, update

from etl.tables import SCHEMA, membership

# No row is deleted, and none that is as it was is written again.
_COUNT_HOURS = text(f"""
    INSERT INTO {SCHEMA}.status_hour AS stored (membership_key, hour, held, entered, most_open)
    SELECT membership_key, hour, held, entered, most_open
    FROM {SCHEMA}.uncounted_hour
    WHERE membership_key = :membership_key
    ON CONFLICT (membership_key, hour) DO UPDATE
    SET held = excluded.held, entered = excluded.entered, most_open = excluded.most_open
    WHERE (stored.held, stored.entered, stored.most_open)
        IS DISTINCT FROM (excluded.held, excluded.entered, excluded.most_open)
""")  # noqa: S608 - the name of our own schema

# A job whose model or createTime was corrected leaves its week; one that has none left is kept, with 0.
_COUNT_WEEKS = text(f"""
    WITH fresh AS MATERIALIZED (
        SELECT * FROM {SCHEMA}.uncounted_week WHERE membership_key = :membership_key
    ),
    emptied AS (
        SELECT old.membership_key, old.week, old.trained_model_arn, old.trained_model_version_identifier
        FROM {SCHEMA}.model_week AS old
        JOIN {SCHEMA}.membership USING (membership_key)
        WHERE membership_key = :membership_key AND old.week >= membership.uncounted_weeks_from
            AND NOT EXISTS (
                SELECT FROM fresh
                WHERE (fresh.week, fresh.trained_model_arn) = (old.week, old.trained_model_arn)
                    AND fresh.trained_model_version_identifier
                        IS NOT DISTINCT FROM old.trained_model_version_identifier
            )
    )
    INSERT INTO {SCHEMA}.model_week AS stored (
        membership_key, week, trained_model_arn, trained_model_version_identifier,
        jobs, succeeded, failed, cancelled, cancel_failed, total_seconds, run_seconds
    )
    SELECT * FROM fresh
    UNION ALL
    SELECT *, 0, 0, 0, 0, 0, NULL, NULL FROM emptied
    ON CONFLICT (membership_key, week, trained_model_arn, trained_model_version_identifier) DO UPDATE
    SET jobs = excluded.jobs,
        succeeded = excluded.succeeded,
        failed = excluded.failed,
        cancelled = excluded.cancelled,
        cancel_failed = excluded.cancel_failed,
        total_seconds = excluded.total_seconds,
        run_seconds = excluded.run_seconds
    WHERE stored IS DISTINCT FROM excluded
""")  # noqa: S608 - the name of our own schema


# In the server's usual 4 MB 100,000 jobs cannot be sorted; in files it takes 0.1 s longer.
_ENOUGH_TO_SORT = func.greatest(func.pg_size_bytes(func.current_setting("work_mem")), 64 * 1024 * 1024)
_SORT_IN_MEMORY = select(func.set_config("work_mem", func.concat(_ENOUGH_TO_SORT, "B"), True))


def note(
    connection: Connection,
    membership_key: int,
    *,
    changed: datetime | None = None,
    created: datetime | None = None,
) -> None:
    """Note from when on the counts of a membership are behind.

    `changed` is the earliest of the new changes of status, `created` the earliest creation of a job that is not
    counted as it is now. None: there is none.
    """
    if changed is None and created is None:
        return
    since = {
        "uncounted_hours_from": func.cleanrooms_etl.hour_before(changed),
        "uncounted_weeks_from": func.date_trunc("week", created, "UTC"),
    }
    connection.execute(
        update(membership)
        .where(membership.c.membership_key == membership_key)
        .values({name: func.least(membership.c[name], moment) for name, moment in since.items()})
    )


def count_up(connection: Connection, membership_key: int) -> None:
    """Count what is behind, if anything is."""
    columns = membership.c
    uncounted = {"uncounted_hours_from": _COUNT_HOURS, "uncounted_weeks_from": _COUNT_WEEKS}
    ours = columns.membership_key == membership_key
    since = connection.execute(select(*(columns[name] for name in uncounted)).where(ours)).one()
    behind = [name for name, moment in zip(uncounted, since, strict=True) if moment is not None]
    if not behind:
        return
    connection.execute(_SORT_IN_MEMORY)
    for name in behind:
        connection.execute(uncounted[name], {"membership_key": membership_key})
    connection.execute(update(membership).where(ours).values(dict.fromkeys(behind)))
