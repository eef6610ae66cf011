CREATE VIEW cleanrooms_etl.calendar AS
SELECT
    membership.membership_id,
    membership.region,
    membership.account_id,
    membership.configured,
    membership.open_jobs_quota,
    membership.account_open_jobs_quota,
    occurring.statuses,
    counted.*,
    coalesce(first.sweep <= counted.hour, false) AS is_tracked
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL (
    -- Those that this release knows, and whatever else AWS has sent for a job of this membership.
    SELECT array_agg(status) AS statuses
    FROM (
        SELECT status FROM cleanrooms.status_dim
        UNION
        SELECT jsonb_object_keys(held) FROM cleanrooms_etl.status_hour
        WHERE membership_key = membership.membership_key AND hour = 'infinity'
        UNION
        SELECT cleanrooms_etl.entered_since(membership.membership_key, membership.uncounted_hours_from)
    ) AS known
) AS occurring
CROSS JOIN LATERAL (
    SELECT
        date_trunc('hour', min(changed_time), 'UTC') AS hour,
        -- In here, where it is looked up once for each membership: joined it would be once for each hour.
        (
            SELECT started_at FROM cleanrooms_etl.sync_run
            WHERE sync_run.membership_key = membership.membership_key AND outcome = 'complete'
            ORDER BY run_id LIMIT 1
        ) AS sweep
    FROM cleanrooms_etl.status_transition
    WHERE membership_key = membership.membership_key
) AS first
CROSS JOIN LATERAL (
    SELECT
        hours.hour,
        next.held,
        CASE WHEN next.hour = hours.hour THEN next.entered ELSE '{}' END AS entered,
        CASE WHEN next.hour = hours.hour THEN next.most_open END AS most_open
    FROM generate_series(
        first.hour,
        least(date_trunc('hour', now(), 'UTC'), membership.uncounted_hours_from - interval '1 hour'),
        interval '1 hour'
    ) AS hours (hour)
    CROSS JOIN LATERAL (
        SELECT * FROM cleanrooms_etl.status_hour AS stored
        WHERE stored.membership_key = membership.membership_key AND stored.hour >= hours.hour
        ORDER BY stored.hour LIMIT 1
    ) AS next
    UNION ALL
    SELECT
        hours.hour,
        next.held,
        CASE WHEN next.hour = hours.hour THEN next.entered ELSE '{}' END,
        CASE WHEN next.hour = hours.hour THEN next.most_open END
    FROM (
        SELECT *, lag(hour) OVER (ORDER BY hour) AS last_hour
        FROM cleanrooms_etl.uncounted_hour
        WHERE membership_key = membership.membership_key
    ) AS next
    CROSS JOIN LATERAL generate_series(
        greatest(first.hour, coalesce(next.last_hour + interval '1 hour', next.hour)),
        least(next.hour, date_trunc('hour', now(), 'UTC')),
        interval '1 hour'
    ) AS hours (hour)
) AS counted;

CREATE VIEW cleanrooms.status_counts_hourly AS
SELECT
    calendar.hour,
    calendar.membership_id,
    calendar.region,
    calendar.account_id,
    occurring.status,
    coalesce((calendar.held ->> occurring.status)::bigint, 0) AS jobs_held,
    coalesce((calendar.entered ->> occurring.status)::bigint, 0) AS jobs_entered,
    calendar.is_tracked
FROM cleanrooms_etl.calendar
CROSS JOIN LATERAL unnest(calendar.statuses) AS occurring (status);

COMMENT ON COLUMN cleanrooms.status_counts_hourly.is_tracked IS 'Whether the first complete sweep of the membership had begun by then; of the hours before only what AWS still told is counted, not that jobs waited or ran before their last change';

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
    used.is_tracked
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
) AS used;

COMMENT ON COLUMN cleanrooms.capacity.is_tracked IS 'Whether the first complete sweep of this membership had begun by then (of its account''s others it says nothing); of the hours before only what AWS still told is counted, not that jobs waited or ran before their last change';
