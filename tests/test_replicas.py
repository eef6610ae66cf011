"""Daemons in processes of their own, on one database: killed, frozen and stopped, while the world moves on."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import Etl, MakeEtl

from etl import database, verify
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.resources import Job
from etl.demo.world import World

PATIENCE = 60.0
SECOND = timedelta(seconds=1)


@dataclass
class Scene:
    """A world in which jobs live, the product that watches it, and what it has stored."""

    etl: Etl
    clock: Clock
    world: World
    jobs: list[Job]
    folder: Path

    def move_on(self, status: str) -> None:
        """Let all jobs take this status."""
        self.clock.set(self.clock() + 10 * SECOND)
        for job in self.jobs:
            self.world.set_status(job, status)

    def stored(self) -> dict[str, list[str]]:
        """Each job's statuses, first to last."""
        rows = self.etl.query(
            "SELECT job_arn, array_agg(to_status ORDER BY changed_time) AS statuses"
            " FROM cleanrooms.status_transitions GROUP BY job_arn"
        )
        return {row["job_arn"]: row["statuses"] for row in rows}

    def knows(self, status: str) -> bool:
        """Tell whether all jobs are stored with this status."""
        seen = self.stored()
        return all(job.arn in seen and seen[job.arn][-1] == status for job in self.jobs)

    def broken_rules(self) -> list[str]:
        with database.connect(self.etl.config.database.address()) as connection:
            return [finding.check.name for finding in verify.findings(connection) if finding.broken]

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """`etl daemon` in a process of its own, which is gone afterwards."""
        argv = [sys.executable, "-m", "etl", "daemon", "--config", str(self.folder / "etl.toml")]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - our own program
            try:
                yield process
            finally:
                process.kill()

    def is_working(self, process: subprocess.Popen[bytes]) -> bool:
        """Tell whether this daemon has begun a run."""
        worker = f"%:{process.pid}"
        return bool(self.etl.query("SELECT FROM cleanrooms.sync_runs WHERE worker LIKE :it LIMIT 1", it=worker))


@pytest.fixture
def scene(make_etl: MakeEtl, world: World, clock: Clock, tmp_path: Path) -> Scene:
    """A job in each of four memberships, which are synced each second."""
    jobs = [world.create_job(world.add_membership()) for _ in range(4)]
    etl = make_etl()
    members = [f'[[membership]]\nid = "{each.id}"\nregion = "{each.region}"' for each in etl.config.memberships]
    settings = (
        f"database.url = {json.dumps(etl.config.database.address())}",
        f'aws = {{ endpoint_url = "{etl.config.aws.endpoint_url}", requests_per_second = 100 }}',
        'sync = { lease = "2s", absence_grace = "0s" }',
        'schedule.every = "1s"',
        'daemon.listen = "127.0.0.1:0"',
    )
    (tmp_path / "etl.toml").write_text("\n".join((*settings, *members)))
    return Scene(etl, clock, world, jobs, tmp_path)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_what_one_daemon_leaves_the_other_takes_over(
    scene: Scene, endpoint: Endpoint, number: signal.Signals
) -> None:
    with scene.daemon() as first, scene.daemon() as second:
        until(lambda: scene.knows("CREATE_PENDING"), "the first sweep")
        victim, other = (first, second) if scene.is_working(first) else (second, first)
        endpoint.latency_seconds = 0.3  # so that it is in the middle of something
        victim.send_signal(number)
        scene.move_on("CREATE_IN_PROGRESS")
        until(lambda: scene.knows("CREATE_IN_PROGRESS"), "the other one to see what changed")
        victim.send_signal(signal.SIGCONT)
        scene.move_on("ACTIVE")
        until(lambda: scene.knows("ACTIVE"), "what changed then")
        other.send_signal(signal.SIGTERM)
        assert other.wait(15) == 0
    assert scene.stored() == {job.arn: [status for status, _ in job.truth] for job in scene.jobs}
    assert scene.broken_rules() == []


def test_daemons_outlive_a_server_that_cuts_all_their_sessions_again_and_again(scene: Scene) -> None:
    sessions = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with scene.daemon() as first, scene.daemon() as second:
        until(lambda: scene.knows("CREATE_PENDING"), "the first sweep")
        for _ in range(20):
            scene.etl.query(sessions)
            time.sleep(0.05)
        scene.move_on("CREATE_IN_PROGRESS")
        until(lambda: scene.knows("CREATE_IN_PROGRESS"), "what changed")
        assert (first.poll(), second.poll()) == (None, None)
    assert scene.broken_rules() == []
