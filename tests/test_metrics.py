"""What Prometheus is told, as its own parsers read it."""

import re
import sys
import threading
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from conftest import Etl
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from etl import pace, tables
from etl.metrics import ERROR_CLASSES_KEPT, Metrics
from etl.pace import PaceState
from etl.store import Counts
from etl.sync import SyncReport

Labels = dict[str, str]

COMPLETE = SyncReport(
    "3f2a",
    "complete",
    seconds=0.7,
    counts=Counts(
        pages=2, api_calls=5, retries=3, throttles=1, jobs_listed=150, jobs_new=11, jobs_changed=7, transitions=13,
        jobs_unchanged=130, jobs_stale=2, jobs_rejected=4, jobs_absent=6,
    ),
    overruns=9,
)  # fmt: skip
FAILED = SyncReport("3f2a", "failed", seconds=0.1, error_class="AccessDeniedException", error="no")

FRESH = {
    "membership_id": "3f2a",
    "region": "eu-west-1",
    "age_seconds": 30.0,
    "expected_seconds": 900.0,
    "state": "ok",
    "consecutive_failures": 0,
}
NEVER = {**FRESH, "membership_id": "7c0d", "age_seconds": None, "state": "never", "consecutive_failures": 4}

# The contract with alert rules and dashboards: each name with its type, and the labels of its samples.
CONTRACT = {
    "etl_build_info": ("gauge", {"version", "schema"}),
    "etl_runs_total": ("counter", {"outcome"}),
    "etl_run_seconds": ("histogram", {"outcome"}),
    "etl_quick_runs_total": ("counter", set()),
    "etl_pages_total": ("counter", set()),
    "etl_aws_calls_total": ("counter", set()),
    "etl_aws_retries_total": ("counter", set()),
    "etl_aws_throttles_total": ("counter", set()),
    "etl_jobs_total": ("counter", {"change"}),
    "etl_transitions_total": ("counter", set()),
    "etl_overruns_total": ("counter", set()),
    "etl_errors_total": ("counter", {"error_class"}),
    "etl_running_syncs": ("gauge", set()),
    "etl_database_up": ("gauge", set()),
    "etl_membership_freshness_seconds": ("gauge", {"membership", "region"}),
    "etl_membership_expected_seconds": ("gauge", {"membership", "region"}),
    "etl_membership_failures": ("gauge", {"membership", "region"}),
    "etl_membership_state": ("gauge", {"membership", "region", "state"}),
    "etl_bucket_requests_per_second": ("gauge", {"account", "region"}),
    "etl_bucket_limit_requests_per_second": ("gauge", {"account", "region"}),
    "etl_bucket_tokens": ("gauge", {"account", "region"}),
    "etl_last_tick_seconds": ("gauge", set()),
}

MakeMetrics = Callable[..., Metrics]


@pytest.fixture
def make_metrics() -> MakeMetrics:
    """Make metrics of a daemon at rest, with parts of the test's own."""

    def make(
        running: Callable[[], int] = lambda: 0,
        buckets: Callable[[], Iterable[PaceState]] = list,
        tick_age: Callable[[], float] = lambda: 0.5,
    ) -> Metrics:
        return Metrics(running=running, buckets=buckets, tick_age=tick_age)

    return make


@pytest.fixture
def metrics(make_metrics: MakeMetrics) -> Metrics:
    return make_metrics()


def exposed(metrics: Metrics) -> str:
    """All that is exposed of our own; the library's figures of the process stand at its end."""
    text = generate_latest(metrics.registry).decode()
    lines = [line for line in text.splitlines(keepends=True) if "process_" not in line]
    return "".join(lines)


def samples(metrics: Metrics, name: str) -> list[tuple[Labels, float]]:
    """What Prometheus reads under a name."""
    families = parse_text(exposed(metrics))
    return [
        (sample.labels, sample.value) for family in families for sample in family.samples if sample.name == name
    ]


