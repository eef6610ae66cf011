-- One row for each job: what it is, how long it took, and whether its history can be trusted.
with gaps as (
    select job_arn, count(*) as gaps
    from {{ source('cleanrooms', 'history_gaps') }}
    group by job_arn
)

select
    job.job_arn,
    job.name,
    job.membership_id,
    job.trained_model_id,
    job.status,
    coalesce(known.is_open, false) as is_open, -- AWS may add statuses
    timing.outcome,
    job.create_time,
    timing.ended_time,
    timing.queue_seconds,
    timing.run_seconds,
    timing.total_seconds,
    coalesce(gaps.gaps, 0) as gaps
from {{ source('cleanrooms', 'inference_jobs') }} as job
inner join {{ source('cleanrooms', 'job_timings') }} as timing on timing.job_arn = job.job_arn
left join {{ source('cleanrooms', 'status_dim') }} as known on known.status = job.status
left join gaps on gaps.job_arn = job.job_arn
