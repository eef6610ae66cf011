"""What a new job costs: no lookup of rows that are never deleted, and a shorter way to its model."""

from pathlib import Path

import sqlalchemy as sa
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
MODEL = "ix_inference_job_model"


def upgrade() -> None:
    """Keep rows from being deleted instead of looking each up, and hash by the quicker function."""
    op.execute((SQL / "0005_never_deleted.sql").read_text("utf-8"))
    for table, column, _ in REFERENCES:
        op.drop_constraint(f"fk_{table}_{column}", table, schema=SCHEMA)
    _index_models("hashtextextended(trained_model_arn, 0)")
    op.execute((SQL / "0005_open_jobs.sql").read_text("utf-8"))


def downgrade() -> None:
    """Look each row up again, and index what was indexed before."""
    op.execute("DROP VIEW cleanrooms.open_jobs")
    op.execute((SQL / "0003_open_jobs.sql").read_text("utf-8"))
    _index_models("(md5(trained_model_arn)::uuid)")
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


def _index_models(digest: str) -> None:
    op.drop_index(MODEL, "inference_job", schema=SCHEMA)
    op.create_index(MODEL, "inference_job", ["membership_key", sa.text(digest), "create_time"], schema=SCHEMA)
