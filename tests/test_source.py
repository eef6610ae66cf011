"""What AWS is asked, with whose credentials, and how its refusals are told: real boto3 over real HTTP."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.retries.standard
import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from conftest import NOON, Etl, MakeEtl

from etl import clients, source
from etl.demo import answers
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import ASSUME_ROLE, JOB, JOBS, Request
from etl.demo.resources import ABSENT, Job
from etl.demo.world import World
from etl.loading import from_mapping

ROLE = "arn:aws:iam::111122223333:role/etl-reader"
HOSTILE = (
    "tab\tnewline\ncarriage\rfeed\f quote\" apostrophe' backslash\\ \\N \\. \\n {} ,"
    " \u202eright-to-left\u200f \U0001f600 \u03a9\u0301"
)


@pytest.fixture(autouse=True)
def _no_pause_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda _self, _context: 0.0)


def entry(membership: Membership, **settings: Any) -> dict[str, Any]:
    return {"id": membership.id, "region": membership.region, **settings}


def run_record(etl: Etl) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms.sync_runs ORDER BY run_id DESC LIMIT 1")[0]


def failure_of(etl: Etl) -> tuple[str, str]:
    """Sync, and return the class and text of the failure, which the report and the record tell alike."""
    report = etl.sync()
    record = run_record(etl)
    assert (report.outcome, record["outcome"]) == ("failed", "failed")
    assert not report.is_fine
    assert (report.error_class, report.error) == (record["error_class"], record["error"])
    assert report.error_class
    assert report.error
    assert report.error.isprintable()
    return report.error_class, report.error


# What is asked


def test_all_five_parameters_go_out_as_configured(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    version = "0d1f0f9e-0000-4000-8000-000000000001"
    model = world.add_trained_model(membership, version_identifier=version)
    for _ in range(5):
        world.create_job(membership, model)
    filtered = entry(membership, trained_model_arn=model.arn, trained_model_version_identifier=version)
    report = make_etl(memberships=[filtered], aws={"page_size": 2}).sync()
    first, second, third = endpoint.requests
    filters = {"trainedModelArn": model.arn, "trainedModelVersionIdentifier": version}
    assert first.query == {"maxResults": "2", **filters}
    assert {request.membership for request in endpoint.requests} == {membership.id}
    tokens = {second.query["nextToken"], third.query["nextToken"]}
    assert second.query == {"maxResults": "2", "nextToken": second.query["nextToken"], **filters}
    assert len(tokens) == 2
    assert (report.outcome, report.counts.pages, report.counts.jobs_new) == ("complete", 3, 5)


def test_a_filter_that_is_not_set_is_not_sent(etl: Etl, endpoint: Endpoint) -> None:
    etl.sync()
    assert [request.query for request in endpoint.requests] == [{"maxResults": "100"}]


def test_the_region_of_the_membership_is_the_one_signed_for(
    make_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    world.add_membership(region="eu-west-1")
    world.add_membership(region="us-gov-west-1", partition="aws-us-gov")
    reports = make_etl().sweep()
    assert {report.outcome for report in reports.values()} == {"complete"}
    assert {request.region for request in endpoint.requests} == {"eu-west-1", "us-gov-west-1"}


# What is stored


def wire_of(row: dict[str, Any]) -> dict[str, Any]:
    """Put a row of the view back into the wire's words, but for the fields that this release does not know."""
    told = {
        "trainedModelInferenceJobArn": row["job_arn"],
        "configuredModelAlgorithmAssociationArn": row["configured_model_algorithm_association_arn"],
        "membershipIdentifier": row["membership_id"],
        "trainedModelArn": row["trained_model_arn"],
        "trainedModelVersionIdentifier": row["trained_model_version_identifier"],
        "collaborationIdentifier": row["collaboration_id"],
        "status": row["status"],
        "name": row["name"],
        "description": row["description"],
        "metricsStatus": row["metrics_status"],
        "metricsStatusDetails": row["metrics_status_details"],
        "logsStatus": row["logs_status"],
        "logsStatusDetails": row["logs_status_details"],
        "mlModelInferencePayerAccountId": row["payer_account_id"],
        "createTime": _as_wire(row["create_time"]),
        "updateTime": _as_wire(row["update_time"]),
    }
    output = {
        "accept": row["output_accept"],
        "members": [{"accountId": account} for account in row["output_account_ids"]],
    }
    return _without_nulls(told | {"outputConfiguration": _without_nulls(output)})


