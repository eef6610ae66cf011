"""Random and hostile input: what is made of it is right or refused in words, against the plainest of readers.

Each finding is replayed by the next run on the same machine; in CI all runs see the same input.
"""

import json
import re
import traceback
from collections.abc import Callable
from datetime import UTC
from math import isfinite
from pathlib import Path
from typing import Any

from botocore.awsrequest import HeadersDict
from botocore.model import Shape
from botocore.parsers import create_parser
from botocore.utils import parse_timestamp
from conftest import MakeEtl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_jobs import ARN, FIELDS, LATEST, MEMBERSHIP, NOON, OWNER

from etl import database, quick, verify, wire
from etl.config import Config, ConfigError
from etl.demo.world import World
from etl.jobs import DETAILS_LIMIT, BadItemError, decode
from etl.loading import from_mapping, load

SECRET = "hunter2-of-the-plant"  # noqa: S105 - planted, to be looked for

JOBS_OF = """
    SELECT job.* FROM cleanrooms_etl.inference_job AS job
    JOIN cleanrooms_etl.membership USING (membership_key) WHERE membership_id = :membership
"""
MOST_OF_A_FLOAT = 10**308
NAMES = {*FIELDS.values(), "membershipIdentifier", "outputConfiguration"}


def fuzzed(examples: int) -> settings:
    """Try so many; a busy machine is no failure, and a database may serve all of them."""
    return settings(
        max_examples=examples,
        deadline=None,
        print_blob=True,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
    )


# The plainest of readers: the standard library's, and what Postgres cannot store replaced


def read_plainly(wire: bytes) -> Any:
    return storable(json.loads(wire.decode("utf-8", "surrogateescape"), strict=False))


def storable(value: Any) -> Any:
    match value:
        case str():
            return re.sub("[\0\ud800-\udfff]", "\ufffd", value)
        case list():
            return [storable(item) for item in value]
        case dict():
            return {storable(key): storable(item) for key, item in value.items()}
    return value


def columns_of(item: dict[str, Any]) -> dict[str, Any]:
    """Return what each column of a job must hold."""
    told: dict[str, Any] = {column: item.get(name) for column, name in FIELDS.items()}
    for time in ("create_time", "update_time"):
        try:
            told[time] = parse_timestamp(told[time]).astimezone(UTC)
        except ValueError:
            del told[time]  # we read a few that botocore does not, such as one with a space for its T
    for details in ("metrics_status_details", "logs_status_details"):
        whole = told[details] or ""
        if len(whole) > DETAILS_LIMIT:
            told[details] = f"{whole[:DETAILS_LIMIT]} [cut: {len(whole):,} characters]"
    output = item["outputConfiguration"]
    accounts = [member["accountId"] for member in output["members"]]
    return told | {"output_accept": output.get("accept"), "output_account_ids": accounts, "extra": unknown(item)}


def unknown(item: dict[str, Any]) -> dict[str, Any]:
    extra = {name: value for name, value in item.items() if name not in NAMES}
    output = {
        name: value for name, value in item["outputConfiguration"].items() if name not in {"accept", "members"}
    }
    members = [
        {name: value for name, value in member.items() if name != "accountId"}
        for member in item["outputConfiguration"]["members"]
    ]
    if any(members):
        output["members"] = members
    return extra | ({"outputConfiguration": output} if output else {})


def written(value: object) -> str:
    """Write a value so that NaN is itself, and 1 neither 1.0 nor true."""
    return json.dumps(value, sort_keys=True, default=str)


# Hostile input

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())

