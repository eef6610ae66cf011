"""Whether the database itself still holds what it is to hold."""

from etl.tables import metadata
from etl.verify.check import Check

_CONSTRAINTS = ", ".join(
    f"('{table.name}', '{constraint.name}')"
    for table in metadata.tables.values()
    for constraint in table.constraints
    if constraint is not table.primary_key or len(table.primary_key)
)
_KEYS = ", ".join(
    f"('{table.name}', '{index.name}')"
    for table in metadata.tables.values()
    for index in table.indexes
    if index.unique
)

CHECKS = (
    Check(
        "constraints_in_force",
        "every constraint and unique index is there, and all rows were held against it",
        f"""
        SELECT needed.relation || ': ' || needed.name FROM (VALUES {_CONSTRAINTS}) AS needed (relation, name)
        LEFT JOIN pg_constraint AS found ON found.conname = needed.name AND found.convalidated
            AND found.conrelid = ('cleanrooms_etl.' || needed.relation)::regclass
        WHERE found.oid IS NULL
        UNION ALL
        SELECT needed.relation || ': ' || needed.name FROM (VALUES {_KEYS}) AS needed (relation, name)
        WHERE NOT EXISTS (
            SELECT FROM pg_index
            WHERE indrelid = ('cleanrooms_etl.' || needed.relation)::regclass AND indisunique AND indisvalid
                AND indexrelid = to_regclass('cleanrooms_etl.' || needed.name)
        )
        """,  # noqa: S608 - names of our own
    ),
    Check(
        "triggers_in_force",
        "history is append-only, what it refers to is never deleted, and no foreign key is switched off",
        """
        SELECT relation || ': ' || trigger FROM (VALUES
            ('status_transition', 'append_only'), ('job_edit', 'append_only'),
            ('membership', 'never_deleted'), ('sync_run', 'never_deleted'), ('inference_job', 'never_deleted')
        ) AS needed (relation, trigger)
        WHERE NOT EXISTS (
            SELECT FROM pg_trigger
            WHERE tgrelid = ('cleanrooms_etl.' || relation)::regclass AND tgname = trigger
        )
        UNION ALL
        SELECT tgrelid::regclass || ': ' || tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
        WHERE relnamespace = 'cleanrooms_etl'::regnamespace AND tgenabled NOT IN ('O', 'A')
        """,
    ),
)
