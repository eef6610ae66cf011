"""The configuration: what may be set, where, and what is said of a mistake."""

import pickle
import traceback
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from etl import loading
from etl.config import Config, ConfigError
from etl.loading import from_mapping, load

ID = "3f2a1c9e-5b7d-4e8a-9c1f-0a1b2c3d4e5f"
OTHER_ID = "00000000-0000-4000-8000-000000000000"
MODEL = f"arn:aws:cleanrooms-ml:us-east-1:111122223333:membership/{ID}/trained-model/lookalike"
ROLE = "arn:aws:iam::111122223333:role/etl-reader"
PASSWORD = "hunter2-of-the-plant"  # noqa: S105 - planted, to be looked for
FILE = f"""
[database]
url = "postgresql://etl@db.internal/cleanrooms?sslmode=verify-full"
[aws]
endpoint_url = "http://127.0.0.1:8099"
sts_endpoint_url = "http://[::1]:8098/sts"
max_concurrency = 16
page_size = 50
requests_per_second = 2.5
[sync]
absence_grace = "90s"
lease = "1m"
deadline = "5m"
[schedule]
every = "6h"
[daemon]
listen = "[::1]:9000"
[quota]
membership = 6
account = 20
[[membership]]
id = "{ID}"
region = "us-gov-west-1"
role_arn = "{ROLE}"
external_id = "between-us"
trained_model_arn = "{MODEL}"
trained_model_version_identifier = "{OTHER_ID}"
every = "30m"
quota = 8
account_quota = 40
"""


def membership(**changes: Any) -> dict[str, Any]:
    return {"id": ID, "region": "us-east-1"} | changes


def made(settings: Mapping[str, Any], **environ: str) -> Config:
    return from_mapping(settings, environ, "etl.toml")


def complaints(settings: Mapping[str, Any], **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        made(settings, **environ)
    return list(raised.value.complaints)


def read(text: str, folder: Path) -> Config:
    file = folder / "etl.toml"
    file.write_text(text)
    return load(file, {})


def test_every_setting_of_the_file_is_taken(tmp_path: Path) -> None:
    config = read(FILE, tmp_path)
    assert config.database.address() == "postgresql://etl@db.internal/cleanrooms?sslmode=verify-full"
    assert config.aws.model_dump() == {
        "allow_plain_http": False,
        "endpoint_url": "http://127.0.0.1:8099",
        "sts_endpoint_url": "http://[::1]:8098/sts",
        "max_concurrency": 16,
        "page_size": 50,
        "requests_per_second": 2.5,
    }
    assert config.sync.absence_grace == timedelta(seconds=90)
    assert config.sync.lease == timedelta(minutes=1)
    assert config.sync.deadline == timedelta(minutes=5)
    assert config.daemon.listen == "[::1]:9000"
    assert config.schedule.interval == timedelta(hours=6)
    assert [each.model_dump() for each in config.memberships] == [
        {
            "id": ID,
            "region": "us-gov-west-1",
            "role_arn": ROLE,
            "external_id": "between-us",
            "trained_model_arn": MODEL,
            "trained_model_version_identifier": OTHER_ID,
            "every": timedelta(minutes=30),
            "cron": None,
            "every_open": None,
            "quota": 8,
            "account_quota": 40,
        }
    ]
    assert (config.quota.membership, config.quota.account) == (6, 20)


def test_what_is_left_out_has_the_default_of_the_contract() -> None:
    config = made({"membership": [membership()]})
    assert config.database.url is None
    assert config.aws.model_dump() == {
        "allow_plain_http": False,
        "endpoint_url": None,
        "sts_endpoint_url": None,
        "max_concurrency": 8,
        "page_size": 100,
        "requests_per_second": None,
    }
    assert config.sync.deadline == timedelta(minutes=10)
    assert config.daemon.listen == "127.0.0.1:9464"
    assert (config.sync.absence_grace, config.sync.lease) == (timedelta(minutes=5), timedelta(minutes=2))
    assert config.schedule.interval == timedelta(minutes=15)
    assert (config.quota.membership, config.quota.account) == (5, 10)
    assert config.memberships[0].model_dump(exclude_none=True) == membership()


def test_the_account_is_the_role_s() -> None:
    config = made({"membership": [membership(role_arn=ROLE), membership(id=OTHER_ID)]})
    assert [each.account_id for each in config.memberships] == ["111122223333", None]


def test_an_address_that_is_not_set_cannot_be_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"^database\.url: is not set$"):
        made({}).database.address()


