-- Each status was closed by the transition that starts from its opening: the constraints of status_transition see to it that
-- there is one at most. Without a set operation, so that Postgres can enter it by whatever it is joined with.
CREATE OR REPLACE VIEW cleanrooms.status_history AS
SELECT
    job.job_arn,
    membership.membership_id,
    opened.to_status AS status,
    opened.changed_time AS valid_from,
    closed.changed_time AS valid_to,
    -- + '0', so that no index by time is used for it: thousands of jobs may change at one moment.
    opened.changed_time + interval '0' = job.status_since AND opened.to_status = job.status AS is_current,
    cleanrooms_etl.seconds_between(opened.changed_time, coalesce(closed.changed_time, now())) AS seconds,
    opened.from_status AS previous_status,
    closed.to_status AS next_status,
    opened.not_before,
    opened.observed_at,
    opened.time_basis,
    opened.from_status IS NULL AS is_first_sight,
    closed.observed_at AS superseded_at,
    job.name,
    job.trained_model_arn
FROM cleanrooms_etl.membership
JOIN cleanrooms_etl.status_transition AS opened USING (membership_key)
JOIN cleanrooms_etl.inference_job AS job USING (membership_key, job_key)
LEFT JOIN cleanrooms_etl.status_transition AS closed
    ON closed.membership_key = opened.membership_key AND closed.job_key = opened.job_key
    AND closed.from_time = opened.changed_time;
