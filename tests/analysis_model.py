"""What every view for analysts must show: computed in plain Python from what is stored of the jobs.

It shares nothing with the product: the comments of the views say what each column means, and here that is worked
out once more, the slow and simple way. A row is a dictionary by the view's columns.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from model import NOT_LISTED, Record, Transition

Row = dict[str, Any]
Bounded = tuple[float, float, float] | None
"""Seconds, no less than, no more than; None: not seen."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

RUNNING = "CREATE_IN_PROGRESS"
CANCELLING = {"CANCEL_PENDING", "CANCEL_IN_PROGRESS"}
OPEN = {"CREATE_PENDING", RUNNING, *CANCELLING}
OUTCOMES = {
    "ACTIVE": "succeeded",
    "CREATE_FAILED": "failed",
    "INACTIVE": "cancelled",
    "CANCEL_FAILED": "cancel_failed",
}
KNOWN = {*OPEN, *OUTCOMES, NOT_LISTED}

NEXT = {
    "CREATE_PENDING": {RUNNING, "CREATE_FAILED", "CANCEL_PENDING"},
    RUNNING: {"ACTIVE", "CREATE_FAILED", "CANCEL_PENDING"},
    "CANCEL_PENDING": {"CANCEL_IN_PROGRESS"},
    "CANCEL_IN_PROGRESS": {"INACTIVE", "CANCEL_FAILED"},
}
"""A job's life, as the design draws it."""


class Sweep(NamedTuple):
    """A complete one."""

    kind: str
    """full or quick."""
    began: datetime
    ended: datetime


@dataclass(frozen=True)
class Home:
    """A membership, with all that is stored of its jobs."""

    membership_id: str
    region: str
    account_id: str | None
    configured: bool
    quota: int
    account_quota: int
    sweeps: Sequence[Sweep]
    """In their order."""
    jobs: Sequence[Record]

    @property
    def account(self) -> tuple[str, str] | None:
        """What the greater of the quotas is counted by."""
        return (self.account_id, self.region) if self.account_id else None

    def is_tracked(self, moment: datetime) -> bool:
        """Whether the first complete sweep had begun by then."""
        return any(sweep.began <= moment for sweep in self.sweeps[:1])


def seconds(earlier: datetime, later: datetime) -> float:
    return max(0.0, (later - earlier) / timedelta(seconds=1))


def hour_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def week_of(moment: datetime) -> datetime:
    midnight = hour_of(moment).replace(hour=0)
    return midnight - midnight.weekday() * DAY


def percentile(values: Sequence[float], share: float) -> float | None:
    """Interpolate between the two values nearest to that share of the way."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


# A job's own story


def _fields(job: Record) -> dict[str, Any]:
    return job.version.fields


def _job_id(job: Record) -> str:
    return job.version.arn.partition("/trained-model-inference-job/")[2]


def _model(job: Record) -> Row:
    arn = _fields(job)["trained_model_arn"]
    return {
        "trained_model_arn": arn,
        "trained_model_id": arn.partition("trained-model/")[2],
        "trained_model_version_identifier": _fields(job)["trained_model_version_identifier"],
    }


def intervals(job: Record) -> Iterator[tuple[Transition, Transition | None]]:
    """Give what opened and what closed each time that the job held a status."""
    for opened, closed in pairwise((*job.history, None)):
        assert opened
        yield opened, closed


def status_durations(homes: Iterable[Home], now: datetime) -> Iterator[Row]:
    for home in homes:
        for job in home.jobs:
            for status in {moved.to_status for moved in job.history}:
                yield _duration(home, job, status, now)


def last_sight(home: Home, job: Record) -> datetime:
    """Tell until when a job surely held its present status: by AWS's own time, or by a sweep that showed it."""
    if job.status == NOT_LISTED:
        return job.status_since
    shown = [sweep.began for sweep in home.sweeps if _has_shown(sweep, job)]
    return max(job.version.update_time, *shown[-1:], job.status_since)


def _has_shown(sweep: Sweep, job: Record) -> bool:
    since, until = job.history[-1].observed_at, job.absent_since
    if until is not None and until <= sweep.ended:
        return False
    if sweep.kind == "quick":
        return job.status in OPEN and since <= sweep.began
    return since <= sweep.ended and not job.stale_runs  # else the latest showed an older state


