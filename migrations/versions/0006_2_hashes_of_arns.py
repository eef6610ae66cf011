"""The ARNs of jobs and models are indexed by their hashes: nothing but equality is ever asked of them.

An index of the ARNs themselves was kept in the order of the database's language: in one of English, as most
servers make them, that took a third of a first sync, and another version of the system's library might have
broken it. By its number it does not end the releases that know 0006: they need no more than an index.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0006.2"
down_revision = "0006.1"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"
SCHEMA = "cleanrooms_etl"
KEY = "uq_inference_job_job_arn_membership_key"
ARN = "ix_inference_job_job_arn"
MODEL = "ix_inference_job_model"
BY_MD5 = "md5(past.trained_model_arn)::uuid = md5(job.trained_model_arn)::uuid"
BY_HASH = "hashtextextended(past.trained_model_arn, 0) = hashtextextended(job.trained_model_arn, 0)"
"""How `open_jobs` finds the jobs of a model."""


def upgrade() -> None:
    """Index hashes."""
    op.drop_constraint(KEY, "inference_job", schema=SCHEMA)
    hashes = [sa.text(f"hashtextextended(job_arn, {seed})") for seed in (0, 1)]
    op.create_index(KEY, "inference_job", [*hashes, "membership_key"], unique=True, schema=SCHEMA)
    op.create_index(op.f(ARN), "inference_job", ["job_arn"], schema=SCHEMA, postgresql_using="hash")
    _index_models("hashtextextended(trained_model_arn, 0)")
    op.execute(_open_jobs().replace(BY_MD5, BY_HASH))


def downgrade() -> None:
    """Index the ARNs themselves, and digests of the models'."""
    op.execute(_open_jobs())
    _index_models("(md5(trained_model_arn)::uuid)")
    op.drop_index(op.f(ARN), "inference_job", schema=SCHEMA)
    op.drop_index(KEY, "inference_job", schema=SCHEMA)
    op.create_unique_constraint(op.f(KEY), "inference_job", ["job_arn", "membership_key"], schema=SCHEMA)


def _index_models(expression: str) -> None:
    op.drop_index(MODEL, "inference_job", schema=SCHEMA)
    op.create_index(MODEL, "inference_job", ["membership_key", sa.text(expression), "create_time"], schema=SCHEMA)


def _open_jobs() -> str:
    """Return the statements of the view: its columns stay, so that what others have made of it stays, too."""
    return (SQL / "0003_open_jobs.sql").read_text("utf-8").replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
