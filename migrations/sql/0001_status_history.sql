-- A transition opens an interval; the one that starts from it closes the interval. The constraints of
-- status_transition see to it that there is at most one.
CREATE VIEW cleanrooms.status_history AS
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
    opened.from_status IS NULL AS is_first_sight
FROM cleanrooms_etl.status_transition AS opened
JOIN cleanrooms_etl.inference_job AS job USING (job_key)
JOIN cleanrooms_etl.membership USING (membership_key)
LEFT JOIN cleanrooms_etl.status_transition AS closed
    ON closed.job_key = opened.job_key AND closed.from_time = opened.changed_time;

COMMENT ON VIEW cleanrooms.status_history IS 'One row for each interval in which a job held a status; its intervals join without gap or overlap';
COMMENT ON COLUMN cleanrooms.status_history.job_arn IS 'The job';
COMMENT ON COLUMN cleanrooms.status_history.membership_id IS 'Membership that the job runs in';
COMMENT ON COLUMN cleanrooms.status_history.status IS 'Status held in the interval';
COMMENT ON COLUMN cleanrooms.status_history.valid_from IS 'When the job took the status: the true moment lies between not_before and this';
COMMENT ON COLUMN cleanrooms.status_history.valid_to IS 'When it took the next one; null: it still holds it';
COMMENT ON COLUMN cleanrooms.status_history.is_current IS 'Whether it still holds the status';
COMMENT ON COLUMN cleanrooms.status_history.seconds IS 'Length of the interval in seconds; of the current one so far';
COMMENT ON COLUMN cleanrooms.status_history.previous_status IS 'Status before; null at first sight';
COMMENT ON COLUMN cleanrooms.status_history.next_status IS 'Status after; null while current';
COMMENT ON COLUMN cleanrooms.status_history.not_before IS 'Latest instant at which the job is known still to have had the previous status; at first sight its createTime';
COMMENT ON COLUMN cleanrooms.status_history.observed_at IS 'When we stored this (database clock): before it, nobody here knew';
COMMENT ON COLUMN cleanrooms.status_history.time_basis IS 'What valid_from rests on: update_time (AWS''s updateTime), clamped (the nearest moment that was possible), observed (when we saw it)';
COMMENT ON COLUMN cleanrooms.status_history.is_first_sight IS 'Whether this is the status in which the job was first seen: what came before it is not known';
