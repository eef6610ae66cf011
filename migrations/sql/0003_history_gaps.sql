CREATE VIEW cleanrooms.history_gaps AS
SELECT
    job.job_arn,
    membership.membership_id,
    moved.changed_time,
    moved.from_status,
    moved.to_status,
    gap.kind,
    gap.why,
    moved.not_before,
    cleanrooms_etl.seconds_between(moved.not_before, moved.changed_time) AS uncertainty_seconds,
    moved.observed_at,
    moved.time_basis
FROM cleanrooms_etl.membership
JOIN cleanrooms_etl.status_transition AS moved USING (membership_key)
JOIN cleanrooms_etl.inference_job AS job USING (membership_key, job_key)
CROSS JOIN LATERAL cleanrooms_etl.skipped_states(moved.from_status, moved.to_status) AS skipped (states)
CROSS JOIN LATERAL (VALUES
    (
        'skipped_states',
        cardinality(skipped.states) > 0,
        'passed unseen through ' || array_to_string(skipped.states, ', ')
            || ': when it entered and left them is not known'
    ),
    (
        'regression',
        moved.to_status = ANY (cleanrooms_etl.way_to(moved.from_status))
            OR (moved.from_status IN ('ACTIVE', 'CREATE_FAILED', 'INACTIVE', 'CANCEL_FAILED')
                AND moved.to_status <> 'NOT_LISTED')
            OR (moved.from_status IN ('CANCEL_PENDING', 'CANCEL_IN_PROGRESS')
                AND moved.to_status = 'CREATE_IN_PROGRESS'),
        'went from ' || moved.from_status || ' to ' || moved.to_status
            || ', against the order of a job''s life: AWS may have shown one of them late or wrongly'
    ),
    (
        'clamped',
        moved.time_basis = 'clamped',
        'AWS''s updateTime lay in the future or before the change before it: changed_time is the nearest moment that was possible'
    ),
    (
        'observed',
        moved.time_basis = 'observed',
        CASE
            WHEN moved.to_status = 'NOT_LISTED'
                THEN 'AWS lists the job no more and says of no moment when that began: changed_time is when we missed it first'
            ELSE 'AWS''s updateTime tells no moment for it: changed_time is when we saw it'
        END
    ),
    (
        'unknown_status',
        moved.to_status NOT IN (SELECT status FROM cleanrooms.status_dim),
        'this release does not know ' || moved.to_status || ': whether it is open, or an end, is not known'
    )
) AS gap (kind, is_there, why)
-- Nearly all changes have none: that is asked first, of the row itself.
WHERE NOT (moved.time_basis = 'update_time' AND cleanrooms_etl.is_direct(moved.from_status, moved.to_status))
    AND gap.is_there;

COMMENT ON VIEW cleanrooms.history_gaps IS 'One row for each thing about a recorded change of status that is not to be trusted, and why';
COMMENT ON COLUMN cleanrooms.history_gaps.job_arn IS 'The job';
COMMENT ON COLUMN cleanrooms.history_gaps.membership_id IS 'Membership that the job runs in';
COMMENT ON COLUMN cleanrooms.history_gaps.changed_time IS 'When the job took to_status, as far as we know';
COMMENT ON COLUMN cleanrooms.history_gaps.from_status IS 'Status before; null at first sight';
COMMENT ON COLUMN cleanrooms.history_gaps.to_status IS 'Status after';
COMMENT ON COLUMN cleanrooms.history_gaps.kind IS 'skipped_states (passed through statuses unseen), regression (went back), clamped (AWS''s time was impossible), observed (AWS gave no time), unknown_status (not known to this release)';
COMMENT ON COLUMN cleanrooms.history_gaps.why IS 'The same in words, for this change';
COMMENT ON COLUMN cleanrooms.history_gaps.not_before IS 'Latest instant at which the job is known still to have had from_status; at first sight its createTime';
COMMENT ON COLUMN cleanrooms.history_gaps.uncertainty_seconds IS 'Seconds from not_before to changed_time: the true moment lies in between';
COMMENT ON COLUMN cleanrooms.history_gaps.observed_at IS 'When we stored this (database clock)';
COMMENT ON COLUMN cleanrooms.history_gaps.time_basis IS 'What changed_time rests on: update_time, clamped, observed';
