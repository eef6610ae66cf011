-- What model_week holds, made anew for the weeks that are not in it yet.
CREATE VIEW cleanrooms_etl.uncounted_week AS
SELECT membership.membership_key, counted.*
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL (
    SELECT
        date_trunc('week', create_time, 'UTC') AS week,
        trained_model_arn,
        trained_model_version_identifier,
        count(*) AS jobs,
        count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE outcome = 'failed') AS failed,
        count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
        count(*) FILTER (WHERE outcome = 'cancel_failed') AS cancel_failed,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY total_seconds) AS total_seconds,
        percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY run_seconds) AS run_seconds
    FROM cleanrooms_etl.job_timing
    WHERE membership_key = membership.membership_key AND create_time >= membership.uncounted_weeks_from
    GROUP BY week, trained_model_arn, trained_model_version_identifier
) AS counted
WHERE membership.uncounted_weeks_from IS NOT NULL;

COMMENT ON VIEW cleanrooms_etl.uncounted_week IS 'Rows of model_week for the weeks from uncounted_weeks_from on, as the jobs have them now';

CREATE VIEW cleanrooms.model_reliability AS
SELECT
    membership.membership_id,
    counted.trained_model_arn,
    cleanrooms_etl.model_id(counted.trained_model_arn) AS trained_model_id,
    counted.trained_model_version_identifier,
    counted.week,
    counted.jobs,
    counted.succeeded,
    counted.failed,
    counted.cancelled,
    counted.cancel_failed,
    counted.jobs - counted.succeeded - counted.failed - counted.cancelled - counted.cancel_failed AS not_ended,
    counted.succeeded::double precision / nullif(counted.succeeded + counted.failed, 0) AS success_rate,
    counted.total_seconds[1] AS p50_total_seconds,
    counted.total_seconds[2] AS p95_total_seconds,
    counted.run_seconds[1] AS p50_run_seconds,
    counted.run_seconds[2] AS p95_run_seconds
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL (
    SELECT week, trained_model_arn, trained_model_version_identifier, jobs,
        succeeded, failed, cancelled, cancel_failed, total_seconds, run_seconds
    FROM cleanrooms_etl.model_week
    WHERE membership_key = membership.membership_key AND jobs > 0
        AND week < coalesce(membership.uncounted_weeks_from, 'infinity')
    UNION ALL
    SELECT week, trained_model_arn, trained_model_version_identifier, jobs,
        succeeded, failed, cancelled, cancel_failed, total_seconds, run_seconds
    FROM cleanrooms_etl.uncounted_week
    WHERE membership_key = membership.membership_key
) AS counted;

COMMENT ON VIEW cleanrooms.model_reliability IS 'One row for each trained model, its version, and week of creation: how many jobs, how they ended, and how long they took';
COMMENT ON COLUMN cleanrooms.model_reliability.membership_id IS 'Membership that the jobs run in';
COMMENT ON COLUMN cleanrooms.model_reliability.trained_model_arn IS 'ARN of the trained model';
COMMENT ON COLUMN cleanrooms.model_reliability.trained_model_id IS 'Last part of that ARN, behind trained-model/';
COMMENT ON COLUMN cleanrooms.model_reliability.trained_model_version_identifier IS 'Version of the trained model; null: AWS tells none';
COMMENT ON COLUMN cleanrooms.model_reliability.week IS 'Week in which the jobs were created: its Monday, 00:00 UTC';
COMMENT ON COLUMN cleanrooms.model_reliability.jobs IS 'Jobs created in it';
COMMENT ON COLUMN cleanrooms.model_reliability.succeeded IS 'Those that ended as ACTIVE';
COMMENT ON COLUMN cleanrooms.model_reliability.failed IS 'Those that ended as CREATE_FAILED';
COMMENT ON COLUMN cleanrooms.model_reliability.cancelled IS 'Those that ended as INACTIVE';
COMMENT ON COLUMN cleanrooms.model_reliability.cancel_failed IS 'Those that ended as CANCEL_FAILED';
COMMENT ON COLUMN cleanrooms.model_reliability.not_ended IS 'Those that have not ended, or of which nobody saw how';
COMMENT ON COLUMN cleanrooms.model_reliability.success_rate IS 'succeeded / (succeeded + failed), from 0 to 1: what people cancelled says nothing of the model; null: none of either';
COMMENT ON COLUMN cleanrooms.model_reliability.p50_total_seconds IS 'Median of the seconds from creation to end, of those that ended; see job_timings';
COMMENT ON COLUMN cleanrooms.model_reliability.p95_total_seconds IS '95th percentile of the same';
COMMENT ON COLUMN cleanrooms.model_reliability.p50_run_seconds IS 'Median of the seconds that the jobs ran, of those of which that was seen';
COMMENT ON COLUMN cleanrooms.model_reliability.p95_run_seconds IS '95th percentile of the same';
