"""IAM's tokens in the place of a password, with a Postgres that takes no other and no old one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import trustme
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from conftest import NOON
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from test_cli import Cli
from tls import Front, front, roots

from etl import database, loading, tokens
from etl.config import ConfigError
from etl.database import DatabaseError
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.world import World
from etl.local_postgres import LocalPostgres, throw_away

HOST = "etl.cluster-c1.eu-west-1.rds.amazonaws.com"
URL = f"postgresql://syncer@{HOST}/etl?sslmode=verify-full"
KEYS = {"AKIATESTS": "worthless"}  # those of conftest, which alone may log in
LIFETIME = timedelta(minutes=15)


class Rds:
    """Gives the role `syncer` each valid token for its password, just before Postgres compares them."""

    def __init__(self, admin: str, port: int) -> None:
        self.admin = admin
        self.port = port
        self.tokens: list[str] = []

    def hear(self, token: str) -> None:
        self.tokens.append(token)
        password = token if self.is_valid(token) else "nothing that anybody says"
        with psycopg.connect(self.admin) as connection:
            connection.execute(sql.SQL("ALTER ROLE syncer PASSWORD {}").format(password))

    def is_valid(self, token: str) -> bool:
        """Sign it once more, as RDS does, and look whether it is of now and for us."""
        url, _, signature = f"https://{token}".partition("&X-Amz-Signature=")
        given = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        key, _, region, service, _ = given["X-Amz-Credential"].split("/")
        request = AWSRequest("GET", url)
        request.context["timestamp"] = given["X-Amz-Date"]
        signer = SigV4QueryAuth(Credentials(key, KEYS.get(key, "another")), service, region)
        expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
        signed = datetime.strptime(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return (
            signature == expected
            and (given["Action"], given["DBUser"], region, service) == ("connect", "syncer", "eu-west-1", "rds-db")
            and urlsplit(url).netloc == f"{HOST}:{self.port}"
            and given["X-Amz-Expires"] == str(int(LIFETIME.total_seconds()))
            and abs(datetime.now(UTC) - signed) < LIFETIME
        )


@pytest.fixture(scope="module")
def postgres() -> Iterator[LocalPostgres]:
    """A server of our own: it asks `syncer` for its password as it is, as RDS does."""
    with throw_away() as server:
        with database.connect(server.start()) as connection:
            with connection.begin():
                file = Path(str(connection.scalar(text("SHOW hba_file"))))
                connection.execute(text("CREATE ROLE syncer LOGIN"))
                connection.execute(text("ALTER DATABASE etl OWNER TO syncer"))
            file.write_text(f"host all syncer 127.0.0.1/32 password\n{file.read_text()}")
            with connection.begin():
                connection.execute(text("SELECT pg_reload_conf()"))
        yield server


@contextmanager
def rds_of(postgres: LocalPostgres, authority: trustme.CA) -> Iterator[tuple[Rds, Front]]:
    with front(postgres.url(), authority.issue_cert(HOST)) as server:
        rds = Rds(postgres.url(), server.server_address[1])
        server.behind = server.behind.set(username="syncer")._replace(
            password=None
        )  # set() takes None for nothing
        server.hears_password = rds.hear
        yield rds, server


@pytest.fixture
def rds(postgres: LocalPostgres, tmp_path: Path) -> Iterator[tuple[Rds, str]]:
    """The server with its URL."""
    authority = trustme.CA()
    tokens.forget_credentials()
    with rds_of(postgres, authority) as (service, server):
        yield service, server.url(HOST, sslmode="verify-full", sslrootcert=roots(authority, tmp_path))


@pytest.fixture
def address(rds: tuple[Rds, str]) -> str:
    """The database as the configuration hands it to who connects."""
    settings = loading.from_mapping({"database": {"url": rds[1], "iam_auth": True}}, {})
    return settings.database.address()


# Logging in


def test_each_connection_logs_in_with_a_token_of_its_own(rds: tuple[Rds, str], address: str) -> None:
    with database.connect(address) as first:
        time.sleep(1.1)  # a token tells the second in which it was signed
        with database.connect(address) as second, second.begin(), first.begin():
            assert first.scalar(text("SELECT current_user")) == "syncer"
            assert second.scalar(text("SELECT current_user")) == "syncer"
    assert len(set(rds[0].tokens)) == 2


def test_a_connection_outlasts_its_token(rds: tuple[Rds, str], address: str) -> None:
    with database.connect(address) as connection:
        with database.connect(rds[0].admin) as admin, admin.begin():
            admin.execute(text("ALTER ROLE syncer PASSWORD 'another'"))
        with connection.begin():
            assert connection.scalar(text("SELECT 1")) == 1


def test_who_is_refused_looks_for_credentials_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "out of date")
    with pytest.raises(DatabaseError, match="password authentication failed") as raised:
        database.connect(address)
    assert "X-Amz" not in str(raised.value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "worthless")
    database.connect(address).close()


def test_without_credentials_it_says_so_in_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(DatabaseError) as raised:
        database.connect(address)
    assert str(raised.value).endswith("/etl: no IAM token for the database: Unable to locate credentials")


def test_a_connection_that_is_lost_while_no_token_is_to_be_had_is_a_database_that_stays_away(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.connect(address) as connection:
        connection.invalidate()
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        tokens.forget_credentials()
        with pytest.raises(DBAPIError, match="no IAM token"):
            connection.begin()
        assert connection.invalidated
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "worthless")
        tokens.forget_credentials()
        with connection.begin():
            assert connection.scalar(text("SELECT 1")) == 1


def test_where_aws_endpoint_url_points_no_token_is_signed_for(
    address: str, rds: tuple[Rds, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    database.connect(address).close()
    assert rds[0].tokens


def test_another_client_is_handed_a_token_for_a_password(rds: tuple[Rds, str], address: str) -> None:
    url = database.logged_in(address)
    assert url.password
    assert tokens.PARAMETER not in url.query
    assert rds[0].is_valid(url.password)
    assert url.password not in str(url)
    assert database.logged_in(rds[0].admin) == database.parse(rds[0].admin)


def test_commands_log_in_with_tokens_and_no_word_of_theirs_holds_one(rds: tuple[Rds, str], tmp_path: Path) -> None:
    service, url = rds
    cli = Cli(tmp_path)
    world = World(Clock(NOON))
    membership = world.add_membership()
    world.create_job(membership)
    with Endpoint(world) as endpoint:
        cli.configure(
            database={"url": url, "iam_auth": True},
            aws={"endpoint_url": endpoint.url},
            membership=[{"id": membership.id, "region": membership.region}],
        )
        said = [cli.run(*words.split()) for words in ("db upgrade", "sync", "status", "doctor", "verify")]
        said.append(cli.run("sync", AWS_SECRET_ACCESS_KEY="another"))  # noqa: S106 - worthless too
    assert [each.code for each in said] == [0, 0, 0, 0, 0, 3]
    assert len(service.tokens) >= len(said)
    told = "".join(each.out + each.err for each in said)
    signatures = [token.partition("X-Amz-Signature=")[2] for token in service.tokens]
    assert not [signature for signature in signatures if signature in told]


# The configuration


@pytest.mark.parametrize(
    ("host", "region"),
    [
        (HOST, "eu-west-1"),
        ("etl.c1.us-gov-west-1.rds.amazonaws.com", "us-gov-west-1"),
        ("etl.proxy-c1.cn-north-1.rds.amazonaws.com.cn", "cn-north-1"),
        ("etl.c1.eu-west-1.rds.amazonaws.com.evil.example", None),
        ("db.internal", None),
    ],
)
def test_the_name_of_the_host_tells_the_region(host: str, region: str | None) -> None:
    assert tokens.region_of(host) == region


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "needs database.url"),
        ({"url": URL.replace("syncer", "syncer:s3cr3t")}, "takes no password"),
        ({"url": f"{URL}&password=s3cr3t"}, "takes no password"),
        ({"url": URL.replace("syncer@", "")}, "needs the host and the user"),
        ({"url": f"postgresql:///etl?host={HOST}&user=syncer&sslmode=verify-full"}, "needs the host and the user"),
        ({"url": URL.replace(HOST, "db.internal")}, "needs database.region"),
        ({"url": "postgresql://syncer@localhost/etl", "region": "eu-west-1"}, "needs sslmode=verify-full"),
    ],
)
def test_what_does_not_go_with_tokens_is_a_mistake(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loading.from_mapping({"database": {**settings, "iam_auth": True}}, {})
    (said,) = raised.value.complaints
    assert said.startswith(f"configuration: database.iam_auth: {complaint}")
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    "settings",
    [
        {"url": URL},
        {"url": URL.replace(HOST, "db.internal"), "region": "eu-west-1"},
        {"url": URL.replace("verify-full", "require"), "allow_weak_tls": True},
    ],
)
def test_a_token_is_signed_for_the_region_that_is_set_or_told(settings: dict[str, object]) -> None:
    made = loading.from_mapping({"database": {**settings, "iam_auth": True}}, {})
    assert database.parse(made.database.address()).query[tokens.PARAMETER] == "eu-west-1"


def test_a_url_that_cannot_be_read_is_no_matter_of_tokens() -> None:
    settings = {"url": "postgresql://host:port/etl", "region": "eu-west-1", "iam_auth": True}
    assert loading.from_mapping({"database": settings}, {}).database.iam_auth
