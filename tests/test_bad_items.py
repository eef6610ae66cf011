"""One bad item is set aside with its reason, and costs no other job its place."""

import json
from datetime import timedelta
from random import Random
from string import ascii_letters
from typing import Any

from conftest import NOON, Etl

from etl.demo import answers
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import JOBS
from etl.demo.resources import ABSENT, Job, wire_time
from etl.demo.world import World
from etl.jobs import NOT_LISTED

OTHER_MEMBERSHIP = "00000000-0000-4000-8000-000000000000"
TOMORROW_AND_LATER = timedelta(days=1, minutes=1)

# Each kind of malformed item: what is changed of a good one, and what its reason has to name.
MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "no ARN": ({"trainedModelInferenceJobArn": ABSENT}, "trainedModelInferenceJobArn"),
    "an ARN that is null": ({"trainedModelInferenceJobArn": None}, "trainedModelInferenceJobArn"),
    "an ARN that is none": ({"trainedModelInferenceJobArn": "job-1"}, "trainedModelInferenceJobArn"),
    "no status": ({"status": ABSENT}, "status"),
    "an empty status": ({"status": ""}, "status"),
    "a number for a status": ({"status": 4}, "status"),
    "a status without end": ({"status": "X" * 257}, "status"),
    "no createTime": ({"createTime": ABSENT}, "createTime"),
    "no updateTime": ({"updateTime": ABSENT}, "updateTime"),
    "a naive time": ({"updateTime": "2026-03-02T12:00:00"}, "updateTime"),
    "a word for a time": ({"createTime": "yesterday"}, "createTime"),
    "year 1": ({"createTime": "0001-01-01T00:00:00Z"}, "createTime"),
    "year 9999": ({"updateTime": "9999-12-31T23:59:59Z"}, "updateTime"),
    "before year 1": ({"createTime": "0001-01-01T00:00:00+14:00"}, "createTime"),
    "a time out of range": ({"updateTime": 10**30}, "updateTime"),
    "no name": ({"name": ABSENT}, "name"),
    "no trained model": ({"trainedModelArn": ABSENT}, "trainedModelArn"),
    "no collaboration": ({"collaborationIdentifier": None}, "collaborationIdentifier"),
    "another membership": ({"membershipIdentifier": OTHER_MEMBERSHIP}, "membershipIdentifier"),
    "no output": ({"outputConfiguration": ABSENT}, "outputConfiguration"),
    "no members": ({"outputConfiguration": {}}, "members"),
    "a member without account": ({"outputConfiguration": {"members": [{}]}}, "accountId"),
    "a long model": ({"trainedModelArn": "a" * 2_401}, "trainedModelArn"),
    "a long version": ({"trainedModelVersionIdentifier": "\u72b6" * 801}, "trainedModelVersionIdentifier"),
    "deep nesting": ({"deep": json.loads("[" * 200 + "]" * 200)}, "deep"),
}
NO_OBJECTS = [b"null", b"3", b'"job"', b"[]", b"true"]


def jobs_in(world: World, membership: Membership, number: int) -> list[Job]:
    return [world.create_job(membership, name=f"good {place}") for place in range(number)]


def malformed(world: World, membership: Membership, changes: dict[str, Any]) -> Job:
    job = world.create_job(membership)
    world.override(job, changes)
    return job


def stored(etl: Etl) -> list[dict[str, Any]]:
    return etl.query("SELECT * FROM cleanrooms.inference_jobs ORDER BY job_arn")


def last_run(etl: Etl) -> dict[str, Any]:
    return etl.query("SELECT * FROM cleanrooms.sync_runs ORDER BY run_id DESC LIMIT 1")[0]


def test_each_kind_of_malformed_item_is_set_aside_with_a_reason_that_names_the_field(
    etl: Etl, world: World, membership: Membership
) -> None:
    good = jobs_in(world, membership, 3)
    for changes, _ in MALFORMED.values():
        malformed(world, membership, changes)
    report = etl.sync()
    run = last_run(etl)
    assert (report.outcome, report.is_fine, report.error_class) == ("partial", False, "RejectedItems")
    assert {row["job_arn"] for row in stored(etl)} == {job.arn for job in good}
    assert (run["jobs_rejected"], run["jobs_new"]) == (len(MALFORMED), len(good))
    assert run["error"] == report.error == run["rejections"][0]["reason"]
    newest_first = zip(run["rejections"], reversed(MALFORMED.items()), strict=True)
    for rejection, (kind, (_, field)) in newest_first:
        assert field in rejection["reason"], kind


