-- A transition opens an interval; the one that starts from it closes the interval. The constraints of
-- status_transition see to it that there is at most one.
CREATE OR REPLACE VIEW cleanrooms.status_history AS
SELECT
    job.job_arn,
    membership.membership_id,
    opened.to_status AS status,
    opened.changed_time AS valid_from,
    closed.changed_time AS valid_to,
    closed.job_key IS NULL AS is_current,
    extract(epoch FROM coalesce(closed.changed_time, now()) - opened.changed_time)::double precision AS seconds,
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
JOIN cleanrooms_etl.inference_job AS job ON job.job_key = opened.job_key
LEFT JOIN cleanrooms_etl.status_transition AS closed
    ON closed.job_key = opened.job_key AND closed.from_time = opened.changed_time;

COMMENT ON COLUMN cleanrooms.status_history.superseded_at IS 'When we stored that it took the next one (database clock); null: it still holds it. From observed_at until this, we took it for the present one';
COMMENT ON COLUMN cleanrooms.status_history.name IS 'Name given to the job by its creator; not unique';
COMMENT ON COLUMN cleanrooms.status_history.trained_model_arn IS 'ARN of the trained model that the job applies';
