CREATE VIEW cleanrooms.open_jobs AS
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
            AND md5(past.trained_model_arn)::uuid = md5(job.trained_model_arn)::uuid -- as it is indexed
            AND past.trained_model_arn = job.trained_model_arn
            AND past.ended_time IS NOT NULL
        ORDER BY past.create_time DESC
        LIMIT 1000 -- more would only make it slower to follow a change
    ) AS latest
) AS usual ON true
WHERE job.status IN ('CREATE_PENDING', 'CREATE_IN_PROGRESS', 'CANCEL_PENDING', 'CANCEL_IN_PROGRESS');

COMMENT ON VIEW cleanrooms.open_jobs IS 'One row for each job that is pending or in progress, with how unusual its age is for its model';
COMMENT ON COLUMN cleanrooms.open_jobs.job_arn IS 'The job';
COMMENT ON COLUMN cleanrooms.open_jobs.job_id IS 'Last part of the ARN, behind trained-model-inference-job/';
COMMENT ON COLUMN cleanrooms.open_jobs.name IS 'Name given by its creator; not unique';
COMMENT ON COLUMN cleanrooms.open_jobs.membership_id IS 'Membership that the job runs in';
COMMENT ON COLUMN cleanrooms.open_jobs.region IS 'AWS Region of the membership';
COMMENT ON COLUMN cleanrooms.open_jobs.account_id IS 'AWS account of the membership, once its role or a job has told it';
COMMENT ON COLUMN cleanrooms.open_jobs.trained_model_arn IS 'ARN of the trained model that is applied';
COMMENT ON COLUMN cleanrooms.open_jobs.trained_model_id IS 'Last part of that ARN, behind trained-model/';
COMMENT ON COLUMN cleanrooms.open_jobs.trained_model_version_identifier IS 'Version of the trained model, if AWS tells';
COMMENT ON COLUMN cleanrooms.open_jobs.status IS 'Present status';
COMMENT ON COLUMN cleanrooms.open_jobs.status_since IS 'When it took that status; status_history says how sure that is';
COMMENT ON COLUMN cleanrooms.open_jobs.create_time IS 'AWS''s createTime';
COMMENT ON COLUMN cleanrooms.open_jobs.seconds_in_status IS 'Seconds since status_since';
COMMENT ON COLUMN cleanrooms.open_jobs.age_seconds IS 'Seconds since create_time';
COMMENT ON COLUMN cleanrooms.open_jobs.model_p95_total_seconds IS '95th percentile of the total_seconds of the model''s jobs that ended, in this membership: of the 1,000 created last; null: none ended yet';
COMMENT ON COLUMN cleanrooms.open_jobs.model_jobs_ended IS 'How many jobs that rests on, 1,000 at the most';
COMMENT ON COLUMN cleanrooms.open_jobs.age_to_p95 IS 'age_seconds / model_p95_total_seconds: above 1 is unusual';
COMMENT ON COLUMN cleanrooms.open_jobs.is_unusual IS 'Whether it is older than 95 of 100 of the model''s jobs were when they ended; null: none ended yet';
