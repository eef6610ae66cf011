"""Ways out of this machine that others can watch need leave, and TLS makes sure of the other end."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import MakeEtl
from tls import Front, front, roots

from etl import database, loading
from etl.config import Config, ConfigError
from etl.database import DatabaseError
from etl.demo.membership import Membership
from etl.transport import DatabaseWay, is_remote, to_database

HOST = "db.internal"
WEAK = f"postgresql://etl@{HOST}/etl?sslmode=require"
PLAIN = "http://proxy.internal:8080/x"


def made(**sections: dict[str, Any]) -> Config:
    return loading.from_mapping(sections, {})


def complaints(environ: dict[str, str] | None = None, **sections: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        loading.from_mapping(sections, environ or {})
    return raised.value.complaints


# Which ways there are


@pytest.mark.parametrize(
    ("host", "remote"),
    [
        ("db.internal", True),
        ("postgres", True),  # a service of Docker Compose
        ("10.1.2.3", True),
        ("0.0.0.0", True),  # noqa: S104 - nothing listens
        ("localhost.evil.example", True),
        ("127.0.0.1.evil.example", True),
        ("localhost", False),
        ("127.9.9.9", False),
        ("::1", False),
        ("/run/postgresql", False),
        ("@abstract", False),
        ("", False),
        (None, False),
    ],
)
def test_a_host_is_another_machine_unless_it_is_surely_this_one(host: str | None, remote: bool) -> None:
    assert is_remote(host) is remote


@pytest.mark.parametrize(
    ("url", "environ", "weak"),
    [
        ("postgresql://etl@db.internal/etl", {}, "prefer"),
        (WEAK, {}, "require"),
        ("postgresql+psycopg://etl@db.internal/etl?sslmode=verify-ca", {}, "verify-ca"),
        (WEAK, {"PGSSLMODE": "verify-full"}, "require"),
        ("postgresql://etl@db.internal/etl", {"PGSSLMODE": "disable"}, "disable"),
        ("postgresql://etl@/etl?host=10.1.2.3", {}, "prefer"),
        ("postgresql://etl@/etl?host=localhost,db.internal", {}, "prefer"),
        ("postgresql://etl@/etl?host=localhost:1&host=db.internal:2", {}, "prefer"),
        ("postgresql://etl@localhost/etl?hostaddr=10.1.2.3", {}, "prefer"),
        ("postgresql://etl@localhost/etl", {"PGHOSTADDR": "10.1.2.3"}, "prefer"),
        ("postgresql:///etl", {"PGHOST": "db.internal"}, "prefer"),
        ("postgresql:///etl", {"PGSERVICE": "far"}, "require"),
        ("postgresql:///etl?service=far", {}, "what its service says"),
        ("postgresql://etl@db.internal/etl?service=far", {"PGSSLMODE": "verify-full"}, "what its service says"),
        ("postgresql://etl@db.internal/etl?sslmode=verify-full", {"PGSSLMODE": "disable"}, None),
        ("postgresql://etl@db.internal/etl", {"PGSSLMODE": "verify-full"}, None),
        ("postgresql://etl@db.internal/etl?sslrootcert=system", {}, None),
        ("postgresql://etl@db.internal/etl", {"PGSSLROOTCERT": "system"}, None),
        ("postgresql:///etl?service=far&sslmode=verify-full", {}, None),
        ("postgresql://etl@db.internal/etl?hostaddr=127.0.0.1", {}, None),  # a tunnel
        ("postgresql://etl@127.0.0.1/etl", {}, None),
        ("postgresql://etl@[::1]/etl?sslmode=disable", {}, None),
        ("postgresql://etl@/etl?host=/run/postgresql", {}, None),
        ("postgresql:///etl", {}, None),
    ],
)
def test_what_counts_is_what_libpq_will_do(
    url: str, environ: dict[str, str], weak: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").write_text("[far]\nhost=db.internal\nsslmode=require\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    way = to_database(url)
    assert way is not None
    assert (way.sslmode if way.is_weak else None) == weak


@pytest.mark.parametrize("url", ["postgresql://etl:a@b@db.internal/etl", "postgresql://host:port/etl", "postgres"])
def test_a_url_that_cannot_be_read_has_no_way(url: str) -> None:
    assert to_database(url) is None


# Leave


def test_a_database_elsewhere_needs_tls_that_makes_sure_of_it_or_leave() -> None:
    expected = (
        "configuration: database.url: sslmode is require, with which another machine can pose as the database:"
        " write sslmode=verify-full in it, or set database.allow_weak_tls = true",
    )
    assert complaints(database={"url": WEAK}) == expected
    assert complaints({"ETL_DATABASE_URL": WEAK})[0].startswith("ETL_DATABASE_URL: sslmode is require")
    assert made(database={"url": WEAK, "allow_weak_tls": True}).database.address() == WEAK
    assert made(database={"url": WEAK.replace("require", "verify-full")})


@pytest.mark.parametrize("key", ["endpoint_url", "sts_endpoint_url"])
def test_plain_http_to_another_machine_needs_leave(key: str) -> None:
    expected = (
        f"configuration: aws.{key}: is plain http to another machine (proxy.internal):"
        " write https://, or set aws.allow_plain_http = true",
    )
    assert complaints(aws={key: PLAIN}) == expected
    assert made(aws={key: PLAIN, "allow_plain_http": True})
    assert made(aws={key: PLAIN.replace("http:", "https:")})
    assert made(aws={key: "http://127.0.0.1:8099"})


def test_leave_may_come_from_the_environment() -> None:
    environ = {
        "ETL_DATABASE_URL": WEAK,
        "ETL_DATABASE_ALLOW_WEAK_TLS": "true",
        "ETL_AWS_ENDPOINT_URL": PLAIN,
        "ETL_AWS_ALLOW_PLAIN_HTTP": "true",
    }
    assert [key for key, _ in loading.from_mapping({}, environ).risks()] == ["aws.endpoint_url", "database.url"]


@pytest.mark.parametrize(("section", "key"), [("aws", "allow_plain_http"), ("database", "allow_weak_tls")])
def test_leave_is_given_or_not(section: str, key: str) -> None:
    (complaint,) = complaints(**{section: {key: "perhaps", **({"url": WEAK} if section == "database" else {})}})
    assert complaint == f"configuration: {section}.{key}: must be true or false"


def test_what_is_risked_is_warned_of_once_a_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "etl.toml"
    file.write_text(
        f'[aws]\nendpoint_url = "{PLAIN}"\nallow_plain_http = true\n'
        f'[database]\nurl = "{WEAK.replace("etl@", "etl:s3cr3t@")}"\nallow_weak_tls = true\n'
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            loading.load(file, {})
    assert caplog.messages == [
        "aws.endpoint_url: is plain http to proxy.internal: jobs and tokens can be read on the way to it",
        "database.url: sslmode is require: whoever stands in between can pose as the database",
    ]


def test_leave_that_is_not_needed_is_no_risk() -> None:
    local = made(
        database={"url": "postgresql://etl@localhost/etl", "allow_weak_tls": True},
        aws={"endpoint_url": "http://localhost:1", "allow_plain_http": True},
    )
    assert list(local.risks()) == []
    assert DatabaseWay(is_remote=False, sslmode="prefer") == to_database("postgresql://etl@localhost/etl")


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(database_url: str, authority: trustme.CA) -> Iterator[Front]:
    """A database that calls itself db.internal."""
    with front(database_url, authority.issue_cert(HOST)) as server:
        yield server


def test_with_the_right_authority_and_name_a_sync_goes_through_tls(
    tls: Front, authority: trustme.CA, make_etl: MakeEtl, membership: Membership, tmp_path: Path
) -> None:
    assert membership
    url = tls.url(HOST, sslmode="verify-full", sslrootcert=roots(authority, tmp_path))
    with database.connect(url) as connection:
        assert connection.connection.driver_connection.pgconn.ssl_in_use  # type: ignore[union-attr]  # psycopg's
    assert make_etl(database={"url": url}).sync().outcome == "complete"


def test_another_authority_s_database_is_refused(tls: Front, tmp_path: Path) -> None:
    url = tls.url(HOST, sslmode="verify-full", sslrootcert=roots(trustme.CA(), tmp_path))
    with pytest.raises(DatabaseError, match="certificate verify failed"):
        database.connect(url)


def test_a_database_of_another_name_is_refused(tls: Front, authority: trustme.CA, tmp_path: Path) -> None:
    url = tls.url("other.internal", sslmode="verify-full", sslrootcert=roots(authority, tmp_path))
    with pytest.raises(DatabaseError, match=r'"db\.internal" does not match host name "other\.internal"'):
        database.connect(url)


def test_a_database_without_tls_is_refused(database_url: str, authority: trustme.CA, tmp_path: Path) -> None:
    strong = {"sslmode": "verify-full", "sslrootcert": roots(authority, tmp_path)}
    url = database.parse(database_url).set(query=strong).render_as_string(hide_password=False)
    with pytest.raises(DatabaseError, match="server does not support SSL"):
        database.connect(url)


def test_without_a_certificate_of_the_authority_nothing_is_trusted(tls: Front, tmp_path: Path) -> None:
    url = tls.url(HOST, sslmode="verify-full", sslrootcert=str(tmp_path / "none.pem"))
    with pytest.raises(DatabaseError, match=r'root certificate file ".*none\.pem" does not exist'):
        database.connect(url)
