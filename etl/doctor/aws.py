"""The checks of AWS in their order: the way there and its clock, who we are, our roles, then each membership."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from etl.config import PACE, Config, Membership
from etl.console import Advance
from etl.doctor.clocks import Now, compared
from etl.doctor.credentials import Caller, assume, identify, look_up
from etl.doctor.endpoints import knock
from etl.doctor.findings import Finding, unseen
from etl.doctor.permissions import Place, may_get, may_list, may_list_models

_QUEUE = 2.0  # seconds: so many memberships are asked about at once as AWS may be asked in that time

Memberships = Sequence[Membership]


def examine(settings: Config, now: Now, advance: Advance) -> Iterator[Finding]:
    """Look at AWS, and at what we may do there; each step goes on with the memberships that the last one left."""
    found, session = look_up(settings.memberships[0].region)
    yield found
    if session is None:
        yield unseen("list", _number(settings.memberships), "nothing can be asked of AWS before that")
        return
    with _executor(settings.aws.max_concurrency) as executor:
        reachable = yield from _reachable(settings, executor, now)
        if not reachable:
            return
        if found.verdict == "fail":
            yield unseen("list", _number(reachable), "there are no credentials")
            return
        identity, caller = identify(session, settings.aws, reachable[0].region)
        yield identity
        if identity.verdict == "fail":
            yield unseen("list", _number(reachable), "AWS refuses our credentials")
            return
        assumable = yield from _assumable(settings, executor, reachable, caller)
    yield from _permitted(settings, assumable, caller, advance)


def _number(memberships: Memberships) -> str:
    return f"{len(memberships)} membership{'s' * (len(memberships) != 1)}"


@contextmanager
def _executor(workers: int) -> Iterator[Executor]:
    executor = ThreadPoolExecutor(workers)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _reachable(settings: Config, executor: Executor, now: Now) -> Generator[Finding, None, Memberships]:
    regions = {membership.region: membership for membership in settings.memberships}
    knocks = list(executor.map(lambda membership: knock(settings.aws, membership, now), regions.values()))
    yield from (knocked.finding for knocked in knocks)
    told = [knocked.clock_ahead for knocked in knocks if knocked.clock_ahead is not None]
    yield compared("AWS", told[0]) if told else unseen("clock", "AWS", "nobody there told the time")
    closed = {region for region, knocked in zip(regions, knocks, strict=True) if knocked.finding.verdict == "fail"}
    lost = [membership for membership in settings.memberships if membership.region in closed]
    if lost:
        yield unseen("list", _number(lost), f"there is no way to {', '.join(sorted(closed))}")
    return [membership for membership in settings.memberships if membership.region not in closed]


def _assumable(
    settings: Config, executor: Executor, memberships: Memberships, caller: Caller | None
) -> Generator[Finding, None, Memberships]:
    first = {_role(membership): membership for membership in reversed(memberships) if membership.role_arn}
    found = executor.map(lambda membership: assume(settings.aws, membership, caller), first.values())
    refused = set()
    for role, finding in zip(first, found, strict=True):
        yield finding
        if finding.verdict == "fail":
            refused.add(role)
    lost = [membership for membership in memberships if _role(membership) in refused]
    if lost:
        yield unseen("list", _number(lost), "their role cannot be assumed")
    return [membership for membership in memberships if _role(membership) not in refused]


def _role(membership: Membership) -> tuple[str | None, str | None]:
    return membership.role_arn, membership.external_id


def _permitted(
    settings: Config, memberships: Memberships, caller: Caller | None, advance: Advance
) -> Iterator[Finding]:
    aws = settings.aws.paced().model_copy(update={"page_size": 1})
    rate = aws.requests_per_second or PACE
    workers = max(1, min(aws.max_concurrency, int(rate * _QUEUE)))
    places = [Place(aws, membership, caller, workers / rate) for membership in memberships]
    unasked = []
    with _executor(workers) as executor:
        for done, findings in enumerate(executor.map(_ask, places), 1):
            yield from findings
            advance("memberships", done, len(places))
            if len(findings) == 1:
                unasked.append(places[done - 1].membership)
    if unasked:
        yield unseen("get", _number(unasked), "they could not be listed")


def _ask(place: Place) -> list[Finding]:
    listed = may_list(place)
    if listed.verdict != "ok":
        return [listed]
    is_filtered = place.membership.trained_model_arn or place.membership.trained_model_version_identifier
    return [listed, may_get(place), *([] if is_filtered else [may_list_models(place)])]