def test_space_round_a_variable_is_no_part_of_it() -> None:
    assert made({}, ETL_DATABASE_URL=" postgresql:///x\n").database.address() == "postgresql:///x"


# Where it is read


def test_the_file_named_goes_before_the_variable_and_that_before_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("etl.toml", "variable.toml", "named.toml"), start=1):
        (tmp_path / name).write_text(f"[aws]\npage_size = {number}\n")
    monkeypatch.chdir(tmp_path)
    variable = {"ETL_CONFIG": "variable.toml"}
    assert load(None, {}).aws.page_size == 1
    assert load(None, {"ETL_CONFIG": ""}).aws.page_size == 1
    assert load(None, variable).aws.page_size == 2
    assert load(Path("named.toml"), variable).aws.page_size == 3


def test_no_file_at_all_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {"ETL_AWS_PAGE_SIZE": "7"}).aws.page_size == 7


@pytest.mark.parametrize(("file", "environ"), [("gone.toml", {}), (None, {"ETL_CONFIG": "gone.toml"})])
def test_a_file_that_is_named_must_be_there(file: str | None, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^gone\.toml: cannot be read: No such file or directory$"):
        load(Path(file) if file else None, environ)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load(tmp_path, {})


@pytest.mark.parametrize(
    "content",
    [
        b"[aws\n",
        b"page_size = = 3",
        b"[aws]\n[aws]\n",
        b'"a\\nb" = 1\n"a\\nb" = 1',
        b"page_size = " + b"9" * 5_000,
        b"page_size = " + b"[" * 5_000,
    ],
    ids=lambda content: content[:20].decode(errors="replace"),
)
def test_what_is_not_toml_is_one_line_that_names_the_file(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "etl.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    assert str(raised.value).startswith(f"{file}: is not TOML: ")
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_of_an_editor_that_marks_its_files_is_read(tmp_path: Path) -> None:
    file = tmp_path / "etl.toml"
    file.write_text("[aws]\r\npage_size = 7\r\n", "utf-8-sig")
    assert load(file, {}).aws.page_size == 7


def test_a_file_in_another_encoding_is_told_which_it_needs(tmp_path: Path) -> None:
    file = tmp_path / "etl.toml"
    file.write_text("[aws]\npage_size = 7\n", "utf-16")
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    assert str(raised.value) == f"{file}: is not UTF-8: save it as that"


@pytest.mark.parametrize(
    ("section", "key"),
    [("aws", "page_size"), ("aws", "max_concurrency"), ("aws", "requests_per_second"), ("quota", "account")],
)
def test_true_is_no_number(section: str, key: str) -> None:
    assert complaints({section: {key: True}}) == [f"etl.toml: {section}.{key}: must be a number"]


# The environment


@pytest.mark.parametrize(
    ("variable", "value", "section", "key", "expected"),
    [
        ("ETL_AWS_ENDPOINT_URL", "https://aws.test/api", "aws", "endpoint_url", "https://aws.test/api"),
        ("ETL_AWS_STS_ENDPOINT_URL", "https://sts:80", "aws", "sts_endpoint_url", "https://sts:80"),
        ("ETL_AWS_MAX_CONCURRENCY", "3", "aws", "max_concurrency", 3),
        ("ETL_AWS_PAGE_SIZE", "9", "aws", "page_size", 9),
        ("ETL_SYNC_ABSENCE_GRACE", "0s", "sync", "absence_grace", timedelta(0)),
        ("ETL_SYNC_LEASE", "30s", "sync", "lease", timedelta(seconds=30)),
        ("ETL_SCHEDULE_EVERY", "1d", "schedule", "every", timedelta(days=1)),
        ("ETL_SCHEDULE_EVERY_OPEN", "30s", "schedule", "every_open", timedelta(seconds=30)),
        ("ETL_SYNC_FULL_EVERY", "0s", "sync", "full_every", timedelta(0)),
    ],
)
def test_the_environment_wins_over_the_file(
    variable: str, value: str, section: str, key: str, expected: object
) -> None:
    file = {
        "aws": {"endpoint_url": "https://file", "sts_endpoint_url": "https://file"},
        "sync": {"lease": "9m", "absence_grace": "9m"},
        "schedule": {"every": "9m"},
    }
    assert getattr(getattr(made(file, **{variable: value}), section), key) == expected


def test_a_variable_leaves_the_rest_of_its_section_alone() -> None:
    config = made({"aws": {"page_size": 5}}, ETL_AWS_MAX_CONCURRENCY="3")
    assert (config.aws.page_size, config.aws.max_concurrency) == (5, 3)


def test_the_database_of_the_environment_wins() -> None:
    config = made({"database": {"url": "postgresql:///file"}}, ETL_DATABASE_URL="postgresql:///environment")
    assert config.database.address() == "postgresql:///environment"


def test_the_schedule_may_be_a_cron_line_of_the_environment() -> None:
    assert made({}, ETL_SCHEDULE_CRON="0 * * * *").schedule.interval == timedelta(hours=1)


def test_a_cron_line_in_the_environment_takes_the_place_of_the_file_s_interval() -> None:
    assert made({"schedule": {"every": "1m"}}, ETL_SCHEDULE_CRON="0 * * * *").schedule.interval == timedelta(
        hours=1
    )


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert made({"aws": {"page_size": 5}}, ETL_AWS_PAGE_SIZE="").aws.page_size == 5


def test_an_empty_url_is_not_taken_for_the_wish_for_a_private_postgres(tmp_path: Path) -> None:
    file = tmp_path / "etl.toml"
    file.write_text("")
    with pytest.raises(ConfigError, match=r"^ETL_DATABASE_URL is empty: write a URL"):
        load(file, {"ETL_DATABASE_URL": " "})
    file.write_text('database.url = "postgresql:///file"')
    assert load(file, {"ETL_DATABASE_URL": ""}).database.address() == "postgresql:///file"


def test_other_variables_of_the_machine_are_none_of_our_business() -> None:
    assert made({}, ETL_HOME="/x", ETL_PG_BIN="/y", ETL_JOB="nightly", AWS_PAGE_SIZE="1", ETL_AWS="?") == made({})


def test_a_variable_of_a_section_that_is_none_leaves_the_complaint_to_the_file() -> None:
    expected = ["etl.toml: aws: must be a section with keys of its own"]
    assert complaints({"aws": 3}, ETL_AWS_PAGE_SIZE="1") == expected


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ETL_DB_URL", "ETL_DATABASE_URL"),
        ("ETL_DATABSE_URL", "ETL_DATABASE_URL"),
        ("ETL_Shedule_EVERY_OPEN", "ETL_SCHEDULE_EVERY_OPEN"),
    ],
)
def test_a_variable_that_is_nearly_ours_is_told_without_its_value(
    variable: str, meant: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loading._warn.cache_clear()
    file = tmp_path / "etl.toml"
    file.touch()
    assert load(file, {variable: "postgresql://etl:pw@db/x"}) == load(file, {})
    assert caplog.messages == [f"{variable}: is no variable of ours and sets nothing, did you mean {meant}?"]


@pytest.mark.parametrize(
    "variable",
    ["ETL_Aws_ENDPOINT_URL", "ETL_SOURCE_DATABASE_URL", "ETL_S3_ENDPOINT_URL", "ETL_DB_PORT",
     "ETL_SCHEDULER_PORT", "ETL_METADATABASE_URL", "ETL_MEMBERSHIP_ID", "ETL_HOME"],
)  # fmt: skip
def test_no_word_is_said_of_our_own_variables_and_of_other_programs_ones(
    variable: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loading._warn.cache_clear()
    file = tmp_path / "etl.toml"
    file.touch()
    load(file, {variable: "http://127.0.0.1:80"})
    assert caplog.messages == []


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    said = complaints({}, ETL_AWS_PAGE_SIZE="many", ETL_AWS_PAGESIZE="1")
    assert said == [
        "ETL_AWS_PAGE_SIZE: must be a whole number",
        "ETL_AWS_PAGESIZE: unknown key, did you mean page_size?",
    ]


# Durations and schedules


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("6h", 21_600), ("1d", 86_400), ("090s", 90)]
)
def test_a_duration_is_a_number_with_its_unit(text: str, seconds: int) -> None:
    assert made({"schedule": {"every": text}}).schedule.interval == timedelta(seconds=seconds)


