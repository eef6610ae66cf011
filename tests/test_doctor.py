"""What `etl doctor` finds: each check seen to fail, against a real Postgres and the simulated AWS."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.retries.standard
import psycopg
import pytest
from botocore.exceptions import ClientError
from conftest import MINUTE, Etl, MakeEtl
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from test_cli import Cli, as_toml
from test_console import screen

from etl import database, sweep, tables
from etl.demo import answers
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import ASSUME_ROLE, CALLER, JOB, JOBS, MODELS, Request
from etl.demo.world import World
from etl.doctor import asking, clocks, configuration, endpoints, examine, patience, policies, schema, server
from etl.doctor.findings import Finding
from etl.loading import from_mapping
from etl.local_postgres import throw_away

KEY, TOKEN, EXTERNAL_ID, PASSWORD = "planted-key", "planted-token", "planted-id", "planted-password"
SECRETS = (KEY, TOKEN, EXTERNAL_ID, PASSWORD)
ROLE = "arn:aws:iam::444455556666:role/etl-reader"
USER = "arn:aws:iam::111122223333:user/simulated"
NOWHERE = f"postgresql://etl:{PASSWORD}@127.0.0.1:1/etl"
DATABASE_CHECKS = [
    "database", "tls", "pooler", "writable", "connections", "clock", "rights", "migrations", "freshness",
]  # fmt: skip
AWS_CHECKS = ["credentials", "endpoint", "clock", "identity", "list", "get", "models"]


@pytest.fixture(autouse=True)
def _no_pause_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda _self, _context: 0.0)


@pytest.fixture(autouse=True)
def _a_key_that_must_not_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)


def host_clock() -> datetime:
    return datetime.now(UTC)


@dataclass
class Doctor:
    """The doctor, pointed at a file and an environment."""

    file: Path | None
    environ: dict[str, str]
    now: Callable[[], datetime] = host_clock
    secrets: tuple[str, ...] = SECRETS
    advanced: list[tuple[str, int, int]] = field(default_factory=list)

    def look(self) -> list[Finding]:
        """Return all that it finds. Whatever is not well must come with a remedy, and nothing with a secret."""
        found = list(examine(self.file, self.environ, self.now, lambda *done: self.advanced.append(done)))
        assert [finding for finding in found if finding.verdict != "ok" and not finding.remedy] == []
        told = json.dumps([asdict(finding) for finding in found])
        assert [secret for secret in self.secrets if secret in told] == []
        return found

    def on(self, *checks: str) -> list[Finding]:
        """Return what it finds in these checks."""
        return [finding for finding in self.look() if finding.check in checks]


DoctorFor = Callable[..., Doctor]


@pytest.fixture
def doctor_for(tmp_path: Path, database_url: str, endpoint: Endpoint, world: World) -> DoctorFor:
    """Configure all of the world's memberships; a keyword replaces a section, or lays its keys over `aws`."""

    def make(**sections: Any) -> Doctor:
        aws = {"endpoint_url": endpoint.url, "requests_per_second": 1000, **sections.pop("aws", {})}
        usual = {
            "database": {"url": database_url},
            "aws": {key: value for key, value in aws.items() if value is not None},
            "membership": [entry(each) for each in world.memberships.values()],
        }
        file = tmp_path / "etl.toml"
        file.write_text(as_toml({name: each for name, each in (usual | sections).items() if each}))
        file.chmod(0o600)
        password = str(database.parse(database_url).password)
        return Doctor(file, {"ETL_HOME": str(tmp_path / "home")}, secrets=(*SECRETS, password))

    return make


def entry(membership: Membership, **settings: Any) -> dict[str, Any]:
    return {"id": membership.id, "region": membership.region, **settings}


@pytest.fixture
def doctor(doctor_for: DoctorFor, membership: Membership) -> Doctor:
    """For one membership, on the default credentials."""
    assert membership
    return doctor_for()


def verdicts(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.verdict) for finding in found]


def only(found: list[Finding]) -> Finding:
    [finding] = found
    return finding


def policies_in(remedy: str) -> list[list[dict[str, Any]]]:
    """Return the statements of each policy in a remedy, which must be whole JSON on lines of its own."""
    found, decoder = [], json.JSONDecoder()
    while (start := remedy.find("\n{")) >= 0:
        policy, end = decoder.raw_decode(remedy[start + 1 :])
        assert policy["Version"] == "2012-10-17"
        found.append(policy["Statement"])
        remedy = remedy[start + 1 + end :]
    return found


# All of it


def test_where_all_is_well_every_check_says_so(doctor: Doctor, etl: Etl, membership: Membership) -> None:
    etl.sync()
    found = doctor.look()
    assert verdicts(found) == [(check, "ok") for check in ["configuration", *DATABASE_CHECKS, *AWS_CHECKS]]
    subjects = {finding.check: finding.subject for finding in found}
    assert {subjects[check] for check in ("freshness", "list", "get", "models")} == {membership.id}
    said = {finding.check: finding.said for finding in found}
    assert (said["tls"], said["pooler"]) == ("not in use; the database is on this machine", "none in between")


def test_it_changes_nothing_and_asks_only_what_changes_nothing(
    doctor_for: DoctorFor, empty_database_url: str, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE)
    doctor_for(database={"url": empty_database_url}, membership=[entry(membership, role_arn=ROLE)]).look()
    with database.connect(empty_database_url) as connection:
        assert database.current_revision(connection) is None
    assert set(endpoint.counts) == {JOBS, JOB, MODELS, CALLER, ASSUME_ROLE}


def test_its_transactions_cannot_write(empty_database_url: str) -> None:
    with (
        database.connect(empty_database_url) as connection,
        pytest.raises(DBAPIError, match="read-only transaction"),
        server.reading(connection),
    ):
        connection.execute(text("CREATE TABLE anything ()"))


def test_one_statement_of_its_takes_no_longer_than_ten_seconds(empty_database_url: str) -> None:
    with database.connect(empty_database_url) as connection:
        with server.reading(connection):
            assert connection.execute(text("SHOW statement_timeout")).scalar() == "10s"
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "0"  # a pooler hands it on


# The configuration


def test_each_complaint_about_the_configuration_is_a_failure_and_nothing_else_is_looked_at(
    doctor_for: DoctorFor, endpoint: Endpoint
) -> None:
    doctor = doctor_for(aws={"page_size": 0, "pages": 1}, database={"url": f"mysql://etl:{PASSWORD}@h/d"})
    found = doctor.look()
    assert verdicts(found) == [("configuration", "fail")] * 3 + [("database", "warn")]
    assert {finding.subject for finding in found[:3]} == {str(doctor.file)}
    assert [finding.said for finding in found if "page_size" in finding.said] == [
        "aws.page_size: must be at least 1",
        "aws.pages: unknown key, did you mean page_size?",
    ]
    assert found[-1].said == "not looked at: the configuration cannot be used"
    assert endpoint.requests == []


