"""What can be said of a configuration before anybody is asked: what it lacks, and what it gives away."""

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from etl.config import Config, ConfigError
from etl.database import DatabaseError, parse
from etl.doctor.findings import Finding
from etl.doctor.hosts import is_remote


def complaints(error: ConfigError, file: Path) -> Iterator[Finding]:
    """Tell each thing that makes the configuration useless."""
    for complaint in error.complaints:
        remedy = "mend it; README.md lists each key under Settings"
        yield Finding("configuration", "fail", str(file), complaint.removeprefix(f"{file}: "), remedy)


def examine(config: Config, file: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Look at a configuration that could be read."""
    yield _memberships(config, file)
    yield from _plain_http(config)
    if config.database.url is not None:
        yield from _readable_password(config.database.address(), file, environ)
        yield from _weak_tls(config.database.address(), environ)


def _memberships(config: Config, file: Path) -> Finding:
    number = len(config.memberships)
    if not number:
        said = "no membership is configured" if file.exists() else "there is no such file, and no membership"
        remedy = "add [[membership]] with its id and region to the file, or name another one with --config"
        return Finding("configuration", "fail", str(file), said, remedy)
    regions = ", ".join(sorted({membership.region for membership in config.memberships}))
    return Finding("configuration", "ok", str(file), f"{number} membership{'s' * (number != 1)} in {regions}")


def _plain_http(config: Config) -> Iterator[Finding]:
    for key, url in (
        ("endpoint_url", config.aws.endpoint_url),
        ("sts_endpoint_url", config.aws.sts_endpoint_url),
    ):
        parts = urlsplit(url or "")
        if parts.scheme == "http" and is_remote(parts.hostname):
            said = f"http://{parts.netloc} is another machine: jobs and tokens can be read on the way to it"
            yield Finding("configuration", "warn", f"aws.{key}", said, "write https://")


def _readable_password(url: str, file: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    if environ.get("ETL_DATABASE_URL") or not _password(url):
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


def _weak_tls(url: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    mode = weak_tls(url, environ)
    if mode:
        said = f"sslmode is {mode}: whoever stands in between can pose as the database"
        remedy = "add sslmode=verify-full to database.url, and sslrootcert=FILE with the authority's certificate"
        yield Finding("configuration", "warn", "database.url", said, remedy)


def weak_tls(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the sslmode of a URL where it lets another machine pose as the database's.

    What the URL leaves out libpq takes of PGHOST, PGSSLMODE and PGSSLROOTCERT.
    """
    try:
        address = parse(url)
    except DatabaseError:
        return None
    given = {name: str(value) for name, value in address.query.items()}
    host = address.host or given.get("host") or given.get("hostaddr") or environ.get("PGHOST")
    mode = given.get("sslmode") or environ.get("PGSSLMODE") or "prefer"
    roots = given.get("sslrootcert") or environ.get("PGSSLROOTCERT")
    is_strong = mode == "verify-full" or roots == "system"  # libpq makes of `system` verify-full
    return None if is_strong or not any(map(is_remote, (host or "").split(","))) else mode
