"""Small stories with a known end, told once all else is quiet: so many sweeps must be enough to know of it."""

import signal
from dataclasses import replace

from etl.demo.answers import Answer, error
from etl.demo.request import JOBS, Request
from faults import comparison, figures
from faults.estate import FOLLOWING, Life, before_all
from faults.figures import Figures
from faults.scene import Scene
from faults.weather import LIST, TOKEN, Page, Whim

_UNTIL_GONE = 4  # sweeps, where AWS may not be asked for the job
_UNTIL_MANY_ARE_GONE = 5  # of whole listings
_NOT_LISTED = """
    SELECT job_arn FROM cleanrooms_etl.inference_job WHERE job_arn = ANY (%s) AND status = 'NOT_LISTED'
"""
_MORE_THAN_A_PAGE = 15  # jobs
_HEAD = 10  # jobs that a quick sweep sees at least


class Probes:
    """No daemon runs meanwhile: what is counted are the sweeps of single syncs."""

    def __init__(self, scene: Scene, told: Figures) -> None:
        self._scene = scene
        self._estate = scene.estate
        self._figures = told

    def tell_all(self) -> None:
        """Tell one after the other; at first with full listings only."""
        self._equal_update_time()
        self._older_update_time_and_absence()
        self._listings_that_are_not_whole()
        self._jobs_that_are_not_listed_and_not_gone()
        self._scene.list_in_full_every("1h")
        self._claim_known("nothing", sweeps=1)
        self._head_of_the_listing()
        self._all_ends()
        self._broken_off_by_aws()
        self._broken_off_by_a_kill()
        self._change_that_a_quick_sweep_does_not_see()

    def _equal_update_time(self) -> None:
        for life in self._lives()[::5]:
            if life.is_liar:
                self._end_at_the_same_time(life)
            else:
                self._estate.edit(life)
        self._claim_known("an equal updateTime, and an edit", sweeps=1)

    def _older_update_time_and_absence(self) -> None:
        """Nothing is gone before the grace is over, however often it is missing."""
        gone = []
        for life in self._lives()[::7]:
            if life.is_liar:
                self._estate.change(life, "CREATE_FAILED", told=before_all(life))
            else:
                self._estate.vanish(life, seconds=None)
                gone.append(life.job.arn)
        self._scene.await_absence_for("1h")
        for _ in range(_UNTIL_GONE - 1):
            self._scene.workers.sync()
        with self._scene.server.session() as session:
            early = session.execute(_NOT_LISTED, (gone,)).fetchall()
        self._figures.add((comparison.FALSE_ABSENCE, f"{arn}: before the grace was over") for (arn,) in early)
        self._scene.await_absence_for("0s")
        self._claim_known("an older updateTime, and a job that is gone", sweeps=1)

    def _listings_that_are_not_whole(self) -> None:
        """So often in a row that a job would be gone, were they whole: nobody may be asked for it."""
        closed = self._estate.closed

        def malform(page: Page) -> None:
            for item in page[LIST][:1]:
                item["createTime"] = "soon"

        def cycle(page: Page) -> None:
            page[TOKEN] = "round and round"

        whims: tuple[Whim, ...] = (
            lambda request: error("AccessDeniedException") if TOKEN in request.query else None,
            lambda request: self._scene.weather.changed(_first(request), cycle),
            lambda request: self._scene.weather.changed(request, malform),
        )
        for whim in whims:
            with self._scene.weather.under(whim):
                for _ in range(_UNTIL_MANY_ARE_GONE):
                    self._scene.workers.sync("--membership", closed.id)
        self._claim_known("listings that were not whole", sweeps=1)

    def _jobs_that_are_not_listed_and_not_gone(self) -> None:
        """AWS leaves them out of its listings, and knows them when it is asked."""

        def leave_out(page: Page) -> None:
            del page[LIST][:1]

        with self._scene.weather.under(lambda request: self._scene.weather.changed(request, leave_out)):
            for _ in range(_UNTIL_GONE - 1):
                self._scene.workers.sync()
        self._claim_known("jobs that were left out", sweeps=1)

    def _head_of_the_listing(self) -> None:
        for life in self._estate.listed(self._estate.plain):
            for status in FOLLOWING.get(life.status, ())[:1]:
                self._estate.change(life, status)
        self._estate.create(self._estate.plain)
        self._claim_known("an open job, and a new one", sweeps=1)

    def _all_ends(self) -> None:
        """Leave nothing open further down, for which a quick sweep would read on."""
        for life in self._estate.listed(self._estate.plain):
            if life.status in FOLLOWING:
                self._estate.change(life, "ACTIVE")
        self._claim_known("the end of what was open", sweeps=1)

    def _broken_off_by_aws(self) -> None:
        """The next sweep must not stop where it meets what this one has stored."""

        def refuse(request: Request) -> Answer | None:
            return error("AccessDeniedException") if TOKEN in request.query else None

        self._create_some()
        with self._scene.weather.under(refuse):
            self._scene.workers.sync()
        self._claim_known("what a partial run did not see", sweeps=1)

    def _broken_off_by_a_kill(self) -> None:
        plain = self._estate.plain.id
        self._create_some()
        sync = self._scene.workers.start_sync("--membership", plain)

        def kill(request: Request) -> None:
            if request.operation == JOBS and TOKEN in request.query:
                sync.send_signal(signal.SIGKILL)
                self._scene.endpoint.pause(0.5)

        self._scene.endpoint.before_page = kill
        sync.wait()
        self._scene.endpoint.before_page = None
        self._scene.server.await_end_of_sessions()
        self._claim_known("what a killed run did not see", sweeps=1)

    def _change_that_a_quick_sweep_does_not_see(self) -> None:
        """It is no witness that all was as before."""
        for life in self._lives():
            is_far_down = life not in self._estate.listed(life.membership)[-_HEAD:]
            if life.is_liar and is_far_down and life.status not in FOLLOWING:
                self._end_at_the_same_time(life)
        self._scene.workers.sync()
        self._scene.list_in_full_every("0s")
        self._claim_known("what a quick sweep did not see", sweeps=1)

    def _claim_known(self, what: str, sweeps: int) -> None:
        for _ in range(sweeps):
            self._scene.workers.sync()
        found = comparison.compare_all(self._scene.server.owner_url, self._estate)
        self._figures.add((figures.LATE, f"{what}: {figure}, {one}") for figure, one in found)

    def _lives(self) -> list[Life]:
        return [life for membership in self._estate.memberships for life in self._estate.listed(membership)]

    def _create_some(self) -> None:
        for _ in range(_MORE_THAN_A_PAGE):
            self._estate.create(self._estate.plain, status="ACTIVE")

    def _end_at_the_same_time(self, life: Life) -> None:
        """Let a job end once more, and its updateTime stand still."""
        status = "INACTIVE" if life.status == "CANCEL_FAILED" else "CANCEL_FAILED"
        self._estate.change(life, status, told=life.job.update_time)


def _first(request: Request) -> Request:
    """Ask for the first page, whichever was asked for."""
    return replace(request, query={name: value for name, value in request.query.items() if name != TOKEN})