def value(metrics: Metrics, name: str, **labels: str) -> float:
    [found] = [number for given, number in samples(metrics, name) if given == labels]
    return found


def by_label(metrics: Metrics, name: str, label: str) -> dict[str, float]:
    return {labels[label]: number for labels, number in samples(metrics, name)}


def filled(make_metrics: MakeMetrics) -> Metrics:
    """Metrics of which each has a sample."""
    metrics = make_metrics(buckets=lambda: [PaceState("111122223333", "eu-west-1", 2.0, 4.0, 1.0)])
    metrics.observe(COMPLETE)
    metrics.observe(FAILED)
    metrics.show([FRESH, NEVER])
    return metrics


# The contract


def test_each_metric_has_the_name_type_and_labels_of_the_contract(make_metrics: MakeMetrics) -> None:
    text = exposed(filled(make_metrics))
    types = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE"))
    labels: dict[str, set[str]] = {name: set() for name in types}
    for family in parse_text(text):
        name = family.name if family.name in types else f"{family.name}_total"
        for sample in family.samples:
            labels[name] |= sample.labels.keys() - {"le"}
    assert {name: (kind, labels[name]) for name, kind in types.items()} == CONTRACT


def test_each_metric_says_what_it_is(make_metrics: MakeMetrics) -> None:
    assert all(family.documentation for family in parse_text(exposed(filled(make_metrics))))


def test_both_formats_of_prometheus_tell_the_same(make_metrics: MakeMetrics) -> None:
    metrics = filled(make_metrics)
    metrics.show([])  # nothing that grows from look to look
    text = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse_text(exposed(metrics))
        for sample in family.samples
    }
    written = generate_openmetrics(metrics.registry).decode()  # type: ignore[no-untyped-call]  # types left out
    openmetrics = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse_openmetrics(written)  # type: ignore[no-untyped-call]  # likewise
        for sample in family.samples
        if not family.name.startswith("process_")
    }
    assert text == openmetrics != {}


def test_each_name_of_the_contract_is_told_in_the_documentation() -> None:
    text = (Path(__file__).parent.parent / "deploy/README.md").read_text("utf-8")
    assert set(re.findall(r"`(etl_[a-z_]+)`", text)) == CONTRACT.keys()


def test_a_new_daemon_shows_zeros_for_what_it_will_count(metrics: Metrics) -> None:
    zeros = dict.fromkeys(["complete", "partial", "failed", "fenced"], 0)
    assert by_label(metrics, "etl_runs_total", "outcome") == zeros
    assert by_label(metrics, "etl_run_seconds_count", "outcome") == zeros
    changes = ["new", "changed", "unchanged", "stale", "rejected", "absent"]
    assert by_label(metrics, "etl_jobs_total", "change") == dict.fromkeys(changes, 0)
    assert value(metrics, "etl_pages_total") == 0


def test_a_release_tells_its_version_and_schema(metrics: Metrics) -> None:
    labels = {"version": version("cleanroomsml-etl"), "schema": tables.REVISION}
    assert samples(metrics, "etl_build_info") == [(labels, 1)]


# Runs


def test_a_run_adds_its_counts(metrics: Metrics) -> None:
    metrics.observe(COMPLETE)
    metrics.observe(COMPLETE)
    counted = {
        "etl_pages_total": 4,
        "etl_aws_calls_total": 10,
        "etl_aws_retries_total": 6,
        "etl_aws_throttles_total": 2,
        "etl_transitions_total": 26,
        "etl_overruns_total": 18,
    }
    assert {name: value(metrics, name) for name in counted} == counted
    assert by_label(metrics, "etl_jobs_total", "change") == {
        "new": 22,
        "changed": 14,
        "unchanged": 260,
        "stale": 4,
        "rejected": 8,
        "absent": 12,
    }


def test_a_run_is_counted_by_its_outcome(metrics: Metrics) -> None:
    for outcome in ("complete", "failed", "failed", "fenced"):
        metrics.observe(SyncReport("3f2a", outcome))
    counted = {"complete": 1, "partial": 0, "failed": 2, "fenced": 1}
    assert by_label(metrics, "etl_runs_total", "outcome") == counted


