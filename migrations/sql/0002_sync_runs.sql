CREATE OR REPLACE VIEW cleanrooms.sync_runs AS
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
    run.version,
    run.overruns
FROM cleanrooms_etl.sync_run AS run
JOIN cleanrooms_etl.membership USING (membership_key);

COMMENT ON COLUMN cleanrooms.sync_runs.overruns IS 'Due times of the membership that passed while it ran, and were skipped';
