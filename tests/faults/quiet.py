"""What comes after the storm: the world stands still, all is well, and what is stored must become the truth."""

import time

from analyst import Analyst

from etl import database
from faults import comparison, figures
from faults.figures import Figures
from faults.scene import Scene

_CONVERGED = 240.0  # seconds after which what is not there never comes
_LAST_SWEEPS = 2


class Quiet:
    """Syncs until the truth is known, and looks what it took."""

    def __init__(self, scene: Scene, told: Figures) -> None:
        self._scene = scene
        self._figures = told
        self._members = [membership.id for membership in scene.estate.memberships]

    def settle(self) -> None:
        """Let nothing happen any more, and wait until all of it is known."""
        self._scene.estate.rest()
        self._scene.list_in_full_every("0s")  # other listings say nothing of what is missing
        self._scene.workers.thaw()
        began = time.monotonic()
        found = comparison.compare_all(self._scene.server.owner_url, self._scene.estate)
        while any(figure in comparison.PASSING for figure, _ in found) and time.monotonic() - began < _CONVERGED:
            self._scene.workers.reload()
            self._scene.workers.sync()
            found = comparison.compare_all(self._scene.server.owner_url, self._scene.estate)
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

    def _row_versions(self) -> dict[str, str]:
        with self._scene.server.session() as session:
            return dict(session.execute("SELECT job_arn, xmin::text FROM cleanrooms_etl.inference_job").fetchall())