def test_a_duration_of_a_program_s_own_passes() -> None:
    assert made({"sync": {"lease": timedelta(seconds=7)}}).sync.lease == timedelta(seconds=7)


@pytest.mark.parametrize("value", ["", "5", 5, "5 m", "-5m", "1.5h", "5w", "m", "5M", "\u0665m", "5m\n", True, []])
def test_anything_else_is_no_duration(value: object) -> None:
    expected = ["etl.toml: sync.absence_grace: a duration is a number with its unit: 30s, 15m, 6h or 1d"]
    assert complaints({"sync": {"absence_grace": value}}) == expected


@pytest.mark.parametrize(
    ("section", "key", "value", "bound"),
    [
        ("sync", "lease", "0s", "at least 1 second"),
        ("sync", "lease", "2d", "at most 1 day"),
        ("sync", "absence_grace", "367d", "at most 366 days"),
        ("schedule", "every", "0s", "at least 1 second"),
        ("sync", "full_every", "367d", "at most 366 days"),
        ("schedule", "every", "999999999d", "at most 366 days"),
        ("schedule", "every_open", "0s", "at least 1 second"),
        ("schedule", "every_open", "367d", "at most 366 days"),
        ("aws", "page_size", 0, "at least 1"),
        ("aws", "page_size", 101, "at most 100"),
        ("aws", "max_concurrency", 0, "at least 1"),
        ("aws", "requests_per_second", 0, "more than 0.0"),
        ("aws", "requests_per_second", 1001, "at most 1000.0"),
        ("aws", "requests_per_second", "nan", "a number"),
        ("aws", "requests_per_second", "four", "a number"),
    ],
)
def test_a_number_out_of_bounds_is_told_its_bound(section: str, key: str, value: object, bound: str) -> None:
    assert complaints({section: {key: value}}) == [f"etl.toml: {section}.{key}: must be {bound}"]


