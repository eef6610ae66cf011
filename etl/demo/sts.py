"""Simulated STS: roles that can be assumed, the expiring credentials they give, and what those may read."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from threading import Lock

from etl.demo.request import ASSUME_ROLE, Request
from etl.demo.world import Refused

ACCOUNT = "111122223333"  # the one that long-term keys belong to
_CODE_OF = {"UnrecognizedClientException": "InvalidClientTokenId"}
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass(frozen=True)
class Role:
    """A role; without `memberships` it may read them all."""

    arn: str
    external_id: str | None
    memberships: frozenset[str] | None


@dataclass(frozen=True)
class Session:
    """Credentials of an assumed role. They run by the host's clock, as botocore renews them by it."""

    role: Role
    name: str
    access_key: str
    token: str
    expires_at: datetime


class Sts:
    """Gives out session credentials and knows them again."""

    def __init__(self, lifetime: timedelta) -> None:
        self.lifetime = lifetime
        self._roles: dict[str, Role] = {}
        self._sessions: dict[str, Session] = {}
        self._expired: set[str] = set()
        self._lock = Lock()

    def add_role(self, arn: str, external_id: str | None, memberships: Iterable[str] | None) -> None:
        """Let a role be assumed."""
        allowed = None if memberships is None else frozenset(memberships)
        with self._lock:
            self._roles[arn] = Role(arn, external_id, allowed)

    def expire_all(self) -> None:
        """End all sessions now, whatever their credentials say of it."""
        with self._lock:
            self._expired.update(self._sessions)

    def session(self, request: Request) -> Session | None:
        """Find the session behind a request: None for long-term keys, of which any is good."""
        if request.access_key is None:
            raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
        with self._lock:
            session = self._sessions.get(request.access_key)
            ended = request.access_key in self._expired
        if session is None and not request.access_key.startswith("ASIA"):
            return None
        if session is None or session.token != request.session_token:
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        if ended or session.expires_at <= datetime.now(UTC):
            raise Refused("ExpiredTokenException", "The security token included in the request is expired")
        return session

    def answer(self, request: Request) -> bytes:
        """Answer AssumeRole or GetCallerIdentity, in XML."""
        session = self.session(request)
        tell = self._assume_role if request.operation == ASSUME_ROLE else _caller
        return _xml(
            {
                f"{request.operation}Response": {
                    f"{request.operation}Result": tell(request, session),
                    "ResponseMetadata": {"RequestId": secrets.token_hex(16)},
                }
            }
        ).encode()

    def _assume_role(self, request: Request, _: Session | None) -> dict[str, object]:
        with self._lock:
            role = self._roles.get(request.query.get("RoleArn", ""))
        if role is None or role.external_id not in (None, request.query.get("ExternalId")):
            asked = request.query.get("RoleArn")
            raise Refused(
                "AccessDenied", f"User is not authorized to perform: sts:AssumeRole on resource: {asked}"
            )
        session = self._begin(role, request)
        return {
            "AssumedRoleUser": {"AssumedRoleId": f"AROASIMULATED:{session.name}", "Arn": _arn(session)},
            "Credentials": {
                "AccessKeyId": session.access_key,
                "SecretAccessKey": secrets.token_urlsafe(30),
                "SessionToken": session.token,
                "Expiration": session.expires_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            },
        }

    def _begin(self, role: Role, request: Request) -> Session:
        asked = timedelta(seconds=int(request.query.get("DurationSeconds", "3600")))
        session = Session(
            role=role,
            name=request.query.get("RoleSessionName", "session"),
            access_key=f"ASIA{secrets.token_hex(8).upper()}",
            token=secrets.token_urlsafe(60),
            expires_at=datetime.now(UTC) + min(asked, self.lifetime),
        )
        with self._lock:
            self._sessions[session.access_key] = session
        return session


def error_xml(code: str, message: str) -> bytes:
    """Word an error as STS does: most of its codes only lack the `Exception` that rest-json's have."""
    told = {"Type": "Sender", "Code": _CODE_OF.get(code, code.removesuffix("Exception")), "Message": message}
    return _xml({"ErrorResponse": {"Error": told, "RequestId": secrets.token_hex(16)}}).encode()


def _caller(request: Request, session: Session | None) -> dict[str, object]:
    if session is None:
        return {
            "Arn": f"arn:aws:iam::{ACCOUNT}:user/simulated",
            "UserId": request.access_key,
            "Account": ACCOUNT,
        }
    account = session.role.arn.split(":")[4]
    return {"Arn": _arn(session), "UserId": f"AROASIMULATED:{session.name}", "Account": account}


def _arn(session: Session) -> str:
    """`arn:aws:iam::1:role/x` is seen at work as `arn:aws:sts::1:assumed-role/x/session`."""
    role = session.role.arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")
    return f"{role}/{session.name}"


def _xml(tree: dict[str, object]) -> str:
    inner = "".join(f"<{name}>{_inner(value)}</{name}>" for name, value in tree.items())
    return inner.replace(">", f' xmlns="{_NAMESPACE}">', 1) if next(iter(tree)).endswith("Response") else inner


def _inner(value: object) -> str:
    return _xml(value) if isinstance(value, dict) else escape(str(value))
