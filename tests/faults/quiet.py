"""What comes after the storm: the world stands still, all is well, and what is stored must become the truth."""

import time

from analyst import Analyst
from stored import snapshot

from etl import database
from faults import comparison, figures
from faults.comparison import Found
from faults.estate import FOLLOWING, before_all
from faults.figures import Figures
from faults.scene import Scene

_CONVERGED = 240.0  # seconds after which what is not there never comes
_LAST_SWEEPS = 2
_UNTIL_GONE = 4  # sweeps, where AWS may not be asked for the job


class Quiet:
    """Syncs until the truth is known, and looks what it took."""

    def __init__(self, scene: Scene, told: Figures) -> None:
        self._scene = scene
        self._figures = told
        self._members = [membership.id for membership in scene.estate.memberships]

    def settle(self) -> None:
        """Let nothing happen any more, and wait until all of it is known."""
        self._scene.estate.rest()
        self._list_in_full_every("0s")  # other listings say nothing of what is missing
        self._scene.workers.thaw()
        began = time.monotonic()
        found = self._compare()
        while any(figure in comparison.PASSING for figure, _ in found) and time.monotonic() - began < _CONVERGED:
            self._scene.workers.reload()
            self._scene.workers.sync()
            found = self._compare()
        self._figures.add(found)
        self._figures.others["seconds to converge"] = round(time.monotonic() - began, 1)

    def sweep_once_more(self) -> None:
        """Sweep a world that stands still: nothing may be written, and nothing fail."""
        workers = self._scene.workers
        self._figures.add((figures.DEAD, what) for what in workers.dead())
        codes = workers.stop_all()
        self._figures.add((figures.DEAD, f"ended with {code} when it was told to stop") for code in codes if code)
        workers.sync()  # counts of what was missing, or older, are put away
        before = self._row_versions()
        for _ in range(_LAST_SWEEPS):
            if code := workers.sync():
                self._figures.add([(figures.FAILED, f"ended with {code}")])
        after = self._row_versions()
        self._figures.add((figures.REWRITTEN, arn) for arn, version in after.items() if before.get(arn) != version)

    def look_at_views(self) -> None:
        """Compare all views with plain Python."""
        with database.connect(self._scene.server.owner_url) as connection:
            try:
                Analyst(connection, self._members).check()
            except AssertionError as error:
                self._figures.add([(figures.VIEWS, str(error))])

    def say_last_words(self) -> None:
        """Let some more happen, and claim that so many sweeps are enough to know of it."""
        estate = self._scene.estate
        lives = [life for membership in estate.memberships for life in estate.listed(membership)]
        for life in lives[::3]:
            if not life.is_liar:
                estate.edit(life)
        for life in lives[::5]:
            estate.change(life, "CANCEL_FAILED", told=life.job.update_time if life.is_liar else None)
        self._claim_known("an equal updateTime", sweeps=1)
        for life in lives[::7]:
            if life.is_liar:
                estate.change(life, "CREATE_FAILED", told=before_all(life))
            else:
                estate.vanish(life, seconds=None)
        self._claim_known("an older updateTime, and a job that is gone", sweeps=_UNTIL_GONE)
        self._list_in_full_every("1h")
        self._claim_known("nothing", sweeps=1)
        for life in estate.listed(estate.plain):
            for status in FOLLOWING.get(life.status, ())[:1]:
                estate.change(life, status)
        estate.create(estate.plain)
        self._claim_known("an open job, and a new one", sweeps=1)

    def _claim_known(self, what: str, sweeps: int) -> None:
        for _ in range(sweeps):
            self._scene.workers.sync()
        self._figures.add((figures.LATE, f"{what}: {figure}, {one}") for figure, one in self._compare())

    def _list_in_full_every(self, duration: str) -> None:
        self._scene.full_every = duration
        self._scene.configure()

    def _compare(self) -> list[Found]:
        with database.connect(self._scene.server.owner_url) as connection:
            try:
                stored = snapshot(connection, self._members)
            except (AssertionError, IndexError) as error:
                return [(comparison.WRONG, f"no history that can be read: {error}")]
        jobs = {arn: job for each in stored.values() for arn, job in each.items()}
        return comparison.compare(self._scene.estate.lives, jobs)

    def _row_versions(self) -> dict[str, str]:
        with self._scene.server.session() as session:
            return dict(session.execute("SELECT job_arn, xmin::text FROM cleanrooms_etl.inference_job").fetchall())
