"""Re-checks every invariant of the stored history: those that constraints hold, and those that they cannot."""

from typing import NamedTuple

from sqlalchemy import Connection, text

from etl.tables import metadata


class Check(NamedTuple):
    """An invariant, and the query for the rows that break it (each an identifying text)."""

    name: str
    rule: str
    query: str


class Finding(NamedTuple):
    """How many rows break an invariant, with some of them."""

    check: Check
    broken: int
    examples: list[str]


_EXAMPLES = 5

_CONSTRAINTS = ", ".join(
    f"('{table.name}', '{constraint.name}')"
    for table in metadata.tables.values()
    for constraint in table.constraints
)

CHECKS = (
    Check(
        "current_status",
        "a job's status and status_since are those of its last transition",
        """
        SELECT job.job_arn FROM cleanrooms_etl.inference_job AS job
        LEFT JOIN LATERAL (
            SELECT * FROM cleanrooms_etl.status_transition AS moved
            WHERE moved.job_key = job.job_key ORDER BY moved.changed_time DESC LIMIT 1
        ) AS last ON true
        WHERE (job.status, job.status_since) IS DISTINCT FROM (last.to_status, last.changed_time)
        """,
    ),
    Check(
        "one_first_sight",
        "a job's history begins with one first sight",
        """
        SELECT job.job_arn FROM cleanrooms_etl.inference_job AS job
        LEFT JOIN cleanrooms_etl.status_transition AS first
            ON first.job_key = job.job_key AND first.from_status IS NULL
        GROUP BY job.job_key HAVING count(first.job_key) <> 1
        """,
    ),
    Check(
        "unbroken_chain",
        "each transition starts where the one before ended: no gap, no overlap, no branch",
        """
        SELECT job.job_arn FROM (
            SELECT *, lag(to_status) OVER history AS last_status, lag(changed_time) OVER history AS last_time
            FROM cleanrooms_etl.status_transition WINDOW history AS (PARTITION BY job_key ORDER BY changed_time)
        ) AS moved JOIN cleanrooms_etl.inference_job AS job USING (job_key)
        WHERE (moved.from_status, moved.from_time) IS DISTINCT FROM (moved.last_status, moved.last_time)
        """,
    ),
    Check(
        "possible_times",
        "a transition's window ends with it, and it lies after the one before",
        """
        SELECT job.job_arn FROM cleanrooms_etl.status_transition AS moved
        JOIN cleanrooms_etl.inference_job AS job USING (job_key)
        WHERE moved.not_before > moved.changed_time OR moved.changed_time <= moved.from_time
            OR moved.changed_time > moved.observed_at + interval '6 seconds'
        """,
    ),
    Check(
        "rising_observation",
        "what happened later was observed later",
        """
        SELECT job.job_arn FROM (
            SELECT *, lag(observed_at) OVER (PARTITION BY job_key ORDER BY changed_time) AS last_observed_at
            FROM cleanrooms_etl.status_transition
        ) AS moved JOIN cleanrooms_etl.inference_job AS job USING (job_key)
        WHERE moved.observed_at < moved.last_observed_at
        """,
    ),
    Check(
        "real_changes",
        "a transition changes the status, and our own NOT_LISTED is never given AWS's time",
        """
        SELECT job.job_arn FROM cleanrooms_etl.status_transition AS moved
        JOIN cleanrooms_etl.inference_job AS job USING (job_key)
        WHERE moved.from_status = moved.to_status
            OR (moved.to_status = 'NOT_LISTED' AND moved.time_basis <> 'observed')
        """,
    ),
    Check(
        "own_runs",
        "what is recorded of a job was recorded by a run of its membership",
        """
        SELECT job.job_arn FROM (
            SELECT job_key, run_id FROM cleanrooms_etl.status_transition
            UNION ALL SELECT job_key, run_id FROM cleanrooms_etl.job_edit
        ) AS recorded JOIN cleanrooms_etl.inference_job AS job USING (job_key)
        JOIN cleanrooms_etl.sync_run AS run USING (run_id)
        WHERE run.membership_key <> job.membership_key
        """,
    ),
    Check(
        "counted_transitions",
        "a run's record counts the transitions that it wrote",
        """
        SELECT 'run ' || run.run_id FROM cleanrooms_etl.sync_run AS run
        LEFT JOIN (
            SELECT run_id, count(*) AS number FROM cleanrooms_etl.status_transition GROUP BY run_id
        ) AS written USING (run_id)
        WHERE run.transitions <> coalesce(written.number, 0)
        """,
    ),
    Check(
        "one_run_at_a_time",
        "a membership has one running run at most",
        """
        SELECT 'membership ' || membership.membership_id FROM cleanrooms_etl.sync_run AS run
        JOIN cleanrooms_etl.membership USING (membership_key)
        WHERE run.outcome = 'running' GROUP BY membership.membership_id HAVING count(*) > 1
        """,
    ),
    Check(
        "constraints_in_force",
        "every constraint is there, and all rows were held against it",
        f"""
        SELECT needed.relation || ': ' || needed.name FROM (VALUES {_CONSTRAINTS}) AS needed (relation, name)
        LEFT JOIN pg_constraint AS found ON found.conname = needed.name AND found.convalidated
            AND found.conrelid = ('cleanrooms_etl.' || needed.relation)::regclass
        WHERE found.oid IS NULL
        """,  # noqa: S608 - names of our own
    ),
    Check(
        "triggers_in_force",
        "history is append-only, and no foreign key is switched off",
        """
        SELECT relation || ': append_only' FROM unnest(ARRAY['status_transition', 'job_edit']) AS relation
        WHERE NOT EXISTS (
            SELECT FROM pg_trigger
            WHERE tgrelid = ('cleanrooms_etl.' || relation)::regclass AND tgname = 'append_only'
        )
        UNION ALL
        SELECT tgrelid::regclass || ': ' || tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
        WHERE relnamespace = 'cleanrooms_etl'::regnamespace AND tgenabled NOT IN ('O', 'A')
        """,
    ),
)


def findings(connection: Connection) -> list[Finding]:
    """Return what each check finds, all of them looking at the same state."""
    with connection.begin():
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        return [_finding(connection, check) for check in CHECKS]


def _finding(connection: Connection, check: Check) -> Finding:
    rows = text(
        f"SELECT count(*), (array_agg(broken.what))[1:{_EXAMPLES}] FROM ({check.query}) AS broken (what)"  # noqa: S608 - our own text
    )
    broken, examples = connection.execute(rows).one()
    return Finding(check, broken, examples or [])
