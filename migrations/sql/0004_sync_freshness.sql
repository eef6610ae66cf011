CREATE OR REPLACE VIEW cleanrooms.sync_freshness AS
SELECT
    membership.membership_id,
    membership.region,
    membership.account_id,
    latest.complete_at AS last_complete_at,
    extract(epoch FROM now() - latest.complete_at)::double precision AS age_seconds,
    membership.expected_seconds,
    CASE
        WHEN latest.complete_at IS NULL THEN 'never'
        WHEN failures.number > 0 THEN 'failing'
        -- One beat may be missed: a listing that takes its time is not late.
        WHEN now() > latest.complete_at + make_interval(secs => 2 * membership.expected_seconds) THEN 'late'
        ELSE 'ok'
    END AS state,
    failures.number AS consecutive_failures,
    last_failure.error_class AS last_error_class,
    last_failure.error AS last_error,
    membership.next_due_at,
    membership.listed_at AS last_full_at
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL (SELECT greatest(membership.listed_at, membership.open_listed_at)) AS latest (complete_at)
CROSS JOIN LATERAL (
    SELECT coalesce(max(run.run_id), 0) AS run_id
    FROM cleanrooms_etl.sync_run AS run
    WHERE run.membership_key = membership.membership_key AND run.outcome = 'complete'
) AS last_complete
CROSS JOIN LATERAL (
    SELECT count(*) AS number, max(failed.run_id) AS last_run_id
    FROM (
        SELECT run.run_id
        FROM cleanrooms_etl.sync_run AS run
        WHERE run.membership_key = membership.membership_key
            AND run.run_id > last_complete.run_id
            AND run.outcome IN ('partial', 'failed', 'abandoned')
            AND run.error_class <> 'Stopped' -- on request
        ORDER BY run.run_id DESC
        LIMIT 1000 -- a role that was revoked for good makes thousands
    ) AS failed
) AS failures
LEFT JOIN cleanrooms_etl.sync_run AS last_failure ON last_failure.run_id = failures.last_run_id
WHERE membership.configured;

COMMENT ON COLUMN cleanrooms.sync_freshness.last_complete_at IS 'Start of the last complete sweep, full or quick (database clock); null: there was none yet';
COMMENT ON COLUMN cleanrooms.sync_freshness.last_full_at IS 'Start of the last complete full listing: what a quick sweep does not look at, such as edits of jobs that ended long ago, is as fresh as this';
