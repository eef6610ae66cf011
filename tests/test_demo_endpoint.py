"""The simulated endpoint against the real boto3: what it serves must be what AWS would send."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from random import Random
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ParamValidationError, ReadTimeoutError

from etl.demo import answers
from etl.demo.clock import Clock
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import Request
from etl.demo.resources import ABSENT
from etl.demo.scenario import OPEN_JOBS_QUOTA, Scenario, populate
from etl.demo.world import Refused, World

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIST = "ListTrainedModelInferenceJobs"
ROLE = "arn:aws:iam::111122223333:role/etl-reader"
TOKEN = "of-a-session"  # noqa: S105 - no secret, it opens nothing
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def world(clock: Clock) -> World:
    return World(clock, random=Random(1))  # noqa: S311 - seeded on purpose: the same ids each time


@pytest.fixture
def membership(world: World) -> Membership:
    return world.add_membership()


@pytest.fixture
def endpoint(world: World) -> Iterator[Endpoint]:
    with Endpoint(world) as served:
        yield served


ClientFor = Callable[..., Any]


@pytest.fixture(scope="module")
def session() -> boto3.session.Session:
    """One for all: a new one would read botocore's models again."""
    return boto3.session.Session()


@pytest.fixture
def client_for(endpoint: Endpoint, session: boto3.session.Session) -> Iterator[ClientFor]:
    """A real boto3 client of the endpoint, with few and quick retries."""
    opened: list[BaseClient] = []

    def connect(service: str = "cleanroomsml", *, attempts: int = 1, **arguments: Any) -> Any:
        config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=0.5)
        keys = {
            "aws_access_key_id": "AKIATEST",
            "aws_secret_access_key": "secret",
            "region_name": "us-east-1",
        }
        told = keys | arguments
        client: Any = session.client(service, endpoint_url=endpoint.url, config=config, **told)
        opened.append(client)
        return client

    yield connect
    for client in opened:
        client.close()


@pytest.fixture
def client(client_for: ClientFor) -> Any:
    return client_for()


@pytest.fixture(autouse=True)
def _retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


def names(client: Any, membership: Membership, **arguments: Any) -> list[str]:
    pages = client.get_paginator("list_trained_model_inference_jobs").paginate(
        membershipIdentifier=membership.id, **arguments
    )
    return [job["name"] for page in pages for job in page["trainedModelInferenceJobs"]]


