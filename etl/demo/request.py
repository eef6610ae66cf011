"""What a client asked: the AWS operation behind a method, a path and a signature."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

JOBS = "ListTrainedModelInferenceJobs"
JOB = "GetTrainedModelInferenceJob"
MODELS = "ListTrainedModels"
VERSIONS = "ListTrainedModelVersions"
ASSUME_ROLE = "AssumeRole"
CALLER = "GetCallerIdentity"
UNKNOWN = "Unknown"
OPERATIONS = frozenset({JOBS, JOB, MODELS, VERSIONS, ASSUME_ROLE, CALLER, UNKNOWN})

# Paths are taken apart before they are unquoted: a job's ARN holds slashes.
_ROUTES = (
    (JOBS, re.compile(r"/memberships/(?P<membership>[^/]+)/trained-model-inference-jobs")),
    (JOB, re.compile(r"/memberships/(?P<membership>[^/]+)/trained-model-inference-jobs/(?P<resource>[^/]+)")),
    (MODELS, re.compile(r"/memberships/(?P<membership>[^/]+)/trained-models")),
    (VERSIONS, re.compile(r"/memberships/(?P<membership>[^/]+)/trained-models/(?P<resource>[^/]+)/versions")),
)
_CREDENTIAL = re.compile(r"Credential=(?P<key>[^/,\s]+)/[^/]*/(?P<region>[^/]*)/")
_ATTEMPT = re.compile(r"attempt=(\d+)")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as the endpoint received it; for STS `query` is the form."""

    operation: str
    membership: str | None = None
    resource: str | None = None  # the ARN of the job, or model, that is asked for
    query: Mapping[str, str] = field(default_factory=dict)
    access_key: str | None = None
    session_token: str | None = None
    region: str | None = None  # the one that the request is signed for
    attempt: int = 1  # botocore's own count: 2 is its first retry

    @property
    def is_sts(self) -> bool:
        """Whether the answer has to be STS's XML."""
        return self.operation in (ASSUME_ROLE, CALLER)


def parse(head: h11.Request, body: bytes) -> Request:
    """Understand a request; its signature is read, not checked: no secret is shared with the client."""
    headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
    url = urlsplit(head.target.decode("latin-1"))
    query = dict(parse_qsl(url.query or body.decode(errors="replace"), keep_blank_values=True))
    operation, parts = _route(head.method, url.path, query)
    credential = _CREDENTIAL.search(headers.get("authorization", ""))
    attempt = _ATTEMPT.search(headers.get("amz-sdk-request", ""))
    return Request(
        operation=operation,
        membership=parts.get("membership"),
        resource=parts.get("resource"),
        query=query,
        access_key=credential["key"] if credential else None,
        session_token=headers.get("x-amz-security-token"),
        region=credential["region"] if credential else None,
        attempt=int(attempt[1]) if attempt else 1,
    )


def _route(method: bytes, path: str, query: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    if method == b"POST":
        action = query.get("Action", UNKNOWN)
        return action if action in OPERATIONS else UNKNOWN, {}
    for operation, pattern in _ROUTES:
        if found := pattern.fullmatch(path):
            return operation, {name: unquote(part) for name, part in found.groupdict().items()}
    return UNKNOWN, {}