@pytest.mark.parametrize(
    ("cron", "longest"),
    [
        ("*/15 * * * *", timedelta(minutes=15)),
        ("* * * * *", timedelta(minutes=1)),
        ("0,10 * * * *", timedelta(minutes=50)),
        ("0 3 * * *", timedelta(days=1)),
        ("0 3 * * sun", timedelta(days=7)),
        ("0 8,20 * * *", timedelta(hours=12)),
        ("*/15 9-17 * * mon-fri", timedelta(days=2, hours=15, minutes=15)),
        ("*/5 * * * mon", timedelta(days=6, minutes=5)),
        ("0 0 1 * *", timedelta(days=31)),
        ("0 0 1 1 *", timedelta(days=366)),
        ("0 0 29 2 *", timedelta(days=366)),
    ],
)
def test_the_interval_of_a_cron_line_is_the_longest_pause_that_it_makes(cron: str, longest: timedelta) -> None:
    assert made({"schedule": {"cron": cron}}).schedule.interval == longest


@pytest.mark.parametrize("cron", ["", "x", "@hourly", "* * * *", "0 0 * * * *", "60 * * * *", "*/0 * * * *"])
def test_what_is_no_cron_line_is_told_what_one_is(cron: str) -> None:
    [said] = complaints({"schedule": {"cron": cron}})
    assert said.startswith(
        "etl.toml: schedule.cron: must be minute, hour, day, month, weekday (mon to sun), in UTC: "
    )


@pytest.mark.parametrize("weekday", ["7", "0", "1-5", "*/2"])
def test_weekdays_by_number_are_refused_since_programs_count_them_differently(weekday: str) -> None:
    [said] = complaints({"schedule": {"cron": f"0 3 * * {weekday}"}})
    assert said.startswith("etl.toml: schedule.cron: write weekdays as mon to sun")


def test_a_cron_line_that_never_fires_is_a_mistake() -> None:
    expected = ["etl.toml: schedule.cron: never fires: there is no such day"]
    assert complaints({"schedule": {"cron": "0 0 30 feb *"}}) == expected


