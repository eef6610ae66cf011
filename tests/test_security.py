"""Text from elsewhere does no harm, and no secret is written anywhere: real processes, and all that they write."""

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from conftest import MINUTE, NOON, MakeEtl
from psycopg import sql
from test_cli import Cli, Said, ended, told

from etl import database
from etl.demo import answers
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import ASSUME_ROLE, JOBS, Request
from etl.demo.world import World

Listed = dict[str, str]
"""A membership in the configuration."""


def configured(folder: Path, database_url: str, endpoint: Endpoint, memberships: Iterable[Listed]) -> Cli:
    cli = Cli(folder)
    cli.configure(
        database={"url": database_url},
        aws={"endpoint_url": endpoint.url, "page_size": 1},
        daemon={"listen": "127.0.0.1:0"},
        membership=list(memberships),
    )
    return cli


def listed(membership: Membership, **settings: str) -> Listed:
    return {"id": membership.id, "region": membership.region, **settings}


def run_daemon(cli: Cli, syncs: int, **environ: str) -> Said:
    """Let a daemon make so many syncs."""
    process = cli.start("daemon", **environ)
    limit = threading.Timer(60, process.kill)  # who reads from it then reads its end
    limit.start()
    try:
        early = [told(process, "synced") for _ in range(syncs)]
    finally:
        process.terminate()
        said = ended(process)
        limit.cancel()
    return Said(said.code, "".join(f"{json.dumps(each)}\n" for each in early) + said.out, said.err)


# Hostile text

HOSTILE = {
    "SQL": "'; DROP TABLE cleanrooms_etl.inference_job; --",
    "COPY": "\\N\\.\n\\.\n\t\\x41",
    "CSV": "=cmd|' /C calc'!A0",
    "terminal": "\x1b]0;owned\x07\x1b[2J\x9b31m\x1b[8m",
    "log": 'fine\n{"event": "forged", "level": "info"}\r\netl: forged',
    "bidi": "\u202egnp.exe\u2066\u200f\ufeff",
    "format": "%s %(name)s {0} ${HOME} :name $1 [red]x[/red]",
    "HTML": "</script><script>alert(1)</script><img src=x onerror=alert(1)>&lt;",
}
EVERYTHING = " ".join(HOSTILE.values())

OURS = r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[12]?[AK]|[\r\n]"
"""What we ourselves write on a terminal: colours, the cursor, and lines."""


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_stored_and_shown_by_the_views_byte_for_byte(
    kind: str, make_etl: MakeEtl, world: World, clock: Clock, membership: Membership
) -> None:
    job = world.create_job(membership, name=HOSTILE[kind], description=HOSTILE[kind])
    etl = make_etl()
    assert etl.sync().outcome == "complete"
    clock.set(NOON + MINUTE)
    world.edit(job, name=f"{HOSTILE[kind]}2")
    assert etl.sync().counts.jobs_changed == 1
    [stored] = etl.query("SELECT name, description FROM cleanrooms.inference_jobs")
    assert stored == {"name": f"{HOSTILE[kind]}2", "description": HOSTILE[kind]}
    [edit] = etl.query("SELECT changes FROM cleanrooms_etl.job_edit")
    assert edit["changes"]["name"] == [HOSTILE[kind], f"{HOSTILE[kind]}2"]


@pytest.fixture
def hostile(database_url: str, world: World, endpoint: Endpoint, membership: Membership, tmp_path: Path) -> Cli:
    """Hostile text wherever AWS may put one: in jobs, a status, and the reason of a refusal."""
    world.create_job(membership, name=EVERYTHING, description=EVERYTHING, status=HOSTILE["terminal"])
    refused = world.add_membership()
    refusal = answers.error("ValidationException", message=EVERYTHING)
    endpoint.on(lambda request: request.membership == refused.id, refusal, times=None)
    return configured(tmp_path, database_url, endpoint, map(listed, world.memberships.values()))


@pytest.mark.parametrize("how", ["--text", "--json"])
def test_no_command_lets_hostile_text_through_to_a_terminal(hostile: Cli, how: str) -> None:
    written = ""
    for command in ("sync", "status", "verify", "doctor", "report", "db describe"):
        written += hostile.run_on_terminal(*command.split(), how)[1]
    assert "owned" in written
    assert re.sub(OURS, "", written).isprintable()
    assert not [line for line in written.splitlines() if line.startswith(('{"event": "forged"', "etl: forged"))]


def test_no_hostile_text_forges_a_line_of_the_daemons_log(hostile: Cli) -> None:
    said = run_daemon(hostile, syncs=2)
    assert said.code == 0
    assert [event for event in said.objects if "owned" in (event.get("error") or "")]
    assert [event for event in said.objects if event["event"] == "forged"] == []
    assert said.out.isascii()


# Secrets

