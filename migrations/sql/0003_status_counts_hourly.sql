-- What status_hour holds, made anew for the hours that are not in it yet: from the last row before them, and the
-- changes since. A membership at a time, so that asking for one costs no more than one.
CREATE VIEW cleanrooms_etl.uncounted_hour AS
SELECT membership.membership_key, counted.hour, counted.held, counted.entered, counted.most_open
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL (
    WITH base AS (
        SELECT stored.held FROM cleanrooms_etl.status_hour AS stored
        WHERE stored.membership_key = membership.membership_key AND stored.hour < membership.uncounted_hours_from
        ORDER BY stored.hour DESC LIMIT 1
    ),
    moved AS (
        SELECT date_trunc('hour', changed_time, 'UTC') AS hour, changed_time, from_status, to_status
        FROM cleanrooms_etl.status_transition
        WHERE membership_key = membership.membership_key AND changed_time >= membership.uncounted_hours_from
    ),
    step AS (
        SELECT hour, to_status AS status, 1 AS entered, 1 AS more FROM moved
        UNION ALL
        SELECT hour, from_status, 0, -1 FROM moved WHERE from_status IS NOT NULL
        UNION ALL
        SELECT '-infinity', held.key, 0, held.value::integer FROM base CROSS JOIN jsonb_each_text(base.held) AS held
        UNION ALL
        SELECT hours.hour, statuses.status, 0, 0 -- in each hour that has a row, each status has its number
        FROM (SELECT DISTINCT hour FROM moved) AS hours
        CROSS JOIN (
            SELECT to_status AS status FROM moved
            UNION SELECT from_status FROM moved WHERE from_status IS NOT NULL
            UNION SELECT jsonb_object_keys(base.held) FROM base
        ) AS statuses
    ),
    running AS (
        SELECT
            hour,
            status,
            sum(entered) AS entered,
            sum(sum(more)) OVER (PARTITION BY status ORDER BY hour) AS held,
            NULL::bigint AS open_jobs
        FROM step GROUP BY hour, status
        UNION ALL
        SELECT
            hour,
            NULL,
            NULL,
            NULL,
            coalesce((SELECT cleanrooms_etl.open_jobs(base.held) FROM base), 0) + sum(
                cleanrooms_etl.is_open(to_status)::integer - coalesce(cleanrooms_etl.is_open(from_status)::integer, 0)
            ) OVER (ORDER BY changed_time) -- those of one instant all together
        FROM moved
    )
    SELECT
        hour,
        jsonb_object_agg(status, held) FILTER (WHERE status IS NOT NULL) AS held,
        coalesce(jsonb_object_agg(status, entered) FILTER (WHERE entered > 0), '{}') AS entered,
        max(open_jobs) AS most_open
    FROM running
    WHERE hour > '-infinity'
    GROUP BY hour
) AS counted
WHERE membership.uncounted_hours_from IS NOT NULL;

COMMENT ON VIEW cleanrooms_etl.uncounted_hour IS 'Rows of status_hour for the hours from uncounted_hours_from on, as the history has them now';

