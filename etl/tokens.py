"""Passwords that IAM gives for a database of RDS: each is signed on this machine, and good for fifteen minutes."""

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from etl.transport import STRONG, to_database

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

# What only those need who log in with tokens is imported when they do.
# ruff: noqa: PLC0415

PARAMETER = "iam_region"
"""What a URL says to whoever connects by it: to log in with tokens, signed for this Region."""


class TokenError(Exception):
    """There is no token to be had: one line."""


def region_of(host: str) -> str | None:
    """Return the Region that the name of a database's host tells."""
    match = re.fullmatch(r".+\.([a-z0-9-]+)\.rds\.amazonaws\.com(\.cn)?", host)
    return match[1] if match else None


def objections(url: str | None, region: str | None, *, allow_weak_tls: bool) -> Iterator[str]:
    """Yield each reason why tokens cannot be used with this URL."""
    if url is None:
        yield "needs database.url: the private Postgres has a password of its own"
        return
    from sqlalchemy import make_url

    way = to_database(url)
    if way is None:
        return  # it cannot be read, as whoever connects says
    address = make_url(url)
    if address.password or "password" in address.query:
        yield "takes no password: leave it out of database.url"
    if not address.host or not address.username:
        yield "needs the host and the user in database.url: a token is signed for both"
    elif not region and not region_of(address.host):
        yield "needs database.region: the host's name does not tell it"
    if not allow_weak_tls and way.sslmode != STRONG:
        yield f"needs sslmode={STRONG} in database.url: whoever stands in between could log in with a token"


def marked(url: str, region: str | None) -> str:
    """Return a URL that says to log in with tokens."""
    from sqlalchemy import make_url

    address = make_url(url)
    signed_for = region or region_of(address.host or "") or ""
    return address.update_query_dict({PARAMETER: signed_for}).render_as_string(hide_password=False)


def token(address: "URL", region: str) -> str:
    """Return a password that is good for a quarter of an hour; raises `TokenError`."""
    from botocore.exceptions import BotoCoreError, ClientError

    from etl.sessions import freeze

    try:
        client, credentials = _client(region)
        freeze(credentials)
        signed: str = client.generate_db_auth_token(address.host, address.port or 5432, address.username)
    except (BotoCoreError, ClientError, RuntimeError, ValueError) as error:  # RuntimeError: they come expired
        raise TokenError(f"no IAM token for the database: {error}") from None
    return signed


def use(engine: "Engine", region: str) -> None:
    """Let each new connection of an engine log in with a token of its own."""
    from psycopg import OperationalError
    from sqlalchemy import event

    @event.listens_for(engine, "do_connect")
    def _(_dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        try:
            options["password"] = token(engine.url, region)
        except TokenError as error:  # as if the database had refused us: who has lost a connection tries again
            raise OperationalError(str(error)) from None


def forget_credentials() -> None:
    """Look for credentials again before the next token: those in a file may have been replaced."""
    _client.cache_clear()


@cache  # to make one takes 60 ms, to sign a token 0.1
def _client(region: str) -> tuple[Any, Any]:
    """Return a client, and the credentials that it signs with."""
    from etl.sessions import credentials, new_session

    session = new_session(region)
    found = credentials(session)
    return session.create_client("rds"), found
