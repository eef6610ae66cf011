-- As in job_timings: each end of an interval lies in a window. Of the present interval the end is now; it surely
-- lasted until a complete listing, or AWS's own updateTime, showed it last.
-- Grouped within each job, so that Postgres can enter it by whatever it is joined with.
CREATE OR REPLACE VIEW cleanrooms.status_durations AS
SELECT
    job.job_arn,
    membership.membership_id,
    job.trained_model_arn,
    job.create_time,
    spent.*
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL ( -- once for each membership: it lies behind many quick sweeps
    SELECT max(run.run_id) AS run_id FROM cleanrooms_etl.sync_run AS run
    WHERE run.membership_key = membership.membership_key AND run.outcome = 'complete' AND run.kind = 'full'
) AS last_full
JOIN cleanrooms_etl.inference_job AS job USING (membership_key)
CROSS JOIN LATERAL (
    SELECT
        opened.to_status AS status,
        sum(cleanrooms_etl.seconds_between(opened.changed_time, coalesce(closed.changed_time, now()))) AS seconds,
        sum(cleanrooms_etl.seconds_between(
            opened.changed_time,
            coalesce(closed.not_before, least(now(), greatest(
                CASE WHEN job.status <> 'NOT_LISTED' THEN job.update_time ELSE opened.changed_time END,
                CASE
                    WHEN opened.run_id > last_full.run_id THEN NULL -- that listing still showed the status before
                    WHEN job.stale_runs > 0 THEN NULL
                    WHEN job.digest IS NULL THEN job.last_listed_at
                    WHEN (membership.listed_model_arn = job.trained_model_arn OR membership.listed_model_arn IS NULL)
                        AND (membership.listed_model_version = job.trained_model_version_identifier
                            OR membership.listed_model_version IS NULL)
                        THEN membership.listed_at
                END,
                CASE -- a quick sweep sees the open jobs, and no others
                    WHEN cleanrooms_etl.is_open(job.status) AND opened.observed_at <= membership.open_listed_at
                        AND (membership.listed_model_arn = job.trained_model_arn OR membership.listed_model_arn IS NULL)
                        AND (membership.listed_model_version = job.trained_model_version_identifier
                            OR membership.listed_model_version IS NULL)
                        THEN membership.open_listed_at
                END
            )))
        )) AS seconds_lower,
        sum(cleanrooms_etl.seconds_between(opened.not_before, coalesce(closed.changed_time, now()))) AS seconds_upper,
        count(*) AS visits,
        bool_or(closed.job_key IS NULL) AS is_current,
        bool_or(opened.from_status IS NULL) AS left_censored,
        bool_or(closed.job_key IS NULL) AS right_censored
    FROM cleanrooms_etl.status_transition AS opened
    LEFT JOIN cleanrooms_etl.status_transition AS closed
        ON closed.job_key = opened.job_key AND closed.from_time = opened.changed_time
    WHERE opened.job_key = job.job_key
    GROUP BY opened.to_status
) AS spent;
