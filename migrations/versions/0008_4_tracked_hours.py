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

VIEWS = ("cleanrooms_etl.calendar", "cleanrooms.status_counts_hourly", "cleanrooms.capacity")

COMMENTS = sa.text("""
    SELECT format('COMMENT ON VIEW %s IS %L', view, obj_description(view, 'pg_class'))
    FROM unnest(CAST(:views AS regclass[])) AS view
    UNION ALL
    SELECT format('COMMENT ON COLUMN %s.%I IS %L', attrelid::regclass, attname, col_description(attrelid, attnum))
    FROM pg_attribute
    WHERE attrelid = ANY (CAST(:views AS regclass[])) AND attnum > 0 AND attname <> 'is_tracked'
""")
"""Statements that say of the views what is said now."""


def upgrade() -> None:
    """Add the column: to the calendar, and to what is made of it."""
    said = (SQL / "0008_4_tracked.sql").read_text("utf-8")
    op.execute(re.sub(r"^CREATE (?=VIEW)", "CREATE OR REPLACE ", said, flags=re.MULTILINE))


def downgrade() -> None:
    """Make the views anew, and say of them what was said: no column of a view can be dropped.

    Who was let read them by hand, not by `etl db grant`, has to be let anew.
    """
    connection = op.get_bind()
    comments = connection.scalars(COMMENTS, {"views": list(VIEWS)}).all()
    for view in reversed(VIEWS):
        op.execute(f"DROP VIEW {view}")
    before = "".join(
        (SQL / f"0003_{name}.sql").read_text("utf-8") for name in ("status_counts_hourly", "capacity")
    )
    for view in VIEWS:
        _, start, rest = before.partition(f"CREATE VIEW {view} ")
        op.execute(start + rest.partition(";")[0])
    for comment in comments:
        connection.execute(sa.text(comment.replace(":", r"\:")))
