CREATE OR REPLACE VIEW cleanrooms.history_gaps AS
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
                THEN 'AWS lists the job no more and says of no moment when that began: changed_time is when we took note of it'
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

COMMENT ON COLUMN cleanrooms.history_gaps.not_before IS 'Latest instant at which the change is known not to have happened yet; at first sight its createTime';
COMMENT ON COLUMN cleanrooms.status_history.not_before IS 'Latest instant at which the change is known not to have happened yet; it may lie in the interval before; at first sight its createTime';
COMMENT ON COLUMN cleanrooms.status_transitions.not_before IS 'Latest instant at which the change is known not to have happened yet; it may lie before from_time; at first sight its createTime';
