"""The views by the hour tell from when on a membership was tracked: before, a zero may be what nobody saw.

By its number it does not end the releases that know 0008.
"""

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0008.4"
down_revision = "0008.3"
branch_labels = None
depends_on = None

SQL = Path(__file__).parent.parent / "sql"

VIEWS = ("status_counts_hourly", "capacity")

COMMENTS = sa.text("""
    SELECT format('COMMENT ON VIEW %s IS %L', oid::regclass, obj_description(oid, 'pg_class'))
    FROM pg_class WHERE relnamespace = 'cleanrooms'::regnamespace AND relname = ANY (:views)
    UNION ALL
    SELECT format('COMMENT ON COLUMN %s.%I IS %L', attrelid::regclass, attname, col_description(attrelid, attnum))
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'cleanrooms'::regnamespace AND relname = ANY (:views)
        AND attnum > 0 AND attname <> 'is_tracked'
""")
"""Statements that say of the views what is said now."""


def upgrade() -> None:
    """Add a column to both."""
    said = (SQL / "0008_4_tracked.sql").read_text("utf-8")
    op.execute(re.sub(r"^CREATE (?=VIEW cleanrooms\.)", "CREATE OR REPLACE ", said, flags=re.MULTILINE))


def downgrade() -> None:
    """Make both anew without it, and say of them what was said: no column of a view can be dropped."""
    connection = op.get_bind()
    comments = connection.scalars(COMMENTS, {"views": list(VIEWS)}).all()
    for view in VIEWS:
        op.execute(f"DROP VIEW cleanrooms.{view}")
        _, start, rest = (SQL / f"0003_{view}.sql").read_text("utf-8").partition(f"CREATE VIEW cleanrooms.{view}")
        op.execute(start + rest.partition(";")[0])
    op.execute("DROP VIEW cleanrooms_etl.tracked")
    for comment in comments:
        connection.execute(sa.text(comment.replace(":", r"\:")))
