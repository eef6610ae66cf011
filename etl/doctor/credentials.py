"""Who we are to AWS, and which roles we may assume. What is secret of it is never shown."""

from dataclasses import dataclass
from typing import Any

from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, NoCredentialsError
from botocore.session import Session

from etl import codes, sessions
from etl.config import Aws, Membership
from etl.doctor import asking, policies
from etl.doctor.findings import Finding
from etl.doctor.patience import answer
from etl.roles import AssumedRole, Role

_FIND = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached;"
    " cron and services have an environment of their own"
)


@dataclass(frozen=True)
class Caller:
    """Who AWS takes us for."""

    arn: str
    account: str


def look_up(region: str) -> tuple[Finding, Session | None]:
    """Find the credentials with which everything begins; no session: botocore cannot read its own files."""
    try:
        session = sessions.new_session(region)
        session.get_scoped_config()
    except BotoCoreError as error:
        return _not_found(asking.line(error)), None
    try:
        credentials = answer(lambda: _fetched(session))
    except NoCredentialsError:
        return _not_found("none were found"), session
    except asking.TROUBLE as error:
        return _not_found(asking.line(error)), session
    return _judged(credentials), session


def _fetched(session: Session) -> Credentials:
    """Return the credentials, after whatever it takes to have keys: a process, a login, a role of a profile."""
    found = sessions.credentials(session)
    sessions.freeze(found)
    return found


def _not_found(said: str) -> Finding:
    return Finding("credentials", "fail", "boto3", said, _FIND)


def _judged(credentials: Credentials) -> Finding:
    """Say where credentials come from, and whether they will do for longer than hours."""
    said = f"found by its method {credentials.method}"
    if isinstance(credentials, RefreshableCredentials) or not credentials.token:
        return Finding("credentials", "ok", "boto3", said)
    said += ": temporary ones, which end within hours and which nobody renews"
    return Finding(
        "credentials", "warn", "boto3", said, "run where a role is attached, or name a profile that renews"
    )


def identify(session: Session, aws: Aws, region: str) -> tuple[Finding, Caller | None]:
    """Ask STS who we are, which everybody may. Only what proves that our credentials are bad is a failure."""
    try:
        caller = answer(lambda: _ask(session, aws, region))
    except asking.TROUBLE as error:
        if asking.code(error) in codes.REFUSALS:
            said, remedy = f"AWS refuses our credentials: {asking.line(error)}", "log in again, or renew the keys"
            return Finding("identity", "fail", "STS", said, remedy), None
        said = f"STS does not tell who we are: {asking.line(error)}"
        return Finding("identity", "warn", "STS", said, f"if you use roles, {asking.NETWORK}"), None
    return Finding("identity", "ok", "STS", f"we are {caller.arn}"), caller


def _ask(session: Session, aws: Aws, region: str) -> Caller:
    client: Any = session.create_client("sts", region, endpoint_url=aws.sts_url, config=asking.settings())
    told = client.get_caller_identity()
    return Caller(told["Arn"], told["Account"])


def assume(aws: Aws, membership: Membership, caller: Caller | None) -> Finding:
    """Assume a membership's role as a sync does it."""
    arn = membership.role_arn or ""
    role = Role(arn, membership.external_id, aws.sts_url)
    provider = AssumedRole(role, membership.region, sessions.new_session, asking.settings())
    try:
        answer(lambda: provider.load().get_frozen_credentials())
    except asking.TROUBLE as error:
        remedy = _trust(membership, caller) if asking.code(error) in codes.DENIALS else asking.NETWORK
        return Finding("role", "fail", arn, f"cannot be assumed: {asking.line(error)}", remedy)
    return Finding("role", "ok", arn, "can be assumed")


def _trust(membership: Membership, caller: Caller | None) -> str:
    arn = membership.role_arn or ""
    us = policies.principal(caller.arn) if caller else "arn:aws:iam::YOUR_ACCOUNT_ID:role/YOUR_ROLE"
    trust = policies.document(policies.trust(us, with_external_id=membership.external_id is not None))
    where = " (the external_id of your configuration goes in the place of CHOSEN_BY_THEM)" * bool(
        membership.external_id
    )
    return (
        f"let the trust policy of {arn} say{where}:\n{trust}\n"
        f"and let the policy of {us} say:\n{policies.document(policies.to_assume(arn))}"
    )