-- Each hour of each membership since its first change, with what its jobs held when it began: by the stored rows,
-- and after them by the uncounted ones, of which there are none but while a sync is under way.
CREATE VIEW cleanrooms_etl.calendar AS
SELECT
    membership.membership_id,
    membership.region,
    membership.account_id,
    membership.open_jobs_quota,
    membership.account_open_jobs_quota,
    occurring.statuses,
    counted.*
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL (
    -- Those that this release knows, and whatever else AWS has sent for a job of this membership.
    SELECT array_agg(status) AS statuses
    FROM (
        SELECT status FROM cleanrooms.status_dim
        UNION
        SELECT jsonb_object_keys(latest.held) FROM (
            SELECT stored.held FROM cleanrooms_etl.status_hour AS stored
            WHERE stored.membership_key = membership.membership_key
            ORDER BY stored.hour DESC LIMIT 1
        ) AS latest
        UNION
        SELECT jsonb_object_keys(uncounted.held) FROM cleanrooms_etl.uncounted_hour AS uncounted
        WHERE uncounted.membership_key = membership.membership_key
    ) AS known
) AS occurring
CROSS JOIN LATERAL (
    SELECT
        hours.hour,
        coalesce(before.held, '{}') AS held,
        coalesce(this.entered, '{}') AS entered,
        this.most_open
    FROM (
        SELECT min(stored.hour) AS hour FROM cleanrooms_etl.status_hour AS stored
        WHERE stored.membership_key = membership.membership_key
    ) AS first
    CROSS JOIN LATERAL generate_series(
        first.hour,
        least(date_trunc('hour', now(), 'UTC'), membership.uncounted_hours_from - interval '1 hour'),
        interval '1 hour'
    ) AS hours (hour)
    LEFT JOIN LATERAL (
        SELECT stored.held FROM cleanrooms_etl.status_hour AS stored
        WHERE stored.membership_key = membership.membership_key AND stored.hour < hours.hour
        ORDER BY stored.hour DESC LIMIT 1
    ) AS before ON true
    LEFT JOIN cleanrooms_etl.status_hour AS this
        ON this.membership_key = membership.membership_key AND this.hour = hours.hour
    UNION ALL
    SELECT
        hours.hour,
        CASE WHEN hours.hour > ours.hour THEN ours.held ELSE coalesce(ours.held_before, before.held, '{}') END,
        CASE WHEN hours.hour > ours.hour THEN '{}' ELSE ours.entered END,
        CASE WHEN hours.hour = ours.hour THEN ours.most_open END
    FROM (
        SELECT
            *,
            lag(held) OVER history AS held_before,
            lead(hour) OVER history - interval '1 hour' AS last_hour
        FROM cleanrooms_etl.uncounted_hour AS uncounted
        WHERE uncounted.membership_key = membership.membership_key
        WINDOW history AS (ORDER BY hour)
    ) AS ours
    LEFT JOIN LATERAL (
        SELECT stored.held FROM cleanrooms_etl.status_hour AS stored
        WHERE stored.membership_key = membership.membership_key AND stored.hour < ours.hour
        ORDER BY stored.hour DESC LIMIT 1
    ) AS before ON ours.held_before IS NULL
    CROSS JOIN LATERAL generate_series(
        ours.hour, coalesce(ours.last_hour, date_trunc('hour', now(), 'UTC')), interval '1 hour'
    ) AS hours (hour)
) AS counted;

COMMENT ON VIEW cleanrooms_etl.calendar IS 'One row for each hour of each membership since its first change: what its jobs held when it began, what they entered in it';

CREATE VIEW cleanrooms.status_counts_hourly AS
SELECT
    calendar.hour,
    calendar.membership_id,
    calendar.region,
    calendar.account_id,
    occurring.status,
    coalesce((calendar.held ->> occurring.status)::bigint, 0) AS jobs_held,
    coalesce((calendar.entered ->> occurring.status)::bigint, 0) AS jobs_entered
FROM cleanrooms_etl.calendar
CROSS JOIN LATERAL unnest(calendar.statuses) AS occurring (status);

COMMENT ON VIEW cleanrooms.status_counts_hourly IS 'One row for each hour, membership and status, without gaps: how many jobs held the status when the hour began, and how many entered it in the hour';
COMMENT ON COLUMN cleanrooms.status_counts_hourly.hour IS 'Start of the hour, in UTC; from that of the membership''s first change on, until the present hour';
COMMENT ON COLUMN cleanrooms.status_counts_hourly.membership_id IS 'The membership';
COMMENT ON COLUMN cleanrooms.status_counts_hourly.region IS 'Its AWS Region';
COMMENT ON COLUMN cleanrooms.status_counts_hourly.account_id IS 'Its AWS account, once its role or a job has told it';
COMMENT ON COLUMN cleanrooms.status_counts_hourly.status IS 'The status: each that this release knows, and whatever else AWS has sent';
COMMENT ON COLUMN cleanrooms.status_counts_hourly.jobs_held IS 'Jobs that held it when the hour began, as jobs_as_of tells';
COMMENT ON COLUMN cleanrooms.status_counts_hourly.jobs_entered IS 'Times that a job entered it in the hour, first sights included';
