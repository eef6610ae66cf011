"""The rights on what is ours: which ones a reader and a writer need, and which ones a role has."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection, text

from etl.tables import SCHEMA, VIEWS, job_edit, job_key, metadata, status_transition, sync_run


class Right(NamedTuple):
    """A privilege on something of ours, whose name is fit for a statement."""

    kind: str
    """DATABASE, SCHEMA, TABLE (a view is one), COLUMN, SEQUENCE or FUNCTION"""
    name: str
    privilege: str

    def __str__(self) -> str:
        return f"{self.privilege} on {self.name}"


class Held(NamedTuple):
    """A right that a role can make use of, and whom it was given to: that role, or one that it is a member of."""

    right: Right
    holder: str


_APPEND_ONLY = (job_edit, status_transition)

# By the catalogs: who may not look into a schema may still look at these.
_OBJECT = f"""
WITH ours AS (SELECT oid, nspname FROM pg_namespace WHERE nspname IN ('{SCHEMA}', '{VIEWS}')),
relation AS (
    SELECT nspname, pg_class.oid, relkind, relowner, relacl, nspname || '.' || quote_ident(relname) AS name
    FROM pg_class JOIN ours ON ours.oid = relnamespace WHERE relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
),
object (kind, schema, name, oid, owner, acl) AS (
    SELECT 'DATABASE', NULL, quote_ident(datname), oid, datdba, coalesce(datacl, acldefault('d', datdba))
    FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'SCHEMA', nspname, nspname, oid, nspowner, coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace JOIN ours USING (oid, nspname)
    UNION ALL
    SELECT 'TABLE', nspname, name, oid, relowner, coalesce(relacl, acldefault('r', relowner))
    FROM relation WHERE relkind <> 'S'
    UNION ALL
    SELECT 'SEQUENCE', nspname, name, oid, relowner, coalesce(relacl, acldefault('s', relowner))
    FROM relation WHERE relkind = 'S'
    UNION ALL
    SELECT 'COLUMN', nspname, name || '.' || quote_ident(attname), attrelid, relowner, attacl
    FROM pg_attribute JOIN relation ON relation.oid = attrelid WHERE attacl IS NOT NULL
    UNION ALL
    SELECT 'FUNCTION', nspname,
        format('%s.%I(%s)', nspname, proname, pg_get_function_identity_arguments(pg_proc.oid)),
        pg_proc.oid, proowner, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc JOIN ours ON ours.oid = pronamespace
)
"""  # noqa: S608 - names of our own

_LACKING = text(f"""{_OBJECT}
SELECT kind, name, privilege
FROM unnest(CAST(:kinds AS text[]), CAST(:names AS text[]), CAST(:privileges AS text[]))
    AS needed (kind, name, privilege)
JOIN object USING (kind, name)
WHERE NOT CASE kind
    WHEN 'DATABASE' THEN has_database_privilege(CAST(:role AS name), oid, privilege)
    WHEN 'SCHEMA' THEN has_schema_privilege(CAST(:role AS name), oid, privilege)
    WHEN 'SEQUENCE' THEN has_sequence_privilege(CAST(:role AS name), oid, privilege)
    WHEN 'FUNCTION' THEN has_function_privilege(CAST(:role AS name), oid, privilege)
    ELSE has_table_privilege(CAST(:role AS name), oid, privilege)
END
ORDER BY kind IN ('DATABASE', 'SCHEMA') DESC, name, privilege
""")  # noqa: S608 - likewise

# Also by roles that it does not inherit from but may become.
_HELD = text(f"""{_OBJECT}
SELECT kind, name, privilege_type, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
FROM object CROSS JOIN aclexplode(acl)
WHERE kind <> 'FUNCTION' AND (kind <> 'DATABASE' OR privilege_type = 'CREATE')
    AND (grantee = 0 OR pg_has_role(CAST(:role AS name), grantee, 'MEMBER'))
