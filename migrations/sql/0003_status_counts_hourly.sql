-- What status_hour holds, made anew for the hours that are not in it yet: from what was held when they began, which
-- the first row that is not before them tells, and the changes since. A change at the very start of an hour belongs
-- to what was held then, as in jobs_as_of; so it counts as of the hour before, but as entered in its own.
--
-- A function, which Postgres plans by itself and only when it is needed: within the views its plan would be twenty
-- times theirs, and its guessed costs would have the server compile it first. It reads with its owner's rights, as a
-- view does; who may not use this schema cannot call it.
CREATE FUNCTION cleanrooms_etl.counted_hours(owner integer, since timestamptz)
RETURNS TABLE (hour timestamptz, held jsonb, entered jsonb, most_open bigint)
LANGUAGE sql STABLE STRICT SECURITY DEFINER ROWS 24
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH base AS (
        SELECT held FROM cleanrooms_etl.status_hour
        WHERE membership_key = owner AND hour >= since
        ORDER BY hour LIMIT 1
    ),
    moved AS (
        SELECT
            cleanrooms_etl.hour_before(changed_time) AS hour_before,
            date_trunc('hour', changed_time, 'UTC') AS hour,
            changed_time,
            from_status,
            to_status,
            (changed_time > since)::integer AS one -- what changed at that very moment is held then: in the base
        FROM cleanrooms_etl.status_transition
        WHERE membership_key = owner AND changed_time >= since
    ),
    step AS (
        SELECT '-infinity' AS hour, held.key AS status, 0 AS entered, held.value::integer AS more
        FROM base CROSS JOIN jsonb_each_text(base.held) AS held
        UNION ALL
        SELECT hour, to_status, 1, 0 FROM moved
        UNION ALL
        SELECT hour_before, to_status, 0, one FROM moved WHERE one = 1
        UNION ALL
        SELECT hour_before, from_status, 0, -one FROM moved WHERE one = 1 AND from_status IS NOT NULL
        UNION ALL
        SELECT hours.hour, statuses.status, 0, 0 -- each row has a number for each status
        FROM (
            SELECT hour FROM moved UNION SELECT hour_before FROM moved WHERE one = 1 UNION SELECT 'infinity'
        ) AS hours
        CROSS JOIN (
            SELECT to_status AS status FROM moved
            UNION SELECT from_status FROM moved WHERE from_status IS NOT NULL
            UNION SELECT jsonb_object_keys(held) FROM base
        ) AS statuses
    ),
    running AS (
        SELECT
            hour,
            status,
            sum(entered) AS entered,
            sum(sum(more)) OVER (PARTITION BY status ORDER BY hour) - sum(more) AS held,
            NULL::bigint AS open_jobs
        FROM step GROUP BY hour, status
        UNION ALL
        SELECT
            hour,
            NULL,
            NULL,
            NULL,
            coalesce((SELECT cleanrooms_etl.open_jobs(held) FROM base), 0) + sum(one * (
                cleanrooms_etl.is_open(to_status)::integer - coalesce(cleanrooms_etl.is_open(from_status)::integer, 0)
            )) OVER (ORDER BY changed_time) -- those of one instant all together
        FROM moved
    )
    SELECT
        hour,
        jsonb_object_agg(status, held) FILTER (WHERE status IS NOT NULL) AS held,
        coalesce(jsonb_object_agg(status, entered) FILTER (WHERE entered > 0), '{}') AS entered,
        coalesce(max(open_jobs), 0) AS most_open
    FROM running
    WHERE hour > '-infinity'
    GROUP BY hour;
END;

COMMENT ON FUNCTION cleanrooms_etl.counted_hours IS 'The rows of status_hour of a membership for the hours from a given one on, as the history has them now';

CREATE FUNCTION cleanrooms_etl.entered_since(owner integer, since timestamptz) RETURNS SETOF text
LANGUAGE sql STABLE STRICT SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT DISTINCT to_status FROM cleanrooms_etl.status_transition
    WHERE membership_key = owner AND changed_time >= since;
END;

COMMENT ON FUNCTION cleanrooms_etl.entered_since IS 'The statuses that jobs of a membership have entered from a moment on; none, at no cost, where that is null';

CREATE VIEW cleanrooms_etl.uncounted_hour AS
SELECT membership.membership_key, counted.*
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL cleanrooms_etl.counted_hours(membership.membership_key, membership.uncounted_hours_from) AS counted
WHERE membership.uncounted_hours_from IS NOT NULL;

COMMENT ON VIEW cleanrooms_etl.uncounted_hour IS 'Rows of status_hour for the hours from uncounted_hours_from on, as the history has them now';

-- Each hour of each membership since its first change, with what its jobs held when it began. Nothing changed from
-- then until the next hour that has a row began, so that row tells it. By the stored rows, and after them by the uncounted
-- ones, of which there are none once a sync has read its listing to the end.
CREATE VIEW cleanrooms_etl.calendar AS
SELECT
    membership.membership_id,
    membership.region,
    membership.account_id,
    membership.configured,
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
        SELECT jsonb_object_keys(held) FROM cleanrooms_etl.status_hour
        WHERE membership_key = membership.membership_key AND hour = 'infinity'
        UNION
        SELECT cleanrooms_etl.entered_since(membership.membership_key, membership.uncounted_hours_from)
    ) AS known
) AS occurring
CROSS JOIN LATERAL (
    SELECT date_trunc('hour', min(changed_time), 'UTC') AS hour FROM cleanrooms_etl.status_transition
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
