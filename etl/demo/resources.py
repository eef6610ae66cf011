"""What the simulated service keeps, and how each thing looks on the wire: camelCase JSON, ISO 8601 with Z."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

ABSENT: Final = object()
"""In an override: leave this field out of the JSON."""

OPEN_STATUSES: Final = frozenset({"CREATE_PENDING", "CREATE_IN_PROGRESS", "CANCEL_PENDING", "CANCEL_IN_PROGRESS"})

_JSON: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_JOB_TEXTS: Final = (
    ("trainedModelInferenceJobArn", "arn"),
    ("configuredModelAlgorithmAssociationArn", "configured_model_algorithm_association_arn"),
    ("membershipIdentifier", "membership_id"),
    ("trainedModelArn", "trained_model_arn"),
    ("trainedModelVersionIdentifier", "trained_model_version_identifier"),
    ("collaborationIdentifier", "collaboration_id"),
    ("status", "status"),
    ("name", "name"),
    ("description", "description"),
    ("metricsStatus", "metrics_status"),
    ("metricsStatusDetails", "metrics_status_details"),
    ("logsStatus", "logs_status"),
    ("logsStatusDetails", "logs_status_details"),
    ("mlModelInferencePayerAccountId", "payer_account_id"),
)


def whole_milliseconds(moment: datetime) -> datetime:
    """Cut a moment down to what the service can tell; naive datetimes are refused."""
    if moment.tzinfo is None:
        raise ValueError(f"a moment needs its time zone: {moment.isoformat()}")
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


def wire_time(moment: datetime) -> str:
    """Write a moment as AWS does, `2026-01-05T12:34:56.789Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def to_json(value: object) -> bytes:
    """Render compactly, as AWS does."""
    return _JSON.encode(value).encode()


class Listed(Protocol):
    """One item of a listing."""

    @property
    def listed_at(self) -> datetime:
        """The moment that gives the item its place in the listing."""

    @property
    def model(self) -> tuple[object, object]:
        """The trained model's ARN and version: what a listing can be filtered by."""

    def rendered(self) -> bytes:
        """Its JSON."""

    def details(self) -> dict[str, object]:
        """Give the longer answer of `GetTrainedModelInferenceJob`."""


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """An inference job: all that its summary tells. Only the `World` changes it, to keep its JSON true."""

    arn: str
    membership_id: str
    collaboration_id: str
    trained_model_arn: str
    status: str
    name: str
    create_time: datetime
    update_time: datetime
    output_account_ids: tuple[str, ...]
    trained_model_version_identifier: str | None = None
    configured_model_algorithm_association_arn: str | None = None
    description: str | None = None
    output_accept: str | None = None
    metrics_status: str | None = None
    metrics_status_details: str | None = None
    logs_status: str | None = None
    logs_status_details: str | None = None
    payer_account_id: str | None = None
    status_details: tuple[str, str] | None = None  # code and message: told by Get only
    overrides: dict[str, object] | None = None
    truth: list[tuple[str, datetime]] = field(default_factory=list)
    cached: bytes | None = field(default=None, repr=False)

    @property
    def listed_at(self) -> datetime:
        """Jobs are listed by their creation."""
        return self.create_time

    @property
    def model(self) -> tuple[object, object]:
        """The trained model's ARN and version."""
        return self.trained_model_arn, self.trained_model_version_identifier

    @property
    def is_open(self) -> bool:
        """Whether the job still waits, runs or is being cancelled, and so counts against the quota."""
        return self.status in OPEN_STATUSES

    def wire(self) -> dict[str, object]:
        """Tell the job as the list does."""
        item = {key: value for key, name in _JOB_TEXTS if (value := getattr(self, name)) is not None}
        item["outputConfiguration"] = self._output_configuration()
        item["createTime"] = wire_time(self.create_time)
        item["updateTime"] = wire_time(self.update_time)
        return _overridden(item, self.overrides) if self.overrides else item

    def rendered(self) -> bytes:
        """Its JSON, rendered once until the job changes: a listing of a million jobs must not pay twice."""
        if self.cached is None:
            self.cached = to_json(self.wire())
        return self.cached

    def details(self) -> dict[str, object]:
        """Tell the job as `GetTrainedModelInferenceJob` does: more fields, but no collaboration."""
        channel = self.arn.split("/trained-model-inference-job/")[0] + "/ml-input-channel/audience"
        more: dict[str, object] = {
            "resourceConfig": {"instanceType": "ml.m5.4xlarge", "instanceCount": 1},
            "dataSource": {"mlInputChannelArn": channel},
            "containerExecutionParameters": {"maxPayloadInMB": 6},
            "tags": {},
        }
        if self.status_details:
            code, message = self.status_details
            more["statusDetails"] = {"statusCode": code, "message": message}
        return _without_collaboration(self.wire()) | more

    def _output_configuration(self) -> dict[str, object]:
        members = {"members": [{"accountId": account} for account in self.output_account_ids]}
        return {"accept": self.output_accept, **members} if self.output_accept is not None else {**members}


@dataclass(slots=True, eq=False)
class RawItem:
    """An item that is whatever a test says it is: any JSON value, or bytes to send as they are."""

    value: object
    listed_at: datetime

    @property
    def model(self) -> tuple[object, object]:
        """Whatever the item says of its trained model."""
        fields = self._fields()
        return fields.get("trainedModelArn"), fields.get("trainedModelVersionIdentifier")

    @property
    def arn(self) -> str | None:
        """The job ARN, if the item has one."""
        arn = self._fields().get("trainedModelInferenceJobArn")
        return arn if isinstance(arn, str) else None

    def rendered(self) -> bytes:
        """Its JSON."""
        return self.value if isinstance(self.value, bytes) else to_json(self.value)

    def details(self) -> dict[str, object]:
        """Tell the same fields as the list does."""
        return _without_collaboration(self._fields())

    def _fields(self) -> Mapping[str, object]:
        return self.value if isinstance(self.value, dict) else {}


def _overridden(item: dict[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in (item | dict(overrides)).items() if value is not ABSENT}


def _without_collaboration(item: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in item.items() if key != "collaborationIdentifier"}