def test_the_longest_model_and_version_that_are_taken_can_be_counted(
    etl: Etl, world: World, membership: Membership
) -> None:
    # Of what repeats itself Postgres makes a shorter key.
    random = Random(7)  # noqa: S311 - seeded on purpose
    arn, version = ("".join(random.choices(ascii_letters, k=length)) for length in (2_048, 352))
    malformed(world, membership, {"trainedModelArn": arn, "trainedModelVersionIdentifier": version})
    assert etl.sync().outcome == "complete"
    assert [row["trained_model_arn"] for row in etl.query("SELECT * FROM cleanrooms.model_reliability")] == [arn]


def test_what_is_no_object_is_set_aside(etl: Etl, world: World, membership: Membership) -> None:
    good = jobs_in(world, membership, 1)
    for item in NO_OBJECTS:
        world.put_raw(membership, item)
    assert etl.sync().outcome == "partial"
    assert [row["job_arn"] for row in stored(etl)] == [good[0].arn]
    rejections = last_run(etl)["rejections"]
    assert [rejection["item"].encode() for rejection in rejections] == NO_OBJECTS[::-1]
    assert {rejection["reason"].split(",")[0] for rejection in rejections} == {"Expected `object`"}


def test_the_arn_of_another_membership_is_set_aside(etl: Etl, world: World, membership: Membership) -> None:
    foreign = world.create_job(world.add_membership())
    malformed(world, membership, {"trainedModelInferenceJobArn": foreign.arn})
    assert etl.sync().outcome == "partial"
    assert stored(etl) == []
    [rejection] = last_run(etl)["rejections"]
    assert rejection["reason"].startswith("trainedModelInferenceJobArn names another membership: ")


def test_a_time_more_than_a_day_ahead_of_the_database_is_set_aside(
    etl: Etl, world: World, membership: Membership
) -> None:
    [row] = etl.query("SELECT now() AS now")
    near, far = jobs_in(world, membership, 2)
    world.override(near, {"updateTime": wire_time(row["now"] + timedelta(hours=23))})
    world.override(far, {"updateTime": wire_time(row["now"] + TOMORROW_AND_LATER)})
    assert etl.sync().counts.jobs_rejected == 1
    assert [job["job_arn"] for job in stored(etl)] == [near.arn]
    assert last_run(etl)["rejections"][0]["reason"].startswith("updateTime lies more than a day in the future: ")


def test_our_own_word_for_a_job_that_is_gone_is_no_status_of_aws(
    etl: Etl, world: World, membership: Membership
) -> None:
    malformed(world, membership, {"status": NOT_LISTED})
    assert etl.sync().counts.rejections[0]["reason"] == "status is a word of our own: NOT_LISTED"


def test_an_item_with_what_is_no_json_costs_its_page_nothing(
    etl: Etl, world: World, membership: Membership
) -> None:
    jobs_in(world, membership, 2)
    world.put_raw(membership, b'{"name": NaN}')
    counts = etl.sync().counts
    assert (counts.jobs_new, counts.jobs_rejected) == (2, 1)


def test_a_hundred_rejections_are_kept_and_all_are_counted(etl: Etl, world: World, membership: Membership) -> None:
    for place in range(250):
        malformed(world, membership, {"status": ABSENT, "name": f"bad {place}"})
    jobs_in(world, membership, 2)
    report = etl.sync()
    run = last_run(etl)
    assert (report.counts.jobs_rejected, run["jobs_rejected"], run["jobs_new"]) == (250, 250, 2)
    assert len(run["rejections"]) == 100
    assert {rejection["reason"] for rejection in run["rejections"]} == {"Object missing required field `status`"}


def test_a_rejection_shows_the_beginning_of_its_item(etl: Etl, world: World, membership: Membership) -> None:
    world.put_raw(membership, b'{"name": "\\u0000\\ud800\xff\x7f", "x": "' + b"y" * 1_000 + b'"}')
    etl.sync()
    [rejection] = last_run(etl)["rejections"]
    assert rejection["item"].startswith('{"name": "\\u0000\\ud800\ufffd\x7f", "x": "yyy')
    assert len(rejection["item"]) == 300


def test_a_set_aside_item_keeps_what_is_known_of_its_job(etl: Etl, world: World, membership: Membership) -> None:
    job, _ = jobs_in(world, membership, 2)
    etl.sync()
    world.override(job, {"status": None})
    for _ in range(3):
        assert etl.sync().outcome == "partial"
    assert {(row["name"], row["status"]) for row in stored(etl)} == {
        ("good 0", "CREATE_PENDING"),
        ("good 1", "CREATE_PENDING"),
    }


