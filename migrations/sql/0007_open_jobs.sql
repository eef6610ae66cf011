CREATE OR REPLACE VIEW cleanrooms.open_jobs AS
SELECT
    job.job_arn,
    cleanrooms_etl.job_id(job.job_arn) AS job_id,
    job.name,
    membership.membership_id,
    membership.region,
    membership.account_id,
    job.trained_model_arn,
    cleanrooms_etl.model_id(job.trained_model_arn) AS trained_model_id,
    job.trained_model_version_identifier,
    job.status,
    job.status_since,
    job.create_time,
    cleanrooms_etl.seconds_between(job.status_since, now()) AS seconds_in_status,
    cleanrooms_etl.seconds_between(job.create_time, now()) AS age_seconds,
    usual.p95 AS model_p95_total_seconds,
    usual.jobs AS model_jobs_ended,
    cleanrooms_etl.seconds_between(job.create_time, now()) / nullif(usual.p95, 0) AS age_to_p95,
    cleanrooms_etl.seconds_between(job.create_time, now()) > usual.p95 AS is_unusual
FROM cleanrooms_etl.membership
JOIN cleanrooms_etl.inference_job AS job USING (membership_key)
LEFT JOIN LATERAL (
    SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY total_seconds) AS p95, count(*) AS jobs
    FROM (
        SELECT cleanrooms_etl.seconds_between(past.create_time, past.ended_time) AS total_seconds
        FROM cleanrooms_etl.inference_job AS past
        WHERE past.membership_key = job.membership_key
            AND hashtextextended(past.trained_model_arn, 0) = hashtextextended(job.trained_model_arn, 0) -- as it is indexed
            AND past.trained_model_arn = job.trained_model_arn
            AND past.ended_time IS NOT NULL
        ORDER BY past.create_time DESC
        LIMIT 1000 -- more would only make it slower to follow a change
    ) AS latest
) AS usual ON true
WHERE job.status IN ('CREATE_PENDING', 'CREATE_IN_PROGRESS', 'CANCEL_PENDING', 'CANCEL_IN_PROGRESS');
