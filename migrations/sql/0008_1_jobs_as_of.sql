-- Made of the views, since a function, unlike a view, reads with the rights of its caller. In two parts, each of which Postgres
-- can enter by membership and time: what is still held, and what was closed. The moment stands outside: so both are read
-- once for a series of moments.
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
        SELECT job_arn, name, membership_id, trained_model_arn, status, valid_from, NULL AS valid_to, not_before, time_basis
        FROM cleanrooms.status_history WHERE is_current
        UNION ALL
        SELECT job_arn, name, membership_id, trained_model_arn, status, valid_from, valid_to, not_before, time_basis
        FROM cleanrooms.status_history WHERE valid_to IS NOT NULL
    ) AS held
    WHERE held.valid_from <= moment AND (held.valid_to > moment OR held.valid_to IS NULL);
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
        SELECT job_arn, name, membership_id, trained_model_arn, status, valid_from, NULL AS superseded_at, not_before,
            time_basis, observed_at
        FROM cleanrooms.status_history WHERE is_current
        UNION ALL
        SELECT job_arn, name, membership_id, trained_model_arn, status, valid_from, superseded_at, not_before,
            time_basis, observed_at
        FROM cleanrooms.status_history WHERE valid_to IS NOT NULL
    ) AS held
    WHERE held.observed_at <= moment AND (held.superseded_at > moment OR held.superseded_at IS NULL);
END;