def _as_wire(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


ODD: dict[str, dict[str, Any]] = {
    "everything": {
        "name": "full",
        "description": "plain",
        "trained_model_version_identifier": "0d1f0f9e-0000-4000-8000-000000000001",
        "metrics_status": "PUBLISH_SUCCEEDED",
        "metrics_status_details": "fine",
        "logs_status": "PUBLISH_FAILED",
        "logs_status_details": "no bucket",
        "payer_account_id": "999988887777",
        "update_time": NOON + timedelta(milliseconds=7),
    },
    "nothing optional": {
        "output_accept": None,
        "configured_model_algorithm_association_arn": None,
    },
    "hostile to COPY": {
        "name": "\\N",
        "description": HOSTILE,
        "metrics_status_details": "\\.",
        "logs_status_details": "a\n\\.\nb",
        "output_accept": "\\N",
    },
    "empty": {
        "name": "",
        "description": "",
        "metrics_status": "",
        "metrics_status_details": "",
        "logs_status_details": "",
        "output_accept": "",
    },
    "no account": {"output_account_ids": ()},
    "two accounts": {"output_account_ids": ("111122223333", "{NULL,\"\\\\N'")},
    "the word null": {"name": "NULL", "description": "null", "output_account_ids": ("NULL", "null")},
    "spaces": {"name": "  ", "description": " \u00a0\u2028\u2029\ufeff "},
    "long": {"description": "ü" * 100_000, "name": "\U0001d518" * 63},
    "a new status": {"status": "PAUSED \U0001f634"},
    "an odd id": {"job_id": "a/b.c_d-E"},
}


def test_every_field_of_every_kind_of_job_lands_in_its_column(
    etl: Etl, world: World, membership: Membership
) -> None:
    jobs = {world.create_job(membership, **fields).arn: kind for kind, fields in ODD.items()}
    assert etl.sync().outcome == "complete"
    told = {jobs[job.arn]: job.wire() for job in world.jobs(membership)}
    rows = etl.query("SELECT * FROM cleanrooms.inference_jobs")
    assert {jobs[row["job_arn"]]: wire_of(row) for row in rows} == told
    assert {row["job_arn"].split("/", 3)[3] for row in rows} == {row["job_id"] for row in rows}
    assert {(row["region"], row["account_id"]) for row in rows} == {(membership.region, membership.account)}
    assert [row["extra"] for row in rows] == [{}] * len(ODD)


OPTIONAL = (
    "configuredModelAlgorithmAssociationArn",
    "trainedModelVersionIdentifier",
    "description",
    "metricsStatus",
    "metricsStatusDetails",
    "logsStatus",
    "logsStatusDetails",
    "mlModelInferencePayerAccountId",
)


@pytest.mark.parametrize("value", [None, ABSENT], ids=["null", "absent"])
def test_an_optional_field_that_is_not_told_is_null(
    value: object, etl: Etl, world: World, membership: Membership
) -> None:
    job = world.create_job(membership, **ODD["everything"])
    world.override(job, dict.fromkeys(OPTIONAL, value))
    world.override(job, {"outputConfiguration": {"members": [], **({} if value is ABSENT else {"accept": value})}})
    assert etl.sync().outcome == "complete"
    [row] = etl.query("SELECT * FROM cleanrooms.inference_jobs")
    assert wire_of(row) == _without_nulls(job.wire()) | {"outputConfiguration": {"members": []}}


def test_unknown_fields_are_kept_at_each_depth(etl: Etl, world: World, membership: Membership) -> None:
    job = world.create_job(membership)
    output = {
        "members": [{"accountId": "111122223333", "kmsKey": HOSTILE}],
        "format": {"\\N": [1, 2.5, None, True]},
    }
    world.override(job, {"outputConfiguration": output, "newField": {"a": HOSTILE}, "big": 10**30, "none": None})
    etl.sync()
    [row] = etl.query("SELECT extra FROM cleanrooms.inference_jobs")
    assert row["extra"] == {
        "newField": {"a": HOSTILE},
        "big": 10**30,
        "none": None,
        "outputConfiguration": {"format": {"\\N": [1, 2.5, None, True]}, "members": [{"kmsKey": HOSTILE}]},
    }


# Refusals


@pytest.mark.parametrize(
    ("code", "requests"),
    [
        ("ValidationException", 1),
        ("AccessDeniedException", 1),
        ("ThrottlingException", 5),
        ("InternalServiceException", 5),
        ("ResourceNotFoundException", 1),
        ("SomethingNewException", 1),
    ],
)
def test_each_refusal_is_told_by_its_own_name_and_repeated_only_where_that_may_help(
    code: str, requests: int, etl: Etl, endpoint: Endpoint
) -> None:
    endpoint.on(JOBS, answers.error(code, message="For a reason."), times=None)
    error_class, error = failure_of(etl)
    assert error_class == code
    assert "For a reason." in error
    assert endpoint.counts[JOBS] == requests


def test_requests_retries_and_throttles_are_counted(etl: Etl, endpoint: Endpoint, world: World) -> None:
    [membership] = world.memberships.values()
    world.create_job(membership)
    slow_down, broken = answers.error("ThrottlingException"), answers.error("InternalServiceException")
    endpoint.on(JOBS, slow_down, broken, slow_down, answers.reset())
    report = etl.sync()
    record = run_record(etl)
    assert (record["outcome"], record["api_calls"], record["retries"], record["throttles"]) == (
        "complete",
        5,
        4,
        2,
    )
    assert (report.counts.api_calls, report.counts.retries, report.counts.throttles) == (5, 4, 2)
    assert record["jobs_new"] == 1


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("us-east-1", "aws"),
        ("us-gov-west-1", "aws-us-gov"),
        ("cn-north-1", "aws-cn"),
        ("eusc-de-east-1", "aws-eusc"),
    ],
)
def test_a_denied_listing_names_what_is_to_be_allowed(
    region: str, partition: str, make_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    role = ROLE.replace("arn:aws:", f"arn:{partition}:")
    endpoint.add_role(role, memberships=[])
    membership = world.add_membership(region=region, partition=partition)
    error_class, error = failure_of(make_etl(memberships=[entry(membership, role_arn=role)]))
    assert error_class == "AccessDeniedException"
    assert error.startswith(
        f"{role} may not call ListTrainedModelInferenceJobs for membership {membership.id}; allow"
        " cleanrooms-ml:ListTrainedModelInferenceJobs on * and cleanrooms:PassMembership on"
        f" arn:{partition}:cleanrooms:{region}:<account>:membership/{membership.id};"
        f" is {region} its Region? (AWS: "
    )


def test_without_a_role_the_default_credentials_are_named(make_etl: MakeEtl, endpoint: Endpoint) -> None:
    assert endpoint
    etl = make_etl(memberships=[{"id": "00000000-0000-4000-8000-000000000000", "region": "us-east-1"}])
    assert failure_of(etl)[1].startswith("the default credentials may not call ListTrainedModelInferenceJobs for")


def test_a_web_page_in_place_of_an_error_is_one_bounded_line(etl: Etl, endpoint: Endpoint) -> None:
    web_page = b"<html>\r\n<b>\x1b[31mBad\x00 gateway\xff</b>\x07\n" + b"<p>why</p>\n" * 10_000
    endpoint.on(JOBS, answers.body(web_page, status=403))
    error_class, error = failure_of(etl)
    assert error_class == "403"
    assert error.startswith("<html> <b> [31mBad gateway")
    assert len(error) <= 2_000


def test_an_error_that_nobody_can_store_is_stored(etl: Etl, endpoint: Endpoint) -> None:
    said = b'{"__type": "No\\u0000Such\\ud800\\nException", "message": "a\\u0000b\\n\\ud800\\u202ec\\u001b[2J"}'
    endpoint.on(JOBS, answers.body(said, status=400, content_type="application/json"), times=None)
    assert failure_of(etl) == ("No Such Exception", "a b c [2J")


@pytest.mark.parametrize(
    "said",
    [b"[]", b"3", b"\xff", b'{"__type": 5}', b'{"message": {}}', b"[" * 100_000],
)
def test_an_error_that_botocore_cannot_read_is_told_as_it_came(said: bytes, etl: Etl, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.body(said, status=400, content_type="application/json"))
    assert failure_of(etl) == ("400", said[:2_000].decode(errors="replace"))


def test_one_odd_field_of_an_error_costs_nothing_of_the_others(etl: Etl, endpoint: Endpoint) -> None:
    said = b'{"__type": "ValidationException", "message": "no such model", "code": 403}'
    endpoint.on(JOBS, answers.body(said, status=400, content_type="application/json"))
    assert failure_of(etl) == ("ValidationException", "no such model")


def test_an_error_without_a_body_is_told_by_its_status(etl: Etl, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.body(b"", status=403))
    assert failure_of(etl) == ("403", "no reason was given")


def test_the_session_token_that_aws_quotes_of_a_request_is_not_repeated(etl: Etl, endpoint: Endpoint) -> None:
    quoted = (
        "The Canonical String should have been\n'GET\n/\nx-amz-date:2026\nx-amz-security-token:IQoJb3JpZ2lu+/=\n'"
    )
    endpoint.on(JOBS, answers.error("InvalidSignatureException", message=quoted), times=None)
    error_class, error = failure_of(etl)
    assert error_class == "InvalidSignatureException"
    assert "IQoJb3JpZ2lu" not in error
    assert "x-amz-security-token:***" in error


def test_the_session_token_is_not_repeated_whatever_the_words_around_it(
    etl: Etl, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "IQoJb3JpZ2lu+/=")
    said = answers.error("InvalidSignatureException", message="This is no good: IQoJb3JpZ2lu+/= it is.")
    endpoint.on(JOBS, said, times=None)
    assert failure_of(etl)[1] == "This is no good: *** it is."


def test_an_error_without_a_reason_is_told_all_the_same(etl: Etl, endpoint: Endpoint) -> None:
    endpoint.on(JOBS, answers.error("ValidationException", message=""))
    assert failure_of(etl) == ("ValidationException", "no reason was given")


def test_without_credentials_the_run_fails_and_says_what_to_set(etl: Etl, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    error_class, error = failure_of(etl)
    assert error_class == "NoCredentialsError"
    assert error.startswith("no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID")


def test_without_credentials_no_role_can_be_assumed_either(
    make_etl: MakeEtl, membership: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    etl = make_etl(memberships=[entry(membership, role_arn=ROLE)])
    assert failure_of(etl)[0] == "NoCredentialsError"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of profiles that holds our own credentials, and nothing else does."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    return file


@pytest.mark.parametrize("role", [None, ROLE])
@pytest.mark.parametrize(
    "found",
    [
        "web_identity_token_file = /nowhere\nrole_arn = arn:aws:iam::111122223333:role/web",
        "credential_process = /nowhere/at-all",
        "credential_process = echo []",
        "credential_process = cat number-expires.json",
    ],
)
def test_credentials_that_cannot_be_read_are_a_failed_run(
    role: str | None,
    found: str,
    own: Path,
    make_etl: MakeEtl,
    membership: Membership,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {"Version": 1, "AccessKeyId": "AKIATESTS", "SecretAccessKey": "worthless", "Expiration": 9_999_999_999}
    (own.parent / "number-expires.json").write_text(json.dumps(keys))
    monkeypatch.chdir(own.parent)
    own.write_text(f"[default]\n{found}\n")
    code, error = failure_of(make_etl(memberships=[entry(membership, **({"role_arn": role} if role else {}))]))
    assert code in {"CredentialRetrievalError", "FileNotFoundError"}
    assert "nowhere" in error or "our own" in error


@pytest.mark.parametrize("role", [None, ROLE])
def test_a_look_for_credentials_that_hangs_is_left_behind(
    role: str | None, own: Path, make_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE)
    memberships = [entry(membership, **({"role_arn": role} if role else {}))]
    etl = make_etl(memberships=memberships, sync={"deadline": "1s"})
    own.write_text("[default]\ncredential_process = sleep 20\n")
    assert failure_of(etl)[0] == "NoProgress"
    own.write_text("[default]\naws_access_key_id = AKIATESTS\naws_secret_access_key = worthless\n")
    assert etl.sync().outcome == "complete"


@pytest.mark.parametrize(
    "code", ["ExpiredTokenException", "InvalidSignatureException", "UnrecognizedClientException"]
)
def test_who_is_refused_looks_for_credentials_once_more(
    code: str, etl: Etl, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mended_meanwhile(request: Request) -> bool:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAMENDED")
        return request.operation == JOBS

    endpoint.on(mended_meanwhile, answers.error(code))
    assert etl.sync().outcome == "complete"
    assert [request.access_key for request in endpoint.requests] == ["AKIATESTS", "AKIAMENDED"]


@pytest.mark.parametrize(
    ("operation", "role"),
    [("AssumeRoleWithWebIdentity", None), ("AssumeRoleWithWebIdentity", ROLE), ("AssumeRole", None)],
)
def test_who_is_refused_his_own_credentials_is_not_told_of_the_membership(
    operation: str,
    role: str | None,
    own: Path,
    make_etl: MakeEtl,
    membership: Membership,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "Not for you."}}, operation)

    monkeypatch.setattr(Credentials, "get_frozen_credentials", refuse)
    own.write_text("[default]\naws_access_key_id = AKIATESTS\naws_secret_access_key = worthless\n")
    told = failure_of(make_etl(memberships=[entry(membership, **({"role_arn": role} if role else {}))]))
    assert told == ("AccessDenied", f"our own credentials are not to be had ({operation}): Not for you.")


def test_a_profile_that_does_not_exist_is_a_failed_run(etl: Etl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody-s")
    assert failure_of(etl) == ("ProfileNotFound", "The config profile (nobody-s) could not be found")


def test_an_endpoint_that_is_down_is_a_failed_run(etl: Etl, endpoint: Endpoint) -> None:
    endpoint.close()
    error_class, error = failure_of(etl)
    assert error_class == "EndpointConnectionError"
    assert endpoint.url in error
    record = run_record(etl)
    assert (record["api_calls"], record["retries"]) == (5, 4)


def test_no_error_tells_a_token(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    for _ in range(2):
        world.create_job(membership)
    endpoint.on(lambda request: "nextToken" in request.query, answers.reset(), times=None)
    report = make_etl(aws={"page_size": 1}).sync()
    assert (report.outcome, report.error_class) == ("partial", "ConnectionClosedError")
    assert endpoint.url in str(report.error)
    assert endpoint.requests[-1].query["nextToken"] not in str(report.error)
    assert "nextToken" not in str(report.error)


def test_the_token_of_a_page_that_aws_quotes_is_not_repeated(
    make_etl: MakeEtl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    for _ in range(2):
        world.create_job(membership)

    def quote(request: Request) -> answers.Error:
        token = request.query["nextToken"]
        return answers.error("ValidationException", message=f"Value '{token}' at 'nextToken' failed")

    endpoint.on(lambda request: "nextToken" in request.query, quote, times=None)
    report = make_etl(aws={"page_size": 1}).sync()
    assert (report.outcome, report.error) == ("partial", "Value '***' at 'nextToken' failed")


# Where it is asked


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Stand where the way out is; yields whom the clients wanted to reach, and lets nobody through."""
    wanted: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    wanted.append(connection.recv(4096).split(b"\r\n")[0].decode())
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield wanted
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("role", "host"),
    [(None, "cleanrooms-ml.us-east-1.amazonaws.com"), (ROLE, "sts.us-east-1.amazonaws.com")],
)
def test_without_an_endpoint_aws_is_asked_wherever_aws_endpoint_url_points(
    role: str | None,
    host: str,
    database_url: str,
    endpoint: Endpoint,
    proxy: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_CLEANROOMSML", "AWS_ENDPOINT_URL_STS"):
        monkeypatch.setenv(name, endpoint.url)
    listed = {"id": "00000000-0000-4000-8000-000000000000", "region": "us-east-1"}
    settings = {"database": {"url": database_url}, "membership": [listed | ({"role_arn": role} if role else {})]}
    assert failure_of(Etl(from_mapping(settings, {})))[0] == "ProxyConnectionError"
    assert set(proxy) == {f"CONNECT {host}:443 HTTP/1.0"}
    assert endpoint.requests == []


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", None])
def test_a_profile_s_role_is_asked_for_in_the_membership_s_region_and_nowhere_else(
    variable: str | None,
    etl: Etl,
    endpoint: Endpoint,
    proxy: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    file = tmp_path / "config"
    file.write_text(
        "[profile ours]\naws_access_key_id = AKIATESTS\naws_secret_access_key = worthless\n"
        f"[profile reader]\nrole_arn = {ROLE}\nsource_profile = ours\nendpoint_url = {endpoint.url}\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "reader")
    if variable:
        monkeypatch.setenv(variable, endpoint.url)
    assert failure_of(etl)[0] == "ProxyConnectionError"
    assert set(proxy) == {"CONNECT sts.us-east-1.amazonaws.com:443 HTTP/1.0"}
    assert endpoint.requests == []


def test_the_endpoint_of_the_configuration_is_asked_wherever_aws_endpoint_url_points(
    etl: Etl, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLEANROOMSML", "http://127.0.0.1:9")
    assert etl.sync().outcome == "complete"
    assert endpoint.counts[JOBS] == 1


def test_sts_may_have_an_endpoint_of_its_own(
    make_etl: MakeEtl, membership: Membership, endpoint: Endpoint, world: World
) -> None:
    with Endpoint(world) as sts:
        sts.add_role(ROLE)
        etl = make_etl(memberships=[entry(membership, role_arn=ROLE)], aws={"sts_endpoint_url": sts.url})
        etl.sync()
        assert (set(sts.counts), set(endpoint.counts)) == ({ASSUME_ROLE}, {JOBS})


# Roles


@pytest.fixture
def with_role(make_etl: MakeEtl, membership: Membership) -> Etl:
    return make_etl(memberships=[entry(membership, role_arn=ROLE, external_id="between-us")], aws={"page_size": 1})


def test_a_role_is_assumed_with_its_external_id_and_asked_with_its_credentials(
    with_role: Etl, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE, external_id="between-us")
    assert with_role.sync().outcome == "complete"
    assumed, listed = endpoint.requests
    assert (assumed.operation, assumed.access_key) == (ASSUME_ROLE, "AKIATESTS")
    assert (assumed.query["RoleArn"], assumed.query["ExternalId"]) == (ROLE, "between-us")
    assert listed.access_key
    assert listed.access_key.startswith("ASIA")
    assert listed.session_token


def test_a_role_without_an_external_id_sends_none(
    make_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE)
    make_etl(memberships=[entry(membership, role_arn=ROLE)]).sync()
    assert "ExternalId" not in endpoint.requests[0].query


@pytest.mark.parametrize("external_id", ["another", None])
def test_a_role_that_cannot_be_assumed_is_one_clear_line(
    external_id: str | None, make_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE, external_id="between-us")
    given = {} if external_id is None else {"external_id": external_id}
    error_class, error = failure_of(make_etl(memberships=[entry(membership, role_arn=ROLE, **given)]))
    told = "the external_id given" if external_id else "no external_id"
    assert error_class == "AccessDenied"
    assert error == (
        f"the role {ROLE} cannot be assumed; its trust policy must allow sts:AssumeRole to our credentials, with"
        f" {told} (AWS: User is not authorized to perform: sts:AssumeRole on resource: {ROLE})"
    )
    assert endpoint.counts[JOBS] == 0


def test_a_role_that_is_slow_to_be_refused_is_asked_for_once(
    make_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    memberships = [entry(world.add_membership(), role_arn=ROLE) for _ in range(3)]
    endpoint.on(ASSUME_ROLE, answers.slow(0.6, answers.error("AccessDenied")), times=None)
    etl = make_etl(memberships=memberships)
    for _ in range(2):
        assert {report.error_class for report in etl.sweep().values()} == {"AccessDenied"}
    assert endpoint.counts[ASSUME_ROLE] == 1


@pytest.mark.parametrize("code", ["ExpiredToken", "RegionDisabledException"])
def test_another_trouble_with_a_role_is_told_as_it_is(
    code: str, make_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.on(ASSUME_ROLE, answers.error(code, message="For a reason."))
    error = failure_of(make_etl(memberships=[entry(membership, role_arn=ROLE)]))[1]
    assert error == f"the role {ROLE} cannot be assumed: For a reason."


def test_an_unknown_role_fails_its_membership_and_no_other(
    make_etl: MakeEtl, world: World, membership: Membership
) -> None:
    other = world.add_membership()
    reports = make_etl(memberships=[entry(membership, role_arn=ROLE), entry(other)]).sweep()
    assert reports[membership.id].error_class == "AccessDenied"
    assert reports[other.id].outcome == "complete"


def jobs_in(world: World, membership: Membership, number: int) -> list[Job]:
    return [world.create_job(membership) for _ in range(number)]


def test_one_client_of_a_role_and_region_is_shared_by_all_threads(
    make_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE)
    memberships = [world.add_membership() for _ in range(6)]
    for membership in memberships:
        jobs_in(world, membership, 3)
    etl = make_etl(memberships=[entry(each, role_arn=ROLE) for each in memberships], aws={"page_size": 1})
    assert {report.outcome for report in etl.sweep().values()} == {"complete"}
    assert endpoint.counts == {ASSUME_ROLE: 1, JOBS: 18}


@pytest.mark.parametrize(
    "other",
    [{"region": "eu-west-1"}, {"role_arn": ROLE + "-too"}, {"external_id": "between-us"}, {"role_arn": None}],
)
def test_another_region_role_or_external_id_has_a_client_of_its_own(other: dict[str, Any]) -> None:
    aws = from_mapping({"aws": {"endpoint_url": "http://127.0.0.1:9"}}, {}).aws
    first = {"id": "00000000-0000-4000-8000-000000000000", "region": "us-east-1", "role_arn": ROLE}
    second = {key: value for key, value in (first | other).items() if value is not None}

    def client(settings: dict[str, Any]) -> object:
        [membership] = from_mapping({"membership": [settings]}, {}).memberships
        return clients.client(aws, membership)

    assert client(first) is client(first)
    assert client(first) is not client(second)


@pytest.mark.parametrize(("lifetime", "assumed"), [(timedelta(hours=1), 1), (timedelta(minutes=9), 4)])
def test_credentials_are_renewed_before_they_expire(
    lifetime: timedelta, assumed: int, make_etl: MakeEtl, world: World, membership: Membership
) -> None:
    # botocore renews what has less than ten minutes left, here before each of four pages.
    jobs_in(world, membership, 4)
    with Endpoint(world, credential_lifetime=lifetime) as endpoint:
        endpoint.add_role(ROLE)
        aws = {"endpoint_url": endpoint.url, "page_size": 1}
        report = make_etl(memberships=[entry(membership, role_arn=ROLE)], aws=aws).sync()
        assert (report.outcome, report.counts.retries) == ("complete", 0)
        assert endpoint.counts == {ASSUME_ROLE: assumed, JOBS: 4}


def expire_at(endpoint: Endpoint, *pages: int) -> None:
    """Let the credentials expire just before these requests for a page are answered."""
    seen = 0

    def before_page(_: Request) -> None:
        nonlocal seen
        seen += 1
        if seen in pages:
            endpoint.expire_credentials()

    endpoint.before_page = before_page


def test_credentials_that_expire_midway_are_renewed_and_the_listing_begins_again(
    with_role: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE, external_id="between-us")
    jobs_in(world, membership, 3)
    expire_at(endpoint, 3)
    report = with_role.sync()
    assert (report.outcome, report.counts.jobs_new, report.counts.pages) == ("complete", 3, 5)
    assert endpoint.counts == {ASSUME_ROLE: 2, JOBS: 6}


def test_credentials_that_expire_twice_end_the_listing(
    with_role: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE, external_id="between-us")
    jobs_in(world, membership, 3)
    expire_at(endpoint, 2, 4)
    report = with_role.sync()
    assert (report.outcome, report.error_class) == ("partial", "ExpiredTokenException")
    assert report.counts.pages == 2
    assert endpoint.counts[ASSUME_ROLE] == 2


def test_credentials_that_expire_in_many_threads_are_renewed_once(
    make_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    endpoint.add_role(ROLE)
    memberships = [world.add_membership() for _ in range(4)]
    for membership in memberships:
        jobs_in(world, membership, 2)
    midway = threading.Barrier(4, action=endpoint.expire_credentials)

    def before_page(_: Request) -> None:
        if endpoint.counts[JOBS] <= 4:
            midway.wait(10)

    endpoint.before_page = before_page
    etl = make_etl(memberships=[entry(each, role_arn=ROLE) for each in memberships], aws={"page_size": 1})
    assert {report.outcome for report in etl.sweep().values()} == {"complete"}
    assert endpoint.counts[ASSUME_ROLE] == 2


def test_credentials_that_come_expired_are_a_failed_run(
    make_etl: MakeEtl, world: World, membership: Membership
) -> None:
    with Endpoint(world, credential_lifetime=timedelta(0)) as endpoint:
        endpoint.add_role(ROLE)
        etl = make_etl(memberships=[entry(membership, role_arn=ROLE)], aws={"endpoint_url": endpoint.url})
        assert failure_of(etl)[1].startswith("is this machine's clock right? Credentials were refreshed, but")


# One job


@pytest.fixture
def listing(membership: Membership, endpoint: Endpoint) -> source.Listing:
    config = from_mapping({"aws": {"endpoint_url": endpoint.url}, "membership": [entry(membership)]}, {})
    return source.Listing(config.aws, config.memberships[0])


def test_a_job_exists_or_does_not_or_nobody_may_ask(
    listing: source.Listing, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    job = world.create_job(membership)
    assert listing.exists(job.arn) is True
    assert listing.exists(job.arn + "x") is False
    endpoint.on(JOB, answers.error("AccessDeniedException"))
    assert listing.exists(job.arn) is None


@pytest.mark.parametrize(
    "damaged", [answers.body(b"<html>"), answers.body(b""), answers.page({}), answers.page([])]
)
def test_a_damaged_answer_about_a_job_says_nothing_of_it(
    damaged: answers.Answer, listing: source.Listing, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    job = world.create_job(membership)
    endpoint.on(JOB, damaged, times=5)
    with pytest.raises(source.SourceError) as raised:
        listing.exists(job.arn)
    assert raised.value.code == "DamagedPage"
    assert endpoint.counts == {JOB: 5}


def test_a_job_that_aws_tells_oddly_exists_all_the_same(
    listing: source.Listing, world: World, membership: Membership
) -> None:
    job = world.create_job(membership)
    world.override(job, {"createTime": "yesterday"})
    assert listing.exists(job.arn) is True


def test_any_other_answer_about_a_job_is_no_answer(listing: source.Listing, endpoint: Endpoint) -> None:
    endpoint.on(JOB, answers.error("ThrottlingException"), times=None)
    with pytest.raises(source.SourceError) as raised:
        listing.exists("arn:aws:cleanrooms-ml:us-east-1:111122223333:trained-model-inference-job/one")
    assert raised.value.code == "ThrottlingException"
    assert (listing.calls.requests, listing.calls.throttles) == (5, 5)
