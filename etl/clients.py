"""Clients of AWS: one for each role and Region, shared by threads; each request in its turn."""

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
from botocore.client import BaseClient
from botocore.config import Config as ClientConfig
from botocore.credentials import CredentialResolver, Credentials

from etl import calls, onward, pace, release, roles, sessions, wire
from etl.config import Aws, Membership
from etl.roles import AssumedRole, Role

_SERVICE = "cleanroomsml"
_REQUESTS = 5  # in all, for one page: the first and four retries


@cache
def _slots(number: int) -> threading.Semaphore:
    return threading.Semaphore(number)


class Slot:
    """Lets no more than `max_concurrency` requests of this process be under way, over all clients.

    A context manager of one request at a time; one that hangs can be left behind, and its place given away.
    """

    def __init__(self, aws: Aws) -> None:
        self._slots = _slots(aws.max_concurrency)
        self._held: deque[None] = deque()  # whoever pops gives the place back: the request or who leaves it behind

    def __enter__(self) -> None:
        self._slots.acquire()
        self._held.append(None)

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Give the place of the request that is under way, if there is one, to another."""
        with suppress(IndexError):
            self._held.pop()
            self._slots.release()


@dataclass
class _Place:
    """Where a client is, once it is made. Its lock is its own: nothing ends a `credential_process` that hangs."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    client: BaseClient | None = None


_places: dict[tuple[object, ...], _Place] = {}
_places_lock = threading.Lock()


def _key(aws: Aws, membership: Membership) -> tuple[object, ...]:
    return aws, membership.region, membership.role_arn, membership.external_id


def client(aws: Aws, membership: Membership) -> BaseClient:
    """Return the one client of this role and region, shared by all threads."""
    with _places_lock:
        place = _places.setdefault(_key(aws, membership), _Place())
    with place.lock:
        if place.client is None:
            place.client = _new_client(aws, membership)
        return place.client


def replace(aws: Aws, membership: Membership, used: BaseClient) -> None:
    """Let the next call make a new client, which looks for credentials again.

    Of the threads that share a client the first one does it: the others find its successor.
    """
    with _places_lock:
        key = _key(aws, membership)
        place = _places.get(key)
        if place and place.client is used:
            _drop(key)


def begin_anew(aws: Aws, membership: Membership) -> None:
    """Leave behind what may hang, be it in the look for credentials: the next call begins anew."""
    with _places_lock:
        _drop(_key(aws, membership))
    if membership.role_arn:
        roles.forget_refusals(_role(aws, membership, membership.role_arn))


def begin_all_anew() -> None:
    """Begin anew with all, whatever was refused: somebody says that something was mended."""
    with _places_lock:
        for key in list(_places):
            _drop(key)
    roles.forget_refusals()


def _drop(key: tuple[object, ...]) -> None:
    """Leave a client to the requests that are under way with it, and close its other connections."""
    place = _places.pop(key, None)
    if place and place.client:
        place.client.close()


def _role(aws: Aws, membership: Membership, arn: str) -> Role:
    return Role(arn, membership.external_id, aws.sts_url)


def _new_client(aws: Aws, membership: Membership) -> BaseClient:
    session = sessions.new_session(membership.region)
    if membership.role_arn:
        role = _role(aws, membership, membership.role_arn)
        provider = AssumedRole(role, membership.region, sessions.new_session, _client_config(aws))
        session.register_component("credential_provider", CredentialResolver([provider]))
    credentials = sessions.credentials(session)  # a client without any would never look for them again
    made: BaseClient = boto3.Session(botocore_session=session).client(
        _SERVICE,
        region_name=membership.region,
        endpoint_url=aws.endpoint_url,
        config=_client_config(aws),
    )
    wire.read_on(made, _SERVICE)
    onward.remember_on(made, _SERVICE)
    calls.count_on(made, _SERVICE)
    if aws.requests_per_second is not None:
        _pace(made, membership, credentials, aws.requests_per_second)
    return made


def _pace(made: BaseClient, membership: Membership, credentials: Credentials, limit: float) -> None:
    """Let each request, retries too, wait for its turn; before it is signed, since signatures age in minutes."""
    bucket = pace.bucket(membership.account_id or "default", membership.region, limit)

    def take_turn(**_: object) -> None:
        sessions.freeze(credentials)  # a role that cannot be assumed takes no turn from the others
        bucket.take(limit)

    def listen(parsed_response: dict[str, Any] | None, **_: object) -> None:
        if calls.is_throttle(parsed_response):
            bucket.slow_down()

    made.meta.events.register_first(f"request-created.{_SERVICE}", take_turn)
    made.meta.events.register(f"response-received.{_SERVICE}", listen)


def _client_config(aws: Aws) -> ClientConfig:
    settings: dict[str, Any] = {
        "connect_timeout": 10,
        "read_timeout": 60,
        "retries": {"mode": "standard", "total_max_attempts": _REQUESTS},
        # botocore would compose its own twice a request, a twelfth of the processor time of one. AWS logs this.
        "user_agent": f"cleanroomsml-etl/{release.version()}",
        "max_pool_connections": aws.max_concurrency,
    }
    return ClientConfig(**settings)
