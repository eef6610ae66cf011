CREATE VIEW cleanrooms.inference_jobs AS
SELECT
    job.job_arn,
    substring(job.job_arn FROM 'trained-model-inference-job/(.+)$') AS job_id,
    job.name,
    job.description,
    job.status,
    job.status_since,
    job.status IN ('CREATE_PENDING', 'CREATE_IN_PROGRESS', 'CANCEL_PENDING', 'CANCEL_IN_PROGRESS') AS is_open,
    job.status <> 'NOT_LISTED' AS is_listed,
    job.create_time,
    job.update_time,
    split_part(job.job_arn, ':', 4) AS region,
    split_part(job.job_arn, ':', 5) AS account_id,
    membership.membership_id,
    job.collaboration_id,
    job.trained_model_arn,
    regexp_replace(job.trained_model_arn, '^.*:(membership/[^/]+/)?trained-model/', '') AS trained_model_id,
    job.trained_model_version_identifier,
    job.configured_model_algorithm_association_arn,
    job.output_accept,
    job.output_account_ids,
    job.payer_account_id,
    job.metrics_status,
    job.metrics_status_details,
    job.logs_status,
    job.logs_status_details,
    extract(epoch FROM now() - job.create_time)::double precision AS age_seconds,
    job.first_seen_at,
    job.changed_at,
    job.extra
FROM cleanrooms_etl.inference_job AS job
JOIN cleanrooms_etl.membership USING (membership_key);

COMMENT ON VIEW cleanrooms.inference_jobs IS 'One row for each inference job, as AWS last showed it';
COMMENT ON COLUMN cleanrooms.inference_jobs.job_arn IS 'The job''s ARN: its identity in every view';
COMMENT ON COLUMN cleanrooms.inference_jobs.job_id IS 'Last part of the ARN, behind trained-model-inference-job/';
COMMENT ON COLUMN cleanrooms.inference_jobs.name IS 'Name given by its creator; not unique';
COMMENT ON COLUMN cleanrooms.inference_jobs.description IS 'Description given by its creator';
COMMENT ON COLUMN cleanrooms.inference_jobs.status IS 'Present status in AWS''s words, or NOT_LISTED: AWS lists the job no more';
COMMENT ON COLUMN cleanrooms.inference_jobs.status_since IS 'When it took that status; status_history says how sure that is';
COMMENT ON COLUMN cleanrooms.inference_jobs.is_open IS 'Whether it is pending or in progress, so counts against the quota of open jobs';
COMMENT ON COLUMN cleanrooms.inference_jobs.is_listed IS 'Whether AWS still lists it';
COMMENT ON COLUMN cleanrooms.inference_jobs.create_time IS 'AWS''s createTime';
COMMENT ON COLUMN cleanrooms.inference_jobs.update_time IS 'AWS''s updateTime: the last change of anything about the job';
COMMENT ON COLUMN cleanrooms.inference_jobs.region IS 'AWS Region of the job, from its ARN';
COMMENT ON COLUMN cleanrooms.inference_jobs.account_id IS 'AWS account of the job, from its ARN';
COMMENT ON COLUMN cleanrooms.inference_jobs.membership_id IS 'Membership that the job runs in';
COMMENT ON COLUMN cleanrooms.inference_jobs.collaboration_id IS 'Collaboration that the membership belongs to';
COMMENT ON COLUMN cleanrooms.inference_jobs.trained_model_arn IS 'ARN of the trained model that is applied';
COMMENT ON COLUMN cleanrooms.inference_jobs.trained_model_id IS 'Last part of that ARN, behind trained-model/';
COMMENT ON COLUMN cleanrooms.inference_jobs.trained_model_version_identifier IS 'Version of the trained model, if AWS tells';
COMMENT ON COLUMN cleanrooms.inference_jobs.configured_model_algorithm_association_arn IS 'ARN of the configured model algorithm association, if AWS tells';
COMMENT ON COLUMN cleanrooms.inference_jobs.output_accept IS 'MIME type of the output, if given';
COMMENT ON COLUMN cleanrooms.inference_jobs.output_account_ids IS 'AWS accounts that receive the output';
COMMENT ON COLUMN cleanrooms.inference_jobs.payer_account_id IS 'AWS account that pays for the inference, if AWS tells';
COMMENT ON COLUMN cleanrooms.inference_jobs.metrics_status IS 'Whether its metrics were published: PUBLISH_SUCCEEDED or PUBLISH_FAILED';
COMMENT ON COLUMN cleanrooms.inference_jobs.metrics_status_details IS 'Why not, at most 4,096 characters and a mark where it was cut';
COMMENT ON COLUMN cleanrooms.inference_jobs.logs_status IS 'Whether its logs were published: PUBLISH_SUCCEEDED or PUBLISH_FAILED';
COMMENT ON COLUMN cleanrooms.inference_jobs.logs_status_details IS 'Why not, at most 4,096 characters and a mark where it was cut';
COMMENT ON COLUMN cleanrooms.inference_jobs.age_seconds IS 'Seconds since create_time';
COMMENT ON COLUMN cleanrooms.inference_jobs.first_seen_at IS 'When we first stored it (database clock)';
COMMENT ON COLUMN cleanrooms.inference_jobs.changed_at IS 'When we last stored a change of it (database clock)';
COMMENT ON COLUMN cleanrooms.inference_jobs.extra IS 'Fields that AWS sent and this release does not know';
