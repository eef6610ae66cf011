"""The simulated service: its memberships, models and jobs, and the truth about each job's history."""

import bisect
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from random import Random
from threading import RLock
from typing import Any

from etl.demo import paging
from etl.demo.clock import real_time
from etl.demo.membership import Membership, TrainedModel
from etl.demo.resources import Job, Listed, RawItem, to_json, whole_milliseconds

MOST_RESULTS = 100


class Refused(Exception):  # noqa: N818 - the service refuses; nothing went wrong in it
    """The service says no, in AWS's words: an error code and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class World:
    """The state of the simulated service. Every operation is atomic: a server and a test may use it at once.

    With the same `now` and the same seeded `random`, the same calls make the same ids and the same world.
    """

    def __init__(
        self,
        now: Callable[[], datetime] = real_time,
        *,
        random: Random | None = None,
        newest_first: bool = True,
    ) -> None:
        self.now = now
        self.random = random or Random()  # noqa: S311 - ids of a simulation, no secrets
        self.newest_first = newest_first
        self.memberships: dict[str, Membership] = {}
        self._secret = self.random.randbytes(16)
        self._lock = RLock()

    # What a test or a scenario does to the world

    def add_membership(
        self,
        membership_id: str | None = None,
        *,
        region: str = "us-east-1",
        account: str = "111122223333",
        collaboration_id: str | None = None,
        partition: str = "aws",
    ) -> Membership:
        """Add an empty membership."""
        with self._lock:
            membership = Membership(
                id=membership_id or self._uuid(),
                region=region,
                account=account,
                collaboration_id=collaboration_id or self._uuid(),
                partition=partition,
            )
            self.memberships[membership.id] = membership
            return membership

    def add_trained_model(
        self,
        membership: Membership,
        name: str = "lookalike-scorer",
        *,
        version_identifier: str | None = None,
        description: str | None = None,
    ) -> TrainedModel:
        """Add a trained model, or one more version of it: the ARN follows from the name."""
        with self._lock:
            model = TrainedModel(
                arn=membership.arn_of("trained-model", name),
                membership_id=membership.id,
                collaboration_id=membership.collaboration_id,
                name=name,
                create_time=whole_milliseconds(self.now()),
                configured_model_algorithm_association_arn=membership.arn_of(
                    "configured-model-algorithm-association", name
                ),
                version_identifier=version_identifier,
                description=description,
            )
            membership.models.append(model)
            return model

    def create_job(
        self,
        membership: Membership,
        model: TrainedModel | None = None,
        *,
        status: str = "CREATE_PENDING",
        job_id: str | None = None,
        **fields: Any,
    ) -> Job:
        """Create a job now, or at `create_time`; `fields` are those of `Job`.

        Without a model it runs the membership's first, which is added if there is none.
        """
        with self._lock:
            model = model or next(iter(membership.models), None) or self.add_trained_model(membership)
            born = whole_milliseconds(fields.pop("create_time", None) or self.now())
            changed = whole_milliseconds(fields.pop("update_time", None) or born)
            arn = membership.arn_of("trained-model-inference-job", job_id or self._uuid())
            told = membership.job_defaults(model) | {"arn": arn} | fields
            job = Job(**told, status=status, create_time=born, update_time=changed)
            job.truth.append((status, changed))
            self._place(membership, job, job.arn)
            return job

    def set_status(
        self,
        job: Job,
        status: str,
        *,
        at: datetime | None = None,
        update_time: datetime | None = None,
        details: tuple[str, str] | None = None,
    ) -> None:
        """Change a job's status at the true moment `at` (now); the wire will say `update_time` (`at`)."""
        with self._lock:
            moment = whole_milliseconds(at or self.now())
            job.truth.append((status, moment))
            job.status = status
            job.status_details = details
            job.update_time = whole_milliseconds(update_time or moment)
            job.cached = None

    def edit(self, job: Job, *, touch: bool = True, **fields: Any) -> None:
        """Change any other fields of a job; `touch` moves its `update_time` to now."""
        if "status" in fields:
            raise ValueError("set_status changes the status: the truth has to know")
        with self._lock:
            if touch:
                job.update_time = whole_milliseconds(self.now())
            for name, value in fields.items():
                setattr(job, name, value)
            job.cached = None

    def override(self, job: Job, wire: Mapping[str, object]) -> None:
        """Lay `wire` over the job's JSON, sane or not; `ABSENT` leaves a field out."""
        with self._lock:
            job.overrides = (job.overrides or {}) | dict(wire)
            job.cached = None

    def put_raw(self, membership: Membership, item: object) -> RawItem:
        """List any JSON value, or bytes as they are; its place is that of a job created now."""
        with self._lock:
            raw = RawItem(item, whole_milliseconds(self.now()))
            self._place(membership, raw, raw.arn)
            return raw

    def remove(self, membership: Membership, item: Job | RawItem) -> None:
        """Take an item away, as if it had never been: neither List nor Get knows it any more."""
        with self._lock:
            membership.items.remove(item)
            if item.arn is not None and membership.by_arn.get(item.arn) is item:
                del membership.by_arn[item.arn]

    def put_back(self, membership: Membership, job: Job) -> None:
        """List a removed job again, in its old place."""
        with self._lock:
            self._place(membership, job, job.arn)

    def jobs(self, membership: Membership) -> list[Job]:
        """List the jobs, oldest first, without the raw items."""
        with self._lock:
            return [item for item in membership.items if isinstance(item, Job)]

    def open_jobs(self, membership: Membership) -> list[Job]:
        """List the jobs that wait, run or are being cancelled."""
        return [job for job in self.jobs(membership) if job.is_open]

    # What a client may ask

    def list_jobs(
        self,
        membership_id: str,
        *,
        trained_model_arn: str | None = None,
        version: str | None = None,
        token: str | None = None,
        max_results: int = MOST_RESULTS,
    ) -> bytes:
        """Tell one page of jobs.

        There is no snapshot, as with the real service: what moves between pages may be told twice or never.
        """
        scope = ("jobs", membership_id, trained_model_arn, version)
        with self._lock:
            items = self.memberships[membership_id].items
            wanted = [trained_model_arn, version]
            found: list[bytes] = []
            for offset in range(self._offset(scope, token), len(items)):
                item = items[-1 - offset if self.newest_first else offset]
                if wanted == [None, None] or _matches(item, wanted):
                    if len(found) == max_results:
                        return paging.page(b"trainedModelInferenceJobs", found, self._token(scope, offset))
                    found.append(item.rendered())
            return paging.page(b"trainedModelInferenceJobs", found, None)

    def get_job(self, membership_id: str, arn: str) -> bytes:
        """Tell all that is known of one job."""
        with self._lock:
            item = self.memberships[membership_id].by_arn.get(arn)
            if item is None:
                raise Refused("ResourceNotFoundException", f"Resource not found: {arn}")
            return to_json(item.details())

    def list_trained_models(
        self, membership_id: str, *, token: str | None = None, max_results: int = MOST_RESULTS
    ) -> bytes:
        """Tell one page of models, each by its newest version."""
        with self._lock:
            newest = {model.arn: model for model in self.memberships[membership_id].models}
            return self._page_of_models(("models", membership_id), [*newest.values()], token, max_results)

    def list_versions(
        self, membership_id: str, arn: str, *, token: str | None = None, max_results: int = MOST_RESULTS
    ) -> bytes:
        """Tell one page of the versions of a model."""
        with self._lock:
            versions = [model for model in self.memberships[membership_id].models if model.arn == arn]
            if not versions:
                raise Refused("ResourceNotFoundException", f"Resource not found: {arn}")
            return self._page_of_models(("versions", membership_id, arn), versions, token, max_results)

    def _page_of_models(
        self, scope: paging.Scope, models: Sequence[TrainedModel], token: str | None, max_results: int
    ) -> bytes:
        start = self._offset(scope, token)
        end = start + max_results
        more = self._token(scope, end) if end < len(models) else None
        return paging.page(b"trainedModels", [to_json(model.wire()) for model in models[start:end]], more)

    def _place(self, membership: Membership, item: Listed, arn: str | None) -> None:
        items = membership.items
        if not items or items[-1].listed_at <= item.listed_at:  # nearly always, and cheap
            items.append(item)
        else:
            bisect.insort(items, item, key=attrgetter("listed_at"))
        if arn is not None:
            membership.by_arn.setdefault(arn, item)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def _token(self, scope: paging.Scope, offset: int) -> str:
        return paging.issue(self._secret, scope, offset)

    def _offset(self, scope: paging.Scope, token: str | None) -> int:
        try:
            return 0 if token is None else paging.redeem(self._secret, scope, token)
        except ValueError as error:
            raise Refused("ValidationException", "Invalid nextToken") from error


def _matches(item: Listed, wanted: Sequence[str | None]) -> bool:
    return all(want in (None, have) for want, have in zip(wanted, item.model, strict=True))
