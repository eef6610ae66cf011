"""The configuration: one frozen value, each section of the file a part of it."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from etl import cron, tokens, transport
from etl.kinds import (
    Address,
    Cron,
    Duration,
    Every,
    Jobs,
    MembershipId,
    ModelArn,
    ModelVersion,
    Rate,
    Region,
    RoleArn,
    Url,
    Whole,
)
from etl.scope import Scope

PACE = 4.0
"""Requests a second that the daemon sends to an account and Region: AWS is thought to allow five."""


class ConfigError(Exception):
    """The configuration cannot be used; one line a complaint, none of them holding a secret."""

    def __init__(self, complaints: Sequence[str]) -> None:
        self.complaints = tuple(
            " ".join(complaint.split()) for complaint in complaints
        )  # keys may hold a line's end
        super().__init__("\n".join(self.complaints))


class _Section(BaseModel):
    """A part of the file: closed to unknown keys, unchangeable, and silent about what it was given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Risk = tuple[str, str]
"""A key, and what is risked by its value."""


def _weak_mode(url: SecretStr) -> str | None:
    """Return the sslmode with which another machine can pose as this database, None where none can."""
    way = transport.to_database(url.get_secret_value())
    if way is None or not way.is_weak:
        return None
    # Whatever else stands in its place may be a secret, such as a whole URL that was pasted twice.
    return way.sslmode if re.fullmatch(r"[a-z -]{1,30}", way.sslmode) else "none that there is"


class Database(_Section):
    """Where the history is kept; without a URL, the private local Postgres."""

    allow_weak_tls: bool = False
    url: SecretStr | None = None
    region: Region | None = None
    iam_auth: bool = False

    @field_validator("url")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not re.match(r"postgresql(\+psycopg)?://", url.get_secret_value()):
            raise ValueError("must begin with postgresql:// (leave it out for the private local Postgres)")
        return url

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if url is not None and not others.data.get("allow_weak_tls", True):
            mode = _weak_mode(url)
            if mode is not None:
                raise ValueError(
                    f"sslmode is {mode}, with which another machine can pose as the database:"
                    f" write sslmode={transport.STRONG} in it, or set database.allow_weak_tls = true"
                )
        return url

    @field_validator("iam_auth")
    @classmethod
    def _can_log_in(cls, iam_auth: bool, others: ValidationInfo) -> bool:
        given = others.data
        if iam_auth and {"allow_weak_tls", "url", "region"} <= given.keys():
            url = given["url"].get_secret_value() if given["url"] else None
            said = tokens.objections(url, given["region"], allow_weak_tls=given["allow_weak_tls"])
            if complaint := "; ".join(said):
                raise ValueError(complaint)
        return iam_auth

    def address(self) -> str:
        """Return the URL with its password: for the driver, never for a text. Raises `ConfigError`."""
        if self.url is None:
            raise ConfigError(["database.url: is not set"])
        address = self.url.get_secret_value()
        return tokens.marked(address, self.region) if self.iam_auth else address

    def risks(self) -> Iterator[Risk]:
        """Yield what is risked on the way, since it is allowed."""
        mode = _weak_mode(self.url) if self.url and self.allow_weak_tls else None
        if mode is not None:
            yield "database.url", f"sslmode is {mode}: whoever stands in between can pose as the database"


class Aws(_Section):
    """How AWS is asked. A left-out endpoint is AWS's own."""

    allow_plain_http: bool = False
    endpoint_url: Url | None = None
    sts_endpoint_url: Url | None = None  # left out: endpoint_url
    max_concurrency: Whole = Field(8, ge=1, le=256)
    page_size: Whole = Field(100, ge=1, le=100)
    requests_per_second: Rate | None = None

    @field_validator("endpoint_url", "sts_endpoint_url")
    @classmethod
    def _is_safe(cls, url: str | None, others: ValidationInfo) -> str | None:
        host = transport.plain_http_to(url)
        if host and not others.data.get("allow_plain_http", True):
            raise ValueError(
                f"is plain http to another machine ({host}): write https://, or set aws.allow_plain_http = true"
            )
        return url

    def risks(self) -> Iterator[Risk]:
        """Yield what is risked on the way, since it is allowed."""
        for key, url in (("endpoint_url", self.endpoint_url), ("sts_endpoint_url", self.sts_endpoint_url)):
            if host := transport.plain_http_to(url):
                yield f"aws.{key}", f"is plain http to {host}: jobs and tokens can be read on the way to it"

    @property
    def sts_url(self) -> str | None:
        """Where STS is asked; None: AWS's own, in whatever Region."""
        return self.sts_endpoint_url or self.endpoint_url

    def paced(self) -> Self:
        """Return the same with a limit of requests, as who asks for years has one: `PACE` where none is set."""
        return self.model_copy(update={"requests_per_second": self.requests_per_second or PACE})


