-- Made of the views, since a function, unlike a view, reads with the rights of its caller.
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
        job.job_id,
        job.name,
        job.membership_id,
        job.trained_model_arn,
        held.status,
        held.valid_from,
        extract(epoch FROM moment - held.valid_from)::double precision,
        held.status IN ('CREATE_PENDING', 'CREATE_IN_PROGRESS', 'CANCEL_PENDING', 'CANCEL_IN_PROGRESS'),
        held.status <> 'NOT_LISTED',
        held.not_before,
        held.time_basis
    FROM cleanrooms.status_history AS held
    JOIN cleanrooms.inference_jobs AS job USING (membership_id, job_arn)
    WHERE held.valid_from <= moment AND (held.valid_to > moment OR held.valid_to IS NULL);
END;

COMMENT ON FUNCTION cleanrooms.jobs_as_of IS 'The jobs whose status at the given moment is known, with that status; a job first seen later appears from the moment of that first status on. Name and model are the present ones.';