ODD_VALUES = st.sampled_from(
    [
        b"null", b"true", b"{}", b"[]", b'""', b"-0", b"0.1", b"NaN", b"-Infinity", b"1e400", b"1E-400",
        b"1" * 30, b"1" * 400, b"1" * 5_000, b"1772452800", b"1772452800.123", b'"1772452800"', b'"2026-03-02"',
        b'"2026-03-02T12:00:00Z"', b'"2026-03-02T23:59:59.123456789+23:59"', b'"Mon, 02 Mar 2026 12:00:00 GMT"',
        b'"0001-01-01T00:00:00Z"', b'"9999-12-31T23:59:59-14:00"', b'"2026-02-30T00:00:00Z"',
        b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\\\\ud800"', b'"\\\\\\ud800"',
        b'"\xff"', b'"\xed\xa0\x80"', b'"\0"', b'"\n"', b'"\x1b[31m"', b'"\xe2\x80\xae"', b'"\xef\xbb\xbf"',
        b'"' + b"x" * 2**20 + b'"', b'"' + b"\xf0\x9f\x98\x80" * 5_000 + b'"', b"[" * 50 + b"]" * 50,
        b"[" * 200 + b"]" * 200, b'{"a":' * 99 + b"1" + b"}" * 99, b'{"accountId":"1"}', b'{"members":[]}',
        b'{"members":[{"accountId":"1"}],"members":[{"accountId":"2","x":1}]}', b'{"a":1,"a":2}', b'{"\\u0000":1}',
    ]
)  # fmt: skip
odd_names = st.sampled_from(sorted(NAMES)) | st.text(max_size=8) | st.sampled_from(["\ud800", "\0", "status "])
odd_fields = st.tuples(odd_names.map(lambda name: json.dumps(name).encode()), st.one_of(ODD_VALUES, json_values))


def fields_of(arn: str, membership: str = MEMBERSHIP) -> list[tuple[bytes, bytes]]:
    good: dict[str, Any] = {
        "trainedModelInferenceJobArn": arn,
        "membershipIdentifier": membership,
        "trainedModelArn": f"{OWNER}/{MEMBERSHIP}/trained-model/lookalike",
        "collaborationIdentifier": "00000000-0000-4000-8000-000000000000",
        "status": "ACTIVE",
        "outputConfiguration": {"accept": "text/csv", "members": [{"accountId": "111122223333"}]},
        "name": "scoring",
        "description": "for the spring \U0001f600 \\ud800",
        "createTime": "2026-03-02T12:00:00.000Z",
        "updateTime": 1772452800.5,
        "metricsStatusDetails": "no bucket",
    }
    return [(json.dumps(name).encode(), json.dumps(value).encode()) for name, value in good.items()]


