CREATE VIEW cleanrooms.sync_runs AS
SELECT
    run.run_id,
    membership.membership_id,
    run.outcome,
    run.started_at,
    run.finished_at,
    extract(epoch FROM coalesce(run.finished_at, now()) - run.started_at)::double precision AS seconds,
    run.pages,
    run.api_calls,
    run.retries,
    run.throttles,
    run.jobs_listed,
    run.jobs_new,
    run.jobs_changed,
    run.transitions,
    run.jobs_unchanged,
    run.jobs_stale,
    run.jobs_rejected,
    run.jobs_absent,
    run.replaced_characters,
    run.rejections,
    run.unknown_statuses,
    run.error_class,
    run.error,
    run.worker,
    run.version
FROM cleanrooms_etl.sync_run AS run
JOIN cleanrooms_etl.membership USING (membership_key);

COMMENT ON VIEW cleanrooms.sync_runs IS 'One row for each sync of a membership, from its start';
COMMENT ON COLUMN cleanrooms.sync_runs.run_id IS 'Number of the run, rising';
COMMENT ON COLUMN cleanrooms.sync_runs.membership_id IS 'Membership that was listed';
COMMENT ON COLUMN cleanrooms.sync_runs.outcome IS 'running, complete, partial (ended early or set items aside; what it read is stored), failed (read nothing), fenced (another worker took over), abandoned (its worker ended without a word)';
COMMENT ON COLUMN cleanrooms.sync_runs.started_at IS 'When it started (database clock)';
COMMENT ON COLUMN cleanrooms.sync_runs.finished_at IS 'When it ended (database clock); null while it runs';
COMMENT ON COLUMN cleanrooms.sync_runs.seconds IS 'How long it took; of a running one so far';
COMMENT ON COLUMN cleanrooms.sync_runs.pages IS 'Pages read';
COMMENT ON COLUMN cleanrooms.sync_runs.api_calls IS 'Requests sent to AWS, retries included';
COMMENT ON COLUMN cleanrooms.sync_runs.retries IS 'Requests that repeated another';
COMMENT ON COLUMN cleanrooms.sync_runs.throttles IS 'Requests that AWS refused for coming too fast';
COMMENT ON COLUMN cleanrooms.sync_runs.jobs_listed IS 'Items read: new, changed, unchanged, stale and rejected together; those of a listing begun again count again';
COMMENT ON COLUMN cleanrooms.sync_runs.jobs_new IS 'Jobs seen for the first time';
COMMENT ON COLUMN cleanrooms.sync_runs.jobs_changed IS 'Jobs of which anything changed';
COMMENT ON COLUMN cleanrooms.sync_runs.transitions IS 'Changes of status recorded, first sights included';
COMMENT ON COLUMN cleanrooms.sync_runs.jobs_unchanged IS 'Items that told nothing new';
COMMENT ON COLUMN cleanrooms.sync_runs.jobs_stale IS 'Items older than what is stored';
COMMENT ON COLUMN cleanrooms.sync_runs.jobs_rejected IS 'Items set aside as malformed';
COMMENT ON COLUMN cleanrooms.sync_runs.jobs_absent IS 'Jobs concluded to be listed no more';
COMMENT ON COLUMN cleanrooms.sync_runs.replaced_characters IS 'Characters that cannot be stored, replaced by U+FFFD';
COMMENT ON COLUMN cleanrooms.sync_runs.rejections IS 'The first 100 items set aside: [{"reason": ..., "item": ...}]';
COMMENT ON COLUMN cleanrooms.sync_runs.unknown_statuses IS 'Statuses that this release does not know: {status: items}';
COMMENT ON COLUMN cleanrooms.sync_runs.error_class IS 'AWS''s error code, or the name of what went wrong';
COMMENT ON COLUMN cleanrooms.sync_runs.error IS 'What went wrong, and the way out where it is known';
COMMENT ON COLUMN cleanrooms.sync_runs.worker IS 'host:process';
COMMENT ON COLUMN cleanrooms.sync_runs.version IS 'Release of the program that ran';
