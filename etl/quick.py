"""Quick sweeps: the newest jobs and the open ones, a few requests where a full listing takes a thousand.

They take the place of full listings while these come newest first, and for `full_every` at the longest: the head
of the listing tells what is new, and only open jobs change their status. They say nothing about any other job.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from etl import jobs
from etl.leases import Run
from etl.scope import Scope

KNOWN_IN_A_ROW = 50
"""So many known jobs at the end of a page, or a shorter page of them, end a quick sweep.

A job that AWS begins to list behind as many waits for the next full listing.
"""

_FEW_PAGES = 3  # as many requests a quick sweep may take, too


class OpenJob(NamedTuple):
    """A job that is stored as pending or in progress."""

    job_key: int
    job_arn: str
    status: str
    update_time: datetime
    collaboration_id: str
    extra: Mapping[str, Any]


def may_do(run: Run, scope: Scope, full_every: timedelta, page_size: int) -> bool:
    """Tell whether a quick sweep may take the place of a full listing, as far as the runs before tell."""
    before = run.listed
    return (
        before.newest_first is True
        and not before.full_due
        and before.scope == scope
        and run.began_within(full_every, before.at)
        and not is_short(run.expected_jobs, page_size)
    )


def is_short(jobs: int, page_size: int) -> bool:
    """Tell whether a listing is read whole with no more requests than a quick sweep may take."""
    return jobs <= _FEW_PAGES * page_size


def is_cheaper_to_ask(places: Sequence[int], pages: int, page_size: int) -> bool:
    """Tell whether it takes the fewest requests to ask now for each open job that was not listed yet.

    `places` are the jobs' expected places in the listing, counted from 0, of which so many pages have been read.
    The alternative is to read on as far as some of them, and to ask for the others then.
    """
    on_page = [place // page_size + 1 for place in places]
    to_come = [page for page in on_page if page > pages]
    overdue = len(on_page) - len(to_come)  # whoever reads on does not find them

    def requests(last_page: int) -> int:
        return last_page - pages + overdue + sum(page > last_page for page in to_come)

    return all(len(places) <= requests(page) for page in to_come)


def as_item(details: bytes, job: OpenJob) -> bytes:
    """Make the item of a listing of what AWS tells of a single job: it says more there, but two things.

    Raises ValueError where that is no JSON object.
    """
    told = msgspec.json.decode(details, type=dict[str, Any])
    item = {name: told[name] for name in jobs.FIELDS if name in told}
    unknown = {name: told.get(name, value) for name, value in job.extra.items() if name not in item}
    return msgspec.json.encode(item | unknown | {"collaborationIdentifier": job.collaboration_id})