def test_a_schedule_is_either_an_interval_or_a_cron_line() -> None:
    said = complaints({"schedule": {"every": "15m", "cron": "0 * * * *"}})
    assert said == ["etl.toml: schedule: give either every or cron, not both"]


def test_a_membership_may_have_a_schedule_of_its_own() -> None:
    ids = ["00000000-0000-4000-8000-00000000000" + digit for digit in "123"]
    own: list[dict[str, str]] = [{}, {"every": "1m"}, {"cron": "0 * * * *"}]
    config = made(
        {
            "schedule": {"every": "6h"},
            "membership": [membership(id=name, **schedule) for name, schedule in zip(ids, own, strict=True)],
        }
    )
    intervals = [config.schedule_of(each).interval for each in config.memberships]
    assert intervals == [timedelta(hours=6), timedelta(minutes=1), timedelta(hours=1)]


def test_a_membership_s_own_schedule_is_one_too() -> None:
    [said] = complaints({"membership": [membership(every="1m", cron="0 * * * *")]})
    assert said == f"etl.toml: [[membership]] 1 ({ID}): give either every or cron, not both"


def test_a_membership_s_own_schedule_has_the_bounds_of_all() -> None:
    [said] = complaints({"membership": [membership(every="0s")]})
    assert said == f"etl.toml: [[membership]] 1 ({ID}): every: must be at least 1 second"


def test_a_full_listing_comes_every_six_hours_and_open_jobs_change_no_schedule_by_themselves() -> None:
    config = made({})
    assert (config.sync.full_every, config.schedule.every_open) == (timedelta(hours=6), None)


@pytest.mark.parametrize("regular", [{}, {"every": "2h"}, {"cron": "0 3 * * *"}])
def test_a_membership_may_be_polled_at_a_pace_of_its_own_while_it_has_open_jobs(regular: dict[str, str]) -> None:
    for own, pace in (({}, timedelta(minutes=1)), ({"every_open": "5s"}, timedelta(seconds=5))):
        config = made({"schedule": {"every_open": "1m"}, "membership": [membership(**regular, **own)]})
        schedule = config.schedule_of(config.memberships[0])
        assert schedule.every_open == pace
        plain = made({"membership": [membership(**regular)]})
        assert schedule.interval == plain.schedule_of(plain.memberships[0]).interval


def test_a_membership_s_own_pace_has_the_bounds_of_all() -> None:
    [said] = complaints({"membership": [membership(every_open="0s")]})
    assert said == f"etl.toml: [[membership]] 1 ({ID}): every_open: must be at least 1 second"


def test_a_membership_may_have_quotas_of_its_own() -> None:
    ids = ["00000000-0000-4000-8000-00000000000" + digit for digit in "123"]
    own: list[dict[str, int]] = [{}, {"quota": 8}, {"account_quota": 40}]
    config = made(
        {
            "quota": {"account": 20},
            "membership": [membership(id=name, **quotas) for name, quotas in zip(ids, own, strict=True)],
        }
    )
    quotas = [config.quota_of(each) for each in config.memberships]
    assert [(each.membership, each.account) for each in quotas] == [(5, 20), (8, 20), (5, 40)]


def test_a_quota_allows_one_job_at_least() -> None:
    said = complaints({"quota": {"membership": 0}, "membership": [membership(account_quota=0)]})
    assert said == [
        "etl.toml: quota.membership: must be at least 1",
        f"etl.toml: [[membership]] 1 ({ID}): account_quota: must be at least 1",
    ]


def test_the_daemon_has_a_pace_where_none_is_set() -> None:
    assert made({}).aws.paced().requests_per_second == 4
    assert made({"aws": {"requests_per_second": 0.5}}).aws.paced().requests_per_second == 0.5


@pytest.mark.parametrize("listen", ["9464", "localhost", "127.0.0.1:", "http://127.0.0.1:9464", "127.0.0.1:x"])
def test_where_the_daemon_listens_is_a_host_and_a_port(listen: str) -> None:
    [said] = complaints({"daemon": {"listen": listen}})
    assert said == "etl.toml: daemon.listen: must be host:port, such as 127.0.0.1:9464"


