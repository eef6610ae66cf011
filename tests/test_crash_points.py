"""Killed at every step: what is stored is what whole batches have left, and the next run makes up for the rest."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from analyst import Analyst
from conftest import MINUTE, Etl, MakeEtl
from pydantic import SecretStr
from sqlalchemy import RowMapping, text
from stepping import EVERY, Stepwise, copied

from etl import database, plan, sweep, verify
from etl.config import Database
from etl.demo.clock import Clock, real_time
from etl.demo.membership import Membership
from etl.demo.resources import wire_time
from etl.demo.world import World

PATIENCE = 60  # seconds that a test waits for the server before it fails
PAGE = 2
NOW = "now"
JOBS = ("inference_job", "status_transition", "job_edit")
ROWS = {
    "inference_job": "SELECT * FROM cleanrooms_etl.inference_job ORDER BY job_arn",
    "status_transition": (
        "SELECT moved.*, job_arn FROM cleanrooms_etl.status_transition AS moved"
        " JOIN cleanrooms_etl.inference_job USING (job_key) ORDER BY job_arn, changed_time"
    ),
    "job_edit": (
        "SELECT edit.*, job_arn FROM cleanrooms_etl.job_edit AS edit"
        " JOIN cleanrooms_etl.inference_job USING (job_key) ORDER BY job_arn, observed_at"
    ),
    "membership": "SELECT * FROM cleanrooms_etl.membership",
    "sync_run": "SELECT * FROM cleanrooms_etl.sync_run ORDER BY run_id",
}
OF_A_TRY = {"job_key", "run_id", "worker", "lease_pid"}
"""Columns that differ from one try to another: numbers of ours, and who it was."""

OF_A_SIGHT = {"digest", "last_listed_at"}
"""Columns that tell how a job was seen: after a quick sweep that was killed a full listing shows more of them."""

State = dict[str, list[dict[str, Any]]]
"""The rows of each table. Moments since the sync began are told as `NOW`."""


@dataclass
class Scene:
    """A database as it is before a sync, of which copies are made."""

    server: str
    etl: Etl
    since: datetime
    """A moment later than all that is stored."""

    @contextmanager
    def copy(self) -> Iterator[Etl]:
        """The product, on a copy of its own."""
        settings = self.etl.config
        with copied(self.server, settings.database.address()) as url:
            yield Etl(settings.model_copy(update={"database": Database(url=SecretStr(url))}))

    def state(self, etl: Etl) -> State:
        """Tell all that is stored, apart from what differs from one try to another."""
        with database.connect(etl.config.database.address()) as connection, connection.begin():
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            return {
                table: [self._told(row) for row in connection.execute(text(rows)).mappings()]
                for table, rows in ROWS.items()
            }

    def _told(self, row: RowMapping) -> dict[str, Any]:
        def told(value: object) -> object:
            return NOW if isinstance(value, datetime) and value >= self.since else value

        return {name: told(value) for name, value in row.items() if name not in OF_A_TRY}


def batches_done(state: State) -> tuple[int, int]:
    """Number the state by the runs, and by the batches that the last of them says it has done."""
    runs = state["sync_run"]
    return len(runs), runs[-1]["batches"] if runs else 0


def of_jobs(state: State) -> State:
    """Leave what AWS has told, and when."""
    return {
        table: [{name: value for name, value in row.items() if name not in OF_A_SIGHT} for row in state[table]]
        for table in JOBS
    }


def check_whole(etl: Etl) -> None:
    """Claim that all is in order, and that the views are right; of quick sweeps their model knows nothing."""
    is_quick = etl.query("SELECT FROM cleanrooms_etl.sync_run WHERE kind = 'quick'")
    with database.connect(etl.config.database.address()) as connection:
        if not is_quick:
            Analyst(connection, [each.id for each in etl.config.memberships]).check()
        assert [finding for finding in verify.findings(connection) if finding.broken] == []


def sync_when_free(etl: Etl) -> None:
    """Sync as soon as the server has noticed that the process before is gone."""
    deadline = time.monotonic() + PATIENCE
    while (report := etl.sync()).outcome == "busy":
        assert time.monotonic() < deadline
    assert report.outcome == "complete", report


def undisturbed(scene: Scene, etl: Etl) -> list[State]:
    """Sync, and tell the state before each step and at the end."""
    whole = Stepwise(etl.config)
    states = [scene.state(etl) for _ in whole.steps()]
    assert whole.exit_code == 0
    return [*states, scene.state(etl)]


def kill_at(etl: Etl, step: int) -> None:
    """Sync in a process that is killed before this step."""
    killed = Stepwise(etl.config)
    for number in killed.steps():
        if number == step:
            killed.kill()
            break
    assert killed.exit_code == -signal.SIGKILL


def check_all_crash_points(scene: Scene, kind: str, batches: int) -> None:
    with scene.copy() as etl:
        *states, end = undisturbed(scene, etl)
        check_whole(etl)
    run = end["sync_run"][-1]
    assert (run["outcome"], run["kind"], run["batches"]) == ("complete", kind, batches)
    borders: dict[tuple[int, int], State] = {}
    for step, state in enumerate(states, 1):
        is_first = batches_done(state) not in borders
        assert borders.setdefault(batches_done(state), state) == state, f"part of a batch, before step {step}"
        if not is_first and step % EVERY:
            continue
        with scene.copy() as etl:
            kill_at(etl, step)
            assert scene.state(etl) == state, f"killed before step {step}"
            if is_first:  # what follows is the same for all that leave the same
                check_whole(etl)
                if state != end:
                    sync_when_free(etl)
                assert of_jobs(scene.state(etl)) == of_jobs(end), f"killed before step {step}, and synced again"
                check_whole(etl)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands an hour ago: the views of hours have few of them."""
    return Clock(real_time() - 60 * MINUTE)


