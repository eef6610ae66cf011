"""Checks what AWS will read: the policies, and the stack."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

from cfnlint.decode import decode

from deploy.checks.tools import DEPLOY, said, tool

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its age: it imports pkg_resources, in a version that still has it
    import parliament

STACK = DEPLOY / "ecs/etl.yaml"

PLACES = {
    "REGION": "us-east-1",
    "YOUR_ACCOUNT_ID": "111122223333",
    "THEIR_ACCOUNT_ID": "444455556666",
    "ACCOUNT_ID": "111122223333",
    "MEMBERSHIP_ID": "3f2a1c9e-5b7d-4e8a-9c1f-0a1b2c3d4e5f",
}
"""What is to be replaced in the policies; a name that holds another one stands before it."""

NEWER_THAN_PARLIAMENT = {"cleanrooms-ml:ListTrainedModelVersions"}
"""Actions that its last release does not know; cfn-lint does."""


def policies() -> dict[str, Any]:
    """Return the IAM policies by the names of their files, as somebody would fill them in."""
    read = {}
    for file in sorted(DEPLOY.glob("iam-*.json")):
        text = file.read_text()
        for place, value in PLACES.items():
            text = text.replace(place, value)
        read[file.stem.removeprefix("iam-")] = json.loads(text)
    return read


def iam() -> Iterator[str]:
    """Read the policies with parliament, and with cfn-lint as those of a role; they must be those of the stack."""
    held = policies()
    trust = held.pop("trust-policy")
    for name, policy in held.items():
        found = parliament.analyze_policy_string(json.dumps(policy)).findings
        yield from (f"iam-{name}.json: {finding}" for finding in found if not is_outdated(finding))
    role = {
        "AssumeRolePolicyDocument": trust,
        "Policies": [{"PolicyName": name, "PolicyDocument": policy} for name, policy in held.items()],
    }
    stack = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {"Role": {"Type": "AWS::IAM::Role", "Properties": role}},
    }
    yield from said(tool("cfn-lint"), given=json.dumps(stack))
    ours = {permission for policy in held.values() for permission in permissions(policy)}
    yield from (f"only in one of iam-*.json and {STACK.name}: {each}" for each in ours ^ granted_by_the_stack())


def is_outdated(finding: parliament.finding.Finding) -> bool:
    """Tell whether it is about an action that parliament is too old to know."""
    return finding.issue == "UNKNOWN_ACTION" and finding.location["string"] in NEWER_THAN_PARLIAMENT


def granted_by_the_stack() -> set[tuple[str, str, str]]:
    """Return what the task's own role may do; each of its policies stands under a condition."""
    under_conditions = decode(str(STACK))[0]["Resources"]["TaskRole"]["Properties"]["Policies"]
    return {
        permission
        for policy in under_conditions
        for permission in permissions(policy["Fn::If"][1]["PolicyDocument"])
    }


def permissions(policy: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, effect and each action of each statement of a policy."""
    for statement in policy["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            yield statement["Sid"], statement["Effect"], action


def cloudformation() -> Iterator[str]:
    """Read the stack with cfn-lint, hints included."""
    yield from said(tool("cfn-lint"), "--include-checks", "I", "--template", STACK)