def test_quick_sweeps_are_counted_among_the_runs_and_by_themselves(metrics: Metrics) -> None:
    for kind in ("full", "quick", "quick"):
        metrics.observe(SyncReport("3f2a", "complete", kind=kind))
    assert value(metrics, "etl_runs_total", outcome="complete") == 3
    assert value(metrics, "etl_quick_runs_total") == 2


def test_a_runs_seconds_are_in_the_histogram_of_its_outcome(metrics: Metrics) -> None:
    metrics.observe(COMPLETE)
    metrics.observe(FAILED)
    buckets = {
        labels["le"]: number
        for labels, number in samples(metrics, "etl_run_seconds_bucket")
        if labels["outcome"] == "complete"
    }
    assert (buckets["0.1"], buckets["0.5"], buckets["1.0"], buckets["3600.0"], buckets["+Inf"]) == (0, 0, 1, 1, 1)
    assert value(metrics, "etl_run_seconds_sum", outcome="complete") == 0.7
    assert value(metrics, "etl_run_seconds_sum", outcome="failed") == 0.1


def test_memory_and_open_files_of_the_process_are_told(metrics: Metrics) -> None:
    text = generate_latest(metrics.registry).decode()
    names = {family.name for family in parse_text(text) if family.name.startswith("process_")}
    assert {"process_resident_memory_bytes", "process_open_fds"} <= names or sys.platform != "linux"


def test_a_run_that_left_the_membership_to_another_worker_is_not_counted(metrics: Metrics) -> None:
    before = exposed(metrics)
    metrics.observe(SyncReport("3f2a", "busy", seconds=1, overruns=3))
    assert exposed(metrics) == before


def test_a_run_that_was_not_complete_is_counted_by_its_error_class(metrics: Metrics) -> None:
    metrics.observe(COMPLETE)
    metrics.observe(FAILED)
    metrics.observe(SyncReport("3f2a", "partial", error_class="Stopped", error="asked to stop"))
    metrics.observe(FAILED)
    assert by_label(metrics, "etl_errors_total", "error_class") == {"AccessDeniedException": 2, "Stopped": 1}


def test_however_many_error_classes_come_the_series_are_bounded(metrics: Metrics) -> None:
    for number in range(ERROR_CLASSES_KEPT + 7):
        metrics.observe(SyncReport("3f2a", "failed", error_class=f"Odd{number}"))
    metrics.observe(SyncReport("3f2a", "failed", error_class="Odd0"))
    errors = by_label(metrics, "etl_errors_total", "error_class")
    assert len(errors) == ERROR_CLASSES_KEPT + 1
    assert (errors["Odd0"], errors["Other"]) == (2, 7)


