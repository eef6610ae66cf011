-- Small ones that views are made of. Postgres puts their bodies in the place of their calls.

CREATE FUNCTION cleanrooms_etl.job_id(job_arn text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN strpos(job_arn, 'trained-model-inference-job/') > 0
    THEN substr(job_arn, strpos(job_arn, 'trained-model-inference-job/') + length('trained-model-inference-job/'))
END;

COMMENT ON FUNCTION cleanrooms_etl.job_id IS 'The last part of a job''s ARN; a regular expression would take ten times as long';

CREATE FUNCTION cleanrooms_etl.model_id(trained_model_arn text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN strpos(trained_model_arn, 'trained-model/') = 0 THEN trained_model_arn
    ELSE substr(trained_model_arn, strpos(trained_model_arn, 'trained-model/') + length('trained-model/'))
END;

COMMENT ON FUNCTION cleanrooms_etl.model_id IS 'The last part of a trained model''s ARN; the whole text where it is no such ARN';

CREATE FUNCTION cleanrooms_etl.seconds_between(earlier timestamptz, later timestamptz) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN later > earlier THEN extract(epoch FROM later - earlier)
    WHEN later <= earlier THEN 0 -- clocks that differ make no negative duration
END::double precision;

COMMENT ON FUNCTION cleanrooms_etl.seconds_between IS 'Seconds from one moment to a later one, never negative; null where one is not known';

CREATE FUNCTION cleanrooms_etl.hour_before(moment timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
RETURN date_trunc('hour', moment - interval '1 microsecond', 'UTC');

COMMENT ON FUNCTION cleanrooms_etl.hour_before IS 'The last hour, in UTC, that began before a moment';

CREATE FUNCTION cleanrooms_etl.is_open(status text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN status IN ('CREATE_PENDING', 'CREATE_IN_PROGRESS', 'CANCEL_PENDING', 'CANCEL_IN_PROGRESS');

COMMENT ON FUNCTION cleanrooms_etl.is_open IS 'Whether a job in this status is pending or in progress';

CREATE FUNCTION cleanrooms_etl.open_jobs(held jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce((held ->> 'CREATE_PENDING')::bigint, 0) + coalesce((held ->> 'CREATE_IN_PROGRESS')::bigint, 0)
    + coalesce((held ->> 'CANCEL_PENDING')::bigint, 0) + coalesce((held ->> 'CANCEL_IN_PROGRESS')::bigint, 0);

COMMENT ON FUNCTION cleanrooms_etl.open_jobs IS 'How many jobs of {status: jobs} are pending or in progress';

CREATE FUNCTION cleanrooms_etl.is_direct(from_status text, to_status text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (coalesce(from_status, ''), to_status) IN (
    ('', 'CREATE_PENDING'),
    ('CREATE_PENDING', 'CREATE_IN_PROGRESS'),
    ('CREATE_PENDING', 'CREATE_FAILED'),
    ('CREATE_PENDING', 'CANCEL_PENDING'),
    ('CREATE_IN_PROGRESS', 'ACTIVE'),
    ('CREATE_IN_PROGRESS', 'CREATE_FAILED'),
    ('CREATE_IN_PROGRESS', 'CANCEL_PENDING'),
    ('CANCEL_PENDING', 'CANCEL_IN_PROGRESS'),
    ('CANCEL_IN_PROGRESS', 'INACTIVE'),
    ('CANCEL_IN_PROGRESS', 'CANCEL_FAILED')
);

COMMENT ON FUNCTION cleanrooms_etl.is_direct IS 'Whether a change is a usual one, from one status to the next: a cheap test, where skipped_states costs twenty times as much';

CREATE FUNCTION cleanrooms_etl.skipped_states(from_status text, to_status text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN cleanrooms_etl.is_direct(from_status, to_status) THEN '{}'
    ELSE ARRAY(
        SELECT passed.status
        FROM unnest(cleanrooms_etl.way_to(to_status)) WITH ORDINALITY AS passed (status, place)
        WHERE from_status IS NULL
            -- Null, so none, where the way to from_status is not known.
            OR (passed.status <> from_status AND passed.status <> ALL (cleanrooms_etl.way_to(from_status))
                -- A job may be cancelled before it starts, or while it runs.
                AND (passed.status <> 'CREATE_IN_PROGRESS'
                    OR from_status NOT IN ('CANCEL_PENDING', 'CANCEL_IN_PROGRESS', 'INACTIVE', 'CANCEL_FAILED')))
        ORDER BY passed.place
    )
END;

COMMENT ON FUNCTION cleanrooms_etl.skipped_states IS 'The statuses that a job must have passed through unseen between two; from its creation where the first is null';
