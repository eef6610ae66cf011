"""What Prometheus is told of the daemon. Names and labels are a contract: alert rules and dashboards hold them."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily

from etl import release, tables
from etl.pace import PaceState
from etl.sync import SyncReport

# A second series for each counter, for a moment that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left its types out

OUTCOMES = ("complete", "partial", "failed", "fenced")
STATES = ("ok", "late", "failing", "never")
"""Of a membership, as in the view `cleanrooms.sync_freshness`."""

ERROR_CLASSES_KEPT = 50
"""Error classes with a series of their own: AWS, and whatever answers in its place, may send any word for ever."""

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

_COUNTERS = {
    "pages": ("etl_pages", "Pages read"),
    "api_calls": ("etl_aws_calls", "Requests sent to AWS, retries included"),
    "retries": ("etl_aws_retries", "Requests that repeated another"),
    "throttles": ("etl_aws_throttles", "Requests that AWS refused for coming too fast"),
    "transitions": ("etl_transitions", "Changes of status recorded, first sights included"),
}
"""Fields of `store.Counts`, with the counter of each."""

_CHANGES = ("new", "changed", "unchanged", "stale", "rejected", "absent")


class Metrics:
    """All that is measured; `registry` holds it for whoever exposes it.

    Every method may be called from any thread. `running` tells how many syncs run, `buckets` how fast AWS may be
    asked, `tick_age` how many seconds ago the scheduler ticked: they are called at each look, and must not wait.
    """

    def __init__(
        self,
        *,
        running: Callable[[], int],
        buckets: Callable[[], Iterable[PaceState]],
        tick_age: Callable[[], float],
    ) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        info = partial(Info, registry=self.registry)
        self._runs = counter("etl_runs", "Runs by outcome", ["outcome"])
        self._seconds = Histogram(
            "etl_run_seconds", "How long runs took", ["outcome"], buckets=_SECONDS, registry=self.registry
        )
        self._quick_runs = counter("etl_quick_runs", "Runs that were quick sweeps")
        self._counters = {field: counter(name, words) for field, (name, words) in _COUNTERS.items()}
        self._jobs = counter("etl_jobs", "Jobs read, by what was new about them", ["change"])
        self._overruns = counter("etl_overruns", "Due times that passed while a run went on")
        self._errors = counter("etl_errors", "Runs that were not complete, by error class", ["error_class"])
        self._database_up = gauge("etl_database_up", "1: the last look at database and schema went well")
        gauge("etl_running_syncs", "Syncs that run now").set_function(running)
        gauge("etl_last_tick_seconds", "Seconds since the scheduler ticked").set_function(tick_age)
        build = {"version": release.version(), "schema": tables.REVISION}
        info("etl_build", "Release of this program, and the schema that it knows").info(build)
        ProcessCollector(registry=self.registry)  # memory and open files: years are to be survived
        self._memberships = _Memberships()
        self.registry.register(self._memberships)
        self.registry.register(_Buckets(buckets))
        self._error_classes: set[str] = set()
        self._lock = Lock()
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Make each series whose labels are known: a first increase from nothing would be no increase."""
        for outcome in OUTCOMES:
            self._runs.labels(outcome)
            self._seconds.labels(outcome)
        for change in _CHANGES:
            self._jobs.labels(change)

    def observe(self, report: SyncReport) -> None:
        """Count a run; one that left its membership to another worker (busy) was none."""
        if report.outcome == "busy":
            return
        self._runs.labels(report.outcome).inc()
        self._seconds.labels(report.outcome).observe(report.seconds)
        self._quick_runs.inc(report.kind == "quick")
        self._overruns.inc(report.overruns)
        for field, counter in self._counters.items():
            counter.inc(getattr(report.counts, field))
        for change in _CHANGES:
            self._jobs.labels(change).inc(getattr(report.counts, f"jobs_{change}"))
        if report.error_class:
            self._errors.labels(self._bounded(report.error_class)).inc()

    def _bounded(self, error_class: str) -> str:
        with self._lock:
            if len(self._error_classes) < ERROR_CLASSES_KEPT:
                self._error_classes.add(error_class)
            return error_class if error_class in self._error_classes else "Other"

    def show(self, freshness: Sequence[Mapping[str, Any]]) -> None:
        """Take the rows of `cleanrooms.sync_freshness`, read just now, in the place of those shown before."""
        self._memberships.show(freshness)

    def database_up(self, is_up: bool) -> None:
        """Tell how the last look at database and schema went."""
        self._database_up.set(is_up)


class _Memberships:
    """How fresh each membership was when the database was last asked; ages grow until it is asked again."""

    def __init__(self) -> None:
        self._shown: tuple[float, Sequence[Mapping[str, Any]]] = (0.0, ())

    def show(self, freshness: Sequence[Mapping[str, Any]]) -> None:
        self._shown = (time.monotonic(), freshness)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        taken, rows = self._shown
        since = time.monotonic() - taken
        labels = ("membership", "region")
        age = GaugeMetricFamily(
            "etl_membership_freshness_seconds", "Age of the last complete sweep", labels=labels
        )
        expected = GaugeMetricFamily(
            "etl_membership_expected_seconds", "Longest pause that the schedule allows", labels=labels
        )
        failures = GaugeMetricFamily("etl_membership_failures", "Failed runs in a row", labels=labels)
        states = GaugeMetricFamily(
            "etl_membership_state", "1 for the present state, 0 for the others", labels=(*labels, "state")
        )
        for row in rows:
            name = (row["membership_id"], row["region"])
            if row["age_seconds"] is not None:
                age.add_metric(name, row["age_seconds"] + since)
            expected.add_metric(name, row["expected_seconds"])
            failures.add_metric(name, row["consecutive_failures"])
            for state in STATES:
                states.add_metric((*name, state), row["state"] == state)
        return iter((age, expected, failures, states))


class _Buckets:
    """How fast AWS may be asked, as it is at the moment of the look."""

    def __init__(self, states: Callable[[], Iterable[PaceState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[GaugeMetricFamily]:
        labels = ("account", "region")
        rate = GaugeMetricFamily("etl_bucket_requests_per_second", "Present rate", labels=labels)
        limit = GaugeMetricFamily("etl_bucket_limit_requests_per_second", "Configured rate", labels=labels)
        tokens = GaugeMetricFamily(
            "etl_bucket_tokens", "Requests that may go at once; below 0, how many wait", labels=labels
        )
        for state in self._states():
            name = (state.account, state.region)
            rate.add_metric(name, state.requests_per_second)
            limit.add_metric(name, state.limit)
            tokens.add_metric(name, state.tokens)
        return iter((rate, limit, tokens))