def test_without_a_membership_aws_is_not_asked(doctor_for: DoctorFor, endpoint: Endpoint) -> None:
    found = doctor_for(membership=None).look()
    assert (found[0].check, found[0].verdict) == ("configuration", "fail")
    assert found[0].said == "no membership is configured"
    assert {finding.check for finding in found} == {"configuration", *DATABASE_CHECKS} - {"freshness"}
    assert endpoint.requests == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = Doctor(None, {"ETL_HOME": str(tmp_path / "home")}).look()
    assert (found[0].subject, found[0].said) == ("etl.toml", "there is no such file, and no membership")


def test_the_file_that_the_environment_names_is_looked_at(doctor_for: DoctorFor, tmp_path: Path) -> None:
    doctor = doctor_for(database={"url": NOWHERE}, membership=None)
    (tmp_path / "etl.toml").rename(tmp_path / "other.toml")
    doctor.file, doctor.environ["ETL_CONFIG"] = None, str(tmp_path / "other.toml")
    found = doctor.look()
    assert (found[0].subject, found[0].said) == (str(tmp_path / "other.toml"), "no membership is configured")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"endpoint_url": "http://proxy.internal:8080/x"}, "aws.endpoint_url"),
        ({"endpoint_url": "https://h", "sts_endpoint_url": "http://10.0.0.1"}, "aws.sts_endpoint_url"),
        ({"endpoint_url": "http://127.0.0.1:8099", "sts_endpoint_url": "http://localhost"}, None),
        ({"endpoint_url": "http://[::1]:8099"}, None),
        ({}, None),
    ],
)
def test_plain_http_to_another_machine_is_warned_of(settings: dict[str, str], key: str | None) -> None:
    config = from_mapping({"aws": {**settings, "allow_plain_http": True}, "membership": [ENTRY]}, {})
    found = list(configuration.examine(config, Path("etl.toml"), {}))[1:]
    assert [(finding.subject, finding.verdict) for finding in found] == ([(key, "warn")] if key else [])


def test_a_file_that_is_not_there_lets_nobody_read_a_password() -> None:
    config = from_mapping({"membership": [ENTRY]}, {"ETL_Database_Url": WITH_PASSWORD})
    (found,) = configuration.examine(config, Path("nowhere.toml"), {"ETL_Database_Url": WITH_PASSWORD})
    assert found.verdict == "ok"


ENTRY = {"id": "00000000-0000-4000-8000-000000000000", "region": "us-east-1"}
WITH_PASSWORD = f"postgresql://etl:{PASSWORD}@localhost/etl"


@pytest.mark.parametrize(
    ("url", "mode", "environ", "is_open"),
    [
        (WITH_PASSWORD, 0o604, {}, True),
        (f"postgresql://etl@localhost/etl?password={PASSWORD}", 0o644, {}, True),
        (WITH_PASSWORD, 0o640, {}, False),
        ("postgresql://etl@localhost/etl", 0o644, {}, False),
        (WITH_PASSWORD, 0o644, {"ETL_DATABASE_URL": WITH_PASSWORD}, False),
        (WITH_PASSWORD, 0o644, {"ETL_DATABASE_URL": ""}, True),
    ],
)
def test_a_password_in_a_file_that_everybody_may_read_is_warned_of(
    url: str, mode: int, environ: dict[str, str], is_open: bool, tmp_path: Path
) -> None:
    file = tmp_path / "etl.toml"
    file.touch()
    file.chmod(mode)
    config = from_mapping({"database": {"url": url}, "membership": [ENTRY]}, environ)
    found = list(configuration.examine(config, file, environ))[1:]
    assert [finding.verdict for finding in found] == (["warn"] if is_open else [])
    assert all(f"chmod o-r {file}" in finding.remedy and PASSWORD not in str(finding) for finding in found)


def test_a_way_on_which_others_can_pose_as_the_database_is_warned_of() -> None:
    url = "postgresql://etl@db.internal/etl?sslmode=require"
    config = from_mapping({"database": {"url": url, "allow_weak_tls": True}, "membership": [ENTRY]}, {})
    finding = only(list(configuration.examine(config, Path("etl.toml"), {}))[1:])
    assert (finding.subject, finding.verdict) == ("database.url", "warn")
    assert "sslmode=verify-full" in finding.remedy


def test_without_leave_it_is_a_failure_and_nothing_else_is_looked_at(doctor_for: DoctorFor) -> None:
    found = doctor_for(database={"url": "postgresql://etl@db.internal/etl"}).look()
    assert verdicts(found) == [("configuration", "fail"), ("database", "warn")]
    assert "database.allow_weak_tls" in found[0].said


# The way to the database


def test_a_database_that_cannot_be_reached_fails_once_and_aws_is_looked_at_all_the_same(
    doctor_for: DoctorFor, membership: Membership
) -> None:
    assert membership
    found = doctor_for(database={"url": NOWHERE}).look()
    told = [("database", "fail"), ("migrations", "warn")]
    assert verdicts(found) == [("configuration", "ok"), *told, *[(check, "ok") for check in AWS_CHECKS]]
    assert found[1].subject == "postgresql://etl:***@127.0.0.1:1/etl"
    assert "Connection refused" in found[1].said


def test_a_database_url_that_cannot_be_read_is_not_repeated(doctor_for: DoctorFor) -> None:
    found = doctor_for(database={"url": f"postgresql://etl:{PASSWORD}@x@h/etl"}, membership=None).look()
    assert (found[1].subject, found[1].verdict) == ("database.url", "fail")
    assert "holds two @" in found[1].said


