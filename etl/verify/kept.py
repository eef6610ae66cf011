"""The invariants of what is kept beside the history and can be read from it: in other words than the views'."""

from etl.verify.check import Check

CHECKS = (
    Check(
        "own_membership",
        "a job stands under a membership that there is, and its transitions under the same",
        """
        SELECT job.job_arn FROM cleanrooms_etl.status_transition AS moved
        JOIN cleanrooms_etl.inference_job AS job USING (job_key)
        LEFT JOIN cleanrooms_etl.membership ON membership.membership_key = job.membership_key
        WHERE moved.membership_key IS DISTINCT FROM membership.membership_key
        """,
    ),
    Check(
        "milestones",
        "the moments that a job's row keeps are those of its history",
        """
        SELECT job.job_arn FROM cleanrooms_etl.inference_job AS job
        JOIN (
            SELECT
                job_key,
                min(window_) FILTER (WHERE to_status = 'CREATE_IN_PROGRESS') AS started,
                max(window_) FILTER (
                    WHERE from_status = 'CREATE_IN_PROGRESS' AND to_status <> 'NOT_LISTED'
                ) AS stopped,
                max(changed_time) FILTER (WHERE to_status = 'CREATE_IN_PROGRESS') AS started_last,
                min(window_) FILTER (WHERE to_status IN ('CANCEL_PENDING', 'CANCEL_IN_PROGRESS')) AS cancel,
                max(window_) FILTER (WHERE is_known AND to_status IS DISTINCT FROM before) AS ended,
                (array_agg(to_status ORDER BY changed_time DESC) FILTER (WHERE is_known))[1] AS last
            FROM (
                SELECT *, lag(to_status) OVER (PARTITION BY job_key, is_known ORDER BY changed_time) AS before,
                    ARRAY[changed_time, CASE -- what a job did while it was not listed, nobody saw
                        WHEN from_status = 'NOT_LISTED'
                            THEN lag(not_before) OVER (PARTITION BY job_key ORDER BY changed_time)
                        ELSE not_before
                    END] AS window_
                FROM cleanrooms_etl.status_transition
                CROSS JOIN LATERAL (SELECT to_status IN (
                    'CREATE_PENDING', 'CREATE_IN_PROGRESS', 'ACTIVE', 'CREATE_FAILED',
                    'CANCEL_PENDING', 'CANCEL_IN_PROGRESS', 'INACTIVE', 'CANCEL_FAILED'
                )) AS its (is_known)
            ) AS moved
            GROUP BY job_key
        ) AS seen USING (job_key)
        CROSS JOIN LATERAL (
            SELECT last IN ('ACTIVE', 'CREATE_FAILED', 'INACTIVE', 'CANCEL_FAILED') AS is_over
        ) AS its
        WHERE (
            ARRAY[started_time, started_not_before], ARRAY[cancel_time, cancel_not_before],
            ARRAY[stopped_time, stopped_not_before], ARRAY[ended_time, ended_not_before], ended_status
        ) IS DISTINCT FROM (
            coalesce(started, '{null,null}'), coalesce(cancel, '{null,null}'),
            CASE WHEN stopped[1] > started_last THEN stopped ELSE '{null,null}' END,
            CASE WHEN is_over THEN ended ELSE '{null,null}' END, CASE WHEN is_over THEN last END
        )
        """,
    ),
    Check(
        "hourly_counts",
        "what is kept counted by hour is what the history counts to",
        """
        WITH moved AS (
            SELECT *, date_trunc('hour', changed_time, 'UTC') AS hour,
                date_trunc('hour', changed_time - interval '1 microsecond', 'UTC') AS hour_before,
                sum((to_status = ANY (open.statuses))::integer
                    - coalesce((from_status = ANY (open.statuses))::integer, 0))
                    OVER (PARTITION BY membership_key ORDER BY changed_time) AS open_jobs
            FROM cleanrooms_etl.status_transition
            CROSS JOIN (
                SELECT '{CREATE_PENDING,CREATE_IN_PROGRESS,CANCEL_PENDING,CANCEL_IN_PROGRESS}'::text[]
            ) AS open (statuses)
        ),
        hours AS ( -- infinity is the row for the time after the last change
            SELECT membership_key, its.hour, max(its.open_jobs) AS most_open
            FROM moved CROSS JOIN LATERAL (
                VALUES (moved.hour, moved.open_jobs), (hour_before, 0), ('infinity', 0)
            ) AS its (hour, open_jobs)
            GROUP BY membership_key, its.hour
        ),
        step AS (
            SELECT membership_key, hours.hour, statuses.status, 0 AS entered, 0 AS more FROM hours
            JOIN (
                SELECT DISTINCT membership_key, to_status AS status FROM moved
            ) AS statuses USING (membership_key)
            UNION ALL
            SELECT membership_key, its.* FROM moved CROSS JOIN LATERAL (
                VALUES (hour, to_status, 1, 0), (hour_before, to_status, 0, 1), (hour_before, from_status, 0, -1)
            ) AS its WHERE column2 IS NOT NULL
        ),
        counted AS (
            SELECT membership_key, hour, jsonb_object_agg(status, held) AS held,
                coalesce(jsonb_object_agg(status, entered) FILTER (WHERE entered > 0), '{}') AS entered
            FROM (
                SELECT membership_key, hour, status, sum(entered) AS entered,
                    sum(sum(more)) OVER (PARTITION BY membership_key, status ORDER BY hour) - sum(more) AS held
                FROM step GROUP BY membership_key, hour, status
            ) AS running
            GROUP BY membership_key, hour
        )
        SELECT membership.membership_id || ' at ' || hour
        FROM counted JOIN hours USING (membership_key, hour)
        FULL JOIN cleanrooms_etl.status_hour AS stored USING (membership_key, hour)
        JOIN cleanrooms_etl.membership USING (membership_key)
        -- A status that came later has no number in the rows before it.
        CROSS JOIN LATERAL (
            SELECT coalesce(jsonb_object_agg(key, value), '{}') AS held FROM jsonb_each(counted.held)
            WHERE value <> '0' OR stored.held ? key
        ) AS needed
        WHERE (membership.uncounted_hours_from IS NULL OR hour < membership.uncounted_hours_from) AND (
            (stored.entered, stored.most_open, stored.held)
            IS DISTINCT FROM (counted.entered, hours.most_open, needed.held)
        )
        """,
    ),
    Check(
        "weekly_counts",
        "what is kept counted by model and week is what the jobs count to",
        """
        WITH counted AS (
            SELECT membership_key, date_trunc('week', create_time, 'UTC') AS week, trained_model_arn,
                quote_nullable(trained_model_version_identifier) AS version, -- none is not an empty one
                ARRAY[
                    count(*), count(*) FILTER (WHERE ended_status = 'ACTIVE'),
                    count(*) FILTER (WHERE ended_status = 'CREATE_FAILED'),
                    count(*) FILTER (WHERE ended_status = 'INACTIVE'),
                    count(*) FILTER (WHERE ended_status = 'CANCEL_FAILED')
                ] AS jobs,
                percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
                    ORDER BY greatest(extract(epoch FROM ended_time - create_time), 0)::double precision
                ) FILTER (WHERE ended_time IS NOT NULL) AS total_seconds,
                percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
                    ORDER BY extract(epoch FROM stopped_time - started_time)::double precision
                ) FILTER (WHERE stopped_time IS NOT NULL) AS run_seconds
            FROM cleanrooms_etl.inference_job GROUP BY 1, 2, 3, 4
        ),
        stored AS (
            SELECT *, quote_nullable(trained_model_version_identifier) AS version
            FROM cleanrooms_etl.model_week WHERE jobs > 0
        )
        SELECT trained_model_arn || ' at ' || week
        FROM counted FULL JOIN stored USING (membership_key, week, trained_model_arn, version)
        JOIN cleanrooms_etl.membership USING (membership_key)
        WHERE week < coalesce(membership.uncounted_weeks_from, 'infinity') AND (
            counted.jobs, counted.total_seconds, counted.run_seconds
        ) IS DISTINCT FROM (
            ARRAY[stored.jobs, stored.succeeded, stored.failed, stored.cancelled, stored.cancel_failed],
            stored.total_seconds, stored.run_seconds
        )
        """,
    ),
)
