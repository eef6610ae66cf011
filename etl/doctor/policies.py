"""IAM statements that are missing, ready to paste."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

Statement = dict[str, Any]

_SEEN_AS = re.compile(r"arn:(?P<partition>[^:]+):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/.+")


class Parts(NamedTuple):
    """What the ARNs of a membership are made of."""

    partition: str
    region: str
    account: str
    membership_id: str

    @property
    def jobs(self) -> str:
        """What the ARN of each of its jobs begins with."""
        owner = f"arn:{self.partition}:cleanrooms-ml:{self.region}:{self.account}"
        return f"{owner}:membership/{self.membership_id}/trained-model-inference-job"

    @property
    def arn(self) -> str:
        """The membership's own."""
        return f"arn:{self.partition}:cleanrooms:{self.region}:{self.account}:membership/{self.membership_id}"


def to_list(parts: Parts) -> list[Statement]:
    """Allow to list a membership's jobs."""
    return [
        {
            "Sid": "ListInferenceJobs",
            "Effect": "Allow",
            "Action": "cleanrooms-ml:ListTrainedModelInferenceJobs",
            "Resource": "*",
        },
        {
            "Sid": "UseTheMembership",
            "Effect": "Allow",
            "Action": "cleanrooms:PassMembership",
            "Resource": parts.arn,
        },
    ]


def to_get(parts: Parts) -> list[Statement]:
    """Allow, to who may list them, to ask for one of the jobs too."""
    return [
        {
            "Sid": "AskForOneJob",
            "Effect": "Allow",
            "Action": "cleanrooms-ml:GetTrainedModelInferenceJob",
            "Resource": f"{parts.jobs}/*",
        }
    ]


def to_list_models() -> list[Statement]:
    """Allow, to who may list the jobs, to list the trained models and their versions too."""
    return [
        {
            "Sid": "ListTrainedModels",
            "Effect": "Allow",
            "Action": ["cleanrooms-ml:ListTrainedModels", "cleanrooms-ml:ListTrainedModelVersions"],
            "Resource": "*",
        }
    ]


def no_job(parts: Parts) -> str:
    """Name a job that there is not, and that a policy for the membership's jobs allows to ask for."""
    return f"{parts.jobs}/asked-for-by-etl-doctor"


def trust(principal: str, with_external_id: bool) -> list[Statement]:
    """Let somebody assume the role whose trust policy says so. The external id itself is left out."""
    statement: Statement = {
        "Sid": "LetTheReaderAssumeThisRole",
        "Effect": "Allow",
        "Principal": {"AWS": principal},
        "Action": "sts:AssumeRole",
    }
    if with_external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": "CHOSEN_BY_THEM"}}
    return [statement]


def to_assume(role_arn: str) -> list[Statement]:
    """Allow to assume a role, to whom its trust policy names."""
    return [
        {
            "Sid": "AssumeTheRolesOfOtherAccounts",
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Resource": role_arn,
        }
    ]


def principal(caller_arn: str) -> str:
    """Return the ARN that a policy knows a caller by: a role at work calls itself otherwise."""
    seen = _SEEN_AS.fullmatch(caller_arn)
    return f"arn:{seen['partition']}:iam::{seen['account']}:role/{seen['role']}" if seen else caller_arn


def document(statements: Sequence[Statement]) -> str:
    """Return a policy of these statements, as lines of JSON."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=2)
