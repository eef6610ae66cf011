"""What can be said of our schema in the database, and of the memberships whose jobs it holds."""

from collections.abc import Iterator, Sequence
from shlex import quote

from sqlalchemy import Connection, text

from etl import access, database
from etl.access import Right
from etl.config import Membership
from etl.database import DatabaseError
from etl.doctor.findings import Finding, unseen
from etl.doctor.server import Facts, Visit, reading
from etl.tables import SCHEMA

_SCHEMA = text("SELECT FROM pg_namespace WHERE nspname = :name")
_FRESHNESS = text("SELECT * FROM cleanrooms.sync_freshness")


def examine(visit: Visit, memberships: Sequence[Membership], *, is_private: bool) -> Iterator[Finding]:
    """Look at what our role may do, at the schema's revision, and at how fresh each membership is."""
    yield (may := rights(visit))
    if may.verdict != "ok":
        yield unseen(
            "migrations", visit.subject, "the revision, and how fresh each membership is: our role lacks rights"
        )
        return
    yield (schema := migrations(visit, is_private=is_private))
    if schema.verdict != "ok":
        yield unseen("freshness", visit.subject, schema.said)
        return
    with reading(visit.connection) as connection:
        rows = {row["membership_id"]: row for row in connection.execute(_FRESHNESS).mappings()}
    yield from (freshness(membership.id, rows.get(membership.id)) for membership in memberships)


def rights(visit: Visit) -> Finding:
    """Look at what our role may do."""
    with reading(visit.connection) as connection:
        is_migrated = connection.execute(_SCHEMA, {"name": SCHEMA}).first() is not None
        lacking = _lacking(connection)
    return allowed(visit.subject, visit.facts, lacking, is_migrated=is_migrated)


def _lacking(connection: Connection) -> list[Right]:
    login = connection.execute(text("SELECT current_user")).scalar_one()
    # Who is connected may connect; temporary tables are looked at on their own.
    needed = [right for right in access.needed_by_writer(connection) if right.kind != "DATABASE"]
    return access.lacking(connection, login, needed)


def allowed(subject: str, facts: Facts, lacking: Sequence[Right], *, is_migrated: bool) -> Finding:
    """Judge what our role may do; `lacking` are the privileges that it has not on what is there."""
    role, name, by = facts["role"], facts["database"], "as an administrator of the database"
    if not facts["may_stage"]:
        said, remedy = "may not create temporary tables", f"GRANT TEMPORARY ON DATABASE {name} TO {role};"
    elif lacking:
        said = f"lacks {', '.join(map(str, lacking))}"
        remedy = "\n".join(f"{statement};" for statement in access.statements(role, lacking))
        by = f"run `etl db grant {quote(facts['login'])} --writer` as the role that migrates, or {by}"
    elif not is_migrated and not facts["may_create_schemas"]:
        said = "may not create schemas, as `etl db upgrade` does"
        remedy = f"GRANT CREATE ON DATABASE {name} TO {role};"
    else:
        may = "may create schemas" if facts["may_create_schemas"] else "leaves `etl db upgrade` to another role"
        said = f"{role} may read and write what it needs, and {may}; the database belongs to {facts['owner']}"
        return Finding("rights", "ok", subject, said)
    return Finding("rights", "fail", subject, f"{role} {said}", f"{by}:\n{remedy}")


def migrations(visit: Visit, *, is_private: bool) -> Finding:
    """Compare the schema's revision with the one that this release needs."""
    revision = database.current_revision(visit.connection)
    try:
        database.check_revision(visit.connection)
    except DatabaseError as error:
        said, _, remedy = str(error).partition(": ")
        if is_private and database.is_older(revision):
            said += "; `etl sync` and `etl daemon` migrate the private Postgres by themselves"
            return Finding("migrations", "warn", visit.subject, said, remedy)
        return Finding(
            "migrations", "fail", visit.subject, said, remedy or "name another database in database.url"
        )
    return Finding("migrations", "ok", visit.subject, f"the schema is at revision {revision}")


def freshness(membership_id: str, row: Facts | None) -> Finding:
    """Judge how fresh a membership is, by its row of `sync_freshness`; None: it has none."""
    if row and row["consecutive_failures"]:
        said = f"{row['consecutive_failures']:,} failed in a row: {row['last_error_class']}: {row['last_error']}"
        remedy = f"README.md, When it breaks, tells what to do about {row['last_error_class']}"
        return Finding("freshness", "fail", membership_id, said, remedy)
    if row is None or row["state"] == "never":
        return Finding("freshness", "warn", membership_id, "was never synced", "run `etl sync`, or `etl daemon`")
    said = f"listed {row['age_seconds']:,.0f} s ago, every {row['expected_seconds']:,.0f} s expected"
    if row["state"] == "ok":
        return Finding("freshness", "ok", membership_id, said)
    return Finding("freshness", "fail", membership_id, f"late: {said}", "look whether cron or `etl daemon` runs")
