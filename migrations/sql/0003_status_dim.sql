CREATE VIEW cleanrooms.status_dim AS
SELECT *
FROM (VALUES
    ('CREATE_PENDING', true, false, NULL::boolean, 1::bigint, 'Accepted, and waiting for its start'),
    ('CREATE_IN_PROGRESS', true, false, NULL, 2, 'Running'),
    ('ACTIVE', false, true, true, 3, 'Succeeded: its output was delivered'),
    ('CREATE_FAILED', false, true, false, 4, 'Failed'),
    ('CANCEL_PENDING', true, false, NULL, 5, 'Somebody asked to cancel it'),
    ('CANCEL_IN_PROGRESS', true, false, NULL, 6, 'Being cancelled'),
    ('INACTIVE', false, true, false, 7, 'Cancelled'),
    ('CANCEL_FAILED', false, true, false, 8, 'Could not be cancelled'),
    ('NOT_LISTED', false, false, NULL, 9, 'AWS lists it no more: our own word, what became of it is not known')
) AS known (status, is_open, is_terminal, is_success, sort_order, meaning);

COMMENT ON VIEW cleanrooms.status_dim IS 'One row for each status that this release knows; AWS may add others, so join it with LEFT JOIN';
COMMENT ON COLUMN cleanrooms.status_dim.status IS 'The status, in AWS''s words; NOT_LISTED alone is ours';
COMMENT ON COLUMN cleanrooms.status_dim.is_open IS 'Whether a job in it is pending or in progress, so counts against the quota of open jobs';
COMMENT ON COLUMN cleanrooms.status_dim.is_terminal IS 'Whether a job ends with it';
COMMENT ON COLUMN cleanrooms.status_dim.is_success IS 'Whether a job that ended with it succeeded; null: it has not ended';
COMMENT ON COLUMN cleanrooms.status_dim.sort_order IS 'Place in lists and charts, in the order of a job''s life';
COMMENT ON COLUMN cleanrooms.status_dim.meaning IS 'What it means';
