"""What a new job costs: rows that history refers to are kept from being deleted, so that no job looks them up.

And an index of digests alone: with the membership before it, a membership that the statistics do not know yet made
the planner take any index that begins with one.
"""

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
    _index_digests("ix_inference_job_membership_key_digest", "ix_inference_job_digest", ["digest"])


def _index_digests(old: str, new: str, columns: list[str]) -> None:
    op.drop_index(op.f(old), "inference_job", schema=SCHEMA)
    op.create_index(op.f(new), "inference_job", columns, schema=SCHEMA)


def downgrade() -> None:
    """Look each row up again."""
    _index_digests(
        "ix_inference_job_digest", "ix_inference_job_membership_key_digest", ["membership_key", "digest"]
    )
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