@pytest.fixture
def make_scene(server: str) -> Callable[[Etl], Scene]:
    def make(etl: Etl) -> Scene:
        return Scene(server, etl, etl.query("SELECT clock_timestamp() AS now")[0]["now"])

    return make


def test_full(make_scene: Callable[[Etl], Scene], make_etl: MakeEtl, world: World, membership: Membership) -> None:
    """A job is new, one changed, one was edited, one is gone, two are older than stored, one for a third time."""
    born = world.now()
    world.newest_first = False
    _, runs, renamed, older, slips, goes = [
        world.create_job(membership, create_time=born, update_time=born + MINUTE) for _ in range(6)
    ]
    etl = make_etl(aws={"page_size": PAGE})
    etl.sync()
    world.override(older, {"status": "CREATE_IN_PROGRESS", "updateTime": wire_time(born)})
    etl.sync()
    world.remove(membership, goes)
    etl.sync()
    world.set_status(runs, "CREATE_IN_PROGRESS", at=born + 2 * MINUTE)
    world.edit(renamed, touch=False, description="new")
    world.override(slips, {"updateTime": wire_time(born)})
    world.create_job(membership)
    check_all_crash_points(make_scene(etl), "full", batches=4)


def test_quick(
    make_scene: Callable[[Etl], Scene], make_etl: MakeEtl, world: World, membership: Membership
) -> None:
    """A job is new, one of the newest has changed, and one far down, for which AWS is asked."""
    born = world.now()
    moments = [born + number * MINUTE for number in range(10)]
    jobs = [world.create_job(membership, status="ACTIVE", create_time=at, update_time=at) for at in moments]
    far, near = jobs[0], jobs[-1]
    for job in (far, near):
        world.set_status(job, "CREATE_PENDING", at=job.create_time)
    etl = make_etl(aws={"page_size": PAGE, "max_concurrency": 1}, sync={"full_every": "6h"})
    etl.sync()
    for job in (far, near):
        world.set_status(job, "CREATE_IN_PROGRESS", at=born + 10 * MINUTE)
    world.create_job(membership, create_time=born + 11 * MINUTE)
    check_all_crash_points(make_scene(etl), "quick", batches=2)


def test_split(
    make_scene: Callable[[Etl], Scene],
    make_etl: MakeEtl,
    world: World,
    membership: Membership,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All jobs are new, of two models whose listings are read side by side."""
    monkeypatch.setattr(plan, "_LONG_WAIT", 0.0)
    for model in [world.add_trained_model(membership, name) for name in "ab"]:
        for _ in range(3):
            world.create_job(membership, model)
    etl = make_etl(aws={"page_size": PAGE, "max_concurrency": 2}, sync={"full_every": "6h"})
    sweep.register(etl.config)
    check_all_crash_points(make_scene(etl), "full", batches=4)
