"""The ARNs of jobs and models are indexed by their hashes: a sync asks for nothing but equality.

An index of the ARNs themselves was kept in the order of the database's language: in one of English, as most
servers make them, that took a third of a first sync, and another version of the system's library might have
broken it.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006.1"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
SCHEMA = "cleanrooms_etl"
KEY = "uq_inference_job_job_arn_membership_key"
ARN = "ix_inference_job_job_arn"
MODEL = "ix_inference_job_model"


def upgrade() -> None:
    """Index hashes. The view comes first: who reads it has locked it before its table, and may be about to."""
    op.execute((SQL / "0007_open_jobs.sql").read_text("utf-8"))
    op.drop_constraint(KEY, "inference_job", schema=SCHEMA)
    hashes = [sa.text(f"hashtextextended(job_arn, {seed})") for seed in (0, 1)]
    op.create_index(KEY, "inference_job", [*hashes, "membership_key"], unique=True, schema=SCHEMA)
    op.create_index(op.f(ARN), "inference_job", ["job_arn"], schema=SCHEMA, postgresql_using="hash")
    _index_models("hashtextextended(trained_model_arn, 0)")


def downgrade() -> None:
    """Index the ARNs themselves, and digests of the models'."""
    op.execute((SQL / "0003_open_jobs.sql").read_text("utf-8").replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
    _index_models("(md5(trained_model_arn)::uuid)")
    op.drop_index(op.f(ARN), "inference_job", schema=SCHEMA)
    op.drop_index(KEY, "inference_job", schema=SCHEMA)
    op.create_unique_constraint(op.f(KEY), "inference_job", ["job_arn", "membership_key"], schema=SCHEMA)


def _index_models(expression: str) -> None:
    op.drop_index(MODEL, "inference_job", schema=SCHEMA)
    op.create_index(MODEL, "inference_job", ["membership_key", sa.text(expression), "create_time"], schema=SCHEMA)
