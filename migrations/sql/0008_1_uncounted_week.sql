-- What model_week holds, made anew for the weeks that are not in it yet. By bytes, whatever the database's language: in
-- that of most, ARNs that agree for a hundred characters are slow to sort. What is shown has its own collation again.
CREATE OR REPLACE VIEW cleanrooms_etl.uncounted_week AS
SELECT membership.membership_key, counted.*
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL (
    SELECT
        date_trunc('week', create_time, 'UTC') AS week,
        trained_model_arn COLLATE "C" COLLATE "default" AS trained_model_arn,
        trained_model_version_identifier COLLATE "C" COLLATE "default" AS trained_model_version_identifier,
        count(*) AS jobs,
        count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE outcome = 'failed') AS failed,
        count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE outcome = 'cancel_failed') AS cancel_failed,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY total_seconds) AS total_seconds,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY run_seconds) AS run_seconds
    FROM cleanrooms_etl.job_timing
    WHERE membership_key = membership.membership_key AND create_time >= membership.uncounted_weeks_from
    GROUP BY week, trained_model_arn COLLATE "C", trained_model_version_identifier COLLATE "C"
) AS counted
WHERE membership.uncounted_weeks_from IS NOT NULL;
