"""What a report asks the views of schema `cleanrooms`, and nothing else: all of it counted by the database.

Jobs count by their end: a job that is still open has no duration yet, and would make those of its time look short.
"""

# ruff: noqa: S608 - our own text; what callers say is bound

# A null of memberships means all of them; Postgres folds this to one of its sides.
_MINE = "(CAST(:memberships AS text[]) IS NULL OR membership_id = ANY (CAST(:memberships AS text[])))"

_JOBS = f"""
    FROM cleanrooms.job_timings
    WHERE ended_time >= :since AND ended_time < :until AND {_MINE}
"""

MOMENT = f"SELECT now() AS now, min(create_time) AS first FROM cleanrooms.inference_jobs WHERE {_MINE}"

READABLE = """
SELECT relation.relname AS view, has_table_privilege(relation.oid, 'SELECT') AS may_read
FROM pg_class AS relation
WHERE relation.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'cleanrooms')
    AND relation.relname = ANY (:views)
"""

KNOWN_MEMBERSHIP = """
SELECT EXISTS (SELECT FROM cleanrooms.sync_freshness WHERE membership_id = :id)
    OR EXISTS (SELECT FROM cleanrooms.sync_runs WHERE membership_id = :id)
    OR EXISTS (SELECT FROM cleanrooms.inference_jobs WHERE membership_id = :id) AS is_known
"""

COUNTS = f"""
SELECT
    count(*) FILTER (WHERE create_time >= :since AND create_time < :until) AS created,
    count(*) FILTER (WHERE is_end) AS ended,
    count(*) FILTER (WHERE is_end AND outcome = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE is_end AND outcome = 'failed') AS failed,
    count(*) FILTER (WHERE is_end AND outcome = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE is_end AND outcome = 'cancel_failed') AS cancel_failed,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY total_seconds) FILTER (WHERE is_end) AS median_seconds
FROM cleanrooms.job_timings
CROSS JOIN LATERAL (SELECT coalesce(ended_time >= :since AND ended_time < :until, false) AS is_end) AS ending
WHERE create_time < :until AND (create_time >= :since OR is_end) AND {_MINE}
"""

# A mean over the hours of a step, so that a day does not stand for its midnight. Of each `stride` hours one is
# asked, or years would be millions of rows.
HELD = f"""
SELECT moment, status, avg(held)::double precision AS jobs
FROM (
    SELECT hour, date_trunc(:step, hour, 'UTC') AS moment, status, sum(jobs_held) AS held
    FROM cleanrooms.status_counts_hourly
    WHERE hour >= :since AND hour < :until AND extract(hour FROM hour AT TIME ZONE 'UTC')::integer % :stride = 0
        AND status NOT IN (SELECT status FROM cleanrooms.status_dim WHERE NOT is_open) AND {_MINE}
    GROUP BY hour, moment, status
) AS hourly
GROUP BY moment, status
ORDER BY moment, status
"""

ENDED = f"""
SELECT date_trunc(:step, changed_time, 'UTC') AS moment, to_status AS status, count(*) AS jobs
FROM cleanrooms.status_transitions
WHERE changed_time >= :since AND changed_time < :until AND {_MINE}
    AND to_status IN (SELECT status FROM cleanrooms.status_dim WHERE is_terminal)
GROUP BY moment, status
ORDER BY moment, status
"""

MODELS = f"""
SELECT
    trained_model_id AS model,
    count(*) AS ended,
    count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE outcome = 'failed') AS failed,
    count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE outcome = 'cancel_failed') AS cancel_failed,
    count(queue_seconds) AS queued,
    count(run_seconds) AS ran,
    percentile_cont(ARRAY[0.05, 0.25, 0.5, 0.75, 0.95]) WITHIN GROUP (ORDER BY queue_seconds) AS queue_seconds,
    percentile_cont(ARRAY[0.05, 0.25, 0.5, 0.75, 0.95]) WITHIN GROUP (ORDER BY run_seconds) AS run_seconds,
    count(*) OVER () AS models
{_JOBS}
GROUP BY model
ORDER BY ended DESC, model
LIMIT :most
"""

# Five bins for each power of ten: bin n holds from 10^(n/5) seconds on; the first also what took under a second.
SPREAD = f"""
SELECT kind, floor(5 * log(greatest(seconds, 1)))::bigint AS bin, count(*) AS jobs
FROM (SELECT queue_seconds, run_seconds {_JOBS}) AS timing
CROSS JOIN LATERAL (VALUES ('queue', queue_seconds), ('run', run_seconds)) AS each (kind, seconds)
WHERE seconds IS NOT NULL
GROUP BY kind, bin
ORDER BY kind, bin
"""