@contextmanager
def mute() -> Iterator[int]:
    """Listen on a port where nobody ever says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_database_that_does_not_answer_is_given_up(
    doctor_for: DoctorFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.3)
    with mute() as port:
        found = doctor_for(database={"url": f"postgresql://etl@127.0.0.1:{port}/etl"}, membership=None).look()
    assert verdicts(found)[1:] == [("database", "fail"), ("migrations", "warn")]
    assert found[1].said == "no answer within 0 s"


def test_a_database_that_fails_midway_is_told_once(doctor: Doctor, make_etl: MakeEtl) -> None:
    def now() -> datetime:  # asked for the first time when the server's clock is compared
        make_etl().execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        return host_clock()

    doctor.now = now
    found = [finding for finding in doctor.look() if finding.check not in AWS_CHECKS]
    assert verdicts(found)[-2:] == [("database", "fail"), ("migrations", "warn")]
    assert "terminating connection" in found[-2].said


@pytest.mark.parametrize(
    ("plain_to", "cipher", "verdict"),
    [
        (None, "TLSv1.3 TLS_AES_256_GCM_SHA384", "ok"),
        (None, "", "ok"),  # the other end of our TLS is a pooler
        ("127.0.0.1", "", "ok"),
        ("/run/postgresql", "", "ok"),
        ("db.internal", "", "warn"),
        ("db.internal", "TLSv1.3", "warn"),  # the pooler has it, we have not
    ],
)
def test_without_tls_to_another_machine_it_warns(plain_to: str | None, cipher: str, verdict: str) -> None:
    assert server.tls("db", plain_to, cipher).verdict == verdict


@pytest.mark.parametrize(
    ("announced", "ours", "theirs", "verdict", "said"),
    [
        (7, {7}, 8, "ok", "none in between"),
        (99, {7}, 8, "ok", "a pooler stands in between, and keeps our session for us"),
        (99, {7}, 7, "warn", "a pooler in between shares sessions by transaction"),  # we were given theirs
        (99, {7, 8}, 9, "warn", "a pooler in between shares sessions by transaction"),  # each time another one
    ],
)
def test_a_pooler_is_known_by_the_sessions_that_it_gives(
    announced: int, ours: set[int], theirs: int, verdict: str, said: str
) -> None:
    finding = server.pooler("db", announced, ours, theirs)
    assert finding.verdict == verdict
    assert finding.said.startswith(said)


# The server


@pytest.fixture
def at_database(doctor_for: DoctorFor) -> Doctor:
    """Without a membership, so that only the database is looked at."""
    return doctor_for(membership=None)


@dataclass
class Poor:
    """A role that may do nothing but log in, and whoever may change that."""

    name: str
    url: str
    owner: Etl


@pytest.fixture
def poor(make_etl: MakeEtl) -> Iterator[Poor]:
    owner, name = make_etl(), "poor"
    address = database.parse(owner.config.database.address()).set(username=name, password=PASSWORD)
    owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield Poor(name, address.render_as_string(hide_password=False), owner)
    owner.execute(f"DROP OWNED BY {name}")
    owner.execute(f"DROP ROLE {name}")


def test_a_second_connection_that_is_refused_is_told(at_database: Doctor, poor: Poor) -> None:
    poor.owner.execute(f"ALTER ROLE {poor.name} CONNECTION LIMIT 1")
    at_database.environ["ETL_DATABASE_URL"] = poor.url
    pooler, connections = at_database.on("pooler", "connections")
    assert (pooler.verdict, connections.verdict) == ("warn", "warn")
    assert "too many connections" in pooler.said
    assert connections.said == "0 are free, and we may need 1"


def test_a_database_that_is_read_only_fails_and_says_who_made_it_so(
    at_database: Doctor, make_etl: MakeEtl
) -> None:
    etl = make_etl()
    name = database.parse(etl.config.database.address()).database
    etl.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    finding = only(at_database.on("writable"))
    assert (finding.verdict, finding.said) == ("fail", "default_transaction_read_only is on (set by: database)")
    with psycopg.connect(etl.config.database.address(), autocommit=True) as connection:
        for statement in finding.remedy.split("; "):  # as psql sends them
            connection.execute(statement.encode())
    assert only(at_database.on("writable")).verdict == "ok"


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("database", "DATABASE db"),
        ("user", "ROLE me"),
        ("database user", "ROLE me IN DATABASE db"),
        ("global", "ROLE ALL"),
    ],
)
def test_what_made_a_database_read_only_is_told_to_be_reset_where_it_was_set(source: str, where: str) -> None:
    facts = {"is_standby": False, "is_read_only": True, "read_only_by": source, "database": "db", "role": "me"}
    setting = "default_transaction_read_only"
    assert server.writable("db", facts).remedy == f"SET {setting} = off; ALTER {where} RESET {setting}"


def test_what_made_a_database_read_only_may_stand_in_a_file() -> None:
    facts = {"is_standby": False, "is_read_only": True, "read_only_by": "configuration file", "database": "db"}
    assert "where it was set" in server.writable("db", facts | {"role": "me"}).remedy


def test_a_standby_fails() -> None:
    assert server.writable("db", {"is_standby": True, "is_read_only": False}).verdict == "fail"


@pytest.mark.parametrize(("workers", "wanted"), [(8, 4), (2, 3)])
def test_a_connection_for_each_membership_or_worker_and_one_more_are_wanted(
    workers: int, wanted: int, doctor_for: DoctorFor, world: World, make_etl: MakeEtl
) -> None:
    for _ in range(3):
        world.add_membership()
    etl = make_etl()
    etl.execute(f"ALTER DATABASE {database.parse(etl.config.database.address()).database} CONNECTION LIMIT 0")
    finding = only(doctor_for(aws={"max_concurrency": workers}).on("connections"))
    assert (finding.verdict, finding.said) == ("warn", f"0 are free, and we may need {wanted}")


def test_just_as_many_free_connections_as_are_wanted_are_enough() -> None:
    assert [server.room("db", free, 4).verdict for free in (3, 4)] == ["warn", "ok"]


def test_without_a_limit_of_role_or_database_the_servers_counts(etl: Etl) -> None:
    names = ("max_connections", "superuser_reserved_connections", "reserved_connections")
    rows = etl.query("SELECT name, setting FROM pg_settings WHERE name = ANY(:names)", names=list(names))
    settings = {row["name"]: int(row["setting"]) for row in rows}
    with server.visiting(etl.config.database.address()) as visit:
        free = visit.facts["free_connections"]
    kept = settings["superuser_reserved_connections"] + settings.get("reserved_connections", 0)
    assert settings["max_connections"] - kept - 10 < free < settings["max_connections"] - kept


# Clocks


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0, "ok"), (60, "warn"), (-60, "warn"), (360, "fail"), (-360, "fail")]
)
def test_a_wrong_clock_of_this_machine_shows_against_both_others(
    seconds: int, verdict: str, doctor: Doctor
) -> None:
    doctor.now = lambda: host_clock() + timedelta(seconds=seconds)
    found = doctor.on("clock")
    assert [finding.verdict for finding in found] == [verdict, verdict]
    assert found[1].subject == "AWS"
    way = "ahead of" if seconds > 0 else "behind"
    assert not seconds or all(f" s {way} that one" in finding.said for finding in found)


def test_a_wrong_clock_of_aws_shows_against_aws_alone(doctor: Doctor, endpoint: Endpoint) -> None:
    endpoint.clock_skew = MINUTE
    assert [(finding.subject == "AWS", finding.verdict) for finding in doctor.on("clock")] == [
        (False, "ok"),
        (True, "warn"),
    ]


SENT = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("told", "ahead"),
    [(-9, 8), (-1, 0), (-0.5, 0), (0, 0), (4, 0), (5, 0), (5.5, -0.5), (8, -3)],
)
def test_only_what_no_moment_of_the_exchange_explains_is_a_difference(told: float, ahead: float) -> None:
    found = clocks.ahead_by(SENT + told * SECOND, SENT, SENT + 5 * SECOND, grain=SECOND)
    assert found == ahead * SECOND


@pytest.mark.parametrize(("seconds", "verdict"), [(5, "ok"), (5.1, "warn"), (300, "warn"), (300.1, "fail")])
def test_the_limits_of_a_difference_are_five_seconds_and_five_minutes(seconds: float, verdict: str) -> None:
    assert clocks.verdict_on(seconds * SECOND) == clocks.verdict_on(-seconds * SECOND) == verdict


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}])
def test_who_tells_no_time_has_no_difference(headers: dict[str, str]) -> None:
    assert endpoints.clock_ahead(headers, SENT, SENT) is None


def test_a_date_without_a_zone_is_utc() -> None:
    assert endpoints.clock_ahead({"date": "Mon, 02 Mar 2026 12:00:00 -0000"}, SENT, SENT) == timedelta(0)


def test_a_date_stands_for_its_whole_second() -> None:
    late = SENT + 0.9 * SECOND
    assert endpoints.clock_ahead({"date": "Mon, 02 Mar 2026 12:00:00 GMT"}, late, late) == timedelta(0)


# Our schema


def test_a_database_that_is_not_migrated_fails_and_freshness_is_not_looked_at(
    doctor_for: DoctorFor, empty_database_url: str
) -> None:
    doctor = doctor_for(database={"url": empty_database_url}, membership=None)
    rights, migrations, freshness = doctor.on("rights", "migrations", "freshness")
    assert (rights.verdict, migrations.verdict, freshness.verdict) == ("ok", "fail", "warn")
    assert migrations.remedy == "run `etl db upgrade`"


@pytest.mark.parametrize(
    ("revision", "verdict", "remedy"),
    [
        ("0001", "fail", "run `etl db upgrade`"),
        (f"{tables.REVISION}.1", "ok", ""),
        ("9999", "fail", "install that release here too"),
        ("somebody-elses", "fail", "name another database in database.url"),
    ],
)
def test_a_schema_of_another_release_is_told_with_what_to_do(
    revision: str, verdict: str, remedy: str, at_database: Doctor, make_etl: MakeEtl
) -> None:
    make_etl().execute("UPDATE cleanrooms_etl.alembic_version SET version_num = :revision", revision=revision)
    finding = only(at_database.on("migrations"))
    assert (finding.verdict, finding.remedy) == (verdict, remedy)


def test_a_private_postgres_of_a_newer_release_fails_too(etl: Etl) -> None:
    etl.execute("UPDATE cleanrooms_etl.alembic_version SET version_num = '9999'")
    with server.visiting(etl.config.database.address()) as visit:
        assert schema.migrations(visit, is_private=True).verdict == "fail"


def test_a_role_without_rights_fails_and_its_remedy_is_enough_to_sync(
    doctor_for: DoctorFor, membership: Membership, make_etl: MakeEtl, poor: Poor, world: World
) -> None:
    world.create_job(membership)
    doctor = doctor_for()
    doctor.environ["ETL_DATABASE_URL"] = poor.url
    rights, unseen = doctor.on("rights", "migrations", "freshness")
    assert (rights.verdict, unseen.check) == ("fail", "migrations")
    assert "poor lacks USAGE on cleanrooms, USAGE on cleanrooms_etl, SELECT on cleanrooms.sync" in rights.said
    assert "and how fresh each membership is: our role lacks rights" in unseen.said
    assert rights.remedy.startswith("run `etl db grant poor --writer` as the role that migrates, or as an admin")
    for statement in rights.remedy.splitlines()[1:]:
        poor.owner.execute(statement)
    assert {finding.verdict for finding in doctor.on("rights", "migrations")} == {"ok"}
    etl = make_etl(database={"url": poor.url})
    assert (etl.sync().outcome, etl.sync().outcome) == ("complete", "complete")
    assert {finding.verdict for finding in doctor.look()} == {"ok"}


@pytest.mark.parametrize(
    ("privilege", "relation"),
    [
        ("SELECT", "cleanrooms_etl.alembic_version"),
        ("SELECT", "cleanrooms.sync_freshness"),
        ("UPDATE", "cleanrooms_etl.membership"),
        ("INSERT", "cleanrooms_etl.status_transition"),
        ("USAGE", "cleanrooms_etl.job_key"),
    ],
)
def test_each_privilege_that_is_missing_is_named(
    privilege: str, relation: str, at_database: Doctor, poor: Poor
) -> None:
    at_database.environ["ETL_DATABASE_URL"] = poor.url
    for statement in only(at_database.on("rights")).remedy.splitlines()[1:]:
        poor.owner.execute(statement)
    kind = "SEQUENCE" if privilege == "USAGE" else "TABLE"
    poor.owner.execute(f"REVOKE {privilege} ON {kind} {relation} FROM {poor.name}")
    assert only(at_database.on("rights")).said == f"poor lacks {privilege} on {relation}"


def test_history_need_not_be_open_to_updates(at_database: Doctor, poor: Poor) -> None:
    at_database.environ["ETL_DATABASE_URL"] = poor.url
    for statement in only(at_database.on("rights")).remedy.splitlines()[1:]:
        poor.owner.execute(statement)
    history = "cleanrooms_etl.status_transition, cleanrooms_etl.job_edit"
    poor.owner.execute(f"REVOKE UPDATE ON {history} FROM {poor.name}")
    assert only(at_database.on("rights")).verdict == "ok"


@pytest.mark.parametrize(
    ("may_stage", "may_create", "is_migrated", "verdict"),
    [
        (True, False, True, "ok"),  # somebody else migrates
        (True, False, False, "fail"),
        (True, True, False, "ok"),
        (False, True, True, "fail"),
    ],
)
def test_a_role_must_stage_and_before_the_first_migration_create_schemas(
    may_stage: bool, may_create: bool, is_migrated: bool, verdict: str
) -> None:
    facts = {"may_stage": may_stage, "may_create_schemas": may_create, "role": "r", "database": "d", "owner": "o"}
    assert schema.allowed("db", facts, [], is_migrated=is_migrated).verdict == verdict


def test_a_role_that_may_not_create_schemas_in_an_empty_database_fails_and_its_remedy_is_enough(
    poor: Poor,
    doctor_for: DoctorFor,
    empty_database_url: str,  # in this order: what it owns there is dropped first
) -> None:
    name = database.parse(empty_database_url).database
    url = database.parse(poor.url).set(database=name).render_as_string(hide_password=False)
    poor.owner.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
    doctor = doctor_for(database={"url": url}, membership=None)
    said: list[str] = []
    while (finding := only(doctor.on("rights"))).verdict == "fail" and len(said) < 5:
        said.append(finding.said)
        poor.owner.execute(finding.remedy.splitlines()[1])
    assert said == [
        "poor may not create temporary tables",
        "poor may not create schemas, as `etl db upgrade` does",
    ]
    with database.connect(url) as connection:
        database.upgrade(connection)
    assert {finding.verdict for finding in doctor.on(*DATABASE_CHECKS)} == {"ok"}


# Memberships in the database


@pytest.mark.parametrize("is_registered", [False, True])
def test_a_membership_that_was_never_synced_is_warned_of(is_registered: bool, doctor: Doctor, etl: Etl) -> None:
    if is_registered:
        sweep.register(etl.config)
    finding = only(doctor.on("freshness"))
    assert (finding.verdict, finding.said) == ("warn", "was never synced")


def test_a_membership_that_fails_is_told_with_its_last_error(doctor: Doctor, etl: Etl, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.error("ValidationException", message="For a reason."), times=2)
    etl.sync()
    etl.sync()
    finding = only(doctor.on("freshness"))
    assert finding.verdict == "fail"
    assert finding.said == "2 failed in a row: ValidationException: For a reason."


def test_a_membership_that_is_late_fails(doctor: Doctor, etl: Etl) -> None:
    etl.sync()
    etl.execute(
        "UPDATE cleanrooms_etl.membership"
        " SET (listed_at, open_listed_at) = (now() - interval '2 hours', now() - interval '2 hours')"
    )
    finding = only(doctor.on("freshness"))
    assert finding.verdict == "fail"
    assert finding.said == "late: listed 7,200 s ago, every 900 s expected"


# The private Postgres


def test_a_private_postgres_that_does_not_run_is_left_alone(doctor_for: DoctorFor) -> None:
    doctor = doctor_for(database=None, membership=None)
    finding = only(doctor.on(*DATABASE_CHECKS))
    assert (finding.verdict, finding.subject) == ("warn", doctor.environ["ETL_HOME"])
    assert not Path(doctor.environ["ETL_HOME"]).exists()


def test_a_private_postgres_that_runs_is_looked_at_and_may_wait_for_its_migration(doctor_for: DoctorFor) -> None:
    with throw_away(max_connections="50", reserved_connections="20") as postgres:
        postgres.start()
        doctor = doctor_for(database=None, membership=None)
        doctor.environ["ETL_HOME"] = str(postgres.folder)
        found = doctor.on(*DATABASE_CHECKS)
        assert (found[0].subject, found[0].said) == (
            str(postgres.folder),
            "the private Postgres lives here, and runs",
        )
        assert {finding.check for finding in found if finding.verdict == "warn"} == {"migrations", "freshness"}
        assert "fail" not in {finding.verdict for finding in found}
        [free] = [finding.said for finding in found if finding.check == "connections"]
        assert 20 < int(free.split()[0]) <= 50 - 3 - 20 - 1  # ours is one
        with database.connect(postgres.url()) as connection:
            assert database.current_revision(connection) is None


def test_a_private_postgres_that_lost_a_file_fails(doctor_for: DoctorFor, tmp_path: Path) -> None:
    doctor = doctor_for(database=None, membership=None)
    (tmp_path / "home/cluster/data").mkdir(parents=True)
    (tmp_path / "home/port").write_text("1")
    found = doctor.on(*DATABASE_CHECKS)
    assert verdicts(found) == [("database", "fail"), ("migrations", "warn")]
    assert (found[0].subject, str(tmp_path / "home") in found[0].said) == ("the private Postgres", True)


# The way to AWS


def test_a_region_that_cannot_be_reached_fails_once_for_all_of_its_memberships(
    doctor_for: DoctorFor, world: World, endpoint: Endpoint
) -> None:
    for region in ("us-east-1", "us-east-1", "eu-west-1"):
        world.add_membership(region=region)
    endpoint.on(lambda request: request.region is None and endpoint.counts[JOBS] < 3, answers.reset(), times=None)
    found = doctor_for(aws={"max_concurrency": 1}).on("endpoint", "clock", "list", "get")[1:]
    assert verdicts(found) == [
        ("endpoint", "fail"), ("endpoint", "ok"), ("clock", "ok"), ("list", "warn"), ("list", "ok"), ("get", "ok"),
    ]  # fmt: skip
    assert (found[3].subject, found[3].said) == ("2 memberships", "not looked at: there is no way to us-east-1")


def test_without_any_way_to_aws_nothing_more_is_asked(doctor: Doctor, endpoint: Endpoint) -> None:
    endpoint.close()
    found = [finding for finding in doctor.look() if finding.check in AWS_CHECKS][1:]
    assert verdicts(found) == [("credentials", "ok"), ("endpoint", "fail"), ("clock", "warn"), ("list", "warn")]


def test_an_aws_that_does_not_answer_is_given_up(
    doctor: Doctor, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.5)
    endpoint.on(JOBS, answers.slow(60), times=None)
    began = time.monotonic()
    assert only(doctor.on("endpoint")).said == "no answer within 0 s"
    assert time.monotonic() - began < 5


def test_one_membership_that_is_not_answered_costs_the_others_nothing(
    doctor_for: DoctorFor, world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 3)
    silent, other = world.add_membership(), world.add_membership()
    endpoint.on(
        lambda request: request.region is not None and request.membership == silent.id,
        answers.slow(60),
        times=None,
    )
    found = doctor_for().on("list", "get")
    assert [(finding.subject, *each) for finding, each in zip(found, verdicts(found), strict=True)] == [
        (silent.id, "list", "fail"),
        (other.id, "list", "ok"),
        (other.id, "get", "ok"),
        ("1 membership", "get", "warn"),
    ]
    assert found[0].said.startswith("no answer within ")


def test_a_get_that_is_not_answered_is_a_warning(
    doctor: Doctor, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 3)
    endpoint.on(JOB, answers.slow(60), times=None)
    finding = only(doctor.on("get"))
    assert finding.verdict == "warn"
    assert finding.said.startswith("no answer within ")


def test_who_is_silent_after_throttling_is_told_so_once_all_who_wait_had_their_turn(
    doctor_for: DoctorFor, membership: Membership, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 3)
    endpoint.on(is_signed(JOBS), answers.error("ThrottlingException"), answers.slow(60))
    many_workers = {"max_concurrency": 100, "requests_per_second": 10}
    finding = doctor_for(aws=many_workers, membership=[entry(membership)]).on("list")[0]
    assert finding.said == "no answer within 5 s: 1 requests had one, of which 1 were throttled"
    assert finding.remedy == "run `etl doctor` again later, or lower aws.requests_per_second"


def test_aws_is_asked_where_the_configuration_says_wherever_aws_endpoint_url_points(
    doctor_for: DoctorFor, membership: Membership, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # the only way to the real one
    finding = only(doctor_for(aws={"endpoint_url": None}, membership=[entry(membership)]).on("endpoint"))
    assert finding.verdict == "fail"
    assert "Failed to connect to proxy URL" in finding.said
    assert endpoint.requests == []


def test_sts_is_asked_at_its_own_endpoint(
    doctor_for: DoctorFor, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    with Endpoint(world) as sts:
        sts.add_role(ROLE)
        doctor = doctor_for(aws={"sts_endpoint_url": sts.url}, membership=[entry(membership, role_arn=ROLE)])
        assert {finding.verdict for finding in doctor.on("identity", "role")} == {"ok"}
        assert (set(sts.counts), set(endpoint.counts)) == ({CALLER, ASSUME_ROLE}, {JOBS})


# Credentials


def aws_checks(doctor: Doctor) -> list[Finding]:
    return doctor.on("credentials", "endpoint", "identity", "role", "list", "get")


def test_without_credentials_only_the_way_to_aws_is_looked_at(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = aws_checks(doctor)
    assert verdicts(found) == [("credentials", "fail"), ("endpoint", "ok"), ("list", "warn")]
    assert (found[0].said, found[2].said) == ("none were found", "not looked at: there are no credentials")


def test_a_profile_that_does_not_exist_fails_and_aws_is_not_asked(
    doctor: Doctor, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody-s")
    found = aws_checks(doctor)
    assert verdicts(found) == [("credentials", "fail"), ("list", "warn")]
    assert found[0].said == "The config profile (nobody-s) could not be found"
    assert endpoint.requests == []


def test_half_of_a_pair_of_keys_fails(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    found = aws_checks(doctor)
    assert verdicts(found) == [("credentials", "fail"), ("endpoint", "ok"), ("list", "warn")]
    assert "Partial credentials found in env" in found[0].said


def test_a_profile_whose_keys_cannot_be_had_fails_once(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws").write_text("[profile broken]\ncredential_process = false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_PROFILE", "broken")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    found = aws_checks(doctor)
    assert verdicts(found) == [("credentials", "fail"), ("endpoint", "ok"), ("list", "warn")]
    assert found[0].said.startswith("Error when retrieving credentials from custom-process")


@pytest.mark.parametrize("process", ["/nowhere/at-all", "echo []"])
def test_a_process_that_gives_no_keys_fails_once(
    process: str, doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws").write_text(f"[profile broken]\ncredential_process = {process}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_PROFILE", "broken")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    found = aws_checks(doctor)
    assert verdicts(found) == [("credentials", "fail"), ("endpoint", "ok"), ("list", "warn")]
    assert found[0].said.startswith("Error when retrieving credentials from our own: ")


def test_the_token_that_aws_quotes_is_not_shown() -> None:
    quoted = "The string was 'x-amz-security-token:IQoJb3JpZ2lu'"
    error = ClientError({"Error": {"Code": "SignatureDoesNotMatch", "Message": quoted}}, "GetCallerIdentity")
    assert asking.line(error) == "SignatureDoesNotMatch: The string was 'x-amz-security-token:***'"


def test_a_profile_whose_role_cannot_be_had_fails_once_and_aws_endpoint_url_sends_nobody_elsewhere_for_it(
    doctor: Doctor, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = f"aws_access_key_id = AKIATESTS\naws_secret_access_key = {KEY}\n"
    (tmp_path / "aws").write_text(f"[profile ours]\nrole_arn = {ROLE}\nsource_profile = ours\n{keys}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_PROFILE", "ours")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", endpoint.url)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # the only way to the real one
    found = aws_checks(doctor)
    assert verdicts(found) == [("credentials", "fail"), ("endpoint", "ok"), ("list", "warn")]
    assert "Failed to connect to proxy URL" in found[0].said
    assert ASSUME_ROLE not in endpoint.counts


def test_where_credentials_come_from_and_who_we_are_is_told(doctor: Doctor) -> None:
    credentials, identity = doctor.on("credentials", "identity")
    assert (credentials.verdict, credentials.said) == ("ok", "found by its method env")
    assert (identity.verdict, identity.said) == ("ok", f"we are {USER}")


def test_temporary_credentials_that_nobody_renews_are_warned_of(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    assert only(doctor.on("credentials")).verdict == "warn"


def test_temporary_credentials_that_somebody_renews_are_well(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", (host_clock() + timedelta(hours=6)).isoformat())
    assert only(doctor.on("credentials")).verdict == "ok"


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "ExpiredToken", "SignatureDoesNotMatch"])
def test_credentials_that_aws_refuses_fail_once(code: str, doctor: Doctor, endpoint: Endpoint) -> None:
    endpoint.on(CALLER, answers.error(code, status=403, message="For a reason."), times=None)
    found = aws_checks(doctor)
    assert verdicts(found)[2:] == [("identity", "fail"), ("list", "warn")]
    assert found[2].said == f"AWS refuses our credentials: {code}: For a reason."


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answers.error("AccessDenied", message="Not here."), "AccessDenied: Not here."),
        (answers.error("AccessDenied", message="Not\nhere. " * 1000), "AccessDenied: Not here. Not here."),
        (answers.reset(), "Connection was closed before"),
        (answers.body(b"<html>\n<b>a proxy's page</b>"), "what answers in its place"),
        (answers.body(b'{"a": "proxy"}'), "what answers in its place"),
        (
            answers.body(b"<GetCallerIdentityResponse><a/></GetCallerIdentityResponse>"),
            "what answers in its place",
        ),
    ],
)
def test_an_sts_that_does_not_tell_who_we_are_is_warned_of_and_what_needs_no_account_is_asked(
    answer: answers.Answer, said: str, doctor: Doctor, endpoint: Endpoint
) -> None:
    endpoint.on(CALLER, answer, times=None)
    found = aws_checks(doctor)
    assert verdicts(found)[2:] == [("identity", "warn"), ("list", "ok"), ("get", "warn")]
    assert found[2].said.startswith(f"STS does not tell who we are: {said}")
    assert len(found[2].said) < 600


# Roles


def test_a_role_that_may_be_assumed_is_assumed_once_for_all_of_its_memberships(
    doctor_for: DoctorFor, world: World, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE, external_id=EXTERNAL_ID)
    listed = [entry(world.add_membership(), role_arn=ROLE, external_id=EXTERNAL_ID) for _ in range(3)]
    found = aws_checks(doctor_for(membership=listed))
    assert verdicts(found)[3:] == [("role", "ok"), *[("list", "ok"), ("get", "ok")] * 3]
    assert endpoint.counts[ASSUME_ROLE] == 2  # once as a check, once for what is then asked
    assert {request.query["ExternalId"] for request in endpoint.requests if request.operation == ASSUME_ROLE} == {
        EXTERNAL_ID
    }


def test_a_role_that_is_refused_fails_once_and_leaves_the_others(
    doctor_for: DoctorFor, world: World, endpoint: Endpoint
) -> None:
    refused = [entry(world.add_membership(), role_arn=ROLE, external_id=EXTERNAL_ID) for _ in range(3)]
    found = aws_checks(doctor_for(membership=[*refused, entry(world.add_membership())]))
    assert verdicts(found)[3:] == [("role", "fail"), ("list", "warn"), ("list", "ok"), ("get", "ok")]
    assert (found[3].subject, found[4].subject) == (ROLE, "3 memberships")
    assert endpoint.counts[ASSUME_ROLE] == 1


def test_a_role_that_is_refused_comes_with_both_policies(doctor_for: DoctorFor, membership: Membership) -> None:
    finding = only(doctor_for(membership=[entry(membership, role_arn=ROLE, external_id=EXTERNAL_ID)]).on("role"))
    trust, ours = policies_in(finding.remedy)
    assert [(each["Principal"], each["Action"]) for each in trust] == [({"AWS": USER}, "sts:AssumeRole")]
    assert trust[0]["Condition"] == {"StringEquals": {"sts:ExternalId": "CHOSEN_BY_THEM"}}
    assert [(each["Resource"], each["Action"]) for each in ours] == [(ROLE, "sts:AssumeRole")]


def test_without_an_external_id_the_trust_policy_has_no_condition(
    doctor_for: DoctorFor, membership: Membership
) -> None:
    finding = only(doctor_for(membership=[entry(membership, role_arn=ROLE)]).on("role"))
    assert "Condition" not in policies_in(finding.remedy)[0][0]
    assert "external_id" not in finding.remedy


def test_one_role_with_two_external_ids_is_two(doctor_for: DoctorFor, world: World, endpoint: Endpoint) -> None:
    endpoint.add_role(ROLE, external_id=EXTERNAL_ID)
    listed = [entry(world.add_membership(), role_arn=ROLE, external_id=each) for each in ("other", EXTERNAL_ID)]
    assert {finding.verdict for finding in doctor_for(membership=listed).on("role")} == {"ok", "fail"}


def test_another_trouble_with_a_role_is_no_matter_of_policies(
    doctor_for: DoctorFor, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.on(ASSUME_ROLE, answers.error("MalformedPolicyDocument", message="For a reason."))
    finding = only(doctor_for(membership=[entry(membership, role_arn=ROLE)]).on("role"))
    assert finding.said == "cannot be assumed: MalformedPolicyDocument: For a reason."
    assert policies_in(finding.remedy) == []


@pytest.mark.parametrize(
    ("seen", "known"),
    [
        ("arn:aws:sts::111122223333:assumed-role/etl/i-0123", "arn:aws:iam::111122223333:role/etl"),
        ("arn:aws-cn:sts::1:assumed-role/etl/a.b@c", "arn:aws-cn:iam::1:role/etl"),
        (USER, USER),
    ],
)
def test_a_policy_knows_a_role_at_work_by_another_name(seen: str, known: str) -> None:
    assert policies.principal(seen) == known


# Permissions


def test_the_smallest_calls_are_made_with_the_filters_of_the_membership(
    doctor_for: DoctorFor, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    model = world.add_trained_model(membership, version_identifier="0d1f0f9e-0000-4000-8000-000000000001")
    for _ in range(3):
        world.create_job(membership, model)
    filters = {
        "trained_model_arn": model.arn,
        "trained_model_version_identifier": "0d1f0f9e-0000-4000-8000-000000000001",
    }
    doctor_for(membership=[entry(membership, **filters)]).look()
    signed = [request for request in endpoint.requests if request.access_key]
    assert [request.operation for request in signed] == [CALLER, JOBS, JOB]
    assert signed[1].query == {
        "maxResults": "1",
        "trainedModelArn": model.arn,
        "trainedModelVersionIdentifier": "0d1f0f9e-0000-4000-8000-000000000001",
    }
    resource = signed[2].resource or ""
    assert resource.startswith(f"{membership.arn_of('trained-model-inference-job', '')}asked-for")


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")],
)
def test_a_denied_listing_fails_with_the_policy_that_is_missing(
    region: str, partition: str, doctor_for: DoctorFor, world: World, endpoint: Endpoint
) -> None:
    role = ROLE.replace("arn:aws:", f"arn:{partition}:")
    endpoint.add_role(role, memberships=[])
    membership = world.add_membership(region=region, partition=partition)
    denied, unseen = doctor_for(membership=[entry(membership, role_arn=role)]).on("list", "get")
    assert (denied.verdict, unseen.verdict, unseen.subject) == ("fail", "warn", "1 membership")
    assert denied.remedy.startswith(f"allow it to {role}:")
    assert [(each["Action"], each["Resource"]) for each in policies_in(denied.remedy)[0]] == [
        ("cleanrooms-ml:ListTrainedModelInferenceJobs", "*"),
        (
            "cleanrooms:PassMembership",
            f"arn:{partition}:cleanrooms:{region}:444455556666:membership/{membership.id}",
        ),
    ]


def test_without_a_role_the_account_of_a_policy_is_our_own(doctor_for: DoctorFor) -> None:
    denied = doctor_for(membership=[ENTRY]).on("list")[0]
    assert denied.remedy.startswith(f"allow it to {USER}:")
    resource = policies_in(denied.remedy)[0][1]["Resource"]
    assert resource == f"arn:aws:cleanrooms:us-east-1:111122223333:membership/{ENTRY['id']}"


def test_without_the_account_a_policy_has_a_gap_to_fill(doctor_for: DoctorFor, endpoint: Endpoint) -> None:
    endpoint.on(CALLER, answers.error("AccessDenied"), times=None)
    denied = doctor_for(membership=[ENTRY]).on("list")[0]
    assert denied.remedy.startswith("allow it to our credentials:")
    assert ":ACCOUNT_ID:membership/" in denied.remedy


@pytest.mark.parametrize(
    ("code", "verdict", "remedy"),
    [
        ("ValidationException", "fail", "look at the membership's id and at its filters"),
        ("ResourceNotFoundException", "fail", "look at the membership's id and Region"),
        ("ThrottlingException", "warn", "run `etl doctor` again later, or lower aws.requests_per_second"),
        ("InternalServiceException", "fail", "README.md, When it breaks, tells what to do about each error class"),
    ],
)
def test_each_refusal_of_the_listing_has_its_own_remedy(
    code: str, verdict: str, remedy: str, doctor: Doctor, endpoint: Endpoint
) -> None:
    endpoint.on(is_signed(JOBS), answers.error(code, message="For a reason."), times=None)
    refused, unseen = doctor.on("list", "get")
    assert (refused.verdict, refused.remedy) == (verdict, remedy)
    assert refused.said == f"{code}: For a reason."
    assert unseen.said == "not looked at: they could not be listed"


def is_signed(operation: str) -> Callable[[Request], bool]:
    return lambda request: request.operation == operation and request.access_key is not None


def test_who_may_not_get_a_job_is_warned_and_given_the_policy(
    doctor: Doctor, endpoint: Endpoint, membership: Membership
) -> None:
    endpoint.on(JOB, answers.error("AccessDeniedException"))
    denied = only(doctor.on("get"))
    assert denied.verdict == "warn"
    assert [(each["Action"], each["Resource"]) for each in policies_in(denied.remedy)[0]] == [
        ("cleanrooms-ml:GetTrainedModelInferenceJob", membership.arn_of("trained-model-inference-job", "*"))
    ]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [("ResourceNotFoundException", "ok"), ("ValidationException", "ok"), ("InternalServiceException", "warn")],
)
def test_that_a_job_is_not_found_proves_that_it_may_be_asked_for(
    code: str, verdict: str, doctor: Doctor, endpoint: Endpoint
) -> None:
    endpoint.on(JOB, answers.error(code), times=None)
    assert only(doctor.on("get")).verdict == verdict


def test_get_asks_in_the_account_of_the_role(
    doctor_for: DoctorFor, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE)
    doctor_for(membership=[entry(membership, role_arn=ROLE)]).look()
    [asked] = [request.resource for request in endpoint.requests if request.operation == JOB]
    assert asked
    assert asked.startswith("arn:aws:cleanrooms-ml:us-east-1:444455556666:membership/")


def test_one_trained_model_is_asked_for_however_many_there_are(
    doctor: Doctor, endpoint: Endpoint, world: World, membership: Membership
) -> None:
    for _ in range(3):
        world.add_trained_model(membership)
    assert only(doctor.on("models")).verdict == "ok"
    [asked] = [request for request in endpoint.requests if request.operation == MODELS]
    assert asked.query == {"maxResults": "1"}


def test_who_may_not_list_the_models_is_warned_and_given_the_policy(doctor: Doctor, endpoint: Endpoint) -> None:
    endpoint.on(MODELS, answers.error("AccessDeniedException"))
    denied = only(doctor.on("models"))
    assert (denied.verdict, denied.said) == (
        "warn",
        "may not list its trained models: a full listing is read page after page",
    )
    assert policies_in(denied.remedy) == [policies.to_list_models()]


def test_another_refusal_of_the_models_is_a_warning_without_a_policy(doctor: Doctor, endpoint: Endpoint) -> None:
    endpoint.on(MODELS, answers.error("ThrottlingException", message="For a reason."), times=None)
    refused = only(doctor.on("models"))
    assert (refused.verdict, refused.said) == ("warn", "ThrottlingException: For a reason.")
    assert refused.remedy == "run `etl doctor` again later, or lower aws.requests_per_second"


def test_a_listing_of_the_models_that_is_not_answered_is_a_warning(
    doctor: Doctor, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 3)
    endpoint.on(MODELS, answers.slow(60), times=None)
    finding = only(doctor.on("models"))
    assert finding.verdict == "warn"
    assert finding.said.startswith("no answer within ")


def test_the_policies_are_those_of_deploy() -> None:
    parts = policies.Parts("aws", "REGION", "ACCOUNT_ID", "MEMBERSHIP_ID")
    deploy = Path(__file__).parent.parent / "deploy"

    def deployed(name: str) -> list[dict[str, Any]]:
        statements: list[dict[str, Any]] = json.loads((deploy / name).read_text())["Statement"]
        return sorted(statements, key=lambda each: str(each["Sid"]))

    ours = [*policies.to_get(parts), *policies.to_list(parts), *policies.to_list_models()]
    assert sorted(ours, key=lambda each: str(each["Sid"])) == deployed("iam-policy.json")
    us, them = "arn:aws:iam::YOUR_ACCOUNT_ID:role/YOUR_ROLE", "arn:aws:iam::THEIR_ACCOUNT_ID:role/THEIR_ROLE"
    assert policies.trust(us, with_external_id=True) == deployed("iam-trust-policy.json")
    assert policies.to_assume(them) == deployed("iam-assume-role-policy.json")


# Many memberships


def test_memberships_are_looked_at_together_and_told_in_their_order(
    doctor_for: DoctorFor, world: World, endpoint: Endpoint
) -> None:
    ids = [world.add_membership().id for _ in range(6)]
    endpoint.latency_seconds = 0.1
    doctor = doctor_for(aws={"max_concurrency": 3})
    assert [finding.subject for finding in doctor.on("list")] == ids
    assert endpoint.peak_in_flight == 3
    assert doctor.advanced == [("memberships", done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(("pace", "seconds"), [(10, 0.4), (None, 1.2)])
def test_requests_keep_to_the_pace_that_is_set_or_the_daemons(
    pace: float | None, seconds: float, doctor_for: DoctorFor, world: World
) -> None:
    for _ in range(3):
        world.add_membership()
    doctor = doctor_for(aws={"requests_per_second": pace})
    began = time.monotonic()
    assert {finding.verdict for finding in doctor.on("list", "get")} == {"ok"}
    assert time.monotonic() - began > seconds  # six requests, of which two may go at once


# The command


def test_the_command_prints_a_json_object_a_finding_and_exits_with_1_if_one_failed(
    doctor_for: DoctorFor, membership: Membership, tmp_path: Path
) -> None:
    doctor_for(membership=[entry(membership, role_arn=ROLE)])
    said = Cli(tmp_path).run("doctor")
    assert (said.code, said.err) == (1, "")
    assert {tuple(each) for each in said.objects} == {("check", "verdict", "subject", "said", "remedy")}
    assert [each["check"] for each in said.objects if each["verdict"] == "fail"] == ["role"]


def test_the_command_exits_with_0_if_there_are_warnings_only(
    doctor_for: DoctorFor, membership: Membership, tmp_path: Path
) -> None:
    doctor_for(membership=[entry(membership)])
    said = Cli(tmp_path).run("doctor")
    assert said.code == 0
    assert {each["verdict"] for each in said.objects} == {"ok", "warn"}


def test_for_people_a_remedy_stands_below_its_line_and_a_policy_can_be_copied(
    doctor_for: DoctorFor, membership: Membership, tmp_path: Path
) -> None:
    doctor_for(membership=[entry(membership, role_arn=ROLE)])
    lines = Cli(tmp_path).run("doctor", "--text").out.splitlines()
    assert "ok    identity       STS: we are arn:aws:iam::111122223333:user/simulated" in lines
    place = next(number for number, line in enumerate(lines) if line.startswith(f"fail  role           {ROLE}: "))
    assert lines[place + 1].startswith(f"{'':19}  -> let the trust policy of {ROLE} say:")
    document = [line[24:] for line in lines[place + 2 :]]
    assert json.loads("\n".join(document[: document.index("}") + 1]))["Version"] == "2012-10-17"


def test_on_a_terminal_a_bar_goes_and_the_lines_stay(doctor_for: DoctorFor, world: World, tmp_path: Path) -> None:
    ids = [world.add_membership().id for _ in range(8)]
    doctor_for(aws={"requests_per_second": 4})
    code, written = Cli(tmp_path).run_on_terminal("doctor")
    assert (code, "━" in written) == (0, True)
    shown = "\n".join(screen(written))
    assert [f"ok    get            {name}: may ask for one job" in shown for name in ids] == [True] * 8
    assert "━" not in shown


def test_a_wrong_configuration_is_a_finding_too(tmp_path: Path) -> None:
    (tmp_path / "etl.toml").write_text("[aws]\npage_size = 0")
    said = Cli(tmp_path).run("doctor")
    assert (said.code, said.objects[0]["said"]) == (1, "aws.page_size: must be at least 1")
