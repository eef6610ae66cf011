"""What an inference job is: one frozen record, decoded from one wire item.

The wire item is a ``TrainedModelInferenceJobSummary`` of the API operation ``ListTrainedModelInferenceJobs``.
"""

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple

import msgspec

OPEN_STATUSES = ("CREATE_PENDING", "CREATE_IN_PROGRESS", "CANCEL_PENDING", "CANCEL_IN_PROGRESS")
ENDS = ("ACTIVE", "CREATE_FAILED", "CANCEL_FAILED", "INACTIVE")
KNOWN_STATUSES = frozenset((*OPEN_STATUSES, *ENDS))

NOT_LISTED = "NOT_LISTED"
"""Our own status of a job that AWS no longer lists; every other status is AWS's text."""

DETAILS_LIMIT = 4096
"""Characters kept of ``metricsStatusDetails`` and ``logsStatusDetails``, whose length AWS does not bound."""

STATUS_LIMIT = 256
"""Characters of a status. It is part of an index key, and Postgres bounds those (2,704 bytes)."""

_DEEPEST = 100  # levels of an unknown field: it is encoded again, and deep nesting ends in a RecursionError

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""A time before this is absurd: AWS did not exist."""

# Part of every digest. Raise it when `decode` changes what it makes of an item: every stored job is then
# decoded once more, though its bytes are the same.
_DECODER = b"etl-job-1"

_ARN = re.compile(
    r"arn:aws[-a-z]*:cleanrooms-ml:[-a-z0-9]+:[0-9]{12}:"
    r"(?:membership/(?P<membership>[-0-9a-f]{36})/)?trained-model-inference-job/[-a-zA-Z0-9_/.]+"
)
_ARN_LIMIT = 2048
_MODEL_LIMIT = 2400  # bytes of a model's ARN and version together: those are a part of an index key, too
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")  # Postgres text holds neither NUL nor half a surrogate pair

_Time = str | float  # ISO 8601, or epoch seconds: as botocore reads them
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class BadItemError(ValueError):
    """A wire item that cannot be a job of this membership; the text says why, naming the field."""


class Job(msgspec.Struct, frozen=True):
    """One inference job as AWS showed it at one moment; the fields are the columns that hold them."""

    job_arn: str
    name: str
    description: str | None
    status: str
    create_time: datetime
    update_time: datetime
    collaboration_id: str
    trained_model_arn: str
    trained_model_version_identifier: str | None
    configured_model_algorithm_association_arn: str | None
    output_accept: str | None
    output_account_ids: list[str]
    payer_account_id: str | None
    metrics_status: str | None
    metrics_status_details: str | None
    logs_status: str | None
    logs_status_details: str | None
    extra: dict[str, Any]


class Decoded(NamedTuple):
    """A job, and how many characters of its item could not be stored as they came."""

    job: Job
    replaced: int


class _Member(msgspec.Struct, rename="camel"):
    account_id: _Text


class _Output(msgspec.Struct, rename="camel"):
    members: tuple[_Member, ...]
    accept: str | None = None


class _Summary(msgspec.Struct, rename="camel"):
    """The wire item: what AWS promises has no default, what it may omit has None."""

    trained_model_inference_job_arn: str
    membership_identifier: str
    trained_model_arn: _Text
    collaboration_identifier: _Text
    status: Annotated[str, msgspec.Meta(min_length=1, max_length=STATUS_LIMIT)]
    output_configuration: _Output
    name: str
    create_time: _Time
    update_time: _Time
    trained_model_version_identifier: str | None = None
    configured_model_algorithm_association_arn: str | None = None
    description: str | None = None
    metrics_status: str | None = None
    metrics_status_details: str | None = None
    logs_status: str | None = None
    logs_status_details: str | None = None
    ml_model_inference_payer_account_id: str | None = None


FIELDS: tuple[str, ...] = _Summary.__struct_encode_fields__
"""The fields of a wire item that are known, by their names on the wire."""


class _MemberAlone(_Member, forbid_unknown_fields=True):
    pass


class _OutputAlone(_Output, forbid_unknown_fields=True, kw_only=True):
    members: tuple[_MemberAlone, ...]


class _SummaryAlone(_Summary, forbid_unknown_fields=True, kw_only=True):
    """A wire item without any field that this release does not know: it needs no second look."""

    output_configuration: _OutputAlone


_decode_alone = msgspec.json.Decoder(_SummaryAlone).decode


def digest(item: bytes) -> str:
    """Return the 128-bit digest of a wire item, in hexadecimal: equal bytes need no second decoding."""
    return blake2b(item, digest_size=16, person=_DECODER).hexdigest()


def decode(item: bytes, membership_id: str, latest: datetime) -> Decoded:
    """Decode one wire item of this membership's listing.

    `latest` is the last moment that a time of AWS may name. Raises `BadItemError`.
    """
    summary, extra, replaced = _read(item)
    _check_owner(summary, membership_id)
    _check_model(summary)
    if summary.status == NOT_LISTED:
        raise BadItemError(f"status is a word of our own: {NOT_LISTED}")
    job = Job(
        job_arn=summary.trained_model_inference_job_arn,
        name=summary.name,
        description=summary.description,
        status=summary.status,
        create_time=_instant("createTime", summary.create_time, latest),
        update_time=_instant("updateTime", summary.update_time, latest),
        collaboration_id=summary.collaboration_identifier,
        trained_model_arn=summary.trained_model_arn,
        trained_model_version_identifier=summary.trained_model_version_identifier,
        configured_model_algorithm_association_arn=summary.configured_model_algorithm_association_arn,
        output_accept=summary.output_configuration.accept,
        output_account_ids=[member.account_id for member in summary.output_configuration.members],
        payer_account_id=summary.ml_model_inference_payer_account_id,
        metrics_status=summary.metrics_status,
        metrics_status_details=_bounded(summary.metrics_status_details),
        logs_status=summary.logs_status,
        logs_status_details=_bounded(summary.logs_status_details),
        extra=extra,
    )
    return Decoded(job, replaced)


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return round(moment.timestamp() * 1_000_000)


def storable(words: str) -> str:
    """Return a text that Postgres can store, for what is told of an item rather than taken from it."""
    return _NOT_STORABLE.sub("\ufffd", words)


def _read(item: bytes) -> tuple[_Summary, dict[str, Any], int]:
    """Return the fields of an item that are known, the others, and how many characters became U+FFFD."""
    if not _has_escapes(item):
        try:
            return _decode_alone(item), {}, 0  # a sixth of the time that all below takes
        except (ValueError, RecursionError):
            pass
    document, replaced = _document(item)
    try:
        summary = msgspec.convert(document, _Summary)
    except msgspec.ValidationError as error:
        raise BadItemError(str(error)) from error
    return summary, _unknown_fields(document), replaced


def _has_escapes(item: bytes) -> bool:
    """Whether a text of this item may hold what Postgres cannot store: NUL or half a surrogate pair."""
    return b"\\" in item and b"\\u" in item  # one byte is found four times as fast as two


def _document(item: bytes) -> tuple[Any, int]:
    """Parse an item; the second figure counts the characters that became U+FFFD."""
    if not _has_escapes(item):
        try:
            return msgspec.json.decode(item), 0
        except (ValueError, RecursionError):
            pass  # the tolerant path below either reads it or says what is wrong
    try:
        return _storable(json.loads(item.decode("utf-8", "surrogateescape"), strict=False))
    except (ValueError, RecursionError) as error:
        raise BadItemError(f"not readable as JSON: {error}") from error


def _storable(value: Any) -> tuple[Any, int]:
    """Replace the characters that Postgres cannot store, keys included, and count them."""
    if isinstance(value, str):
        return _NOT_STORABLE.subn("\ufffd", value)
    if isinstance(value, list):
        items = [_storable(item) for item in value]
        return [item for item, _ in items], sum(count for _, count in items)
    if isinstance(value, dict):
        pairs = [(_storable(key), _storable(item)) for key, item in value.items()]
        return {key[0]: item[0] for key, item in pairs}, sum(key[1] + item[1] for key, item in pairs)
    return value, 0


def _check_owner(summary: _Summary, membership_id: str) -> None:
    arn = summary.trained_model_inference_job_arn
    match = _ARN.fullmatch(arn)
    if match is None or len(arn) > _ARN_LIMIT:
        raise BadItemError(f"trainedModelInferenceJobArn is no ARN of an inference job: {arn[:200]!r}")
    for field, owner in (
        ("trainedModelInferenceJobArn", match["membership"] or membership_id),
        ("membershipIdentifier", summary.membership_identifier),
    ):
        if owner != membership_id:
            raise BadItemError(f"{field} names another membership: {owner[:40]!r}")


def _check_model(summary: _Summary) -> None:
    named = summary.trained_model_arn + (summary.trained_model_version_identifier or "")
    if len(named.encode()) > _MODEL_LIMIT:
        raise BadItemError(
            f"trainedModelArn and trainedModelVersionIdentifier have more than {_MODEL_LIMIT:,} bytes together:"
            f" {named[:200]!r}"
        )


def _instant(field: str, value: str | float, latest: datetime) -> datetime:
    try:
        moment = datetime.fromtimestamp(value, UTC) if isinstance(value, float) else _aware_moment(value)
    except (OverflowError, ValueError, OSError) as error:
        raise BadItemError(f"{field} is no moment: {str(value)[:100]!r} ({error})") from error
    if moment < EARLIEST:
        raise BadItemError(f"{field} lies before {EARLIEST:%Y}: {moment.isoformat()}")
    if moment > latest:
        raise BadItemError(f"{field} lies more than a day in the future: {moment.isoformat()}")
    return moment


def _aware_moment(value: str) -> datetime:
    moment = _written_moment(value.upper())
    if moment.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    return moment.astimezone(UTC)


def _written_moment(value: str) -> datetime:
    """Read what botocore reads: ISO 8601, epoch seconds, or the date of an HTTP header."""
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        pass
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except ValueError:
        return parsedate_to_datetime(value)


def _bounded(details: str | None) -> str | None:
    if details is None or len(details) <= DETAILS_LIMIT:
        return details
    return f"{details[:DETAILS_LIMIT]} [cut: {len(details):,} characters]"


def _unknown_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that AWS sent and this release does not know, at whatever depth they stand."""
    extra = _without(document, _Summary)
    output = _without(document["outputConfiguration"], _Output)
    members = [_without(member, _Member) for member in document["outputConfiguration"]["members"]]
    if any(members):
        output["members"] = members
    unknown = extra | {"outputConfiguration": output} if output else extra
    for field, value in unknown.items():
        if _is_deeper(value, _DEEPEST):
            raise BadItemError(f"{field[:200]!r} is nested more than {_DEEPEST} levels deep")
    return unknown


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(item, levels - 1) for item in inner)


def _without(fields: dict[str, Any], known: type[msgspec.Struct]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in known.__struct_encode_fields__}