def test_a_listing_with_a_set_aside_item_concludes_no_absence(
    etl: Etl, world: World, membership: Membership
) -> None:
    gone, _ = jobs_in(world, membership, 2)
    etl.sync()
    world.remove(membership, gone)
    malformed(world, membership, {"status": None})
    for _ in range(3):
        etl.sync()
    assert [row["is_listed"] for row in stored(etl)] == [True, True]
    assert etl.query("SELECT * FROM cleanrooms_etl.inference_job WHERE absent_listings > 0") == []


def test_an_item_that_is_mended_completes_the_listing(etl: Etl, world: World, membership: Membership) -> None:
    job = malformed(world, membership, {"status": None})
    etl.sync()
    world.override(job, {"status": "ACTIVE"})
    report = etl.sync()
    assert (report.outcome, report.is_fine, report.counts.jobs_new) == ("complete", True, 1)


# Characters


def with_name(job: Job, name: bytes) -> bytes:
    """Return the item of a job, byte for byte, with these bytes between the quotes of its name."""
    return job.rendered().replace(json.dumps(job.name).encode(), b'"' + name + b'"')


# The bytes of a name, what is stored of it, and the characters replaced.
NAMES = (
    (b"NUL \\u0000", "NUL \ufffd", 1),
    (b"high half \\ud800", "high half \ufffd", 1),
    (b"halves the wrong way round \\udc00\\ud800", "halves the wrong way round \ufffd\ufffd", 2),
    (b"a pair \\ud83d\\ude00", "a pair \U0001f600", 0),
    (b"no escape \\\\ud800", "no escape \\ud800", 0),
    (b"an escape \\\\\\ud800", "an escape \\\ufffd", 1),
    (b"no UTF-8 \xff", "no UTF-8 \ufffd", 1),
    (b"an encoded half \xed\xa0\x80", "an encoded half \ufffd\ufffd\ufffd", 3),
)


