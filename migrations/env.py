"""How Alembic runs the revisions: on the connection that it is given, one transaction for all of them."""

import os
from pathlib import Path

from alembic import context
from sqlalchemy import Connection, text

from etl import database, loading
from etl.local_postgres import LocalPostgres
from etl.tables import SCHEMA, metadata

_LOCK = 7_316_208_245  # any number that is ours: two upgrades at once run one after the other
_PATIENCE = "30s"


def run(connection: Connection) -> None:
    """Run the revisions asked for. A transaction-level lock serves behind a transaction pooler too."""
    with connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        # While we wait for somebody's open transaction, everybody who comes after waits for us.
        connection.execute(text(f"SET LOCAL lock_timeout = '{_PATIENCE}'"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        context.configure(
            connection=connection,
            target_metadata=metadata,
            version_table_schema=SCHEMA,
            include_schemas=True,
            include_name=lambda name, kind, _: kind != "schema" or name == SCHEMA,
        )
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:  # the `alembic` command of a developer
    file = context.get_x_argument(as_dictionary=True).get("config")
    settings = loading.load(Path(file) if file else None, os.environ)

    is_given = settings.database.url is not None
    address = settings.database.address() if is_given else LocalPostgres.from_environ(os.environ).start()
    with database.connect(address) as connection:
        run(connection)
