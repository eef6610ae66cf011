-- What a sync keeps in the job's row from now on, read from the history of the jobs that are there already.
WITH seen AS ( -- in statuses that are known: what others mean for a job's end is not
    SELECT *, lag(to_status) OVER (PARTITION BY job_key ORDER BY changed_time) AS known_before
    FROM cleanrooms_etl.status_transition
    WHERE to_status IN (
        'CREATE_PENDING', 'CREATE_IN_PROGRESS', 'ACTIVE', 'CREATE_FAILED',
        'CANCEL_PENDING', 'CANCEL_IN_PROGRESS', 'INACTIVE', 'CANCEL_FAILED'
    )
),
ended AS (
    SELECT DISTINCT ON (job_key) job_key, to_status, changed_time, not_before
    FROM seen
    WHERE known_before IS DISTINCT FROM to_status -- seen again as it was, it had not ended anew
    ORDER BY job_key, changed_time DESC
),
started AS (
    SELECT DISTINCT ON (job_key) job_key, changed_time, not_before
    FROM seen WHERE to_status = 'CREATE_IN_PROGRESS'
    ORDER BY job_key, changed_time
),
stopped AS (
    SELECT DISTINCT ON (ran.job_key) ran.job_key, stop.to_status, stop.changed_time, stop.not_before
    FROM seen AS ran
    LEFT JOIN cleanrooms_etl.status_transition AS stop
        ON stop.job_key = ran.job_key AND stop.from_time = ran.changed_time
    WHERE ran.to_status = 'CREATE_IN_PROGRESS'
    ORDER BY ran.job_key, ran.changed_time DESC
),
cancelled AS (
    SELECT DISTINCT ON (job_key) job_key, changed_time, not_before
    FROM seen WHERE to_status IN ('CANCEL_PENDING', 'CANCEL_IN_PROGRESS')
    ORDER BY job_key, changed_time
)
UPDATE cleanrooms_etl.inference_job AS job
SET
    started_time = started.changed_time,
    started_not_before = started.not_before,
    stopped_time = CASE WHEN stopped.to_status <> 'NOT_LISTED' THEN stopped.changed_time END,
    stopped_not_before = CASE WHEN stopped.to_status <> 'NOT_LISTED' THEN stopped.not_before END,
    cancel_time = cancelled.changed_time,
    cancel_not_before = cancelled.not_before,
    ended_time = CASE WHEN ended.to_status = ANY (ends.statuses) THEN ended.changed_time END,
    ended_not_before = CASE WHEN ended.to_status = ANY (ends.statuses) THEN ended.not_before END,
    ended_status = CASE WHEN ended.to_status = ANY (ends.statuses) THEN ended.to_status END
FROM ended
CROSS JOIN (SELECT '{ACTIVE,CREATE_FAILED,INACTIVE,CANCEL_FAILED}'::text[] AS statuses) AS ends
LEFT JOIN started USING (job_key)
LEFT JOIN stopped USING (job_key)
LEFT JOIN cancelled USING (job_key)
WHERE job.job_key = ended.job_key
    AND (started.job_key IS NOT NULL OR cancelled.job_key IS NOT NULL OR ended.to_status = ANY (ends.statuses));
