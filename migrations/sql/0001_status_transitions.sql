CREATE FUNCTION cleanrooms_etl.way_to(status text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE status
    WHEN 'CREATE_PENDING' THEN '{}'
    WHEN 'CREATE_IN_PROGRESS' THEN '{CREATE_PENDING}'
    WHEN 'ACTIVE' THEN '{CREATE_PENDING,CREATE_IN_PROGRESS}'
    WHEN 'CREATE_FAILED' THEN '{CREATE_PENDING}'
    WHEN 'CANCEL_PENDING' THEN '{CREATE_PENDING}'
    WHEN 'CANCEL_IN_PROGRESS' THEN '{CREATE_PENDING,CANCEL_PENDING}'
    WHEN 'INACTIVE' THEN '{CREATE_PENDING,CANCEL_PENDING,CANCEL_IN_PROGRESS}'
    WHEN 'CANCEL_FAILED' THEN '{CREATE_PENDING,CANCEL_PENDING,CANCEL_IN_PROGRESS}'
END::text[];

COMMENT ON FUNCTION cleanrooms_etl.way_to IS 'The statuses that a job in this one has certainly passed through; null where that is not known';

CREATE VIEW cleanrooms.status_transitions AS
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
    ARRAY(
        SELECT passed.status
        FROM unnest(cleanrooms_etl.way_to(moved.to_status)) WITH ORDINALITY AS passed (status, place)
        WHERE moved.from_status IS NULL
            -- Null, so none, where the way to from_status is not known.
            OR (passed.status <> moved.from_status
                AND passed.status <> ALL (cleanrooms_etl.way_to(moved.from_status)))
        ORDER BY passed.place
    ) AS skipped_states
FROM cleanrooms_etl.status_transition AS moved
JOIN cleanrooms_etl.inference_job AS job USING (job_key)
JOIN cleanrooms_etl.membership USING (membership_key);

COMMENT ON VIEW cleanrooms.status_transitions IS 'One row for each observed change of a job''s status, its first sight included';
COMMENT ON COLUMN cleanrooms.status_transitions.job_arn IS 'The job';
COMMENT ON COLUMN cleanrooms.status_transitions.membership_id IS 'Membership that the job runs in';
COMMENT ON COLUMN cleanrooms.status_transitions.changed_time IS 'When the job took to_status: the true moment lies between not_before and this';
COMMENT ON COLUMN cleanrooms.status_transitions.from_status IS 'Status before; null at first sight';
COMMENT ON COLUMN cleanrooms.status_transitions.to_status IS 'Status after';
COMMENT ON COLUMN cleanrooms.status_transitions.from_time IS 'When it had taken from_status; null at first sight';
COMMENT ON COLUMN cleanrooms.status_transitions.seconds_in_from_status IS 'Seconds from from_time to changed_time';
COMMENT ON COLUMN cleanrooms.status_transitions.not_before IS 'Latest instant at which the job is known still to have had from_status; at first sight its createTime';
COMMENT ON COLUMN cleanrooms.status_transitions.uncertainty_seconds IS 'Seconds from not_before to changed_time';
COMMENT ON COLUMN cleanrooms.status_transitions.observed_at IS 'When we stored this (database clock)';
COMMENT ON COLUMN cleanrooms.status_transitions.time_basis IS 'What changed_time rests on: update_time (AWS''s updateTime), clamped (the nearest moment that was possible), observed (when we saw it)';
COMMENT ON COLUMN cleanrooms.status_transitions.skipped_states IS 'Statuses that the job must have passed through unseen between from_status (at first sight its creation) and to_status';