def refusal(ask: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(ClientError) as refused:
        ask()
    answer = refused.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def listing(client: Any, membership: Membership) -> Any:
    return client.list_trained_model_inference_jobs(membershipIdentifier=membership.id)


# Listing


def test_a_job_reads_as_botocore_expects_it(world: World, membership: Membership, client: Any) -> None:
    job = world.create_job(membership, name="lift", description="häuser", payer_account_id="999988887777")
    world.edit(job, metrics_status="PUBLISH_SUCCEEDED", touch=False)
    [item] = listing(client, membership)["trainedModelInferenceJobs"]
    assert item == {
        "trainedModelInferenceJobArn": job.arn,
        "configuredModelAlgorithmAssociationArn": job.configured_model_algorithm_association_arn,
        "membershipIdentifier": membership.id,
        "trainedModelArn": job.trained_model_arn,
        "collaborationIdentifier": membership.collaboration_id,
        "status": "CREATE_PENDING",
        "outputConfiguration": {"accept": "text/csv", "members": [{"accountId": "111122223333"}]},
        "name": "lift",
        "description": "häuser",
        "metricsStatus": "PUBLISH_SUCCEEDED",
        "mlModelInferencePayerAccountId": "999988887777",
        "createTime": NOON,
        "updateTime": NOON,
    }


def test_pages_hold_every_job_once_the_newest_first(
    world: World, membership: Membership, client: Any, endpoint: Endpoint
) -> None:
    populate(world, membership, 250)
    assert names(client, membership) == [f"scoring-{number}" for number in reversed(range(250))]
    assert endpoint.counts[LIST] == 3


def test_the_oldest_can_come_first() -> None:
    world = World(newest_first=False)
    membership = world.add_membership()
    populate(world, membership, 3)
    page = json.loads(world.list_jobs(membership.id, max_results=2))
    assert [job["name"] for job in page["trainedModelInferenceJobs"]] == ["scoring-0", "scoring-1"]


def test_an_exact_last_page_gives_no_token(world: World, membership: Membership, client: Any) -> None:
    populate(world, membership, 100)
    assert "nextToken" not in listing(client, membership)


def test_a_filter_leaves_only_the_jobs_of_that_model_and_version(
    world: World, membership: Membership, client: Any
) -> None:
    version = "11111111-1111-4111-8111-111111111111"
    first = world.add_trained_model(membership, "first")
    second = world.add_trained_model(membership, "second", version_identifier=version)
    for number in range(3):
        world.create_job(membership, first, name=f"first-{number}")
        world.create_job(membership, second, name=f"second-{number}")
    paging = {"PageSize": 2}
    assert names(client, membership, trainedModelArn=second.arn, PaginationConfig=paging) == [
        "second-2",
        "second-1",
        "second-0",
    ]
    assert len(names(client, membership, trainedModelVersionIdentifier=version)) == 3
    assert names(client, membership, trainedModelArn=first.arn, trainedModelVersionIdentifier=version) == []


@pytest.mark.parametrize("most", [0, 101])
def test_a_page_size_that_aws_refuses_is_refused(membership: Membership, client: Any, most: int) -> None:
    with pytest.raises((client.exceptions.ValidationException, ParamValidationError)):
        client.list_trained_model_inference_jobs(membershipIdentifier=membership.id, maxResults=most)


@pytest.mark.parametrize("token", ["made up", "x", "AAAA", "ü", "AAAAAAAAAAAAMA=="])
def test_a_token_that_was_never_given_out_is_refused(world: World, membership: Membership, token: str) -> None:
    with pytest.raises(Refused, match="nextToken"):
        world.list_jobs(membership.id, token=token)


def test_a_token_of_another_listing_is_refused(world: World, membership: Membership, client: Any) -> None:
    populate(world, membership, 3)
    token = client.list_trained_model_inference_jobs(membershipIdentifier=membership.id, maxResults=1)["nextToken"]
    other = world.add_membership()
    ask = client.list_trained_model_inference_jobs
    assert refusal(lambda: ask(membershipIdentifier=other.id, nextToken=token)) == (
        "ValidationException",
        400,
    )
    version = {"trainedModelVersionIdentifier": NOBODY}
    wrong = refusal(lambda: ask(membershipIdentifier=membership.id, nextToken=token, **version))
    assert wrong == ("ValidationException", 400)


def test_the_world_can_move_between_two_pages(
    world: World, membership: Membership, client: Any, endpoint: Endpoint
) -> None:
    populate(world, membership, 3)

    def one_more(request: Request) -> None:
        if "nextToken" in request.query:
            world.create_job(membership, name="late")

    endpoint.before_page = one_more
    assert names(client, membership, PaginationConfig={"PageSize": 2}) == [
        "scoring-2",
        "scoring-1",
        "scoring-1",  # the late one has moved it to the second page
        "scoring-0",
    ]


# The state and its truth


def test_the_truth_remembers_each_status_and_its_moment(
    world: World, membership: Membership, clock: Clock, client: Any
) -> None:
    job = world.create_job(membership)
    clock.advance(MINUTE)
    world.set_status(job, "CREATE_IN_PROGRESS")
    world.set_status(job, "ACTIVE", at=NOON + 5 * MINUTE, update_time=NOON)
    assert job.truth == [
        ("CREATE_PENDING", NOON),
        ("CREATE_IN_PROGRESS", NOON + MINUTE),
        ("ACTIVE", NOON + 5 * MINUTE),
    ]
    [item] = listing(client, membership)["trainedModelInferenceJobs"]
    assert (item["status"], item["updateTime"]) == ("ACTIVE", NOON)


def test_an_edit_moves_the_update_time_unless_told_not_to(
    world: World, membership: Membership, clock: Clock
) -> None:
    job = world.create_job(membership)
    clock.advance(MINUTE)
    world.edit(job, description="x", touch=False)
    assert (job.description, job.update_time) == ("x", NOON)
    world.edit(job, description="y")
    assert (job.description, job.update_time) == ("y", NOON + MINUTE)
    with pytest.raises(ValueError, match="set_status"):
        world.edit(job, status="ACTIVE")


def test_a_naive_time_is_refused(world: World, membership: Membership) -> None:
    with pytest.raises(ValueError, match="time zone"):
        world.create_job(membership, create_time=datetime(2026, 1, 1))  # noqa: DTZ001 - naive on purpose


def test_a_removed_job_is_gone_from_list_and_get_until_it_is_put_back(
    world: World, membership: Membership, clock: Clock, client: Any
) -> None:
    job = world.create_job(membership, name="first")
    clock.advance(MINUTE)
    world.create_job(membership, name="second")
    world.remove(membership, job)
    assert names(client, membership) == ["second"]
    assert refusal(lambda: get(client, membership, job.arn)) == ("ResourceNotFoundException", 404)
    world.put_back(membership, job)
    assert names(client, membership) == ["second", "first"]


def test_odd_items_are_sent_as_they_are(world: World, membership: Membership) -> None:
    job = world.create_job(membership)
    world.override(job, {"newField": {"a": 1}, "name": None, "status": ABSENT})
    world.put_raw(membership, {"trainedModelInferenceJobArn": "odd", "trainedModelArn": 7})
    world.put_raw(membership, "no object")
    world.put_raw(membership, b'{"twice":1,"twice":2}')
    page = world.list_jobs(membership.id)
    text, number, odd, item = json.loads(page)["trainedModelInferenceJobs"]
    assert (text, number, odd["trainedModelArn"]) == ({"twice": 2}, "no object", 7)
    assert b'"twice":1' in page
    assert (item["newField"], item["name"], "status" in item) == ({"a": 1}, None, False)


def test_a_raw_item_can_be_filtered_got_and_removed(world: World, membership: Membership, client: Any) -> None:
    arn = membership.arn_of("trained-model-inference-job", "odd")
    model = membership.arn_of("trained-model", "m")
    raw = world.put_raw(membership, {"trainedModelInferenceJobArn": arn, "trainedModelArn": model, "name": "n"})
    assert names(client, membership, trainedModelArn=model) == ["n"]
    assert get(client, membership, arn)["name"] == "n"
    world.remove(membership, raw)
    assert names(client, membership) == []


def test_the_same_seed_makes_the_same_world() -> None:
    def pages(seed: int) -> list[bytes]:
        scenario = Scenario(NOON, seed=seed)
        list(scenario)
        return [scenario.world.list_jobs(membership.id) for membership in scenario.memberships]

    assert pages(7) == pages(7)
    assert pages(7) != pages(8)


def test_a_scenario_moves_within_the_quota_and_ends_when_it_should() -> None:
    scenario = Scenario(NOON)
    jobs, moments = [], []
    for moment in scenario:
        moments.append(moment)
        for membership in scenario.memberships:
            assert len(scenario.world.open_jobs(membership)) <= OPEN_JOBS_QUOTA
    jobs = [job for membership in scenario.memberships for job in scenario.world.jobs(membership)]
    assert moments == [NOON - 20 * MINUTE * left for left in reversed(range(12))]
    assert 60 <= len(jobs) <= 120
    assert max(job.update_time for job in jobs) <= NOON
    assert {"ACTIVE", "CREATE_FAILED", "INACTIVE", "CANCEL_FAILED"} <= {job.status for job in jobs}
    assert all(at < later for job in jobs for (_, at), (_, later) in zip(job.truth, job.truth[1:], strict=False))
    assert scenario.advance(MINUTE) == NOON


# The other operations


def get(client: Any, membership: Membership, arn: str) -> Any:
    return client.get_trained_model_inference_job(
        membershipIdentifier=membership.id, trainedModelInferenceJobArn=arn
    )


def test_get_tells_more_of_a_job_whose_id_holds_a_slash(world: World, membership: Membership, client: Any) -> None:
    job = world.create_job(membership, job_id="team/42")
    world.set_status(job, "CREATE_FAILED", details=("DATA_ERROR", "too few rows"))
    told = get(client, membership, job.arn)
    assert told["trainedModelInferenceJobArn"] == job.arn
    assert told["statusDetails"] == {"statusCode": "DATA_ERROR", "message": "too few rows"}
    assert told["resourceConfig"]["instanceCount"] == 1
    assert "collaborationIdentifier" not in told


def test_trained_models_are_listed_in_pages(world: World, membership: Membership, client: Any) -> None:
    for name in ("a", "b", "c"):
        world.add_trained_model(membership, name, description="x")
    pages = client.get_paginator("list_trained_models").paginate(
        membershipIdentifier=membership.id, PaginationConfig={"PageSize": 2}
    )
    models = [model for page in pages for model in page["trainedModels"]]
    assert [model["name"] for model in models] == ["a", "b", "c"]
    assert models[0]["trainedModelArn"] == membership.arn_of("trained-model", "a")


def test_a_trained_model_is_listed_once_and_its_versions_by_themselves(
    world: World, membership: Membership, client: Any
) -> None:
    versions = [f"00000000-0000-4000-8000-00000000000{digit}" for digit in range(3)]
    for version in versions:
        world.add_trained_model(membership, "a", version_identifier=version)
    world.add_trained_model(membership, "b")
    models = client.list_trained_models(membershipIdentifier=membership.id)["trainedModels"]
    assert [(model["name"], model.get("versionIdentifier")) for model in models] == [
        ("a", versions[2]),
        ("b", None),
    ]
    pages = client.get_paginator("list_trained_model_versions").paginate(
        membershipIdentifier=membership.id,
        trainedModelArn=models[0]["trainedModelArn"],
        PaginationConfig={"PageSize": 2},
    )
    assert [model["versionIdentifier"] for page in pages for model in page["trainedModels"]] == versions


def test_a_trained_model_that_is_not_there_has_no_versions(membership: Membership, client: Any) -> None:
    arn = membership.arn_of("trained-model", "none")
    ask = client.list_trained_model_versions
    assert refusal(lambda: ask(membershipIdentifier=membership.id, trainedModelArn=arn)) == (
        "ResourceNotFoundException",
        404,
    )


# Refusals


def test_an_unknown_membership_is_denied_not_missing(client: Any) -> None:
    ask = client.list_trained_model_inference_jobs
    assert refusal(lambda: ask(membershipIdentifier=NOBODY)) == ("AccessDeniedException", 403)
    assert refusal(lambda: ask(membershipIdentifier="x" * 36)) == ("ValidationException", 400)


def test_a_membership_of_another_region_is_denied(world: World, client: Any) -> None:
    ireland = world.add_membership(region="eu-west-1")
    assert refusal(lambda: listing(client, ireland)) == ("AccessDeniedException", 403)


def test_an_operation_that_is_not_simulated_is_unknown(membership: Membership, client: Any) -> None:
    ask = client.list_ml_input_channels
    assert refusal(lambda: ask(membershipIdentifier=membership.id)) == ("UnknownOperationException", 404)


def test_an_unsigned_request_is_refused(membership: Membership, endpoint: Endpoint) -> None:
    assert plain_get(endpoint, f"/memberships/{membership.id}/trained-models").status == 403


@pytest.mark.parametrize(
    "code",
    ["AccessDeniedException", "ValidationException", "ThrottlingException", "ResourceNotFoundException"],
)
def test_a_planned_error_is_botocores_own_exception(
    membership: Membership, client: Any, endpoint: Endpoint, code: str
) -> None:
    endpoint.on("GetTrainedModelInferenceJob", answers.error(code, message="as planned"))
    with pytest.raises(getattr(client.exceptions, code), match="as planned"):
        get(client, membership, membership.arn_of("trained-model-inference-job", "1"))


# Faults


def test_botocore_retries_throttling_and_the_record_shows_it(
    world: World, membership: Membership, client_for: ClientFor, endpoint: Endpoint
) -> None:
    world.create_job(membership, name="a")
    endpoint.on(LIST, answers.error("ThrottlingException"), answers.error("InternalServiceException"))
    assert names(client_for(attempts=3), membership) == ["a"]
    assert [request.attempt for request in endpoint.requests] == [1, 2, 3]


def test_botocore_gives_up_after_its_last_attempt(
    membership: Membership, client_for: ClientFor, endpoint: Endpoint
) -> None:
    endpoint.on(LIST, answers.error("ThrottlingException"), times=None)
    asked = refusal(lambda: listing(client_for(attempts=3), membership))
    assert asked == ("ThrottlingException", 429)
    assert endpoint.counts == {LIST: 3}


def test_a_reset_connection_is_retried(
    world: World, membership: Membership, client_for: ClientFor, endpoint: Endpoint
) -> None:
    world.create_job(membership, name="a")
    endpoint.on(LIST, answers.reset())
    assert names(client_for(attempts=2), membership) == ["a"]


def test_a_reset_is_a_real_one(membership: Membership, endpoint: Endpoint) -> None:
    endpoint.on(LIST, answers.reset())
    with pytest.raises(ConnectionResetError):
        plain_get(endpoint, f"/memberships/{membership.id}/trained-model-inference-jobs")


def test_a_connection_that_is_always_reset_is_an_error(
    membership: Membership, client: Any, endpoint: Endpoint
) -> None:
    endpoint.on(LIST, answers.reset(), times=None)
    with pytest.raises(ConnectionClosedError):
        listing(client, membership)


def test_a_truncated_page_declares_more_than_it_sends(
    world: World, membership: Membership, endpoint: Endpoint
) -> None:
    world.create_job(membership)
    endpoint.on(LIST, answers.truncated(keep=0.25))
    reply = plain_get(endpoint, f"/memberships/{membership.id}/trained-model-inference-jobs", signed=True)
    assert reply.declared > 4 * len(reply.body) - 4 > 0


@pytest.mark.parametrize(
    "damage",
    [
        answers.truncated(),
        answers.body(b"<html>Bad</html>"),
        answers.body(b""),
        answers.body(b'{"trainedMod'),
    ],
)
def test_damage_reaches_botocore_which_takes_it_for_an_empty_page(
    world: World, membership: Membership, client: Any, endpoint: Endpoint, damage: answers.Answer
) -> None:
    world.create_job(membership)
    endpoint.on(LIST, damage)
    assert "trainedModelInferenceJobs" not in listing(client, membership)


def test_html_with_an_error_status_is_an_error(membership: Membership, client: Any, endpoint: Endpoint) -> None:
    endpoint.on(LIST, answers.body(b"<html>Bad Gateway</html>", status=502))
    assert refusal(lambda: listing(client, membership))[1] == 502


def test_a_literal_page_is_sent_as_it_is(membership: Membership, client: Any, endpoint: Endpoint) -> None:
    endpoint.on(LIST, answers.page({"trainedModelInferenceJobs": [], "nextToken": "again"}), times=1)
    assert listing(client, membership)["nextToken"] == "again"


@pytest.mark.parametrize("silence", [answers.slow(5), answers.truncated(stall_seconds=5)])
def test_an_answer_that_takes_too_long_times_out(
    membership: Membership, client: Any, endpoint: Endpoint, silence: answers.Answer
) -> None:
    endpoint.on(LIST, silence)
    with pytest.raises(ReadTimeoutError):
        listing(client, membership)


def test_a_slow_answer_may_be_any_other(membership: Membership, client: Any, endpoint: Endpoint) -> None:
    endpoint.on(LIST, answers.slow(0.01, answers.error("ThrottlingException")))
    assert refusal(lambda: listing(client, membership)) == ("ThrottlingException", 429)


def test_answers_come_in_turn_as_often_as_told_and_then_the_truth(
    world: World, membership: Membership, client: Any, endpoint: Endpoint
) -> None:
    world.create_job(membership, name="true")

    def named(name: str) -> answers.Answer:
        return answers.page({"trainedModelInferenceJobs": [{"name": name}]})

    endpoint.on(lambda request: request.membership == NOBODY, named("never"))
    endpoint.on(LIST, named("a"), answers.normal(), lambda request: named(request.operation), times=2)
    told = [names(client, membership) for _ in range(7)]
    assert told == [["a"], ["true"], [LIST], ["a"], ["true"], [LIST], ["true"]]


def test_a_plan_can_be_forgotten(membership: Membership, client: Any, endpoint: Endpoint) -> None:
    endpoint.on(LIST, answers.error("ThrottlingException"), times=None)
    endpoint.forget_plan()
    assert names(client, membership) == []


def test_a_plan_that_could_never_work_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(ValueError, match="at least one"):
        endpoint.on(LIST)
    with pytest.raises(ValueError, match="ListTrainedModelInferenceJobs"):
        endpoint.on("ListJobs", answers.reset())


# The record


def test_a_request_is_recorded_with_who_asked_for_what(
    membership: Membership, client_for: ClientFor, endpoint: Endpoint
) -> None:
    client = client_for(aws_session_token=TOKEN)
    client.list_trained_model_inference_jobs(membershipIdentifier=membership.id, maxResults=7)
    assert endpoint.requests == [
        Request(
            operation=LIST,
            membership=membership.id,
            query={"maxResults": "7"},
            access_key="AKIATEST",
            session_token=TOKEN,
            region="us-east-1",
        )
    ]
    endpoint.forget_requests()
    assert endpoint.counts == {}


def test_requests_at_once_are_counted(membership: Membership, client: Any, endpoint: Endpoint) -> None:
    endpoint.latency_seconds = 0.1
    threads = [threading.Thread(target=listing, args=(client, membership)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert endpoint.peak_in_flight == 3


# Credentials


def assume(sts: Any, role: str = ROLE, **arguments: Any) -> dict[str, Any]:
    given = sts.assume_role(RoleArn=role, RoleSessionName="etl", **arguments)["Credentials"]
    return {
        "aws_access_key_id": given["AccessKeyId"],
        "aws_secret_access_key": given["SecretAccessKey"],
        "aws_session_token": given["SessionToken"],
    }


@pytest.fixture
def sts(client_for: ClientFor) -> Any:
    return client_for("sts")


def test_an_assumed_role_may_list(
    membership: Membership, client_for: ClientFor, endpoint: Endpoint, sts: Any
) -> None:
    endpoint.add_role(ROLE)
    credentials = assume(sts)
    assert names(client_for(**credentials), membership) == []
    assert endpoint.requests[0].query["RoleArn"] == ROLE
    assert endpoint.requests[-1].session_token == credentials["aws_session_token"]


def test_credentials_tell_when_they_expire(endpoint: Endpoint, sts: Any) -> None:
    endpoint.add_role(ROLE)
    expiration = sts.assume_role(RoleArn=ROLE, RoleSessionName="etl", DurationSeconds=900)["Credentials"][
        "Expiration"
    ]
    assert timedelta(minutes=14) < expiration - datetime.now(UTC) <= timedelta(minutes=15)


def test_an_unknown_role_or_a_wrong_external_id_is_denied(endpoint: Endpoint, sts: Any) -> None:
    endpoint.add_role(ROLE, external_id="secret-of-ours")
    assert refusal(lambda: assume(sts, ROLE + "2")) == ("AccessDenied", 403)
    assert refusal(lambda: assume(sts)) == ("AccessDenied", 403)
    assert refusal(lambda: assume(sts, ExternalId="other")) == ("AccessDenied", 403)
    assert assume(sts, ExternalId="secret-of-ours")


def test_a_role_may_be_kept_to_some_memberships(
    world: World, membership: Membership, client_for: ClientFor, endpoint: Endpoint, sts: Any
) -> None:
    endpoint.add_role(ROLE, memberships=[membership.id])
    client = client_for(**assume(sts))
    assert names(client, membership) == []
    assert refusal(lambda: listing(client, world.add_membership())) == ("AccessDeniedException", 403)


def test_expired_credentials_are_refused_by_both_services(
    membership: Membership, client_for: ClientFor, endpoint: Endpoint, sts: Any
) -> None:
    endpoint.add_role(ROLE)
    credentials = assume(sts)
    endpoint.expire_credentials()
    old = client_for(**credentials)
    assert refusal(lambda: listing(old, membership)) == ("ExpiredTokenException", 403)
    assert refusal(client_for("sts", **credentials).get_caller_identity) == ("ExpiredToken", 403)
    assert names(client_for(**assume(sts)), membership) == []


def test_credentials_run_out_by_themselves(
    world: World, membership: Membership, session: boto3.session.Session
) -> None:
    with Endpoint(world, credential_lifetime=timedelta(0)) as endpoint:
        endpoint.add_role(ROLE)
        keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "s", "region_name": "us-east-1"}
        sts: Any = session.client("sts", endpoint_url=endpoint.url, **keys)
        client: Any = session.client("cleanroomsml", endpoint_url=endpoint.url, **(keys | assume(sts)))
        assert refusal(lambda: listing(client, membership)) == ("ExpiredTokenException", 403)
        sts.close()
        client.close()


def test_session_credentials_from_elsewhere_are_refused(membership: Membership, client_for: ClientFor) -> None:
    client = client_for(aws_access_key_id="ASIAELSEWHERE", aws_session_token=TOKEN)
    assert refusal(lambda: listing(client, membership)) == ("UnrecognizedClientException", 403)
    sts = client_for("sts", aws_access_key_id="ASIAELSEWHERE", aws_session_token=TOKEN)
    assert refusal(sts.get_caller_identity) == ("InvalidClientTokenId", 403)


def test_a_caller_learns_who_it_is(client_for: ClientFor, endpoint: Endpoint, sts: Any) -> None:
    assert sts.get_caller_identity()["Arn"] == "arn:aws:iam::111122223333:user/simulated"
    endpoint.add_role("arn:aws:iam::444455556666:role/etl-reader")
    identity = client_for("sts", **assume(sts, "arn:aws:iam::444455556666:role/etl-reader")).get_caller_identity()
    assert identity["Account"] == "444455556666"
    assert identity["Arn"] == "arn:aws:sts::444455556666:assumed-role/etl-reader/etl"


def test_sts_can_be_made_to_fail_too(endpoint: Endpoint, sts: Any) -> None:
    endpoint.on("AssumeRole", answers.error("ThrottlingException", 400, "Rate <exceeded>"))
    with pytest.raises(ClientError, match="Rate <exceeded>"):
        assume(sts)


# The server itself


class Reply:
    def __init__(self, endpoint: Endpoint, path: str, headers: dict[str, str]) -> None:
        connection = HTTPConnection(endpoint.url.removeprefix("http://"), timeout=5)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            self.status = response.status
            self.headers = response.headers
            self.declared = int(response.headers["Content-Length"])
            self.body = response.fp.read() if response.fp else b""
            response.close()
        finally:
            connection.close()


def plain_get(endpoint: Endpoint, path: str, *, signed: bool = False) -> Reply:
    scope = "Credential=AKIATEST/20260302/us-east-1/cleanrooms-ml/aws4_request"
    authorization = {"Authorization": f"AWS4-HMAC-SHA256 {scope}, Signature=0"} if signed else {}
    return Reply(endpoint, path, authorization | {"Connection": "close"})


def test_an_answer_carries_a_request_id_and_the_endpoints_date(client: Any, membership: Membership) -> None:
    metadata = listing(client, membership)["ResponseMetadata"]
    assert metadata["RequestId"]
    told = datetime.strptime(metadata["HTTPHeaders"]["date"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - told) < timedelta(seconds=5)


def test_the_endpoints_clock_can_go_wrong(client: Any, membership: Membership, endpoint: Endpoint) -> None:
    endpoint.clock_skew = timedelta(days=-3650)
    assert (
        str(datetime.now(UTC).year - 10) in listing(client, membership)["ResponseMetadata"]["HTTPHeaders"]["date"]
    )


def test_closing_does_not_wait_for_slow_answers_and_leaves_no_thread(world: World) -> None:
    before = threading.active_count()
    began = datetime.now(UTC)
    endpoint = Endpoint(world)
    endpoint.on("Unknown", answers.slow(60), times=None)
    connection = HTTPConnection(endpoint.url.removeprefix("http://"), timeout=5)
    connection.request("GET", "/")
    while not endpoint.requests:
        time.sleep(0.001)
    endpoint.close()
    endpoint.close()
    connection.close()
    assert threading.active_count() == before
    assert datetime.now(UTC) - began < timedelta(seconds=2)


def test_a_client_that_leaves_early_is_no_failure(endpoint: Endpoint, capfd: pytest.CaptureFixture[str]) -> None:
    endpoint.latency_seconds = 0.05
    connection = HTTPConnection(endpoint.url.removeprefix("http://"), timeout=5)
    connection.request("GET", "/")
    connection.close()
    endpoint.close()
    assert endpoint.failures == []
    assert capfd.readouterr() == ("", "")


def test_what_a_hook_raises_is_raised_again_on_leaving(world: World, membership: Membership) -> None:
    def broken(_: Request) -> None:
        raise KeyError("a bug in the test")

    def ask() -> None:
        with Endpoint(world) as endpoint:
            endpoint.before_page = broken
            with pytest.raises(ConnectionError):
                plain_get(endpoint, f"/memberships/{membership.id}/trained-model-inference-jobs")

    with pytest.raises(ExceptionGroup) as raised:
        ask()
    assert raised.group_contains(KeyError)


def test_a_failing_test_is_told_what_a_hook_raised(world: World) -> None:
    def ask() -> None:
        with Endpoint(world) as endpoint:
            endpoint.failures.append(KeyError("a bug in the test"))
            raise RuntimeError("the claim that failed")

    with pytest.raises(RuntimeError) as raised:
        ask()
    assert "a bug in the test" in raised.value.__notes__[0]


def test_it_serves_from_a_process_of_its_own_until_interrupted() -> None:
    command = [sys.executable, "-m", "etl.demo", "--jobs", "3", "--memberships", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        assert process.stdout is not None
        served = json.loads(process.stdout.readline())
        connection = HTTPConnection(served["url"].removeprefix("http://"), timeout=5)
        connection.request("GET", f"/memberships/{served['memberships'][1]}/trained-models")
        assert connection.getresponse().status == 403
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 0
        connection.close()