def _duration(home: Home, job: Record, status: str, now: datetime) -> Row:
    held = [(opened, closed) for opened, closed in intervals(job) if opened.to_status == status]
    ends = [(opened, closed.changed_time if closed else now) for opened, closed in held]
    is_current = job.status == status
    return {
        "job_arn": job.version.arn,
        "membership_id": home.membership_id,
        "trained_model_arn": _fields(job)["trained_model_arn"],
        "create_time": _fields(job)["create_time"],
        "status": status,
        "seconds": sum(seconds(opened.changed_time, end) for opened, end in ends),
        "seconds_lower": sum(
            seconds(opened.changed_time, closed.not_before if closed else min(now, last_sight(home, job)))
            for opened, closed in held
        ),
        "seconds_upper": sum(seconds(opened.not_before, end) for opened, end in ends),
        "visits": len(held),
        "is_current": is_current,
        "left_censored": job.history[0].to_status == status,
        "right_censored": is_current,
    }


@dataclass(frozen=True)
class Story:
    """The turns of a job's life that durations are made of; None: not seen."""

    created: datetime
    started: Transition | None
    stopped: Transition | None
    cancelled: Transition | None
    ended: Transition | None

    @property
    def outcome(self) -> str | None:
        return OUTCOMES[self.ended.to_status] if self.ended else None

    @property
    def queue(self) -> Bounded:
        return self._since_creation(self.started)

    @property
    def run(self) -> Bounded:
        return _between(self.started, self.stopped)

    @property
    def cancel(self) -> Bounded:
        is_cancel = self.outcome in {"cancelled", "cancel_failed"}
        return _between(self.cancelled, self.ended) if is_cancel else None

    @property
    def total(self) -> Bounded:
        return self._since_creation(self.ended)

    def _since_creation(self, until: Transition | None) -> Bounded:
        if until is None:
            return None
        upper = seconds(self.created, until.changed_time)
        return upper, seconds(self.created, until.not_before), upper


def _between(since: Transition | None, until: Transition | None) -> Bounded:
    if since is None or until is None:
        return None
    return (
        seconds(since.changed_time, until.changed_time),
        seconds(since.changed_time, until.not_before),
        seconds(since.not_before, until.changed_time),
    )


def story(job: Record) -> Story:
    """Tell it by AWS's words alone: that a job was not listed is ours, and neither start nor end."""
    said = [_as_seen(moved, job.history) for moved in job.history if moved.to_status != NOT_LISTED]
    return Story(
        created=_fields(job)["create_time"],
        started=next((moved for moved in said if moved.to_status == RUNNING), None),
        stopped=_last_exit(said),
        cancelled=next((moved for moved in said if moved.to_status in CANCELLING), None),
        ended=_end(said),
    )


def _as_seen(moved: Transition, history: Sequence[Transition]) -> Transition:
    """Give a change that took place while the job was not listed the window that this leaves."""
    if moved.from_status != NOT_LISTED:
        return moved
    left = next(gone for gone in history if gone.changed_time == moved.from_time)
    return replace(moved, not_before=left.not_before)


def _last_exit(said: Sequence[Transition]) -> Transition | None:
    """Find what ended the last run: only where the job was listed as running until then."""
    runs = [place for place, moved in enumerate(said) if moved.to_status == RUNNING]
    if not runs or runs[-1] == len(said) - 1:
        return None
    following = said[runs[-1] + 1]
    return following if following.from_status == RUNNING else None


def _end(said: Sequence[Transition]) -> Transition | None:
    """Find when the job took its last status of those that are known, if that is an end."""
    known = [moved for moved in said if moved.to_status in KNOWN]
    if not known or known[-1].to_status not in OUTCOMES:
        return None
    ended = known[-1]
    for moved in reversed(known):
        if moved.to_status != ended.to_status:
            break
        ended = moved
    return ended


def job_timings(homes: Iterable[Home], now: datetime) -> Iterator[Row]:
    assert now
    for home in homes:
        for job in home.jobs:
            told = story(job)
            yield {
                "job_arn": job.version.arn,
                "job_id": _job_id(job),
                "name": _fields(job)["name"],
                "membership_id": home.membership_id,
                **_model(job),
                "status": job.status,
                "outcome": told.outcome,
                "create_time": told.created,
                "started_time": told.started.changed_time if told.started else None,
                "ended_time": told.ended.changed_time if told.ended else None,
                **_named("queue", told.queue),
                **_named("run", told.run),
                **_named("cancel", told.cancel),
                **_named("total", told.total),
            }


def _named(name: str, bounded: Bounded) -> Row:
    middle, lower, upper = bounded or (None, None, None)
    return {f"{name}_seconds": middle, f"{name}_seconds_lower": lower, f"{name}_seconds_upper": upper}


# Jobs together


def model_reliability(homes: Iterable[Home], now: datetime) -> Iterator[Row]:
    assert now
    for home in homes:
        groups: defaultdict[tuple[datetime, Any, Any], list[Record]] = defaultdict(list)
        for job in home.jobs:
            model = _model(job)
            version = model["trained_model_version_identifier"]
            groups[week_of(_fields(job)["create_time"]), model["trained_model_arn"], version].append(job)
        for (week, _, _), jobs in groups.items():
            yield {"membership_id": home.membership_id, **_model(jobs[0]), "week": week, **_reliability(jobs)}


