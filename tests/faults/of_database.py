"""What may happen to Postgres, and on the way to it."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from etl import database
from etl.database import DatabaseError
from faults.kinds import kind
from faults.proxy import Cut, uncut
from faults.scene import Scene
from faults.server import WRITER

_HISTORY = "cleanrooms_etl.status_transition"


@kind(0.3, 2, is_alone=True)
def server_stopped_at_once_and_restarted(scene: Scene, _: Random) -> Iterator[None]:
    scene.server.crash()
    yield
    scene.server.restart()


@kind(2, 8, is_alone=True, is_possible=lambda scene: scene.server.may_have_standby, times=0)
def failover_to_a_standby_that_lags(scene: Scene, _: Random) -> Iterator[None]:
    """What is committed while this is on is lost."""
    scene.server.follow(is_synchronous=False)
    scene.workers.start_sync("--full")
    yield
    scene.server.await_loss()
    scene.server.fail_over()
    scene.proxy.lead_to(scene.server.url())


@kind(1, 4, is_alone=True, is_possible=lambda scene: scene.server.may_have_standby, times=0)
def failover_to_a_synchronous_standby(scene: Scene, _: Random) -> Iterator[None]:
    """No COMMIT that was answered is lost."""
    scene.server.follow(is_synchronous=True)
    yield
    scene.server.fail_over()
    scene.proxy.lead_to(scene.server.url())


@kind(0.5, 1, is_alone=True)
def sessions_terminated(scene: Scene, random: Random) -> Iterator[None]:
    scene.server.end_sessions(random.choice(["true", "random() < 0.5"]))
    yield
    scene.server.end_sessions(random.choice(["true", "random() < 0.5"]))


def _cut(scene: Scene, random: Random, *hows: Cut) -> Iterator[None]:
    scene.proxy.cut = lambda _: random.choice(hows) if random.random() < 0.3 else None
    yield
    scene.proxy.cut = uncut


@kind(1, 3, is_alone=True)
def connections_cut_before_commit(scene: Scene, random: Random) -> Iterator[None]:
    yield from _cut(scene, random, "before", "late")


@kind(1, 3, is_alone=True)
def connections_cut_after_commit(scene: Scene, random: Random) -> Iterator[None]:
    yield from _cut(scene, random, "after")


@kind(1, 6, is_alone=True)
def half_open_connections(scene: Scene, _: Random) -> Iterator[None]:
    with scene.proxy.silence():
        yield


@kind(2, 6, is_alone=True)
def long_transaction_of_an_analyst(scene: Scene, _: Random) -> Iterator[None]:
    with suppress(psycopg.OperationalError), scene.server.session() as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM cleanrooms.status_history")
        yield
        session.execute("SELECT count(*) FROM cleanrooms.job_timings")
        session.execute("COMMIT")


@kind(1, 6, is_alone=True)
def forgotten_lock(scene: Scene, random: Random) -> Iterator[None]:
    """On what all workers want: the rows of the memberships, or all that is written."""
    locks = ("SELECT * FROM cleanrooms_etl.membership FOR UPDATE", f"LOCK TABLE {_HISTORY} IN SHARE MODE")
    with suppress(psycopg.OperationalError), scene.server.session() as session:
        session.execute("BEGIN")
        session.execute(random.choice(locks))
        yield
        session.execute("ROLLBACK")


@kind(1, 3, is_alone=True, is_possible=lambda scene: scene.server.has_small_disk)
def disk_full(scene: Scene, _: Random) -> Iterator[None]:
    with scene.server.full_disk():
        yield


@kind(1, 3, is_alone=True)
def too_many_connections(scene: Scene, _: Random) -> Iterator[None]:
    """Where all that are there are taken, sessions that end are replaced by others'."""
    scene.server.end_sessions()
    with scene.server.crowd():
        yield


@kind(1, 3, is_alone=True)
def server_turned_read_only(scene: Scene, _: Random) -> Iterator[None]:
    """As it looks to sessions after a failover to a standby."""
    scene.server.execute(f"ALTER ROLE {WRITER} SET default_transaction_read_only = on")
    scene.server.end_sessions()
    yield
    scene.server.execute(f"ALTER ROLE {WRITER} RESET default_transaction_read_only")
    scene.server.end_sessions()


@kind(0.5, 3, is_alone=True)
def password_rotated(scene: Scene, _: Random) -> Iterator[None]:
    """The workers learn of it after a while, when they read their configuration again."""
    scene.server.renew_password()
    scene.server.end_sessions("random() < 0.5")
    yield
    scene.configure()
    scene.workers.reload()


@kind(0.5, 3, is_alone=True)
def migration_while_daemons_run(scene: Scene, _: Random) -> Iterator[None]:
    """One down, as if this release had not been installed yet, and up again."""
    _migrate(scene, lambda config: command.downgrade(config, "-1"))
    yield
    _migrate(scene, lambda config: command.upgrade(config, "head"))
    scene.server.grant()


def _migrate(scene: Scene, work: Callable[[Config], None]) -> None:
    """Run a migration until it is done: one that meets a lock of somebody else's is tried again."""
    config = Config()
    config.set_main_option("script_location", str(database._migrations()))
    while True:
        with suppress(DBAPIError, DatabaseError), database.connect(scene.server.owner_url) as connection:
            config.attributes["connection"] = connection
            work(config)
            return
