"""What a wire item is decoded to: against botocore's own parser, and against anything at all."""

import copy
import json
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any

import botocore.parsers
import botocore.session
import msgspec
import pytest
from botocore.model import Shape
from botocore.utils import parse_timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.jobs import DETAILS_LIMIT, EARLIEST, BadItemError, Decoded, Job, decode, digest

MEMBERSHIP = "3f2a1c9e-5b7d-4e8a-9c1f-0a1b2c3d4e5f"
OTHER_MEMBERSHIP = "00000000-0000-4000-8000-000000000000"
OWNER = "arn:aws:cleanrooms-ml:us-east-1:111122223333:membership"
ARN = f"{OWNER}/{MEMBERSHIP}/trained-model-inference-job/one"
LATEST = datetime(2026, 3, 3, 12, tzinfo=UTC)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

SUMMARY = {
    "trainedModelInferenceJobArn": ARN,
    "membershipIdentifier": MEMBERSHIP,
    "trainedModelArn": f"{OWNER}/{MEMBERSHIP}/trained-model/lookalike",
    "collaborationIdentifier": OTHER_MEMBERSHIP,
    "status": "ACTIVE",
    "outputConfiguration": {"members": [{"accountId": "111122223333"}]},
    "name": "scoring",
    "createTime": "2026-03-02T12:00:00.000Z",
    "updateTime": "2026-03-02T12:00:00.000Z",
}

ABSENT = object()

fuzzed = settings(deadline=None)  # a busy machine is no failure


def item(**changes: object) -> bytes:
    return json.dumps({key: value for key, value in (SUMMARY | changes).items() if value is not ABSENT}).encode()


def decoded(wire: bytes) -> Decoded:
    return decode(wire, MEMBERSHIP, LATEST)


def job(**changes: object) -> Job:
    return decoded(item(**changes)).job


def reason(wire: bytes) -> str:
    with pytest.raises(BadItemError) as raised:
        decoded(wire)
    return str(raised.value)


def reason_of(**changes: object) -> str:
    return reason(item(**changes))


def job_or_none(wire: bytes) -> Job | None:
    try:
        return decoded(wire).job
    except BadItemError:
        return None


# Against botocore


FIELDS = {
    "job_arn": "trainedModelInferenceJobArn",
    "name": "name",
    "description": "description",
    "status": "status",
    "create_time": "createTime",
    "update_time": "updateTime",
    "collaboration_id": "collaborationIdentifier",
    "trained_model_arn": "trainedModelArn",
    "trained_model_version_identifier": "trainedModelVersionIdentifier",
    "configured_model_algorithm_association_arn": "configuredModelAlgorithmAssociationArn",
    "payer_account_id": "mlModelInferencePayerAccountId",
    "metrics_status": "metricsStatus",
    "metrics_status_details": "metricsStatusDetails",
    "logs_status": "logsStatus",
    "logs_status_details": "logsStatusDetails",
}


@cache
def output_shape() -> Shape:
    model = botocore.session.get_session().get_service_model("cleanroomsml")
    shape = model.operation_model("ListTrainedModelInferenceJobs").output_shape
    assert shape is not None
    return shape


def parsed_by_botocore(wire: bytes) -> dict[str, Any]:
    body = b'{"trainedModelInferenceJobs":[' + wire + b"]}"
    response = {"status_code": 200, "headers": {}, "body": body}
    parsed = botocore.parsers.create_parser("rest-json").parse(response, output_shape())
    summary: dict[str, Any] = parsed["trainedModelInferenceJobs"][0]
    return summary


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))  # all that Postgres can store
ids = st.text("abcdefXYZ0123456789-_/.", min_size=1, max_size=40)
accounts = st.from_regex(r"[0-9]{12}", fullmatch=True)
moments = st.datetimes(EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None), timezones=st.just(UTC))
zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@st.composite
def wire_times(draw: st.DrawFn) -> object:
    """Write a moment in one of the ways that botocore reads."""
    moment: datetime = draw(moments)
    precision = draw(st.sampled_from(["seconds", "milliseconds", "microseconds"]))
    match draw(st.sampled_from(["utc", "zone", "whole", "fraction"])):
        case "utc":
            return moment.isoformat(timespec=precision).replace("+00:00", "Z")
        case "zone":
            return moment.astimezone(draw(zones)).isoformat(timespec=precision)
        case "whole":
            return int(moment.timestamp())
        case _:
            return round(moment.timestamp(), 3)


