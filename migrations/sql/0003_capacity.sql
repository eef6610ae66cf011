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
    used.account_open_jobs::double precision / used.account_quota AS account_quota_used
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

COMMENT ON VIEW cleanrooms.capacity IS 'One row for each hour and membership: open jobs against AWS''s quotas, of the membership and of its account';
COMMENT ON COLUMN cleanrooms.capacity.hour IS 'Start of the hour, in UTC';
COMMENT ON COLUMN cleanrooms.capacity.membership_id IS 'The membership';
COMMENT ON COLUMN cleanrooms.capacity.region IS 'Its AWS Region';
COMMENT ON COLUMN cleanrooms.capacity.account_id IS 'Its AWS account, once its role or a job has told it';
COMMENT ON COLUMN cleanrooms.capacity.open_jobs IS 'Jobs of the membership that were pending or in progress when the hour began';
COMMENT ON COLUMN cleanrooms.capacity.most_open_jobs IS 'The most that were so at once in the hour';
COMMENT ON COLUMN cleanrooms.capacity.quota IS 'Open jobs that AWS allows the membership, as configured (quota.membership, 5 unless set)';
COMMENT ON COLUMN cleanrooms.capacity.quota_used IS 'most_open_jobs / quota, so at the fullest: 1 is all of it';
COMMENT ON COLUMN cleanrooms.capacity.account_open_jobs IS 'Open jobs, when the hour began, of those memberships of the account in the Region that are configured here; null: the account is not known';
COMMENT ON COLUMN cleanrooms.capacity.account_quota IS 'Open jobs that AWS allows the account in the Region, as configured (quota.account, 10 unless set)';
COMMENT ON COLUMN cleanrooms.capacity.account_quota_used IS 'account_open_jobs / account_quota, so when the hour began: 1 is all of it';
