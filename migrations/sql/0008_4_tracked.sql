CREATE VIEW cleanrooms_etl.tracked AS
SELECT
    membership.membership_id,
    (
        SELECT started_at FROM cleanrooms_etl.sync_run
        WHERE membership_key = membership.membership_key AND outcome = 'complete'
        ORDER BY run_id LIMIT 1
    ) AS since
FROM cleanrooms_etl.membership;

COMMENT ON VIEW cleanrooms_etl.tracked IS 'When the first complete sweep of each membership began: nobody saw what had ended by then wait or run';

CREATE VIEW cleanrooms.status_counts_hourly AS
SELECT
    calendar.hour,
    calendar.membership_id,
    calendar.region,
    calendar.account_id,
    occurring.status,
    coalesce((calendar.held ->> occurring.status)::bigint, 0) AS jobs_held,
    coalesce((calendar.entered ->> occurring.status)::bigint, 0) AS jobs_entered,
    coalesce(tracked.since <= calendar.hour, false) AS is_tracked
FROM cleanrooms_etl.calendar
JOIN cleanrooms_etl.tracked USING (membership_id)
CROSS JOIN LATERAL unnest(calendar.statuses) AS occurring (status);

COMMENT ON COLUMN cleanrooms.status_counts_hourly.is_tracked IS 'Whether a complete sweep of the membership had begun by then; of the hours before, jobs that had ended by it are not among jobs_held';

CREATE VIEW cleanrooms.capacity AS
SELECT
    used.hour,
    used.membership_id,
    used.region,
    used.account_id,
    used.open_jobs,
    used.most_open_jobs,
    used.quota,
    used.most_open_jobs::double precision / used.quota AS quota_used,
    used.account_open_jobs,
    used.account_quota,
    used.account_open_jobs::double precision / used.account_quota AS account_quota_used,
    coalesce(tracked.since <= used.hour, false) AS is_tracked
FROM (
    SELECT
        calendar.*,
        calendar.open_jobs_quota::bigint AS quota,
        calendar.account_open_jobs_quota::bigint AS account_quota,
        open.jobs AS open_jobs,
        greatest(calendar.most_open, open.jobs) AS most_open_jobs,
        CASE WHEN calendar.account_id IS NOT NULL THEN
            coalesce(sum(open.jobs) FILTER (WHERE calendar.configured) OVER (
                PARTITION BY calendar.account_id, calendar.region, calendar.hour
            ), 0)::bigint
        END AS account_open_jobs
    FROM cleanrooms_etl.calendar
    CROSS JOIN LATERAL (SELECT cleanrooms_etl.open_jobs(calendar.held) AS jobs) AS open
) AS used
JOIN cleanrooms_etl.tracked USING (membership_id);

COMMENT ON COLUMN cleanrooms.capacity.is_tracked IS 'Whether a complete sweep of the membership had begun by then; of the hours before, jobs that had ended by it are not counted';
