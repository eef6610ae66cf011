-- History is never updated or deleted: the database refuses it to everyone who does not drop the trigger first.
CREATE FUNCTION cleanrooms_etl.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;

COMMENT ON FUNCTION cleanrooms_etl.refuse_change IS 'Refuses what would change history';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cleanrooms_etl.status_transition
    FOR EACH STATEMENT EXECUTE FUNCTION cleanrooms_etl.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cleanrooms_etl.job_edit
    FOR EACH STATEMENT EXECUTE FUNCTION cleanrooms_etl.refuse_change();
