"""Rows that history refers to are kept from being deleted: so no new job has to look them up."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
SCHEMA = "cleanrooms_etl"
REFERENCES = (
    ("inference_job", "membership_key", "membership"),
    ("status_transition", "job_key", "inference_job"),
    ("status_transition", "run_id", "sync_run"),
)


def upgrade() -> None:
    """Keep rows from being deleted instead of looking each up."""
    op.execute((SQL / "0005_never_deleted.sql").read_text("utf-8"))
    for table, column, _ in REFERENCES:
        op.drop_constraint(f"fk_{table}_{column}", table, schema=SCHEMA)


def downgrade() -> None:
    """Look each row up again."""
    for table, column, referred in REFERENCES:
        op.create_foreign_key(
            op.f(f"fk_{table}_{column}"),
            table,
            referred,
            [column],
            [column],
            source_schema=SCHEMA,
            referent_schema=SCHEMA,
        )
        op.execute(f"DROP TRIGGER never_deleted ON {SCHEMA}.{referred}")
    op.execute(f"DROP FUNCTION {SCHEMA}.refuse_deletion")