def _reliability(jobs: Sequence[Record]) -> Row:
    stories = [story(job) for job in jobs]
    ends = Counter(told.outcome for told in stories)
    decided = ends["succeeded"] + ends["failed"]
    totals = [told.total[0] for told in stories if told.total]
    runs = [told.run[0] for told in stories if told.run]
    return {
        "jobs": len(jobs),
        **{outcome: ends[outcome] for outcome in OUTCOMES.values()},
        "not_ended": ends[None],
        "success_rate": ends["succeeded"] / decided if decided else None,
        "p50_total_seconds": percentile(totals, 0.5),
        "p95_total_seconds": percentile(totals, 0.95),
        "p50_run_seconds": percentile(runs, 0.5),
        "p95_run_seconds": percentile(runs, 0.95),
    }


def open_jobs(homes: Iterable[Home], now: datetime) -> Iterator[Row]:
    for home in homes:
        for job in home.jobs:
            if job.status in OPEN:
                yield _open_job(home, job, now)


def _open_job(home: Home, job: Record, now: datetime) -> Row:
    age = seconds(_fields(job)["create_time"], now)
    model = _model(job)
    siblings = [other for other in home.jobs if _model(other)["trained_model_arn"] == model["trained_model_arn"]]
    ended = [(told.created, told.total[0]) for told in map(story, siblings) if told.total]
    totals = [total for _, total in sorted(ended)[-1000:]]
    usual = percentile(totals, 0.95)
    return {
        "job_arn": job.version.arn,
        "job_id": _job_id(job),
        "name": _fields(job)["name"],
        "membership_id": home.membership_id,
        "region": home.region,
        "account_id": home.account_id,
        **model,
        "status": job.status,
        "status_since": job.status_since,
        "create_time": _fields(job)["create_time"],
        "seconds_in_status": seconds(job.status_since, now),
        "age_seconds": age,
        "model_p95_total_seconds": usual,
        "model_jobs_ended": len(totals),
        "age_to_p95": age / usual if usual else None,
        "is_unusual": None if usual is None else age > usual,
    }


# Hour by hour


class Hour(NamedTuple):
    """An hour of a membership."""

    held: Counter[str]
    """What its jobs held when it began."""
    entered: Counter[str]
    most_open: int


def calendar(home: Home, now: datetime) -> dict[datetime, Hour]:
    """Tell each hour from the first change on; what happens at one instant happens at once."""
    instants: list[datetime] = []
    entered: list[Counter[str]] = []
    states: list[Counter[str]] = [Counter()]
    """What is held after so many instants."""
    for instant, together in groupby(sorted(_moves(home), key=_moment), _moment):
        moves = list(together)
        instants.append(instant)
        entered.append(Counter(moved.to_status for moved in moves))
        left = Counter(moved.from_status for moved in moves if moved.from_status)
        states.append(states[-1] + entered[-1] - left)
    return {
        hour: Hour(
            held=states[bisect_right(instants, hour)],
            entered=sum(entered[bisect_left(instants, hour) : bisect_left(instants, hour + HOUR)], Counter()),
            most_open=max(
                map(_open, states[bisect_right(instants, hour) : bisect_left(instants, hour + HOUR) + 1])
            ),
        )
        for hour in _hours(instants, now)
    }