ORDER BY name, privilege_type
""")  # noqa: S608 - likewise

_NAMES = text(f"{_OBJECT} SELECT kind, schema, name FROM object ORDER BY name")  # noqa: S608 - likewise

_OWNERS = text(f"{_OBJECT} SELECT DISTINCT pg_get_userbyid(owner) FROM object ORDER BY 1")  # noqa: S608 - likewise

_WRITERS = text(f"""{_OBJECT}
SELECT DISTINCT pg_get_userbyid(grantee) FROM object CROSS JOIN aclexplode(acl)
WHERE (kind, name, privilege_type) = ('TABLE', '{sync_run.fullname}', 'INSERT') AND grantee NOT IN (0, owner)
ORDER BY 1
""")  # noqa: S608 - likewise


def needed_by_reader(connection: Connection) -> list[Right]:
    """Return what an analyst needs: to look at each view."""
    objects = connection.execute(_NAMES).all()
    return [
        *(Right("DATABASE", name, "CONNECT") for kind, _, name in objects if kind == "DATABASE"),
        Right("SCHEMA", VIEWS, "USAGE"),
        *(Right("TABLE", name, "SELECT") for kind, schema, name in objects if (kind, schema) == ("TABLE", VIEWS)),
        # A view calls its functions with the rights of who asks. By default all have this one.
        *(Right("FUNCTION", name, "EXECUTE") for kind, _, name in objects if kind == "FUNCTION"),
    ]


def needed_by_writer(connection: Connection) -> list[Right]:
    """Return what a sync needs: to add to each table and to change those that are no history."""
    objects = connection.execute(_NAMES).all()
    own = [name for kind, schema, name in objects if (kind, schema) == ("TABLE", SCHEMA)]
    tables = metadata.sorted_tables
    return [
        *(Right("DATABASE", name, "CONNECT") for kind, _, name in objects if kind == "DATABASE"),
        *(Right("DATABASE", name, "TEMPORARY") for kind, _, name in objects if kind == "DATABASE"),
        *(Right("SCHEMA", schema, "USAGE") for schema in (VIEWS, SCHEMA)),
        *(Right("TABLE", name, "SELECT") for name in (f"{VIEWS}.sync_freshness", *own)),
        *(Right("TABLE", table.fullname, "INSERT") for table in tables),
        *(Right("TABLE", table.fullname, "UPDATE") for table in tables if table not in _APPEND_ONLY),
        Right("SEQUENCE", f"{job_key.schema}.{job_key.name}", "USAGE"),
        *(Right("FUNCTION", name, "EXECUTE") for kind, _, name in objects if kind == "FUNCTION"),
    ]


def lacking(connection: Connection, role: str, needed: Iterable[Right]) -> list[Right]:
    """Return which of these rights a role has not, on what is there; by its plain name."""
    kinds, names, privileges = zip(*needed, strict=True)
    found = connection.execute(
        _LACKING, {"role": role, "kinds": [*kinds], "names": [*names], "privileges": [*privileges]}
    )
    return [Right(*row) for row in found]


def held(connection: Connection, role: str) -> list[Held]:
    """Return each right that a role can make use of on what is ours, and to make schemas beside it."""
    return [Held(Right(*right), holder) for *right, holder in connection.execute(_HELD, {"role": role})]


def owners(connection: Connection) -> list[str]:
    """Return who owns the database, and what is ours in it."""
    return list(connection.execute(_OWNERS).scalars())


def writers(connection: Connection) -> list[str]:
    """Return the roles other than the owner that were given what only a sync needs."""
    return list(connection.execute(_WRITERS).scalars())


def statements(role: str, rights: Iterable[Right]) -> Iterator[str]:
    """Yield the statements that give these rights to a role, whose name is quoted where it must be."""

    def by(right: Right) -> tuple[str, str]:
        return right.kind, right.privilege

    for (kind, privilege), same in groupby(sorted(rights, key=by), by):
        yield f"GRANT {privilege} ON {kind} {', '.join(right.name for right in same)} TO {role}"
