-- Made of the views, since a function, unlike a view, reads with the rights of its caller.
CREATE OR REPLACE FUNCTION cleanrooms.jobs_as_of(moment timestamptz)
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
        held.job_arn,
        cleanrooms_etl.job_id(held.job_arn),
        held.name,
        held.membership_id,
        held.trained_model_arn,
        held.status,
        held.valid_from,
        cleanrooms_etl.seconds_between(held.valid_from, moment),
        cleanrooms_etl.is_open(held.status),
        held.status <> 'NOT_LISTED',
        held.not_before,
        held.time_basis
    FROM cleanrooms.status_history AS held
    WHERE held.valid_from <= moment AND (held.valid_to > moment OR held.valid_to IS NULL);
END;
