CREATE VIEW cleanrooms.sync_freshness AS
SELECT
    membership.membership_id,
    membership.region,
    membership.account_id,
    membership.listed_at AS last_complete_at,
    extract(epoch FROM now() - membership.listed_at)::double precision AS age_seconds,
    membership.expected_seconds,
    CASE
        WHEN membership.listed_at IS NULL THEN 'never'
        WHEN failures.number > 0 THEN 'failing'
        -- One beat may be missed: a listing that takes its time is not late.
        WHEN now() > membership.listed_at + make_interval(secs => 2 * membership.expected_seconds) THEN 'late'
        ELSE 'ok'
    END AS state,
    failures.number AS consecutive_failures,
    last_failure.error_class AS last_error_class,
    last_failure.error AS last_error
FROM cleanrooms_etl.membership
CROSS JOIN LATERAL (
    SELECT coalesce(max(run.run_id), 0) AS run_id
    FROM cleanrooms_etl.sync_run AS run
    WHERE run.membership_key = membership.membership_key AND run.outcome = 'complete'
) AS last_complete
CROSS JOIN LATERAL (
    SELECT count(*) AS number, max(run.run_id) AS last_run_id
    FROM cleanrooms_etl.sync_run AS run
    WHERE run.membership_key = membership.membership_key
        AND run.run_id > last_complete.run_id
        AND run.outcome IN ('partial', 'failed', 'abandoned')
        AND run.error_class <> 'Stopped' -- on request
) AS failures
LEFT JOIN cleanrooms_etl.sync_run AS last_failure ON last_failure.run_id = failures.last_run_id
WHERE membership.configured;

COMMENT ON VIEW cleanrooms.sync_freshness IS 'One row for each configured membership: how fresh its jobs are, and what is wrong if they are not';
COMMENT ON COLUMN cleanrooms.sync_freshness.membership_id IS 'The membership';
COMMENT ON COLUMN cleanrooms.sync_freshness.region IS 'Its AWS Region';
COMMENT ON COLUMN cleanrooms.sync_freshness.account_id IS 'Its AWS account, once its role or a job has told it';
COMMENT ON COLUMN cleanrooms.sync_freshness.last_complete_at IS 'Start of the last complete listing (database clock); null: there was none yet';
COMMENT ON COLUMN cleanrooms.sync_freshness.age_seconds IS 'Seconds since then';
COMMENT ON COLUMN cleanrooms.sync_freshness.expected_seconds IS 'Longest pause between two listings that the schedule allows';
COMMENT ON COLUMN cleanrooms.sync_freshness.state IS 'never (no complete listing yet), failing (the latest runs were not complete), late (older than twice what is expected), ok';
COMMENT ON COLUMN cleanrooms.sync_freshness.consecutive_failures IS 'Runs since the last complete one that failed, ended early or were abandoned';
COMMENT ON COLUMN cleanrooms.sync_freshness.last_error_class IS 'What went wrong in the last of them';
COMMENT ON COLUMN cleanrooms.sync_freshness.last_error IS 'The same in words';
