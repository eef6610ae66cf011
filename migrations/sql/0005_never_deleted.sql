-- What others refer to is never deleted: so who refers to it need not be held by a foreign key, which costs a lookup a row.
CREATE FUNCTION cleanrooms_etl.refuse_deletion() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never deleted: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;

COMMENT ON FUNCTION cleanrooms_etl.refuse_deletion IS 'Refuses what would take away what history refers to';

CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON cleanrooms_etl.membership
    FOR EACH STATEMENT EXECUTE FUNCTION cleanrooms_etl.refuse_deletion();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON cleanrooms_etl.sync_run
    FOR EACH STATEMENT EXECUTE FUNCTION cleanrooms_etl.refuse_deletion();
CREATE TRIGGER never_deleted BEFORE DELETE OR TRUNCATE ON cleanrooms_etl.inference_job
    FOR EACH STATEMENT EXECUTE FUNCTION cleanrooms_etl.refuse_deletion();
