COMMENT ON COLUMN cleanrooms.history_gaps.not_before IS 'Latest instant at which the change is known not to have happened yet; at first sight its createTime';
COMMENT ON COLUMN cleanrooms.status_history.not_before IS 'Latest instant at which the change is known not to have happened yet; it may lie in the interval before; at first sight its createTime';
COMMENT ON COLUMN cleanrooms.status_transitions.not_before IS 'Latest instant at which the change is known not to have happened yet; it may lie before from_time; at first sight its createTime';