def test_the_daemon_listens_on_a_port_that_there_is() -> None:
    assert made({"daemon": {"listen": "127.0.0.1:65535"}}).daemon.listen == "127.0.0.1:65535"
    said = complaints({"daemon": {"listen": "127.0.0.1:65536"}})
    assert said == ["etl.toml: daemon.listen: must have a port up to 65535"]


# Mistakes


def test_all_complaints_come_together() -> None:
    said = complaints(
        {
            "database": {"url": "mysql://db/x"},
            "aws": {"page_size": 101, "endpoint_url": "ftp://x", "page_sice": 3},
            "sync": {"lease": "soon"},
            "schedule": {"cron": "x"},
            "membership": [membership(region="Frankfurt"), {"region": "us-east-1"}],
            "memberships": [],
        },
        ETL_AWS_MAX_CONCURRENCY="1.5",
    )
    assert [line.removeprefix("etl.toml: ").split(": ")[0] for line in said] == [
        "database.url",
        "aws.endpoint_url",
        "ETL_AWS_MAX_CONCURRENCY",
        "aws.page_size",
        "aws.page_sice",
        "sync.lease",
        "schedule.cron",
        f"[[membership]] 1 ({ID})",
        "[[membership]] 2",
        "memberships",
    ]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "id",
            "3F2A1C9E-5B7D-4E8A-9C1F-0A1B2C3D4E5F",
            "must be a membership's id: 36 characters of 0-9, a-f and -",
        ),
        ("id", ID + "\n", "must be a membership's id: 36 characters of 0-9, a-f and -"),
        ("region", "us-east", "must be a region such as us-east-1"),
        ("region", 1, "must be a text in quotes"),
        ("role_arn", "etl-reader", "must be a role: arn:aws:iam::<account>:role/<name>"),
        ("external_id", "x", "must be at least 2 characters long"),
        ("external_id", "between-us", "is of no use without role_arn"),
        ("trained_model_arn", ID, "must be the ARN of a trained model: arn:aws:cleanrooms-ml:..."),
        (
            "trained_model_version_identifier",
            "",
            "must be a version's identifier: 36 characters of 0-9, a-f and -",
        ),
        ("regoin", "x", "unknown key, did you mean region?"),
    ],
)
def test_a_complaint_about_a_membership_says_which_and_what(key: str, value: object, expected: str) -> None:
    said = complaints({"membership": [membership(id=OTHER_ID), membership(**{key: value})]})
    name = "" if key == "id" else f" ({ID})"
    assert said == [f"etl.toml: [[membership]] 2{name}: {key}: {expected}"]


@pytest.mark.parametrize("key", ["id", "region"])
def test_a_membership_needs_its_id_and_its_region(key: str) -> None:
    item = {name: value for name, value in membership().items() if name != key}
    [said] = complaints({"membership": [item]})
    assert said.endswith(f": {key}: is missing")


def test_a_membership_given_twice_is_a_mistake() -> None:
    said = complaints({"membership": [membership(), membership(region="eu-west-1")], "aws": {"page_size": 0}})
    assert said == ["etl.toml: aws.page_size: must be at least 1", f"etl.toml: membership: given twice: {ID}"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"databse": {}}, "databse: unknown key, did you mean database?"),
        ({"memberships": []}, "memberships: unknown key, did you mean membership?"),
        ({"x9": 1}, "x9: unknown key; known are database, aws, sync, schedule, daemon, quota, membership"),
        ({"database": {"uri": "x"}}, "database.uri: unknown key, did you mean url?"),
        (
            {"aws": {"q": 1}},
            "aws.q: unknown key; known are allow_plain_http, endpoint_url, sts_endpoint_url, max_concurrency,"
            " page_size, requests_per_second",
        ),
        ({"sync": {"leese": "1m"}}, "sync.leese: unknown key, did you mean lease?"),
        ({"schedule": {"evry": "1m"}}, "schedule.evry: unknown key, did you mean every?"),
        ({"quota": {"acount": 3}}, "quota.acount: unknown key, did you mean account?"),
        ({"quotas": {}}, "quotas: unknown key, did you mean quota?"),
        ({"aws": {"page\n_size": 3}}, "aws.page _size: unknown key, did you mean page_size?"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(settings: Mapping[str, Any], expected: str) -> None:
    assert complaints(settings) == [f"etl.toml: {expected}"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"aws": 3}, "aws: must be a section with keys of its own"),
        ({"membership": [3]}, "[[membership]] 1: must be a section with keys of its own"),
        (
            {"membership": membership()},
            "membership: each one is a section of its own, in double brackets: [[membership]]",
        ),
    ],
)
def test_a_section_that_is_none_is_told_how_to_write_it(settings: Mapping[str, Any], expected: str) -> None:
    assert complaints(settings) == [f"etl.toml: {expected}"]


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:80",
        "http://",
        "http:///x",
        "http://a_b:80",
        "http://me:pw@host",
        "http://host:123456",
        "http://-a",
    ],
)
def test_an_endpoint_that_botocore_would_refuse_is_refused_here(url: str) -> None:
    expected = ["etl.toml: aws.endpoint_url: must be https:// or http://, then host, port and path"]
    assert complaints({"aws": {"endpoint_url": url}}) == expected


