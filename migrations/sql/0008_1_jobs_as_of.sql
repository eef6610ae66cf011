-- Made of the views, since a function, unlike a view, reads with the rights of its caller. In two parts, each of which Postgres
-- can enter by membership and time: what is still held, and what was closed since.
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
    FROM (
        SELECT * FROM cleanrooms.status_history WHERE is_current AND valid_from <= moment
        UNION ALL
        SELECT * FROM cleanrooms.status_history WHERE valid_from <= moment AND valid_to > moment
    ) AS held;
END;

CREATE OR REPLACE FUNCTION cleanrooms.jobs_known_as_of(moment timestamptz)
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
    time_basis text,
    observed_at timestamptz
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
        held.time_basis,
        held.observed_at
    FROM (
        SELECT * FROM cleanrooms.status_history WHERE is_current AND observed_at <= moment
        UNION ALL
        SELECT * FROM cleanrooms.status_history WHERE observed_at <= moment AND superseded_at > moment
    ) AS held;
END;
