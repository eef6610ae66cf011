-- A job's present interval was opened by the transition that its row names; each other one was closed by the
-- transition that starts from its opening. The constraints of status_transition see to it that there is one at most.
-- In two parts, each of which Postgres can enter by membership and time.
CREATE OR REPLACE VIEW cleanrooms.status_history AS
SELECT
    job.job_arn,
    membership.membership_id,
    opened.to_status AS status,
    opened.changed_time AS valid_from,
    NULL::timestamptz AS valid_to,
    true AS is_current,
    cleanrooms_etl.seconds_between(opened.changed_time, now()) AS seconds,
    opened.from_status AS previous_status,
    NULL AS next_status,
    opened.not_before,
    opened.observed_at,
    opened.time_basis,
    opened.from_status IS NULL AS is_first_sight,
    NULL::timestamptz AS superseded_at,
    job.name,
    job.trained_model_arn
FROM cleanrooms_etl.membership
JOIN cleanrooms_etl.inference_job AS job USING (membership_key)
JOIN cleanrooms_etl.status_transition AS opened
    ON opened.job_key = job.job_key AND opened.changed_time = job.status_since AND opened.to_status = job.status
UNION ALL
SELECT
    job.job_arn,
    membership.membership_id,
    closed.from_status,
    closed.from_time,
    closed.changed_time,
    false,
    extract(epoch FROM closed.changed_time - closed.from_time)::double precision,
    opened.from_status,
    closed.to_status,
    opened.not_before,
    opened.observed_at,
    opened.time_basis,
    opened.from_status IS NULL,
    closed.observed_at,
    job.name,
    job.trained_model_arn
FROM cleanrooms_etl.membership
JOIN cleanrooms_etl.status_transition AS closed USING (membership_key)
JOIN cleanrooms_etl.inference_job AS job USING (membership_key, job_key)
JOIN cleanrooms_etl.status_transition AS opened
    ON opened.job_key = job.job_key AND opened.changed_time = closed.from_time
    AND opened.to_status = closed.from_status;

COMMENT ON COLUMN cleanrooms.status_history.superseded_at IS 'When we stored that it took the next one (database clock); null: it still holds it. From observed_at until this, we took it for the present one';
COMMENT ON COLUMN cleanrooms.status_history.name IS 'Name given to the job by its creator; not unique';
COMMENT ON COLUMN cleanrooms.status_history.trained_model_arn IS 'ARN of the trained model that the job applies';