PASSWORD = "planted-p4ssw0rd"  # noqa: S105 - planted, as are the others
KEY = "planted-secret-access-key"
SESSION_TOKEN = "planted-session-token"  # noqa: S105
EXTERNAL_ID = "planted-external-id"
ROLE = "arn:aws:iam::444455556666:role/reader"
CREDENTIALS = {"AWS_SECRET_ACCESS_KEY": KEY, "AWS_SESSION_TOKEN": SESSION_TOKEN}

FAILURES: dict[str, answers.Planned] = {
    "denied": answers.error("AccessDeniedException", message=f"The token {SESSION_TOKEN} is not allowed to."),
    "expired": answers.error("ExpiredTokenException", message=f"Token {SESSION_TOKEN} has expired"),
    "web page": answers.body(f"<html>X-Amz-Security-Token: {SESSION_TOKEN}</html>".encode(), status=502),
    "no list": answers.page({"message": "no"}),
    "cut": answers.truncated(),
    "reset": answers.reset(),
}


@dataclass
class Tour:
    """Commands that fail in many ways, with secrets in all places where secrets are."""

    cli: Cli
    endpoint: Endpoint
    said: list[Said]

    def run(self, *words: str, **environ: str) -> Said:
        said = self.cli.run(*words, **(CREDENTIALS | environ))
        self.said.append(said)
        return said

    def secrets(self) -> set[str]:
        tokens = {request.query.get("nextToken", "") for request in self.endpoint.requests}
        lent = {request.session_token or "" for request in self.endpoint.requests}
        return {PASSWORD, KEY, SESSION_TOKEN, EXTERNAL_ID} | tokens - {""} | lent - {""}

    def told(self) -> Iterator[str]:
        for said in self.said:
            yield said.out
            yield said.err


@pytest.fixture
def planted(database_url: str) -> Iterator[str]:
    """The URL of a role whose password is one of the secrets."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE planted LOGIN SUPERUSER PASSWORD {}").format(PASSWORD))
        url = database.parse(database_url).set(username="planted", password=PASSWORD)
        yield url.render_as_string(hide_password=False)
        connection.execute("DROP ROLE planted")


@pytest.fixture
def tour(planted: str, world: World, endpoint: Endpoint, tmp_path: Path) -> Tour:
    """One membership a failure, one that is well, one whose role is lent, and one whose role is refused."""
    memberships = [listed(populated(world))]
    for answer in FAILURES.values():
        membership = populated(world)
        endpoint.on(second_page_of(membership), answer, times=None)
        memberships.append(listed(membership))
    memberships += [
        listed(populated(world), role_arn=role, external_id=EXTERNAL_ID) for role in (ROLE, f"{ROLE}-refused")
    ]
    endpoint.add_role(ROLE, external_id=EXTERNAL_ID)
    return Tour(configured(tmp_path, planted, endpoint, memberships), endpoint, [])


def populated(world: World) -> Membership:
    membership = world.add_membership()
    for _ in range(3):
        world.create_job(membership)
    return membership


def second_page_of(membership: Membership) -> Callable[[Request], bool]:
    return lambda request: (
        request.operation == JOBS and request.membership == membership.id and "nextToken" in request.query
    )


def test_no_secret_is_written_whatever_fails(tour: Tour, planted: str, tmp_path: Path) -> None:
    assert tour.run("sync", "--json").code == 1
    assert tour.run("sync", "--text").code == 1
    page = tmp_path / "page.html"
    for words in ("status", "doctor", "verify", "db current", "db describe", "db url"):
        tour.run(*words.split())
    assert tour.run("report", "--out", str(page)).code == 0
    assert tour.run("db", "psql", "--", "-c", "SELECT nonsense").code == 1
    for url in (planted.replace("127.0.0.1", "db.internal"), planted.replace(":planted", ":another-planted")):
        for words in ("sync", "status", "doctor"):
            assert tour.run(words, ETL_DATABASE_URL=url).code
    assert tour.run("sync", ETL_DATABASE_URL=f"mysql://etl:{PASSWORD}@db/x", ETL_AWS_PAGE_SIZE=KEY).code == 2
    tour.said.append(run_daemon(tour.cli, syncs=3, **CREDENTIALS))

    everything = "\n".join([*tour.told(), page.read_text(), *stored_in(planted)])
    assert len(tour.secrets()) > 4
    assert [secret for secret in tour.secrets() if secret in everything] == []
    assert tour.endpoint.counts[ASSUME_ROLE]


def stored_in(url: str) -> Iterator[str]:
    """Yield each row of each table of ours."""
    tables = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('cleanrooms', 'cleanrooms_etl')"
    with psycopg.connect(url) as connection:
        for schema, table in connection.execute(tables).fetchall():
            rows = sql.SQL("SELECT to_jsonb(each) FROM {} AS each").format(sql.Identifier(schema, table))
            yield from (json.dumps(row) for (row,) in connection.execute(rows))
