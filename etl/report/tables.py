"""The tables of a report: single jobs to look into, how fresh all is, and what not to trust."""

from etl.report.drawing import Table
from etl.report.facts import Facts, Row
from etl.report.palette import OUTCOMES
from etl.report.wording import NOTHING, duration, moment, name, number

_KINDS = {
    "skipped_states": "passed through statuses that no sync saw: when it entered and left them is not known",
    "regression": "went back, against the order of a job's life: AWS may have shown one of them late or wrongly",
    "clamped": "AWS's time was impossible: the nearest possible moment is stored",
    "observed": "AWS gave no time: the moment is when a sync saw it",
    "unknown_status": "a status that this release does not know: whether it is an end is not known",
}


def slowest(facts: Facts) -> Table:
    """List the jobs that took longest."""
    return Table(
        "Slowest jobs that ended in the period",
        ["job", "model", "outcome", "in all", "at least", "in the queue", "running", "created (UTC)", "membership",
         "id"],
        [_slow(row) for row in facts.slowest],
        frozenset({3, 4, 5, 6}),
    )  # fmt: skip


def _slow(row: Row) -> list[str]:
    durations = (row[each] for each in ("total_seconds", "total_seconds_lower", "queue_seconds", "run_seconds"))
    outcome = OUTCOMES.get(row["outcome"] or "", NOTHING)
    return [*_job(row), outcome, *map(duration, durations), moment(row["create_time"]), *_place(row)]


def _job(row: Row) -> list[str]:
    return [name(row["name"]), name(row["model"])]


def _place(row: Row) -> list[str]:
    return [name(row["membership_id"]), name(row["job_id"])]


def failed(facts: Facts) -> Table:
    """List the jobs that failed last."""
    return Table(
        "Jobs that failed last",
        ["job", "model", "status", "not before (UTC)", "not after (UTC)", "had run", "in all", "membership", "id"],
        [_failure(row) for row in facts.failed],
        frozenset({5, 6}),
    )


def _failure(row: Row) -> list[str]:
    window = [moment(row["not_before"]), moment(row["changed_time"])]
    durations = [duration(row["run_seconds"]), duration(row["total_seconds"])]
    return [*_job(row), name(row["status"]), *window, *durations, *_place(row)]


def accounts(facts: Facts) -> Table:
    """List how close each account came to its own quota."""
    return Table(
        "Open jobs of all memberships of an account and Region, at the hour's start",
        ["account", "Region", "most open", "quota", "hours at the quota"],
        [
            [name(row["account_id"]), name(row["region"]), *(number(row[each]) for each in _ACCOUNT_NUMBERS)]
            for row in facts.accounts
        ],
        frozenset({2, 3, 4}),
    )


_ACCOUNT_NUMBERS = ("most_open", "quota", "full_hours")


def freshness(facts: Facts) -> Table:
    """List how fresh each membership is, those that are not first."""
    return Table(
        "Memberships, those that are not fresh first",
        ["membership", "Region", "account", "state", "last complete (UTC)", "age", "expected every",
         "failures since", "last error"],
        [_fresh(row) for row in facts.freshness],
        frozenset({5, 6, 7}),
    )  # fmt: skip


def _fresh(row: Row) -> list[str]:
    error = f"{row['last_error_class']}: {row['last_error']}" if row["last_error"] else None
    return [
        name(row["membership_id"]),
        name(row["region"]),
        name(row["account_id"]),
        name(row["state"]),
        moment(row["last_complete_at"]),
        duration(row["age_seconds"]),
        duration(row["expected_seconds"]),
        number(row["consecutive_failures"]),
        name(error),
    ]


def gaps(facts: Facts) -> Table:
    """List what of the recorded changes is not to be trusted."""
    return Table(
        "Recorded changes of status in the period that are not to be trusted in full",
        ["kind", "changes", "what it means"],
        [[name(row["kind"]), number(row["changes"]), _KINDS.get(row["kind"], NOTHING)] for row in facts.gaps],
        frozenset({1}),
    )


def sharpness(facts: Facts) -> str:
    """Say how wide the windows are that the moments lie in."""
    windows = facts.windows
    if not windows["changes"]:
        return "No change of status was recorded in the period."
    median, most = windows["widths"]
    return (
        f"{number(windows['changes'])} changes of status were recorded in the period, first sights apart. Each"
        " happened within a window that ends at its recorded moment: half of these windows are at most"
        f" {duration(median)} wide, 95 of 100 at most {duration(most)}. Shorter intervals between syncs make them"
        " narrower."
    )