def test_a_membership_named_that_is_not_configured_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=f"^membership {OTHER_ID} is not configured$"):
        made({"membership": [membership()]}).only([ID, OTHER_ID])


def test_the_memberships_named_are_taken_once_each_and_all_where_none_is_named() -> None:
    config = made({"membership": [membership(), membership(id=OTHER_ID)]})
    assert [each.id for each in config.only([OTHER_ID, OTHER_ID])] == [OTHER_ID]
    assert [each.id for each in config.only([])] == [ID, OTHER_ID]


# Secrets


@pytest.mark.parametrize(
    ("settings", "environ"),
    [
        ({"database": {"url": f"mysql://etl:{PASSWORD}@db/x"}}, {}),
        ({"database": {"url": f"postgresql://etl:{PASSWORD}@db/x"}}, {}),
        ({"database": {"url": f"postgresql://etl:{PASSWORD}@localhost/x", "iam_auth": True}}, {}),
        ({"database": {"uri": f"postgresql://etl:{PASSWORD}@db/x"}}, {}),
        ({"database": f"postgresql://etl:{PASSWORD}@db/x"}, {}),
        ({"database": {"url": [f"postgresql://etl:{PASSWORD}@db/x"]}}, {}),
        ({"aws": {"endpoint_url": f"http://me:{PASSWORD}@db/x"}}, {}),
        ({"database": {"url": f"postgresql://etl@db/x?sslmode=postgresql://etl:{PASSWORD}@db/x"}}, {}),
        ({"schedule": {"every": PASSWORD}}, {}),
        ({"membership": [{"id": PASSWORD, "region": PASSWORD, "role_arn": PASSWORD}]}, {}),
        ({}, {"ETL_DATABASE_URL": f"db:{PASSWORD}"}),
    ],
)
def test_no_complaint_and_no_traceback_holds_a_secret(
    settings: Mapping[str, Any], environ: dict[str, str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        made(settings, **environ)
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert PASSWORD not in shown
    assert raised.value.__context__ is None


def test_even_pydantic_s_own_error_tells_nothing_of_what_it_was_given() -> None:
    with pytest.raises(ValidationError) as raised:
        Config.model_validate({"database": {"url": f"mysql://etl:{PASSWORD}@db/x"}})
    assert PASSWORD not in str(raised.value)


def test_a_file_that_is_not_toml_keeps_its_secrets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read(f'[database]\nurl = "postgresql://etl:{PASSWORD}@db/x\n', tmp_path)
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))


def test_the_password_is_masked_wherever_the_configuration_is_shown() -> None:
    config = made({"database": {"url": f"postgresql://etl:{PASSWORD}@localhost/x"}})
    assert PASSWORD not in f"{config!r} {config} {config.model_dump()} {config.model_dump_json()}"


# A value


def test_the_configuration_survives_a_pickle_with_its_password() -> None:
    config = made({"database": {"url": f"postgresql://etl:{PASSWORD}@localhost/x"}, "membership": [membership()]})
    copy = pickle.loads(pickle.dumps(config))  # noqa: S301 - our own
    assert copy == config
    assert copy.database.address() == config.database.address()


def test_the_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        made({}).aws.page_size = 3  # type: ignore[misc]  # the claim itself
