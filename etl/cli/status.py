"""`etl status`: how fresh each membership is, for people and for a cron monitor."""

import sys
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import click

from etl.cli.configuration import configuration, connected, with_memberships
from etl.cli.errors import EXIT_TROUBLE
from etl.cli.options import with_options
from etl.console import Console

# What people look at, with the errors below it; programs get it all.
_SHOWN = ("membership_id", "region", "state", "last_complete_at", "age_seconds", "consecutive_failures")


@click.command()
@with_options
def status(file: Path | None, as_json: bool | None) -> None:
    """Show how fresh each membership is, those that are not first.

    Exits with 1 if one is late, failing or was never synced: fit for a cron monitor. With 2 if there is none.
    """
    from sqlalchemy import text  # noqa: PLC0415 - `etl --help` need not wait for it

    console = Console(as_json=as_json)
    config = configuration(file)
    with connected(config) as connection:
        rows = connection.execute(
            text("SELECT * FROM cleanrooms.sync_freshness ORDER BY state = 'ok', region, membership_id")
        )
        freshness = [dict(row) for row in rows.mappings()]
    known = {row["membership_id"] for row in freshness}
    unknown = [membership.id for membership in config.memberships if membership.id not in known]
    if freshness:
        console.table("freshness", freshness, list(freshness[0]) if console.as_json else _SHOWN)
    for row in freshness:
        if row["state"] != "ok":
            console.complain(f"{row['membership_id']}: {_trouble(row)}")
    for membership_id in unknown:
        console.complain(
            f"{membership_id}: configured, and not tracked yet, or no longer by another file: run `etl sync`"
        )
    if not known and not unknown:
        with_memberships(file)
    are_fresh = known and not unknown and all(row["state"] == "ok" for row in freshness)
    sys.exit(0 if are_fresh else EXIT_TROUBLE)


def _trouble(row: Mapping[str, Any]) -> str:
    """Say what is wrong with a membership, and when a daemon tries it again."""
    if row["last_error"]:
        due = row["next_due_at"]
        again = f" (a daemon tries again from {due.astimezone(UTC):%H:%M:%S}Z)" if due else ""
        return f"{row['last_error_class']}: {row['last_error']}{again}"
    if row["state"] == "late":
        return f"late: a listing is expected every {row['expected_seconds']:,.0f} s: does a daemon or cron run?"
    return "not synced yet: does a daemon or cron run?"
