-- One row for each trained model and day of creation, from the table of jobs.
select
    trained_model_id,
    date_trunc('day', create_time, 'UTC') as day,
    count(*) as jobs,
    count(*) filter (where outcome = 'succeeded') as succeeded,
    count(*) filter (where outcome = 'failed') as failed,
    percentile_cont(0.5) within group (order by total_seconds) as p50_total_seconds,
    percentile_cont(0.95) within group (order by total_seconds) as p95_total_seconds
from {{ ref('jobs') }}
group by trained_model_id, day
