"""What is stored beside what was true: independent of all that the product knows of itself.

What polling cannot see is no error: of the statuses that a job had, some may be missing. But each that is stored
must have been, in this order, and its true moment must lie in the window that is stored with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from model import Edit, Record, Transition
from stored import WIRE_NAMES, Stored, snapshot

from etl import database
from faults.estate import NOT_LISTED, Estate, Life, Step

_TICK = timedelta(milliseconds=1)
"""The truth is told in whole ones, cut off."""

_KNOWN = {
    *WIRE_NAMES.values(), "trainedModelInferenceJobArn", "membershipIdentifier", "status", "outputConfiguration",
    "createTime", "updateTime",
}  # fmt: skip

LOST, WRONG, GHOSTS = "jobs lost", "jobs wrong", "ghosts"
INVENTED, OUTSIDE = "statuses invented or out of order", "true moments outside their windows"
FALSE_ABSENCE = "false NOT_LISTED"
FIGURES = (LOST, WRONG, GHOSTS, INVENTED, OUTSIDE, FALSE_ABSENCE)
PASSING = {LOST, WRONG, GHOSTS}
"""What another listing may mend: history is never mended."""

Found = tuple[str, str]
"""A figure, and what it counts."""


def compare_all(url: str, estate: Estate) -> list[Found]:
    """Compare all that a database holds with all that happened."""
    members = [membership.id for membership in estate.memberships]
    with database.connect(url) as connection:
        try:
            stored = snapshot(connection, members)
        except (AssertionError, IndexError) as error:
            return [(WRONG, f"no history that can be read: {error}")]
    return compare(estate.lives, {arn: job for each in stored.values() for arn, job in each.items()})


def compare(lives: Mapping[str, Life], stored: Mapping[str, Stored]) -> list[Found]:
    """Return all that is wrong, once the world has stood still for long enough to be seen."""
    found = [(GHOSTS, arn) for arn in stored.keys() - lives.keys()]
    found += [(LOST, arn) for arn, life in lives.items() if arn not in stored and not life.is_gone]
    for arn in stored.keys() & lives.keys():
        record = stored[arn].record
        found += [(figure, f"{arn}: {what}") for figure, what in _job(lives[arn], record)]
    return found


def _job(life: Life, record: Record) -> Iterator[Found]:
    yield from _history(life.steps, record.history)
    if record.status != life.status:
        yield WRONG, f"is {record.status}, should be {life.status}"
    yield from ((WRONG, what) for what in _edits(record.edits))
    if not life.is_gone:  # of what changed just before nobody may ever have seen anything
        yield from ((WRONG, what) for what in _fields(life.job.wire(), record))


def _history(steps: Iterable[Step], history: Iterable[Transition]) -> Iterator[Found]:
    steps, history = list(steps), list(history)
    for before, after in pairwise(history):
        if (after.from_status, after.from_time) != (before.to_status, before.changed_time):
            yield INVENTED, f"{after} does not follow {before}"
    if odd := _first_without(steps, history, lambda *_: True):
        yield (FALSE_ABSENCE if odd.to_status == NOT_LISTED else INVENTED), f"{odd} in {history}, of {steps}"
    elif odd := _first_without(steps, history, _is_in_window):
        yield OUTSIDE, f"{odd}, of {steps}"


def _first_without(
    steps: list[Step], history: list[Transition], fits: Callable[[Step, Transition], bool]
) -> Transition | None:
    """Find the first change for which no step is left: each takes the earliest that it may."""
    left = iter(steps)
    for moved in history:
        if not any(step.status == moved.to_status and fits(step, moved) for step in left):
            return moved
    return None


def _is_in_window(step: Step, moved: Transition) -> bool:
    """Tell whether a change may be that step; where AWS itself names an earlier moment, nobody can know better."""
    is_possible = min(step.moment, step.told) <= moved.changed_time and step.moment <= moved.observed_at
    return is_possible and moved.not_before < step.moment + _TICK


def _edits(edits: Iterable[Edit]) -> Iterator[str]:
    last: dict[str, Any] = {}
    for edit in edits:
        for name, (old, new) in edit.changes.items():
            if name in last and last[name] != old:
                yield f"{name} was edited from {old!r}, but had been {last[name]!r}"
            last[name] = new


def _fields(wire: Mapping[str, Any], record: Record) -> Iterator[str]:
    output = wire["outputConfiguration"]
    should = {column: wire.get(name) for column, name in WIRE_NAMES.items()} | {
        "create_time": _moment(wire["createTime"]),
        "output_accept": output.get("accept"),
        "output_account_ids": [member["accountId"] for member in output["members"]],
        "extra": {name: value for name, value in wire.items() if name not in _KNOWN},
        "update_time": _moment(wire["updateTime"]),
    }
    is_ = record.version.fields | {"update_time": record.version.update_time}
    for name, value in should.items():
        if is_[name] != value:
            yield f"{name} is {is_[name]!r}, should be {value!r}"


def _moment(told: str) -> datetime:
    return datetime.fromisoformat(told).astimezone(UTC)
