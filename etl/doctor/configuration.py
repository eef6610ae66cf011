"""What can be said of a configuration before anybody is asked: what it lacks, and what it gives away."""

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from etl.config import Config, ConfigError
from etl.database import DatabaseError, parse
from etl.doctor.findings import Finding

_HTTPS = "write https://, and take aws.allow_plain_http away"
_REMEDIES = {
    "aws.endpoint_url": _HTTPS,
    "aws.sts_endpoint_url": _HTTPS,
    "database.url": (
        "add sslmode=verify-full to it, and sslrootcert=FILE with the authority's certificate,"
        " and take database.allow_weak_tls away"
    ),
}


def complaints(error: ConfigError, file: Path) -> Iterator[Finding]:
    """Tell each thing that makes the configuration useless."""
    for complaint in error.complaints:
        remedy = "mend it; README.md lists each key under Settings"
        yield Finding("configuration", "fail", str(file), complaint.removeprefix(f"{file}: "), remedy)


def examine(config: Config, file: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at a configuration that could be read."""
    yield _memberships(config, file)
    for key, risk in config.risks():
        yield Finding("configuration", "warn", key, risk, _REMEDIES[key])
    if config.database.url is not None:
        yield from _readable_password(config.database.address(), file, environ)


def _memberships(config: Config, file: Path) -> Finding:
    number = len(config.memberships)
    if not number:
        said = "no membership is configured" if file.exists() else "there is no such file, and no membership"
        remedy = "add [[membership]] with its id and region to the file, or name another one with --config"
        return Finding("configuration", "fail", str(file), said, remedy)
    regions = ", ".join(sorted({membership.region for membership in config.memberships}))
    return Finding("configuration", "ok", str(file), f"{number} membership{'s' * (number != 1)} in {regions}")


def _readable_password(url: str, file: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    if not file.exists() or environ.get("ETL_DATABASE_URL") or not _password(url):
        return
    if file.stat().st_mode & stat.S_IROTH:
        said = "holds the database's password, and everybody on this machine may read it"
        remedy = f"chmod o-r {file}, or put the password into ETL_DATABASE_URL or ~/.pgpass"
        yield Finding("configuration", "warn", str(file), said, remedy)


def _password(url: str) -> str | None:
    try:
        return parse(url).password
    except DatabaseError:
        return None  # what is wrong with it, the check of the database tells