def test_bad_characters_of_some_items_cost_neither_them_nor_the_others_of_their_page(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    jobs = jobs_in(world, membership, 100)
    bad = [with_name(job, name) for job, (name, _, _) in zip(jobs[40:], NAMES, strict=False)]
    good = [job.rendered() for job in (*jobs[:40], *jobs[40 + len(NAMES) :])]
    page = b" ,\n".join([*good[:40], *bad, *good[40:]])
    endpoint.on(JOBS, answers.body(b'{"trainedModelInferenceJobs": [' + page + b"]}"), times=2)
    report = etl.sync()
    assert (report.outcome, report.counts.jobs_new, report.counts.retries) == ("complete", 100, 0)
    names = {row["name"] for row in stored(etl)}
    assert {name for name in names if not name.startswith("good")} == {stored for _, stored, _ in NAMES}
    assert last_run(etl)["replaced_characters"] == sum(replaced for _, _, replaced in NAMES)
    assert etl.sync().counts.jobs_unchanged == 100


def test_half_a_surrogate_pair_alone_costs_its_page_nothing(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    jobs = jobs_in(world, membership, 100)
    items = [*(job.rendered() for job in jobs[1:]), with_name(jobs[0], b"\\ud800")]
    endpoint.on(JOBS, answers.body(b'{"trainedModelInferenceJobs":[' + b",".join(items) + b"]}"))
    report = etl.sync()
    assert (report.outcome, report.counts.jobs_new, report.counts.replaced_characters) == ("complete", 100, 1)


def test_the_neighbours_of_a_bad_character_are_known_again_by_their_bytes(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint, decoded: list[bytes]
) -> None:
    jobs = jobs_in(world, membership, 3)
    etl.sync()
    decoded.clear()
    odd = with_name(jobs[0], b"\\ud800")
    items = [odd, *(job.rendered() for job in jobs[1:])]
    other = b'{ "x\\"]": [1, {"trainedModelInferenceJobs": ["]}"]}], "trainedModelInferenceJobs" : [ '
    endpoint.on(JOBS, answers.body(other + b" ,\n".join(items) + b'\t], "nextToken":null , "y": {}}\n'))
    assert etl.sync().counts.jobs_changed == 1
    assert decoded == [odd]


def test_a_token_beside_a_bad_character_is_followed(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    first, second = jobs_in(world, membership, 2)
    page = b'{"nextToken":"t","trainedModelInferenceJobs":[' + with_name(first, b"\\ud800") + b"]}"
    last = answers.page({"trainedModelInferenceJobs": [second.wire()]})
    endpoint.on(JOBS, answers.body(page), last)
    assert etl.sync().outcome == "complete"
    assert len(stored(etl)) == 2


def test_a_token_with_a_whole_pair_beside_half_a_one_is_sent_as_it_came(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    first, second = jobs_in(world, membership, 2)
    page = b'{"nextToken":"\\ud83d\\ude00","trainedModelInferenceJobs":[' + with_name(first, b"\\ud800") + b"]}"
    last = answers.page({"trainedModelInferenceJobs": [second.wire()]})
    endpoint.on(JOBS, answers.body(page), last)
    assert etl.sync().outcome == "complete"
    assert [request.query.get("nextToken") for request in endpoint.requests] == [None, "\U0001f600"]


def test_a_field_beside_the_jobs_with_half_a_pair_for_its_name_costs_its_page_nothing(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    [job] = jobs_in(world, membership, 1)
    page = b'{"\\ud800":NaN,"trainedModelInferenceJobs":[' + job.rendered() + b"]}"
    endpoint.on(JOBS, answers.body(page))
    assert (etl.sync().outcome, len(stored(etl))) == ("complete", 1)


def test_a_token_that_no_request_can_hold_ends_the_run_in_words(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    [job] = jobs_in(world, membership, 1)
    page = b'{"nextToken":"\\ud800","x":NaN,"trainedModelInferenceJobs":[' + job.rendered() + b"]}"
    endpoint.on(JOBS, answers.body(page), times=9)
    report = etl.sync()
    assert (report.outcome, report.error_class) == ("failed", "DamagedPage")


def test_bad_characters_of_keys_and_unknown_fields_are_replaced_and_counted(
    etl: Etl, world: World, membership: Membership
) -> None:
    item = json.dumps(world.create_job(membership).wire())[:-1]
    world.remove(membership, world.jobs(membership)[0])
    extra = ', "ke\\u0000y": {"\\ud800": ["\\u0000", "\\udfff", "\\ud83d\\ude00"]}}'
    world.put_raw(membership, (item + extra).encode())
    report = etl.sync()
    assert (report.outcome, report.counts.replaced_characters) == ("complete", 4)
    [row] = stored(etl)
    assert row["extra"] == {"ke\ufffdy": {"\ufffd": ["\ufffd", "\ufffd", "\U0001f600"]}}


# Odd, and fine


def test_details_without_end_are_cut_and_marked(etl: Etl, world: World, membership: Membership) -> None:
    world.create_job(membership, metrics_status_details="m" * 4_096, logs_status_details="\U0001f600" * 10_000)
    assert etl.sync().outcome == "complete"
    [row] = stored(etl)
    assert row["metrics_status_details"] == "m" * 4_096
    assert row["logs_status_details"] == "\U0001f600" * 4_096 + " [cut: 10,000 characters]"


def test_accounts_are_stored_as_they_are_written(etl: Etl, world: World, membership: Membership) -> None:
    accounts = ['{NULL,"\\', "a,b", "NULL", " ", "\t\n", "\\N", '"', "ä"]
    [job] = jobs_in(world, membership, 1)
    world.override(job, {"outputConfiguration": {"members": [{"accountId": account} for account in accounts]}})
    assert etl.sync().outcome == "complete"
    assert stored(etl)[0]["output_account_ids"] == accounts


def test_odd_json_that_can_be_read_is_taken(etl: Etl, world: World, membership: Membership) -> None:
    wire = json.dumps(world.create_job(membership).wire())[1:-1]
    world.remove(membership, world.jobs(membership)[0])
    odd = '"name": "last", "createTime": 1772452800, "updateTime": 1772452800.5, "small": 1e-400, "big": 1e300'
    deep = '"deep": ' + "[" * 90 + "]" * 90
    world.put_raw(membership, f"\t{{ {wire} ,\r\n{odd}, {deep} }} ".encode())
    assert etl.sync().outcome == "complete"
    [row] = stored(etl)
    assert (row["name"], row["create_time"]) == ("last", NOON)
    assert row["update_time"] == NOON + timedelta(milliseconds=500)
    assert row["extra"] == {"small": 0, "big": 10**300, "deep": json.loads("[" * 90 + "]" * 90)}


def test_a_status_that_nobody_knows_is_stored_counted_and_fine(
    etl: Etl, world: World, membership: Membership
) -> None:
    for status in ("PAUSED", "PAUSED", "ACTIVE", "NEW\\N\t"):
        world.create_job(membership, status=status)
    report = etl.sync()
    assert (report.outcome, report.is_fine) == ("complete", True)
    assert last_run(etl)["unknown_statuses"] == {"PAUSED": 2, "NEW\\N\t": 1}


def test_nesting_that_no_reader_of_pages_can_follow_ends_the_run_and_nothing_else(
    etl: Etl, world: World, membership: Membership
) -> None:
    jobs_in(world, membership, 1)
    world.put_raw(membership, b'{"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    report = etl.sync()
    assert (report.outcome, report.error_class) == ("failed", "DamagedPage")
