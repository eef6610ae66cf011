"""A membership's schedule is kept, so that another one with the same longest pause is noticed, too.

By its number it does not end the releases that know 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008.2"
down_revision = "0008.1"
branch_labels = None
depends_on = None

SCHEMA = "cleanrooms_etl"


def upgrade() -> None:
    """Add the column; who registers next fills it."""
    comment = "The schedule by which next_due_at was found; null: not known"
    op.add_column("membership", sa.Column("schedule", sa.Text(), comment=comment), schema=SCHEMA)


def downgrade() -> None:
    """Drop it."""
    op.drop_column("membership", "schedule", schema=SCHEMA)