def _hours(changes: Sequence[datetime], now: datetime) -> Iterator[datetime]:
    for first in changes[:1]:
        since = hour_of(first)
        yield from (since + number * HOUR for number in range((now - since) // HOUR + 1))


def _moment(moved: Transition) -> datetime:
    return moved.changed_time


def _moves(home: Home) -> Iterator[Transition]:
    return (moved for job in home.jobs for moved in job.history)


def _open(held: Counter[str]) -> int:
    return sum(held[status] for status in OPEN)


def status_counts_hourly(homes: Iterable[Home], now: datetime) -> Iterator[Row]:
    for home in homes:
        statuses = KNOWN | {moved.to_status for moved in _moves(home)}
        for hour, told in calendar(home, now).items():
            for status in statuses:
                yield {
                    "hour": hour,
                    "membership_id": home.membership_id,
                    "region": home.region,
                    "account_id": home.account_id,
                    "status": status,
                    "jobs_held": told.held[status],
                    "jobs_entered": told.entered[status],
                    "is_tracked": home.is_tracked(hour),
                }


def capacity(homes: Iterable[Home], now: datetime) -> Iterator[Row]:
    calendars = [(home, calendar(home, now)) for home in homes]
    accounts: Counter[tuple[Any, datetime]] = Counter()
    for home, hours in calendars:
        if home.configured:
            accounts.update({(home.account, hour): _open(told.held) for hour, told in hours.items()})
    for home, hours in calendars:
        for hour, told in hours.items():
            together = accounts[home.account, hour] if home.account else None
            yield {
                "hour": hour,
                "membership_id": home.membership_id,
                "region": home.region,
                "account_id": home.account_id,
                "open_jobs": _open(told.held),
                "most_open_jobs": told.most_open,
                "quota": home.quota,
                "quota_used": told.most_open / home.quota,
                "account_open_jobs": together,
                "account_quota": home.account_quota,
                "account_quota_used": None if together is None else together / home.account_quota,
                "is_tracked": home.is_tracked(hour),
            }


# What not to trust


def history_gaps(homes: Iterable[Home], now: datetime) -> Iterator[Row]:
    """Leave out `why`, which is for people."""
    assert now
    for home in homes:
        for job in home.jobs:
            for moved in job.history:
                for kind in _gaps(moved):
                    yield {
                        "job_arn": job.version.arn,
                        "membership_id": home.membership_id,
                        "changed_time": moved.changed_time,
                        "from_status": moved.from_status,
                        "to_status": moved.to_status,
                        "kind": kind,
                        "not_before": moved.not_before,
                        "uncertainty_seconds": seconds(moved.not_before, moved.changed_time),
                        "observed_at": moved.observed_at,
                        "time_basis": moved.time_basis,
                    }


def _gaps(moved: Transition) -> Iterator[str]:
    if skipped(moved):
        yield "skipped_states"
    if _goes_back(moved):
        yield "regression"
    if moved.time_basis in {"clamped", "observed"}:
        yield moved.time_basis
    if moved.to_status not in KNOWN:
        yield "unknown_status"


def skipped(moved: Transition) -> list[str]:
    """Name the statuses that lie on every way to the new status, and on none but it."""
    if moved.to_status not in KNOWN - {NOT_LISTED}:
        return []
    before: set[str] = set()
    if moved.from_status is not None:
        if moved.from_status not in KNOWN - {NOT_LISTED}:
            return []
        before = {moved.from_status, *_certain(moved.from_status)}
        if moved.from_status in {*CANCELLING, "INACTIVE", "CANCEL_FAILED"}:
            before.add(RUNNING)  # it may have been
    return [status for status in _certain(moved.to_status) if status not in before]


def _certain(status: str) -> list[str]:
    """Name the statuses that lie on every way from creation to this one, in their order."""
    first, *others = _ways("CREATE_PENDING", status)
    return [passed for passed in first[:-1] if all(passed in way for way in others)]


def _ways(start: str, end: str) -> list[list[str]]:
    if start == end:
        return [[end]]
    return [[start, *way] for following in sorted(NEXT.get(start, ())) for way in _ways(following, end)]


def _goes_back(moved: Transition) -> bool:
    """Whether it left an end, or was open and then in a status that an open job has before that."""
    if moved.from_status in OUTCOMES:
        return moved.to_status != NOT_LISTED
    order = ("CREATE_PENDING", RUNNING, "CANCEL_PENDING", "CANCEL_IN_PROGRESS")
    if moved.from_status not in order or moved.to_status not in order:
        return False
    return order.index(moved.to_status) < order.index(moved.from_status)


# What was true at a moment, and what was known then


def jobs_as_of(homes: Iterable[Home], moment: datetime) -> Iterator[Row]:
    for home in homes:
        for job in home.jobs:
            held = [moved for moved in job.history if moved.changed_time <= moment]
            if held:
                yield _held(home, job, held[-1], moment)


def jobs_known_as_of(homes: Iterable[Home], moment: datetime) -> Iterator[Row]:
    for home in homes:
        for job in home.jobs:
            held = [moved for moved in job.history if moved.observed_at <= moment]
            if held:
                yield _held(home, job, held[-1], moment) | {"observed_at": held[-1].observed_at}


def _held(home: Home, job: Record, held: Transition, moment: datetime) -> Row:
    return {
        "job_arn": job.version.arn,
        "job_id": _job_id(job),
        "name": _fields(job)["name"],
        "membership_id": home.membership_id,
        "trained_model_arn": _fields(job)["trained_model_arn"],
        "status": held.to_status,
        "status_since": held.changed_time,
        "seconds_in_status": seconds(held.changed_time, moment),
        "is_open": held.to_status in OPEN,
        "is_listed": held.to_status != NOT_LISTED,
        "not_before": held.not_before,
        "time_basis": held.time_basis,
    }