@st.composite
def items(draw: st.DrawFn, arn: str = ARN, owner: str = MEMBERSHIP) -> bytes:
    """Make an item whose fields are odd, doubled, or left out, in any order."""
    fields = fields_of(arn, owner)
    for name, value in draw(st.lists(odd_fields, max_size=3)):
        match draw(st.sampled_from(["instead", "beside", "beside"])):
            case "instead":
                fields = [field for field in fields if field[0] != name]
        fields.insert(draw(st.integers(0, len(fields))), (name, value))
    space = draw(st.sampled_from([b"", b" ", b"\r\n\t"]))
    return b"{" + (b"," + space).join(name + b":" + space + value for name, value in fields) + b"}"


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Flip bits, cut, double and insert."""
    wire = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(wire)))
        match draw(st.sampled_from(["flip", "flip", "cut", "double", "insert"])):
            case "flip" if place < len(wire):
                wire[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del wire[place : place + draw(st.integers(0, 20))]
            case "double":
                wire[place:place] = wire[place : place + draw(st.integers(0, 200))]
            case _:
                wire[place:place] = draw(st.binary(max_size=4))
    return bytes(wire)


# Items


@fuzzed(400)
@given(damaged(items()))
def test_an_item_is_set_aside_or_each_of_its_fields_is_what_the_standard_library_reads(item: bytes) -> None:
    try:
        job, _ = decode(item, MEMBERSHIP, LATEST)
    except BadItemError:
        return
    expected = columns_of(read_plainly(item))
    assert {name: written(getattr(job, name)) for name in expected} == {
        name: written(value) for name, value in expected.items()
    }


# Pages and single answers

tokens = st.none() | st.text(min_size=1, max_size=9).map(lambda token: json.dumps(token).encode()) | ODD_VALUES


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    """Make a page of odd and good items beside odd fields."""
    listed = b" ,".join(draw(st.lists(items() | ODD_VALUES | json_values, max_size=4)))
    fields = [(b'"trainedModelInferenceJobs"', b"[" + listed + b"]"), *draw(st.lists(odd_fields, max_size=1))]
    if token := draw(tokens):
        fields.insert(draw(st.integers(0, len(fields))), (b'"nextToken"', token))
    return b"{" + b",".join(name + b": " + value for name, value in fields) + b"}"


def is_page(document: Any) -> bool:
    """Tell whether it lists jobs, with a token that a request can hold if with any."""
    match document:
        case {"trainedModelInferenceJobs": list(), **rest}:
            token = rest.get("nextToken")
            return token is None or (isinstance(token, str) and token != "" and "\ufffd" not in token)
    return False


@fuzzed(200)
@given(damaged(pages()))
def test_a_page_is_refused_or_split_into_the_items_that_the_standard_library_reads(body: bytes) -> None:
    try:
        document = read_plainly(body)
    except (ValueError, RecursionError):
        document = None
    try:
        page = wire._split(body)
    except ValueError:
        assert not is_page(document)
        return
    if document is not None:
        assert [written(read_plainly(item)) for item in page.items] == [
            written(item) for item in document["trainedModelInferenceJobs"]
        ]
        assert page.token is None or storable(page.token) == document["nextToken"]
        assert page.token is None or page.token.encode()


@fuzzed(100)
@given(damaged(items() | json_values))
def test_what_is_told_of_a_single_job_is_refused_or_becomes_an_item_of_the_same_fields(body: bytes) -> None:
    job = quick.OpenJob(1, ARN, "ACTIVE", NOON, "a collaboration", {"known": 1, "not told": [None]})
    try:
        item = read_plainly(quick.as_item(wire._details(body), job))
    except ValueError:
        return
    told = read_plainly(body)
    extra = {name: told.get(name, value) for name, value in job.extra.items()}
    kept = {name: value for name, value in told.items() if name in NAMES}
    assert written(item) == written(kept | extra | {"collaborationIdentifier": job.collaboration_id})


@fuzzed(100)
@given(damaged(pages().map(lambda page: page.replace(b"trainedModelInferenceJobs", b"trainedModels"))))
def test_a_page_of_models_is_refused_or_tells_what_the_standard_library_reads(body: bytes) -> None:
    try:
        page, document = wire._models(body), read_plainly(body)
    except ValueError:
        return
    assert storable(page.token) == document.get("nextToken")
    assert storable([[model.arn, model.version] for model in page.items]) == [
        [model["trainedModelArn"], model.get("versionIdentifier")] for model in document["trainedModels"]
    ]


@fuzzed(100)
@given(damaged(items() | json_values | st.just(b'{"__type":"AccessDeniedException","message":"no"}')))
def test_a_refusal_is_told_in_words_whatever_its_body(body: bytes) -> None:
    response = {"status_code": 403, "headers": HeadersDict(), "body": body}
    wire._take(wire._split, response, {})
    error = create_parser("rest-json").parse(response, Shape("Nothing", {"type": "structure"}))["Error"]
    assert (type(error["Code"]), type(error["Message"])) == (str, str)
    assert error["Code"] or error["Message"]


# Whole: over HTTP, into Postgres


def as_jsonb(value: Any) -> Any:
    """Return what jsonb keeps of a value: it has neither NaN nor infinity, nor a zero with a sign."""
    match value:
        case float() if not isfinite(value):
            return None
        case int() | float() if not isinstance(value, bool) and abs(value) < MOST_OF_A_FLOAT:
            return float(value) + 0.0
        case list():
            return [as_jsonb(item) for item in value]
        case dict():
            return {key: as_jsonb(item) for key, item in value.items()}
    return value


def is_one_item(item: bytes) -> bool:
    try:
        read_plainly(item)
    except ValueError:
        return False
    return True


def test_what_is_stored_of_hostile_items_is_what_the_standard_library_reads(
    make_etl: MakeEtl, world: World
) -> None:
    @fuzzed(25)
    @given(st.data())
    def sync(data: st.DataObject) -> None:
        membership = world.add_membership()
        etl = make_etl(memberships=[{"id": membership.id, "region": membership.region}])
        good = [world.create_job(membership).arn for _ in range(3)]
        arns = [membership.arn_of("trained-model-inference-job", f"odd-{number}") for number in range(6)]
        drawn = [data.draw(damaged(items(arn, membership.id))) for arn in arns]
        odd = [item for item in drawn if is_one_item(item)]
        for item in odd:
            world.put_raw(membership, item)
        report = etl.sync()
        stored = {row["job_arn"]: row for row in etl.query(JOBS_OF, membership=membership.id)}
        assert report.outcome == ("partial" if report.counts.jobs_rejected else "complete"), report
        assert len(stored) == len(good) + len(odd) - report.counts.jobs_rejected
        assert stored.keys() >= set(good)
        for item in odd:
            read = read_plainly(item)
            arn = read.get("trainedModelInferenceJobArn") if isinstance(read, dict) else None
            if isinstance(arn, str) and arn in stored:
                expected = columns_of(read)
                extra = written(as_jsonb(expected.pop("extra")))
                assert {name: stored[arn][name] for name in expected} == expected
                assert written(as_jsonb(stored[arn]["extra"])) == extra

    sync()
    with database.connect(make_etl().config.database.address()) as connection:
        assert [finding.check.name for finding in verify.findings(connection) if finding.broken] == []


# The configuration

WORDS = st.sampled_from(
    ["database", "aws", "sync", "schedule", "daemon", "quota", "membership", "url", "id", "region", "cron",
     "every", "iam_auth", "allow_weak_tls", "endpoint_url", "max_concurrency", "listen", "account", "external_id",
     "role_arn", "requests_per_second", "page_size", "lease", "", "urll", "a\nb", "\x1b[2J", "\u2028", "key " * 99]
)  # fmt: skip
SETTINGS = st.sampled_from(
    [f"postgresql://etl:{SECRET}@db.internal/x", f"postgresql://etl:{SECRET}@db/x?sslmode=a%0Ab",
     f"postgresql://etl:{SECRET}@[::1/x", f"postgresql://etl:{SECRET}@h:port/x", f"mysql://etl:{SECRET}@h/x",
     f"postgresql://etl:{SECRET}@/x?host=a&host=b&hostaddr=1", f"postgresql+psycopg://:{SECRET}@?service=x",
     f"https://etl:{SECRET}@host/", "http://elsewhere", "https://[::::]", "15m", "999999999d", "0s", "* * * * *",
     "*/0 * * * *", "0 0 30 2 *", "1-0 * * * *", "99999999999999999999 * * * *", "a b c d e", "* * last * *",
     "* * * * sun-mon", "*/15 * xth\x00mon * *", "true", "1e999", "nan", "9" * 5_000, MEMBERSHIP, "us-east-1",
     "127.0.0.1:9464", "\ud800", "\0", "\n", "x" * 100_000]
)  # fmt: skip
settings_of_any_kind = st.recursive(
    st.one_of(SETTINGS, SETTINGS, st.integers(), st.floats(), st.booleans(), st.datetimes(), st.text(max_size=9)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
documents = st.dictionaries(WORDS, st.dictionaries(WORDS, settings_of_any_kind, max_size=4) | settings_of_any_kind)
variables = st.builds("ETL_{}_{}".format, WORDS.map(str.upper), WORDS.map(str.upper))
environments = st.dictionaries(variables, SETTINGS | st.text(max_size=9), max_size=4)


def refusal(make: Callable[[], Config]) -> str:
    """Return what is said of settings that cannot be used, a line a complaint; nothing of those that can."""
    try:
        make()
    except ConfigError as error:
        refused = error
    else:
        return ""
    assert str(refused).splitlines() == list(refused.complaints)
    assert all(refused.complaints)
    return "".join(traceback.format_exception(refused))


@fuzzed(150)
@given(documents, environments)
def test_settings_are_taken_or_refused_with_a_line_a_complaint_and_without_a_secret(
    document: dict[str, Any], environ: dict[str, str]
) -> None:
    assert SECRET not in refusal(lambda: from_mapping(document, environ, "etl.toml"))


TOML = (
    f'[database]\nurl = "postgresql://etl:{SECRET}@db.internal/x?sslmode=verify-full"\n'
    f'[quota]\nmembership = 6\n[[membership]]\nid = "{MEMBERSHIP}"\nregion = "us-east-1"\nevery = "15m"\n'
).encode()
odd_toml = st.sampled_from(
    [b"x = " + b"[" * 5_000, b"x = " + b"9" * 5_000, b"x = 2026-02-30", b"\xff", b"\0", b"\xef\xbb\xbf",
     b"x = nan", b'"a\\nb" = 1', b"[quota]\nx = 1", b"[[database]]", b"a.b.c = 1", b"x = {", b'x = """',
     b"[a]\n[a]"]
)  # fmt: skip


@fuzzed(150)
@given(damaged(st.just(TOML)) | st.binary() | st.tuples(st.just(TOML), odd_toml).map(b"\n".join) | odd_toml)
def test_a_file_is_taken_or_refused_with_a_line_a_complaint_and_without_a_secret(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "etl.toml"
    file.write_bytes(content)
    assert SECRET not in refusal(lambda: load(file, {}))