OPEN_JOBS = f"""
SELECT job_id, name, membership_id, trained_model_id AS model, status, age_seconds, seconds_in_status,
    model_p95_total_seconds AS p95, model_jobs_ended, age_to_p95,
    count(*) OVER () AS jobs, count(*) FILTER (WHERE is_unusual) OVER () AS unusual
FROM cleanrooms.open_jobs
WHERE {_MINE}
ORDER BY age_to_p95 DESC NULLS LAST, age_seconds DESC, job_id
LIMIT :most
"""

CAPACITY = f"""
SELECT membership_id, moment, used, most_open, quota, full_hours, memberships
FROM (
    SELECT *, dense_rank() OVER (ORDER BY peak DESC, all_full_hours DESC, membership_id) AS place,
        (SELECT count(DISTINCT membership_id) FROM cleanrooms.sync_freshness WHERE {_MINE}) AS memberships
    FROM (
        SELECT *, max(used) OVER member AS peak, sum(full_hours) OVER member AS all_full_hours
        FROM (
            SELECT membership_id, date_trunc(:step, hour, 'UTC') AS moment, max(quota_used) AS used,
                max(most_open_jobs) AS most_open, max(quota) AS quota,
                count(*) FILTER (WHERE most_open_jobs >= quota) AS full_hours
            FROM cleanrooms.capacity
            WHERE hour >= :since AND hour < :until AND {_MINE}
            GROUP BY membership_id, moment
        ) AS used
        WINDOW member AS (PARTITION BY membership_id)
    ) AS peaked
) AS placed
WHERE place <= :most
ORDER BY place, moment
"""

ACCOUNTS = f"""
SELECT account_id, region, max(account_open_jobs) AS most_open, max(account_quota) AS quota,
    count(DISTINCT hour) FILTER (WHERE account_open_jobs >= account_quota) AS full_hours
FROM cleanrooms.capacity
WHERE hour >= :since AND hour < :until AND account_id IS NOT NULL AND {_MINE}
GROUP BY account_id, region
ORDER BY max(account_quota_used) DESC, account_id, region
LIMIT :most
"""

SLOWEST = f"""
SELECT name, job_id, membership_id, trained_model_id AS model, outcome, create_time, queue_seconds, run_seconds,
    total_seconds, total_seconds_lower
{_JOBS}
ORDER BY total_seconds DESC, job_id
LIMIT :most
"""

FAILED = f"""
SELECT job.name, job.job_id, job.membership_id, job.model, moved.to_status AS status, moved.changed_time,
    moved.not_before, job.run_seconds, job.total_seconds
FROM (
    SELECT job_arn, name, job_id, membership_id, trained_model_id AS model, ended_time, run_seconds, total_seconds
    {_JOBS} AND outcome IN ('failed', 'cancel_failed')
    ORDER BY ended_time DESC, job_id
    LIMIT :most
) AS job
JOIN cleanrooms.status_transitions AS moved
    ON moved.membership_id = job.membership_id AND moved.changed_time = job.ended_time
        AND moved.job_arn = job.job_arn
ORDER BY moved.changed_time DESC, job.job_id
"""

FRESHNESS = f"""
SELECT membership_id, region, account_id, state, last_complete_at, age_seconds, expected_seconds,
    consecutive_failures, last_error_class, last_error,
    count(*) OVER () AS memberships, count(*) FILTER (WHERE state <> 'ok') OVER () AS troubled
FROM cleanrooms.sync_freshness
WHERE {_MINE}
ORDER BY state = 'ok', age_seconds DESC NULLS FIRST, membership_id
LIMIT :most
"""

GAPS = f"""
SELECT kind, count(*) AS changes
FROM cleanrooms.history_gaps
WHERE changed_time >= :since AND changed_time < :until AND {_MINE}
GROUP BY kind
ORDER BY changes DESC, kind
"""

WINDOWS = f"""
SELECT count(*) AS changes, percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY uncertainty_seconds) AS widths
FROM cleanrooms.status_transitions
WHERE changed_time >= :since AND changed_time < :until AND from_status IS NOT NULL AND {_MINE}
"""
