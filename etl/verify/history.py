"""The invariants of the history itself: those that constraints hold, and those that they cannot."""

from etl.verify.check import Check

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
            -- Where the server's clock was set back, what follows is put right behind what came before.
            OR moved.changed_time > greatest(
                moved.observed_at + interval '6 seconds', moved.from_time + interval '1 microsecond'
            )
        """,
    ),
    Check(
        "rising_observation",
        "what happened later was observed by a later run, or by the same",
        """
        -- By the numbers of the runs: a clock may be set back.
        SELECT job.job_arn FROM (
            SELECT *, lag(run_id) OVER (PARTITION BY job_key ORDER BY changed_time) AS last_run_id
            FROM cleanrooms_etl.status_transition
        ) AS moved JOIN cleanrooms_etl.inference_job AS job USING (job_key)
        WHERE moved.run_id < moved.last_run_id
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
        SELECT coalesce(job.job_arn, 'job ' || recorded.job_key) FROM (
            SELECT job_key, run_id FROM cleanrooms_etl.status_transition
            UNION ALL SELECT job_key, run_id FROM cleanrooms_etl.job_edit
        ) AS recorded LEFT JOIN cleanrooms_etl.inference_job AS job USING (job_key)
        LEFT JOIN cleanrooms_etl.sync_run AS run USING (run_id)
        WHERE run.membership_key IS DISTINCT FROM job.membership_key OR job.job_key IS NULL
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
)