@st.composite
def summaries(draw: st.DrawFn) -> dict[str, Any]:
    """Make a summary as AWS may send it: every optional field there, null or left out."""
    optional = st.one_of(st.just(ABSENT), st.none(), texts)
    owner = draw(st.sampled_from([f"membership/{MEMBERSHIP}/", ""]))
    partition = draw(st.sampled_from(["aws", "aws-us-gov", "aws-cn"]))
    members = draw(st.lists(st.builds(lambda account: {"accountId": account}, accounts), max_size=3))
    output = {"accept": draw(optional), "members": members}
    summary = {
        "trainedModelInferenceJobArn": (
            f"arn:{partition}:cleanrooms-ml:us-east-1:{draw(accounts)}:{owner}trained-model-inference-job/{draw(ids)}"
        ),
        "membershipIdentifier": MEMBERSHIP,
        "trainedModelArn": draw(texts.filter(bool)),
        "collaborationIdentifier": draw(texts.filter(bool)),
        "status": draw(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=64)
        ),
        "outputConfiguration": {key: value for key, value in output.items() if value is not ABSENT},
        "name": draw(texts),
        "createTime": draw(wire_times()),
        "updateTime": draw(wire_times()),
    }
    for name in FIELDS.values():
        summary.setdefault(name, draw(optional))
    order = draw(st.permutations(sorted(summary)))
    return {name: summary[name] for name in order if summary[name] is not ABSENT}


@fuzzed
@given(summaries(), st.booleans())
def test_every_field_is_what_botocore_s_own_parser_makes_of_it(summary: dict[str, Any], ascii_only: bool) -> None:
    wire = json.dumps(summary, ensure_ascii=ascii_only).encode()
    expected = parsed_by_botocore(wire)
    job, replaced = decoded(wire)
    assert {field: getattr(job, field) for field in FIELDS} == {
        field: expected.get(name) for field, name in FIELDS.items()
    }
    output = expected["outputConfiguration"]
    assert job.output_accept == output.get("accept")
    assert job.output_account_ids == [member["accountId"] for member in output["members"]]
    assert (job.extra, replaced) == ({}, 0)


@fuzzed
@given(summaries(), st.sampled_from(["summary", "output", "member"]))
def test_a_field_that_is_not_known_changes_nothing_else(summary: dict[str, Any], place: str) -> None:
    wire = json.dumps(summary, ensure_ascii=False).encode()
    output = summary["outputConfiguration"]
    for fields in {"summary": [summary], "output": [output], "member": output["members"]}[place]:
        fields["newField"] = 1
    told = decoded(json.dumps(summary, ensure_ascii=False).encode()).job
    assert msgspec.structs.replace(told, extra={}) == decoded(wire).job
    assert bool(told.extra) == (place != "member" or bool(output["members"]))


def test_no_field_of_aws_s_own_model_is_missing_here() -> None:
    # A later botocore knows more fields: they are in `extra` until a release makes columns of them.
    parsed = {*FIELDS.values(), "membershipIdentifier", "outputConfiguration"}
    members = output_shape().members["trainedModelInferenceJobs"].member.members  # type: ignore[attr-defined]
    assert parsed == set(members)


# Against anything at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@fuzzed
@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_refused_by_a_bad_item_error_and_nothing_else(wire: bytes) -> None:
    with pytest.raises(BadItemError):
        decoded(wire)


