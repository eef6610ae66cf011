-- A duration lies between bounds, since each of its ends lies in a window: it is shortest from the end of the first
-- window to the start of the second, longest from the start of the first to the end of the second.
CREATE VIEW cleanrooms_etl.job_timing AS
SELECT
    membership_key,
    job_arn,
    name,
    trained_model_arn,
    trained_model_version_identifier,
    status,
    create_time,
    started_time,
    ended_time,
    CASE ended_status
        WHEN 'ACTIVE' THEN 'succeeded'
        WHEN 'CREATE_FAILED' THEN 'failed'
        WHEN 'INACTIVE' THEN 'cancelled'
        WHEN 'CANCEL_FAILED' THEN 'cancel_failed'
    END AS outcome,
    cleanrooms_etl.seconds_between(create_time, started_time) AS queue_seconds,
    cleanrooms_etl.seconds_between(create_time, started_not_before) AS queue_seconds_lower,
    cleanrooms_etl.seconds_between(create_time, started_time) AS queue_seconds_upper,
    cleanrooms_etl.seconds_between(started_time, stopped_time) AS run_seconds,
    cleanrooms_etl.seconds_between(started_time, stopped_not_before) AS run_seconds_lower,
    cleanrooms_etl.seconds_between(started_not_before, stopped_time) AS run_seconds_upper,
    cleanrooms_etl.seconds_between(cancel_time, cancelled_time) AS cancel_seconds,
    cleanrooms_etl.seconds_between(cancel_time, cancelled_not_before) AS cancel_seconds_lower,
    cleanrooms_etl.seconds_between(cancel_not_before, cancelled_time) AS cancel_seconds_upper,
    cleanrooms_etl.seconds_between(create_time, ended_time) AS total_seconds,
    cleanrooms_etl.seconds_between(create_time, ended_not_before) AS total_seconds_lower,
    cleanrooms_etl.seconds_between(create_time, ended_time) AS total_seconds_upper
FROM cleanrooms_etl.inference_job
CROSS JOIN LATERAL (
    SELECT
        CASE WHEN ended_status IN ('INACTIVE', 'CANCEL_FAILED') THEN ended_time END AS cancelled_time,
        CASE WHEN ended_status IN ('INACTIVE', 'CANCEL_FAILED') THEN ended_not_before END AS cancelled_not_before
) AS cancellation;

COMMENT ON VIEW cleanrooms_etl.job_timing IS 'The durations of each job, by our own key of its membership';

CREATE VIEW cleanrooms.job_timings AS
SELECT
    timing.job_arn,
    cleanrooms_etl.job_id(timing.job_arn) AS job_id,
    timing.name,
    membership.membership_id,
    timing.trained_model_arn,
    cleanrooms_etl.model_id(timing.trained_model_arn) AS trained_model_id,
    timing.trained_model_version_identifier,
    timing.status,
    timing.outcome,
    timing.create_time,
    timing.started_time,
    timing.ended_time,
    timing.queue_seconds,
    timing.queue_seconds_lower,
    timing.queue_seconds_upper,
    timing.run_seconds,
    timing.run_seconds_lower,
    timing.run_seconds_upper,
    timing.cancel_seconds,
    timing.cancel_seconds_lower,
    timing.cancel_seconds_upper,
    timing.total_seconds,
    timing.total_seconds_lower,
    timing.total_seconds_upper
FROM cleanrooms_etl.membership
JOIN cleanrooms_etl.job_timing AS timing USING (membership_key);

COMMENT ON VIEW cleanrooms.job_timings IS 'One row for each job: how long it waited, ran and took in all, each null where that was not seen';
COMMENT ON COLUMN cleanrooms.job_timings.job_arn IS 'The job';
COMMENT ON COLUMN cleanrooms.job_timings.job_id IS 'Last part of the ARN, behind trained-model-inference-job/';
COMMENT ON COLUMN cleanrooms.job_timings.name IS 'Name given by its creator; not unique';
COMMENT ON COLUMN cleanrooms.job_timings.membership_id IS 'Membership that the job runs in';
COMMENT ON COLUMN cleanrooms.job_timings.trained_model_arn IS 'ARN of the trained model that is applied';
COMMENT ON COLUMN cleanrooms.job_timings.trained_model_id IS 'Last part of that ARN, behind trained-model/';
COMMENT ON COLUMN cleanrooms.job_timings.trained_model_version_identifier IS 'Version of the trained model, if AWS tells';
COMMENT ON COLUMN cleanrooms.job_timings.status IS 'Present status';
COMMENT ON COLUMN cleanrooms.job_timings.outcome IS 'How it ended: succeeded (ACTIVE), failed (CREATE_FAILED), cancelled (INACTIVE) or cancel_failed, also of a job that is listed no more, or has a later status that is not known; null: it has not ended, or nobody saw how';
COMMENT ON COLUMN cleanrooms.job_timings.create_time IS 'AWS''s createTime';
COMMENT ON COLUMN cleanrooms.job_timings.started_time IS 'When it first took CREATE_IN_PROGRESS; null: nobody saw it in that status';
COMMENT ON COLUMN cleanrooms.job_timings.ended_time IS 'When it took the status that it ended with; null: it has not ended, or nobody saw how';
COMMENT ON COLUMN cleanrooms.job_timings.queue_seconds IS 'Seconds that it waited for its start: from createTime to its first CREATE_IN_PROGRESS; null where that was not seen';
COMMENT ON COLUMN cleanrooms.job_timings.queue_seconds_lower IS 'It was no less than this: the windows of its two ends at their closest';
COMMENT ON COLUMN cleanrooms.job_timings.queue_seconds_upper IS 'It was no more than this: the windows of its two ends at their farthest';
COMMENT ON COLUMN cleanrooms.job_timings.run_seconds IS 'Seconds that it ran: from its first CREATE_IN_PROGRESS to the last time that it left it; null where that was not seen';
COMMENT ON COLUMN cleanrooms.job_timings.run_seconds_lower IS 'It was no less than this: the windows of its two ends at their closest';
COMMENT ON COLUMN cleanrooms.job_timings.run_seconds_upper IS 'It was no more than this: the windows of its two ends at their farthest';
COMMENT ON COLUMN cleanrooms.job_timings.cancel_seconds IS 'Seconds that it took to be cancelled, or to fail to be: from its first CANCEL_PENDING or CANCEL_IN_PROGRESS to INACTIVE or CANCEL_FAILED; null where that was not seen';
COMMENT ON COLUMN cleanrooms.job_timings.cancel_seconds_lower IS 'It was no less than this: the windows of its two ends at their closest';
COMMENT ON COLUMN cleanrooms.job_timings.cancel_seconds_upper IS 'It was no more than this: the windows of its two ends at their farthest';
COMMENT ON COLUMN cleanrooms.job_timings.total_seconds IS 'Seconds that it took: from createTime to its end; null where that was not seen';
COMMENT ON COLUMN cleanrooms.job_timings.total_seconds_lower IS 'It was no less than this: the windows of its two ends at their closest';
COMMENT ON COLUMN cleanrooms.job_timings.total_seconds_upper IS 'It was no more than this: the windows of its two ends at their farthest';
