"""Who may do what in the database: what a reader and a writer need, given to a role and looked up.

The owner migrates, a writer syncs, a reader looks at the views. Rights alone protect: a setting of a role only
saves its user from accidents, since all may change their own.

The caller owns the transaction: nothing here opens, commits or caches one.
"""

from etl.access.grants import AccessError, Given, Step, grant_reader, grant_writer
from etl.access.rights import Right, lacking, needed_by_reader, needed_by_writer, statements, writers

__all__ = [
    "AccessError",
    "Given",
    "Right",
    "Step",
    "grant_reader",
    "grant_writer",
    "lacking",
    "needed_by_reader",
    "needed_by_writer",
    "statements",
    "writers",
]