def test_no_count_is_lost_between_threads(metrics: Metrics) -> None:
    def work() -> None:
        for _ in range(250):
            metrics.observe(COMPLETE)

    threads = [threading.Thread(target=work) for _ in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns in the midst of everything
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert value(metrics, "etl_runs_total", outcome="complete") == 2_000
    assert value(metrics, "etl_run_seconds_count", outcome="complete") == 2_000
    assert value(metrics, "etl_pages_total") == 4_000
    assert value(metrics, "etl_jobs_total", change="unchanged") == 260_000


# The daemon itself


def test_the_database_is_down_until_it_was_seen_up(metrics: Metrics) -> None:
    seen = [value(metrics, "etl_database_up")]
    for is_up in (True, False):
        metrics.database_up(is_up)
        seen.append(value(metrics, "etl_database_up"))
    assert seen == [0, 1, 0]


def test_running_syncs_and_the_last_tick_are_asked_for_at_each_look(make_metrics: MakeMetrics) -> None:
    numbers = iter([3, 5])
    ages = iter([0.25, 61.0])
    metrics = make_metrics(running=lambda: next(numbers), tick_age=lambda: next(ages))
    first, second = parse_text(exposed(metrics)), parse_text(exposed(metrics))
    wanted = ("etl_running_syncs", "etl_last_tick_seconds")
    assert [
        {family.name: family.samples[0].value for family in families if family.name in wanted}
        for families in (first, second)
    ] == [
        {"etl_running_syncs": 3, "etl_last_tick_seconds": 0.25},
        {"etl_running_syncs": 5, "etl_last_tick_seconds": 61},
    ]


def test_the_pace_of_each_account_and_region_is_shown_as_it_is_now(make_metrics: MakeMetrics) -> None:
    pace.bucket("111122223333", "xx-test-1", 4.0).slow_down()
    metrics = make_metrics(buckets=pace.states)
    labels = {"account": "111122223333", "region": "xx-test-1"}
    assert value(metrics, "etl_bucket_limit_requests_per_second", **labels) == 4
    assert value(metrics, "etl_bucket_requests_per_second", **labels) == pytest.approx(2, abs=0.2)
    assert value(metrics, "etl_bucket_tokens", **labels) == 1


# Memberships


def test_a_membership_shows_its_age_pause_and_failures(metrics: Metrics) -> None:
    metrics.show([{**FRESH, "consecutive_failures": 2}])
    labels = {"membership": "3f2a", "region": "eu-west-1"}
    assert value(metrics, "etl_membership_freshness_seconds", **labels) == pytest.approx(30, abs=1)
    assert value(metrics, "etl_membership_expected_seconds", **labels) == 900
    assert value(metrics, "etl_membership_failures", **labels) == 2


@pytest.mark.parametrize("state", ["ok", "late", "failing", "never"])
def test_a_membership_is_in_one_state_and_in_no_other(metrics: Metrics, state: str) -> None:
    metrics.show([{**FRESH, "state": state}])
    states = by_label(metrics, "etl_membership_state", "state")
    assert states == {**dict.fromkeys(["ok", "late", "failing", "never"], 0), state: 1}


def test_a_membership_that_was_never_listed_has_no_age(metrics: Metrics) -> None:
    metrics.show([FRESH, NEVER])
    assert list(by_label(metrics, "etl_membership_freshness_seconds", "membership")) == ["3f2a"]
    assert list(by_label(metrics, "etl_membership_failures", "membership")) == ["3f2a", "7c0d"]


def test_ages_grow_between_two_looks_at_the_database(metrics: Metrics) -> None:
    metrics.show([FRESH])
    labels = {"membership": "3f2a", "region": "eu-west-1"}
    first = value(metrics, "etl_membership_freshness_seconds", **labels)
    began = time.monotonic()
    time.sleep(0.05)
    second = value(metrics, "etl_membership_freshness_seconds", **labels)
    assert 0.05 <= second - first <= time.monotonic() - began + 0.05


def test_a_membership_that_is_gone_disappears(metrics: Metrics) -> None:
    metrics.show([FRESH, NEVER])
    metrics.show([NEVER])
    for name in ("expected_seconds", "failures", "state"):
        assert set(by_label(metrics, f"etl_membership_{name}", "membership")) == {"7c0d"}
    assert samples(metrics, "etl_membership_freshness_seconds") == []


def test_the_rows_of_the_view_can_be_shown_as_they_are(metrics: Metrics, etl: Etl) -> None:
    report = etl.sync()
    metrics.observe(report)
    rows: list[dict[str, Any]] = etl.query("SELECT * FROM cleanrooms.sync_freshness")
    metrics.show(rows)
    assert value(metrics, "etl_runs_total", outcome="complete") == 1
    assert by_label(metrics, "etl_membership_state", "state")["ok"] == 1
    [(labels, age)] = samples(metrics, "etl_membership_freshness_seconds")
    assert labels == {"membership": report.membership_id, "region": etl.config.memberships[0].region}
    assert 0 <= age < 60