class Sync(_Section):
    """When absence is believed, how often all is listed, and for how long a writer, or AWS, may be silent."""

    absence_grace: Duration = Field(timedelta(minutes=5), le=timedelta(days=366))
    full_every: Duration = Field(timedelta(hours=6), le=timedelta(days=366))  # in between, quick sweeps may do
    lease: Duration = Field(timedelta(minutes=2), ge=timedelta(seconds=1), le=timedelta(days=1))
    deadline: Duration = Field(timedelta(minutes=10), ge=timedelta(seconds=1), le=timedelta(days=1))


class Daemon(_Section):
    """Where the daemon answers those who watch it."""

    listen: Address = "127.0.0.1:9464"


class Quota(_Section):
    """Open jobs that AWS allows at once: AWS's own defaults, unless it has raised them for you."""

    membership: Jobs = 5
    account: Jobs = 10


_BOTH = "give either every or cron, not both"


class Schedule(_Section):
    """How often a membership is listed: `every` so long, or by a `cron` line in UTC.

    While it has open jobs, `every_open` so long where that is set.
    """

    every: Every = timedelta(minutes=15)
    cron: Cron | None = None
    every_open: Every | None = None

    @model_validator(mode="after")
    def _is_one_schedule(self) -> Self:
        if self.cron is not None and "every" in self.model_fields_set:
            raise ValueError(_BOTH)
        return self

    @property
    def interval(self) -> timedelta:
        """The longest pause that the schedule itself makes between two sweeps."""
        return self.every if self.cron is None else cron.longest_pause(self.cron)

    @property
    def words(self) -> str:
        """The schedule in words: another one has others."""
        regular = f"every {self.every}" if self.cron is None else f"cron {self.cron}"
        return regular if self.every_open is None else f"{regular}, every {self.every_open} while jobs are open"


class Membership(_Section):
    """One membership to be listed, by whom, and whether all of its jobs or one model's."""

    id: MembershipId
    region: Region
    role_arn: RoleArn | None = None
    external_id: str | None = Field(None, min_length=2, max_length=1224)
    trained_model_arn: ModelArn | None = None
    trained_model_version_identifier: ModelVersion | None = None
    every: Every | None = None
    cron: Cron | None = None
    every_open: Every | None = None
    quota: Jobs | None = None
    account_quota: Jobs | None = None

    @model_validator(mode="after")
    def _has_one_schedule(self) -> Self:
        if self.every is not None and self.cron is not None:
            raise ValueError(_BOTH)
        return self

    @property
    def account_id(self) -> str | None:
        """The account of the role: calls made with it are about that account's memberships."""
        return self.role_arn.split(":")[4] if self.role_arn else None

    @property
    def scope(self) -> Scope:
        """Which jobs are listed."""
        return Scope(self.trained_model_arn, self.trained_model_version_identifier)

    def narrowed(self, scope: Scope) -> Self:
        """Return the same with a listing of other jobs."""
        filters = {
            "trained_model_arn": scope.model_arn,
            "trained_model_version_identifier": scope.model_version,
        }
        return self.model_copy(update=filters)

    @field_validator("external_id")
    @classmethod
    def _needs_a_role(cls, external_id: str | None, others: ValidationInfo) -> str | None:
        if external_id and others.data.get("role_arn", "malformed") is None:
            raise ValueError("is of no use without role_arn")
        return external_id


class Config(_Section):
    """Everything that is set."""

    database: Database = Database()
    aws: Aws = Aws()
    sync: Sync = Sync()
    schedule: Schedule = Schedule()
    daemon: Daemon = Daemon()
    quota: Quota = Quota()
    memberships: tuple[Membership, ...] = Field((), alias="membership")

    @field_validator("memberships")
    @classmethod
    def _ids_are_unique(cls, memberships: tuple[Membership, ...]) -> tuple[Membership, ...]:
        twice = [name for name, count in Counter(item.id for item in memberships).items() if count > 1]
        if twice:
            raise ValueError(f"given twice: {', '.join(twice)}")
        return memberships

    def schedule_of(self, membership: Membership) -> Schedule:
        """Return the membership's own schedule, the common one where it has none."""
        every_open = membership.every_open or self.schedule.every_open
        if membership.every is not None:
            return Schedule(every=membership.every, every_open=every_open)
        if membership.cron is not None:
            return Schedule(cron=membership.cron, every_open=every_open)
        return self.schedule.model_copy(update={"every_open": every_open})

    def quota_of(self, membership: Membership) -> Quota:
        """Return the membership's own quotas, the common ones where it has none."""
        return Quota(
            membership=membership.quota or self.quota.membership,
            account=membership.account_quota or self.quota.account,
        )

    def risks(self) -> Iterator[Risk]:
        """Yield what is allowed, and should not be for long."""
        yield from self.aws.risks()
        yield from self.database.risks()

    def only(self, ids: Sequence[str]) -> tuple[Membership, ...]:
        """Return the memberships named, all where none is; raises `ConfigError` for an unknown one."""
        known = {membership.id: membership for membership in self.memberships}
        unknown = [f"membership {name} is not configured" for name in ids if name not in known]
        if unknown:
            raise ConfigError(unknown)
        return tuple(known[name] for name in dict.fromkeys(ids)) if ids else self.memberships
