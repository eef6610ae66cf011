CREATE OR REPLACE VIEW cleanrooms.status_transitions AS
SELECT
    job.job_arn,
    membership.membership_id,
    moved.changed_time,
    moved.from_status,
    moved.to_status,
    moved.from_time,
    extract(epoch FROM moved.changed_time - moved.from_time)::double precision AS seconds_in_from_status,
    moved.not_before,
    extract(epoch FROM moved.changed_time - moved.not_before)::double precision AS uncertainty_seconds,
    moved.observed_at,
    moved.time_basis,
    cleanrooms_etl.skipped_states(moved.from_status, moved.to_status) AS skipped_states
FROM cleanrooms_etl.membership
JOIN cleanrooms_etl.status_transition AS moved USING (membership_key)
JOIN cleanrooms_etl.inference_job AS job USING (membership_key, job_key);
