"""The daemon: keeps every configured membership fresh until it is told to stop.

Each second it asks Postgres which memberships are due, and starts their syncs, each on a thread of its own. Due
times live in Postgres, so any number of daemons share the work.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from threading import Event, Thread
from typing import Self

from apscheduler.schedulers.background import BackgroundScheduler
from structlog.typing import FilteringBoundLogger

from etl import clients, pace, release
from etl.agenda import Agenda
from etl.config import Config, ConfigError, Membership
from etl.database import DatabaseError
from etl.metrics import Metrics
from etl.monitor import Monitor
from etl.run import Progress, StoppedError
from etl.sync import SyncReport, sync_membership
from etl.trouble import Trouble
from etl.workers import Workers

GRACE = 10.0
"""Seconds that syncs have to end in, once the daemon is told to stop."""

_TICK = 1.0  # seconds between two ticks, and between two looks for what is due
_DUE_AT_ONCE = 100  # memberships found due by one look
_FRESHNESS_EVERY = 5.0  # seconds between two looks at how fresh all is
_ASLEEP = 5.0  # seconds without a tick after which the scheduler is woken
_DEAD = 60.0  # seconds without a tick after which the process had better be started again
_HUNG = 300.0  # seconds of a look after which its session hangs for good: another process has another one
_FAULTY = 60.0  # seconds for which a membership is left alone whose sync met a fault of this program
_LEASES = 5  # after which a silent sync hangs: a healthy one is silent while it waits for a lock, for one lease
_SILENT = 15.0  # seconds after which a look has met a database that does not answer

_OF_ONE_ROW = {"LockNotAvailable"}  # what the database refuses to one membership only


class Daemon:
    """Syncs what is due, inside its context; nothing that happens to AWS or the database ends it.

    `configure` makes the configuration, at first and for each reload. Raises `ConfigError` where it does.
    """

    def __init__(self, configure: Callable[[], Config], log: FilteringBoundLogger) -> None:
        self._configure = configure
        self._log = log
        self._config = _paced(configure())
        self._agenda = Agenda(self._config)
        self._reloaded: Config | None = None
        self._workers = Workers(self._sync)
        self._faulty_until: dict[str, float] = {}
        self._is_stopping = Event()
        self.left_behind: list[str] = []
        """What had not ended when the daemon did: then only the end of the process ends it."""
        self._ticked_at = time.monotonic()
        self._looking_since: float | None = None
        self._shown_at = -_FRESHNESS_EVERY
        self._trouble = Trouble(log)
        self._metrics = Metrics(
            running=lambda: len(self._workers.busy_with), buckets=pace.states, tick_age=self._since_tick
        )
        self._monitor = Monitor(self._config.daemon.listen, self, self._metrics.registry)
        self._scheduler = BackgroundScheduler(
            timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    def __enter__(self) -> Self:
        self._monitor.__enter__()
        if self._monitor.trouble:
            self._log.warning(self._monitor.trouble)
        for work in (self.tick, self.look):
            self._scheduler.add_job(work, "interval", seconds=_TICK)
        self._scheduler.start()
        Thread(target=self._keep_awake, name="keeps awake", daemon=True).start()
        self._log.info(
            "started",
            version=release.version(),
            memberships=len(self._config.memberships),
            listen=self._monitor.address,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_stopping.is_set():
            self.stop()

    def stop(self, grace: float = GRACE) -> None:
        """Begin no sync any more, and let those that run end at their next page.

        One that has not within `grace` seconds is left behind: what it has committed stays, and another worker
        takes over.
        """
        self._is_stopping.set()
        self._workers.take_no_more()
        end = time.monotonic() + grace
        scheduler = Thread(target=self._scheduler.shutdown, name="stops the scheduler", daemon=True)
        scheduler.start()
        for thread in (scheduler, *self._workers.threads):
            thread.join(max(0.0, end - time.monotonic()))
        self._monitor.__exit__()
        if not scheduler.is_alive():
            self._agenda.close()
        self.left_behind = sorted(self._workers.busy_with) + ["the scheduler"] * scheduler.is_alive()
        self._log.info("stopped", left_behind=self.left_behind)

    def reload(self) -> None:
        """Take the configuration as it is now; a bad one is refused, and the old one stays."""
        try:
            config = _paced(self._configure())
        except ConfigError as error:
            for complaint in error.complaints:
                self._log.error("configuration refused, the old one stays", complaint=complaint)
            return
        except Exception:  # noqa: BLE001 - whoever reloads a running daemon does not want to end it
            self._log.exception("a fault of this program: please report it; the old configuration stays")
            return
        if config.daemon != self._config.daemon:
            self._log.warning("daemon.listen takes effect when the daemon is started anew")
        self._reloaded = config
        self._log.info("configuration reloaded", memberships=len(config.memberships))

    def tick(self) -> None:
        """Note that the scheduler is awake."""
        self._ticked_at = time.monotonic()

    def look(self) -> None:
        """Look what is due, and begin it."""
        self._looking_since = time.monotonic()
        try:
            self._look()
        finally:
            self._looking_since = None

    def _look(self) -> None:
        reloaded, self._reloaded = self._reloaded, None
        if reloaded:
            self._take_over(reloaded)
        if not self._trouble.may_try() or self._is_stopping.is_set():
            return
        self._give_up_what_hangs()
        try:
            busy = [*self._workers.busy_with, *self._faulty()]
            due = self._agenda.due(busy, _DUE_AT_ONCE)
        except DatabaseError as error:
            self._trouble.met(str(error), in_a_sync=False)
        except Exception:  # noqa: BLE001 - it is said, and the next look may do
            self._log.exception("a fault of this program: please report it")
            self._trouble.met("a look met a fault of this program", in_a_sync=False)
        else:
            self._trouble.passed(in_a_sync=False)
            if not due and not busy:  # nobody is left to meet it: another daemon may have done them
                self._trouble.passed(in_a_sync=True)
            self._begin(due)
            self._show()
        self._metrics.database_up(is_up=self._trouble.reason is None)

    def _show(self) -> None:
        """Look how fresh all is, and how many share the work: a look that fails costs the metrics only."""
        if time.monotonic() - self._shown_at < _FRESHNESS_EVERY:
            return
        self._shown_at = time.monotonic()
        with suppress(DatabaseError):
            pace.share_among(self._agenda.daemons())
            self._metrics.show(self._agenda.freshness())

    def _take_over(self, config: Config) -> None:
        self._agenda.close()
        self._workers.take_no_more()
        self._config, self._agenda = config, Agenda(config)
        clients.begin_all_anew()

    def _give_up_what_hangs(self) -> None:
        """Give up syncs that were silent for long, and begin them anew: their connections may have died unnoticed.

        Two looks must agree: after one it may be this process that slept. A sync that lives after all has outlived
        its lease, and is fenced.
        """
        patience = max(self._config.sync.deadline, _LEASES * self._config.sync.lease).total_seconds()
        for name in self._workers.give_up_silent(patience):
            self._log.error("a sync hangs and is given up", membership=name, seconds=round(patience))
            self._metrics.observe(SyncReport(name, "failed", error_class="Hangs"))

    def _begin(self, due: Sequence[Membership]) -> None:
        # While there is trouble, one that tries is enough.
        slots = 1 if self._trouble.reason else self._config.aws.max_concurrency
        try:
            self._workers.begin(due, slots)
        except RuntimeError as error:  # the machine has no thread left
            self._log.error("cannot begin a sync", reason=str(error))

    def _sync(self, membership: Membership) -> bool:
        """Sync one membership; return whether the next one may follow: not if it met trouble that others share."""
        if self._is_stopping.is_set():
            return False
        try:
            return self._take(sync_membership(self._config, membership, self._watch, if_due=True))
        except Exception as fault:  # noqa: BLE001 - a fault in one sync is recorded, and must not end the others
            self._log.exception("a fault of this program: please report it", membership=membership.id)
            self._metrics.observe(SyncReport(membership.id, "failed", error_class=type(fault).__name__))
            self._faulty_until[membership.id] = time.monotonic() + _FAULTY
            return True

    def _faulty(self) -> list[str]:
        """Return the memberships whose sync met a fault of this program a little while ago."""
        now = time.monotonic()
        return [name for name, until in list(self._faulty_until.items()) if until > now]

    def _watch(self, _: Progress) -> None:
        self._workers.hear()
        if self._is_stopping.is_set():
            raise StoppedError

    def _take(self, report: SyncReport) -> bool:
        """Tell what came of a sync; one that could not even open its run tells of the database instead."""
        if report.outcome == "busy" or (report.run_id is None and report.error_class == "Stopped"):
            return True
        if report.run_id is None and report.error_class not in _OF_ONE_ROW:
            self._trouble.met(str(report.error), in_a_sync=True)
            return False
        self._trouble.passed(in_a_sync=True)
        self._metrics.observe(report)
        is_in_order = report.is_fine or report.error_class == "Stopped"
        say = self._log.info if is_in_order else self._log.warning
        say("synced", **_told(report))
        return True

    def is_alive(self) -> str | None:
        """Say why the process should be started again; None if it should not."""
        age = self._since_tick()
        if age > _DEAD:
            return f"the scheduler has not ticked for {age:.0f} s"
        silence = self._silence()
        return f"the database has not answered for {silence:.0f} s" if silence > _HUNG else None

    def is_ready(self) -> str | None:
        """Say why nothing can be synced now; None if it can."""
        return self._trouble.reason

    def _since_tick(self) -> float:
        return time.monotonic() - self._ticked_at

    def _silence(self) -> float:
        """Return for how many seconds a look has been waiting for the database."""
        since = self._looking_since
        return 0.0 if since is None else time.monotonic() - since

    def _keep_awake(self) -> None:
        """Wake the scheduler where it sleeps too long: it waits by the host's clock, which may be set back."""
        while not self._is_stopping.wait(_TICK):
            if self._since_tick() > _ASLEEP:
                for job in self._scheduler.get_jobs():
                    job.reschedule("interval", seconds=_TICK)
            if self._silence() > _SILENT:
                self._trouble.met("the database does not answer", in_a_sync=False)
                self._metrics.database_up(is_up=False)


def _paced(config: Config) -> Config:
    return config.model_copy(update={"aws": config.aws.paced()})


def _told(report: SyncReport) -> dict[str, object]:
    """Return the fields of a sync's line: what was set aside is counted, and stands in the run's record."""
    counts = asdict(report.counts)
    del counts["rejections"]
    return {
        "membership": report.membership_id,
        "outcome": report.outcome,
        "kind": report.kind,
        "run_id": report.run_id,
        "seconds": round(report.seconds, 3),
        **counts,
        "overruns": report.overruns,
        "error_class": report.error_class,
        "error": report.error,
    }
