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
    run.overruns,
    run.kind,
    run.listings
FROM cleanrooms_etl.sync_run AS run
JOIN cleanrooms_etl.membership USING (membership_key);

COMMENT ON COLUMN cleanrooms.sync_runs.outcome IS 'running, complete (of a quick one: nothing is new behind what it read, and it saw every open job), partial (ended early or set items aside; what it read is stored), failed (read nothing), fenced (another worker took over), abandoned (its worker ended without a word)';
COMMENT ON COLUMN cleanrooms.sync_runs.kind IS 'full, or quick: that reads the newest jobs and sees every open one, and concludes nothing about jobs that it does not see';
COMMENT ON COLUMN cleanrooms.sync_runs.listings IS 'Listings that were read: more than one where a full listing was split by model, to be read side by side';
