"""Credentials of memberships' roles, through STS: renewed in time, a refusal remembered for its backoff."""

import threading
import time
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any, NamedTuple

from botocore.config import Config as ClientConfig
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError
from botocore.parsers import ResponseParserError
from botocore.session import Session

from etl import backoff, sessions

_UNREADABLE = "came an answer that cannot be read; look for a proxy that answers in its place"

Metadata = dict[str, Any]
"""Credentials as botocore renews them: keys, token and time of expiry."""


class Role(NamedTuple):
    """Which role, of whom it is asked for, and with what."""

    arn: str
    external_id: str | None
    sts_endpoint_url: str | None
    """None: AWS's own, in whatever Region."""


class Refusal:
    """What STS said of one role when it last refused it: said again, without a call, until its backoff is over."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._error: BotoCoreError | ClientError | None = None
        self._failures = 0
        self._over_at = 0.0

    def unless_refused(self, assume: Callable[[], Metadata]) -> Metadata:
        """Return what `assume` does, or raise what it lately raised. Of many threads one asks, the others wait."""
        with self._lock:
            if self._error and self._monotonic() < self._over_at:
                raise copy(self._error)  # each thread its own: raising an error writes a traceback into it
            try:
                credentials = assume()
            except (BotoCoreError, ClientError) as error:
                self._remember(error)
                raise
            self._failures = 0
            return credentials

    def _remember(self, error: BotoCoreError | ClientError) -> None:
        self._failures += 1
        self._over_at = self._monotonic() + backoff.delay(_class_of(error), self._failures).total_seconds()
        self._error = copy(error)  # without its traceback, which would keep all that its frames hold


def _class_of(error: BotoCoreError | ClientError) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


class Refusals:
    """The refusal of each role, if any: shared by all threads, Regions and memberships."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._of: dict[Role, Refusal] = {}

    def of(self, role: Role) -> Refusal:
        """Return the one of this role."""
        with self._lock:
            return self._of.setdefault(role, Refusal(self._monotonic))

    def forget(self, role: Role | None = None) -> None:
        """Let a role, or each, be asked for again at once; a thread that hangs in a question is not disturbed."""
        with self._lock:
            if role is None:
                self._of.clear()
            else:
                self._of.pop(role, None)


_refusals = Refusals()


def forget_refusals(role: Role | None = None) -> None:
    """Ask STS again at once for a role that it refused, or for all of them."""
    _refusals.forget(role)


class AssumedRole(CredentialProvider):
    """Gives a session the credentials of a role, which botocore renews before they expire."""

    METHOD = "assume-role"

    def __init__(
        self,
        role: Role,
        region: str,
        new_session: Callable[[str], Session],
        config: ClientConfig,
        refusals: Refusals = _refusals,
    ) -> None:
        super().__init__()
        self._role = role
        self._region = region
        self._new_session = new_session
        self._config = config
        self._refusals = refusals

    def load(self) -> DeferredRefreshableCredentials:
        """Return credentials that call STS when they are first needed."""
        return DeferredRefreshableCredentials(refresh_using=self._renewed, method=self.METHOD)

    def _renewed(self) -> Metadata:
        return self._refusals.of(self._role).unless_refused(self._assume)

    def _assume(self) -> Metadata:
        """Ask STS for credentials; whatever else may go wrong there, raises `BotoCoreError` or `ClientError`."""
        fetcher = self._fetcher()
        try:
            return fetcher.fetch_credentials()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code"):
                raise
        except (ResponseParserError, LookupError, AttributeError):
            pass  # botocore's, of what is no XML, or not STS's
        # Outside: an error that tells a part of the answer may tell a part of the credentials.
        raise CredentialRetrievalError(provider="STS", error_msg=f"for the role {self._role.arn} {_UNREADABLE}")

    def _fetcher(self) -> AssumeRoleCredentialFetcher:
        """Return who asks with our own credentials as they are now: those in a file are replaced while we run."""
        session = self._new_session(self._region)
        ours = sessions.credentials(session)
        sessions.freeze(ours)
        create_client = partial(
            session.create_client,
            region_name=self._region,
            endpoint_url=self._role.sts_endpoint_url,
            config=self._config,
        )
        return AssumeRoleCredentialFetcher(create_client, ours, self._role.arn, extra_args=self._arguments())

    def _arguments(self) -> dict[str, str]:
        named = {"RoleSessionName": "cleanroomsml-etl"}
        return named | {"ExternalId": self._role.external_id} if self._role.external_id else named