@fuzzed
@given(json_values, st.booleans())
def test_any_json_is_refused_by_a_bad_item_error_and_nothing_else(value: object, ascii_only: bool) -> None:
    with pytest.raises(BadItemError):
        decoded(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@fuzzed
@given(st.sampled_from(sorted(SUMMARY)), json_values)
def test_any_value_of_a_field_is_decoded_or_refused_and_what_is_decoded_can_be_stored(
    name: str, value: object
) -> None:
    if job := job_or_none(item(**{name: value})):
        assert EARLIEST <= min(job.create_time, job.update_time) <= max(job.create_time, job.update_time) <= LATEST
        assert not {chr(0), chr(0xD800)} & set(f"{job.name}{job.status}{job.extra}")


@fuzzed
@given(st.text(max_size=20), json_values)
def test_any_unknown_field_is_kept_in_a_form_that_can_be_stored(name: str, value: object) -> None:
    job = decoded(item(**{f"x{name}": value})).job
    assert len(job.extra) == 1
    assert "\\u0000" not in msgspec.json.encode(job.extra).decode()  # strict about surrogates


@fuzzed
@given(st.data())
def test_a_damaged_item_is_decoded_or_refused_and_nothing_else(data: st.DataObject) -> None:
    wire = bytearray(item())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    job = job_or_none(bytes(wire))
    assert job is None or EARLIEST <= job.update_time <= LATEST


# What is set aside, and why


@pytest.mark.parametrize("field", sorted(SUMMARY))
@pytest.mark.parametrize(
    "value", [ABSENT, None, {"a": 1}, [], True], ids=["absent", "null", "object", "list", "true"]
)
def test_a_promise_that_aws_breaks_names_the_field(field: str, value: object) -> None:
    assert field in reason_of(**{field: value})


@pytest.mark.parametrize(
    "field", ["trainedModelInferenceJobArn", "trainedModelArn", "status", "collaborationIdentifier"]
)
def test_an_empty_text_is_no_identity(field: str) -> None:
    assert field in reason_of(**{field: ""})


@pytest.mark.parametrize(
    ("output", "field"),
    [
        ({}, "members"),
        ({"members": None}, "members"),
        ({"members": "x"}, "members"),
        ({"members": [{}]}, "accountId"),
        ({"members": [{"accountId": ""}]}, "accountId"),
        ({"members": [{"accountId": 111122223333}]}, "accountId"),
        ({"members": [None]}, "members"),
        ({"members": [], "accept": 3}, "accept"),
    ],
)
def test_a_malformed_output_names_its_field(output: object, field: str) -> None:
    assert field in reason_of(outputConfiguration=output)


@pytest.mark.parametrize(
    "arn",
    [
        "one",
        f"{OWNER}/{MEMBERSHIP}/trained-model/one",
        f"{OWNER}/{MEMBERSHIP}/trained-model-inference-job/",
        f"{OWNER}/{MEMBERSHIP}/trained-model-inference-job/one two",
        f"{OWNER}/{MEMBERSHIP}/trained-model-inference-job/one\n",
        ARN.replace("111122223333", "1"),
        ARN.replace("cleanrooms-ml", "cleanrooms"),
        ARN + "x" * 2048,
    ],
)
def test_what_is_no_arn_of_a_job_is_set_aside(arn: str) -> None:
    assert reason_of(trainedModelInferenceJobArn=arn).startswith(
        "trainedModelInferenceJobArn is no ARN of an inference job: "
    )


def test_the_arn_of_another_membership_is_set_aside() -> None:
    said = reason_of(trainedModelInferenceJobArn=ARN.replace(MEMBERSHIP, OTHER_MEMBERSHIP))
    assert said == f"trainedModelInferenceJobArn names another membership: '{OTHER_MEMBERSHIP}'"


def test_an_item_that_says_it_is_another_membership_s_is_set_aside() -> None:
    said = reason_of(membershipIdentifier=OTHER_MEMBERSHIP)
    assert said == f"membershipIdentifier names another membership: '{OTHER_MEMBERSHIP}'"


@pytest.mark.parametrize("field", ["createTime", "updateTime"])
@pytest.mark.parametrize(
    ("time", "why"),
    [
        ("2026-03-02T12:00:00", "needs its time zone"),
        ("2026-03-02", "needs its time zone"),
        ("yesterday", "is no moment"),
        ("", "is no moment"),
        ("0001-01-01T00:00:00Z", "lies before 2000"),
        ("0001-01-01T00:00:00+14:00", "is no moment"),
        ("1999-12-31T23:59:59.999Z", "lies before 2000"),
        ("9999-12-31T23:59:59Z", "lies more than a day in the future"),
        ("9999-12-31T23:59:59-14:00", "is no moment"),
        ("2026-03-03T12:00:00.001Z", "lies more than a day in the future"),
        (1e30, "is no moment"),
        (10**400, "out of range"),
        (-(10**20), "is no moment"),
        (float("nan"), "is no moment"),
        (float("inf"), "is no moment"),
        (1_772_452_800_000, "is no moment"),
    ],
)
def test_a_naive_or_absurd_time_is_set_aside(field: str, time: object, why: str) -> None:
    said = reason_of(**{field: time})
    assert why in said
    assert field in said


@pytest.mark.parametrize(
    "time",
    [
        "2026-03-02T12:00:00.1234569Z",
        "2026-03-02t12:00:00.123456z",
        "20260302T120000.123456+0000",
        "1772452800.123456",
    ],
)
def test_a_time_is_read_as_botocore_reads_it_and_cut_to_microseconds(time: str) -> None:
    assert job(updateTime=time).update_time == parse_timestamp(time)
    assert job(updateTime=time).update_time.microsecond == 123456


@pytest.mark.parametrize("time", ["2026-03-03T12:00:00Z", "2026-03-03T13:00:00+01:00", LATEST.timestamp()])
def test_the_latest_moment_itself_is_taken(time: object) -> None:
    assert job(updateTime=time).update_time == LATEST


@pytest.mark.parametrize(("time", "micros"), [(1_772_452_800, 0), (1_772_452_800.25, 250_000)])
def test_a_time_may_be_in_epoch_seconds(time: float, micros: int) -> None:
    assert job(createTime=time).create_time == NOON.replace(microsecond=micros)


@pytest.mark.parametrize("wire", [b"", b"null", b"3", b"[]", b'"x"', b"{", b"{}x", b'{"name": "\x01"}'])
def test_what_is_no_object_is_set_aside(wire: bytes) -> None:
    assert reason(wire)


@pytest.mark.parametrize("escaped", ["", "\\u0041"])
def test_deep_nesting_is_set_aside(escaped: str) -> None:
    for levels in (101, 500, 2_000, 100_000):
        deep = "[" * levels + f'"{escaped}"' + "]" * levels
        assert reason(item()[:-1] + f', "deep": {deep}'.encode() + b"}")


def test_a_reason_is_one_line_whatever_the_field_is_called() -> None:
    deep = json.loads("[" * 200 + "]" * 200)
    assert reason_of(**{"a\nb\x1b": deep}) == r"'a\nb\x1b' is nested more than 100 levels deep"


def test_nesting_that_can_be_stored_is_kept() -> None:
    deep: Any = json.loads("[" * 100 + "1" + "]" * 100)
    assert job(deep=deep).extra == {"deep": deep}


def test_a_number_of_endless_digits_is_set_aside() -> None:
    assert reason(item()[:-1] + b', "big": ' + b"9" * 5_000 + b"}")


# What is taken


def test_of_a_key_given_twice_the_last_counts_as_it_does_for_botocore() -> None:
    wire = item()[:-1] + b', "name": "first", "name": "last"}'
    assert decoded(wire).job.name == parsed_by_botocore(wire)["name"] == "last"


def test_the_arn_of_a_job_may_leave_the_membership_out() -> None:
    arn = "arn:aws-us-gov:cleanrooms-ml:us-gov-west-1:111122223333:trained-model-inference-job/a/b.c_d"
    assert job(trainedModelInferenceJobArn=arn).job_arn == arn


@pytest.mark.parametrize("accounts", [[], ["111122223333"], ["111122223333", "444455556666"]])
def test_output_may_go_to_any_number_of_accounts(accounts: list[str]) -> None:
    output = {"members": [{"accountId": account} for account in accounts]}
    assert job(outputConfiguration=output).output_account_ids == accounts


def test_a_status_that_nobody_knows_yet_is_taken() -> None:
    assert job(status="PAUSED").status == "PAUSED"


def test_unknown_fields_are_extra_at_whatever_depth_they_stand() -> None:
    output = {
        "members": [{"accountId": "1", "kmsKey": "k"}, {"accountId": "2"}],
        "accept": "x",
        "format": {"a": 1},
    }
    assert job(outputConfiguration=output, newField=[1, None], other=None).extra == {
        "newField": [1, None],
        "other": None,
        "outputConfiguration": {"format": {"a": 1}, "members": [{"kmsKey": "k"}, {}]},
    }


def test_large_numbers_of_unknown_fields_are_kept_exactly() -> None:
    assert job(bytes=10**30, ratio=0.1).extra == {"bytes": 10**30, "ratio": 0.1}


def test_characters_that_postgres_cannot_store_are_replaced_and_counted_wherever_they_stand() -> None:
    wire = item(
        name="a\0b",
        description="\ud800 and \udc00\0",
        status="NEW\0",
        outputConfiguration={"members": [{"accountId": "1\0", "\0": "\udfff"}]},
        **{"key\0": {"\ud83d": ["\ud83d\ude00", "\0"]}},
    )
    job, replaced = decoded(wire)
    assert (job.name, job.description, job.status) == ("a\ufffdb", "\ufffd and \ufffd\ufffd", "NEW\ufffd")
    assert job.output_account_ids == ["1\ufffd"]
    assert job.extra == {
        "key\ufffd": {"\ufffd": ["\U0001f600", "\ufffd"]},
        "outputConfiguration": {"members": [{"\ufffd": "\ufffd"}]},
    }
    assert replaced == 11


@pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xed\xa0\x80"])
def test_bytes_that_are_no_utf8_are_replaced_and_counted(broken: bytes) -> None:
    job, replaced = decoded(item(name="NAME").replace(b"NAME", b"a" + broken + b"b"))
    assert job.name == "a" + "\ufffd" * len(broken) + "b"
    assert replaced == len(broken)


@pytest.mark.parametrize("field", ["metricsStatusDetails", "logsStatusDetails"])
def test_long_details_are_cut_and_marked(field: str) -> None:
    columns = {"metricsStatusDetails": "metrics_status_details", "logsStatusDetails": "logs_status_details"}
    whole, long = "\U0001f600" * DETAILS_LIMIT, "\U0001f600" * (DETAILS_LIMIT + 1)
    assert getattr(job(**{field: whole}), columns[field]) == whole
    assert getattr(job(**{field: long}), columns[field]) == f"{whole} [cut: 4,097 characters]"


def test_equal_bytes_have_equal_digests_and_others_do_not() -> None:
    assert digest(item()) == digest(copy.copy(item()))
    assert len({digest(item()), digest(item(name="x")), digest(item() + b" ")}) == 3
    assert len(bytes.fromhex(digest(b""))) == 16
