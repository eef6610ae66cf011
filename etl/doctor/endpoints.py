"""Whether AWS can be reached in a Region, and what time it is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from botocore import UNSIGNED
from botocore.exceptions import ClientError

from etl import sessions
from etl.config import Aws, Membership
from etl.doctor import asking
from etl.doctor.clocks import Now, ahead_by
from etl.doctor.findings import Finding
from etl.doctor.patience import answer

_GRAIN = timedelta(seconds=1)  # of a Date header


@dataclass(frozen=True)
class Knock:
    """What came of it; `clock_ahead` (ours, of theirs) is None where nobody told the time."""

    finding: Finding
    clock_ahead: timedelta | None = None


def knock(aws: Aws, membership: Membership, now: Now) -> Knock:
    """Ask, unsigned, in the membership's Region: whatever the answer is, somebody is there, and tells the time."""
    try:
        url, ahead = answer(lambda: _ask(aws, membership, now))
    except asking.TROUBLE as error:
        return Knock(Finding("endpoint", "fail", membership.region, asking.line(error), asking.NETWORK))
    return Knock(Finding("endpoint", "ok", membership.region, f"{url} answers"), ahead)


def _ask(aws: Aws, membership: Membership, now: Now) -> tuple[str, timedelta | None]:
    client: Any = sessions.new_session(membership.region).create_client(
        "cleanroomsml",
        membership.region,
        endpoint_url=aws.endpoint_url,
        config=asking.settings(signature_version=UNSIGNED),
    )
    sent = now()
    try:
        answered = client.list_trained_model_inference_jobs(membershipIdentifier=membership.id, maxResults=1)
    except ClientError as refusal:
        answered = refusal.response
    return client.meta.endpoint_url, clock_ahead(answered["ResponseMetadata"]["HTTPHeaders"], sent, now())


def clock_ahead(headers: Mapping[str, str], sent: datetime, received: datetime) -> timedelta | None:
    """Return how far our clock is ahead of the one that wrote the Date header; None where there is none."""
    try:
        told = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        return None
    return ahead_by(told.replace(tzinfo=told.tzinfo or UTC), sent, received, _GRAIN)
