"""Ways out of this machine: which of them others can watch, or stand at the other end of in disguise."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

STRONG = "verify-full"
"""The one sslmode of libpq that makes sure of the other end."""

_UNSEEN = {"host": "unseen", "sslmode": "what its service says"}  # libpq alone reads the file of a service


def is_remote(host: str | None) -> bool:
    """Tell whether a host is another machine; a path is a socket of this one, as is none at all."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True


def plain_http_to(url: str | None) -> str | None:
    """Return the other machine to which an endpoint's URL goes unencrypted, None where there is none."""
    parts = urlsplit(url or "")
    return parts.hostname if parts.scheme == "http" and is_remote(parts.hostname) else None


@dataclass(frozen=True)
class DatabaseWay:
    """How libpq goes to a database."""

    is_remote: bool
    sslmode: str

    @property
    def is_weak(self) -> bool:
        """Whether another machine can pose as the database's."""
        return self.is_remote and self.sslmode != STRONG


def to_database(url: str) -> DatabaseWay | None:
    """Return the way that libpq takes to a database, None of a URL that cannot be read."""
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - only who has a database's URL pays for it

    try:
        options = _libpq_options(url)
    except (ArgumentError, ValueError):
        return None
    if "@" in options.get("host", "").lstrip("@"):
        return None  # a password with an @ ends there
    hosts = options.get("hostaddr") or options.get("host") or ""  # the name of a `hostaddr` is not looked up
    # libpq takes no other mode with the system's roots.
    mode = STRONG if options.get("sslrootcert") == "system" else options["sslmode"]
    return DatabaseWay(any(map(is_remote, hosts.split(","))), mode)


def _libpq_options(url: str) -> Mapping[str, str]:
    """Return what libpq goes by: the URL, else the environment and the service named there, else its defaults."""
    from psycopg import pq  # noqa: PLC0415 - likewise
    from sqlalchemy import make_url  # noqa: PLC0415 - likewise

    address = make_url(url)
    _, given = address.get_dialect()().create_connect_args(address)
    defaults = {each.keyword.decode(): each.val.decode() for each in pq.Conninfo.get_defaults() if each.val}
    return (_UNSEEN if "service" in given else defaults) | {name: str(value) for name, value in given.items()}
