"""The demo: several sweeps of a simulated world that moves, and what the views then show."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr
from sqlalchemy import func, select, text

from etl import database
from etl.config import Config
from etl.console import Console
from etl.demo.endpoint import Endpoint
from etl.demo.scenario import Scenario
from etl.loading import from_mapping
from etl.report.facts import read
from etl.report.file import write
from etl.report.page import render
from etl.report.period import Asked
from etl.sweep import register, sweep

DATABASE = "demo"
"""A database of its own beside the private one: simulated jobs never mix with real ones."""

_LOCK = 7_316_208_247
"""Any number that is ours: a demo holds this lock until it ends."""

REPORT = Path("demo-report.html")
"""In the folder where the demo was called: who looks for it looks there."""

CREDENTIALS: Mapping[str, str] = {"AWS_ACCESS_KEY_ID": "AKIADEMO", "AWS_SECRET_ACCESS_KEY": "worth-nothing"}


class Question(NamedTuple):
    """What an analyst asks, and the SQL that answers it."""

    title: str
    query: str


QUESTIONS = (
    Question(
        "Current jobs by status",
        """
        SELECT status, count(*) AS jobs, count(*) FILTER (WHERE is_open) AS open,
               max(status_since) AS latest_change
        FROM cleanrooms.inference_jobs GROUP BY status ORDER BY jobs DESC
        """,
    ),
    Question(
        "The history of one job",
        """
        SELECT status, valid_from, valid_to, seconds / 60 AS minutes, not_before, time_basis
        FROM cleanrooms.status_history
        WHERE job_arn = (SELECT job_arn FROM cleanrooms.status_history GROUP BY job_arn
                         ORDER BY count(*) DESC, job_arn LIMIT 1)
        ORDER BY valid_from
        """,
    ),
    Question(
        "Minutes spent in each status",
        """
        SELECT status, count(*) AS times, avg(seconds) / 60 AS average, max(seconds) / 60 AS longest
        FROM cleanrooms.status_history WHERE NOT is_current GROUP BY status ORDER BY average DESC
        """,
    ),
    Question(
        "What was running an hour ago",
        """
        SELECT name, status, seconds_in_status / 60 AS minutes_so_far
        FROM cleanrooms.jobs_as_of(now() - interval '1 hour') WHERE is_open ORDER BY status_since
        """,
    ),
    Question(
        "How fresh each membership is",
        """
        SELECT membership_id, region, state, age_seconds, consecutive_failures
        FROM cleanrooms.sync_freshness ORDER BY region, membership_id
        """,
    ),
    Question(
        "What the last sweep did",
        """
        SELECT DISTINCT ON (membership_id) membership_id, outcome, pages, jobs_listed, jobs_new, jobs_changed,
               transitions, jobs_unchanged, seconds
        FROM cleanrooms.sync_runs ORDER BY membership_id, run_id DESC
        """,
    ),
)


def run(server: str, console: Console, program: str) -> None:
    """Run the demo on the private local Postgres at the URL `server`, in a fresh database that stays.

    `program` is how we were called, for the commands to go on with. Raises `database.DatabaseError` where another
    demo is running there, whose database it would drop.
    """
    with _alone(server):
        address = _fresh_database(server)
        scenario = Scenario(end=datetime.now(UTC))
        with Endpoint(scenario.world) as endpoint:
            _sweeps(_config(address, endpoint.url, scenario), scenario, console)
        with database.connect(address) as connection, connection.begin():
            for question in QUESTIONS:
                rows = [dict(row) for row in connection.execute(text(question.query)).mappings()]
                _answer(console, question, rows)
        _farewell(console, address, program, _report(address))


@contextmanager
def _alone(server: str) -> Iterator[None]:
    """Keep other demos away meanwhile; the server lets the lock go with our session, however we end."""
    with database.connect(server) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        if not connection.scalar(select(func.pg_try_advisory_lock(_LOCK))):
            raise database.DatabaseError("another demo is running here: wait until it has ended")
        yield


def _fresh_database(server: str) -> str:
    with database.connect(server) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {DATABASE}"))
    address = database.parse(server).set(database=DATABASE).render_as_string(hide_password=False)
    with database.connect(address) as connection:
        database.upgrade(connection)
    return address


def _config(address: str, endpoint_url: str, scenario: Scenario) -> Config:
    return from_mapping(
        {
            "database": {"url": SecretStr(address)},
            "aws": {"endpoint_url": endpoint_url},
            "membership": [{"id": each.id, "region": each.region} for each in scenario.memberships],
        },
        {},
    )


def _sweeps(config: Config, scenario: Scenario, console: Console) -> None:
    console.say(f"A simulated AWS at {config.aws.endpoint_url}; a sweep after each stretch of its time:")
    register(config)
    with ThreadPoolExecutor(config.aws.max_concurrency) as executor:
        for number, moment in enumerate(scenario, start=1):
            counts = [report.counts for report in sweep(config, config.memberships, executor)]
            listed, new, transitions = (
                sum(getattr(count, name) for count in counts)
                for name in ("jobs_listed", "jobs_new", "transitions")
            )
            console.say(
                f"  sweep {number:2} at {moment:%H:%M} UTC: {listed:3} jobs listed, {new:2} new,"
                f" {transitions:2} changes of status recorded",
                sweep=number,
                simulated_time=moment,
                jobs_listed=listed,
                jobs_new=new,
                transitions=transitions,
            )


def _answer(console: Console, question: Question, rows: list[dict[str, Any]]) -> None:
    if not console.as_json:
        lines = question.query.strip().splitlines()
        console.say("")
        for line in lines:
            console.say("  " + line.removeprefix(" " * 8))
    console.table(question.title, rows, list(rows[0]) if rows else [])


def _report(address: str) -> Path | None:
    """Write a report of the demo; return where it is, None where the current folder takes no file."""
    with database.connect(address) as connection:
        page = render(read(connection, Asked()))
    try:
        write(page, REPORT)
    except OSError:
        return None
    return REPORT.resolve()


def _farewell(console: Console, address: str, program: str, report: Path | None) -> None:
    url = database.parse(address)
    if console.as_json:
        where = {
            "url": address,
            "host": url.host,
            "port": url.port,
            "database": url.database,
            "user": url.username,
        }
        console.say("", **where, report=report and str(report))
        return
    console.say("")
    console.say(f"A report to look at in a browser: {report or 'none, since this folder takes no file'}")
    console.say(f"The database stays up until `{program} db stop`. To ask it yourself:")
    console.say(f'  psql "{address}"')
    console.say(f'  ETL_DATABASE_URL="{address}" {program} db psql   (where psql is not installed)')
    console.say(
        f"  BI tools: PostgreSQL, host {url.host}, port {url.port}, database {url.database},"
        f" user {url.username}, password {url.password}; schema cleanrooms"
    )
