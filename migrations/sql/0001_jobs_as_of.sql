CREATE FUNCTION cleanrooms.jobs_as_of(moment timestamptz)
RETURNS TABLE (
    job_arn text,
    job_id text,
    name text,
    membership_id text,
    trained_model_arn text,
    status text,
    status_since timestamptz,
    seconds_in_status double precision,
    is_open boolean,
    is_listed boolean,
    not_before timestamptz,
    time_basis text
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        job.job_arn,
        substring(job.job_arn FROM 'trained-model-inference-job/(.+)$'),
        job.name,
        membership.membership_id,
        job.trained_model_arn,
        held.to_status,
        held.changed_time,
        extract(epoch FROM moment - held.changed_time)::double precision,
        held.to_status IN ('CREATE_PENDING', 'CREATE_IN_PROGRESS', 'CANCEL_PENDING', 'CANCEL_IN_PROGRESS'),
        held.to_status <> 'NOT_LISTED',
        held.not_before,
        held.time_basis
    FROM cleanrooms_etl.inference_job AS job
    JOIN cleanrooms_etl.membership USING (membership_key)
    CROSS JOIN LATERAL (
        SELECT transition.*
        FROM cleanrooms_etl.status_transition AS transition
        WHERE transition.job_key = job.job_key AND transition.changed_time <= moment
        ORDER BY transition.changed_time DESC
        LIMIT 1
    ) AS held;
END;

COMMENT ON FUNCTION cleanrooms.jobs_as_of IS 'The jobs whose status at the given moment is known, with that status; a job first seen later appears from the moment of that first status on. Name and model are the present ones.';
