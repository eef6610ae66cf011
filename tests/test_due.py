"""Which memberships are due, by the database's clock, and what a run says of the next one."""

from datetime import datetime, timedelta
from threading import Event
from typing import Any

import pytest
from conftest import MINUTE, Etl, MakeEtl
from sqlalchemy import text

from etl import agenda, database, leases, sweep, tables
from etl.demo.answers import error
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.world import World
from etl.run import Progress, StoppedError
from etl.sync import SyncReport, sync_membership

LISTING = "ListTrainedModelInferenceJobs"
DENIED = error("AccessDeniedException")


def row(etl: Etl) -> dict[str, Any]:
    return etl.query("SELECT *, clock_timestamp() AS now FROM cleanrooms_etl.membership")[0]


def pause(etl: Etl) -> timedelta:
    """From the end of the last run to the next due time."""
    found = etl.query(
        "SELECT next_due_at - finished_at AS pause FROM cleanrooms_etl.membership"
        " JOIN cleanrooms_etl.sync_run USING (membership_key) ORDER BY run_id DESC LIMIT 1"
    )
    result: timedelta = found[0]["pause"]
    return result


def due(etl: Etl, *busy: str, most: int = 100) -> list[str]:
    looks = agenda.Agenda(etl.config)
    try:
        return [membership.id for membership in looks.due(busy, most)]
    finally:
        looks.close()


def sync_if_due(etl: Etl) -> SyncReport:
    return sync_membership(etl.config, etl.config.memberships[0], if_due=True)


def make_due(etl: Etl) -> None:
    etl.execute("UPDATE cleanrooms_etl.membership SET next_due_at = clock_timestamp()")


# What is due


def test_a_membership_that_was_never_synced_is_due_at_once(etl: Etl, membership: Membership) -> None:
    assert due(etl) == [membership.id]


def test_after_a_complete_run_it_is_due_within_one_interval(make_etl: MakeEtl, membership: Membership) -> None:
    assert membership
    etl = make_etl(schedule={"every": "15m"})
    etl.sync()
    assert timedelta() < pause(etl) <= 15 * MINUTE
    assert due(etl) == []


def test_it_is_due_again_when_its_time_has_come(etl: Etl, membership: Membership) -> None:
    etl.sync()
    make_due(etl)
    assert due(etl) == [membership.id]


def test_the_longest_due_come_first_and_no_more_than_asked_for(make_etl: MakeEtl, world: World) -> None:
    members = [world.add_membership().id for _ in range(4)]
    etl = make_etl()
    etl.sweep()
    for minutes, name in enumerate(members):
        etl.execute(
            "UPDATE cleanrooms_etl.membership"
            " SET next_due_at = clock_timestamp() - make_interval(mins => :minutes)"
            " WHERE membership_id = :name",
            minutes=minutes,
            name=name,
        )
    assert due(etl) == members[::-1]
    assert due(etl, most=2) == [members[3], members[2]]
    assert due(etl, members[3], most=2) == [members[2], members[1]]


def test_what_is_being_synced_is_not_due(etl: Etl, endpoint: Endpoint) -> None:
    seen: list[list[str]] = []
    endpoint.before_page = lambda _: seen.append(due(etl))
    etl.sync()
    assert seen == [[]]


def test_what_is_no_longer_configured_is_not_due(make_etl: MakeEtl, world: World) -> None:
    kept, dropped = world.add_membership(), world.add_membership()
    both = make_etl()
    sweep.register(both.config)
    one = make_etl(memberships=[{"id": kept.id, "region": kept.region}])
    sweep.register(one.config)
    assert due(one) == [kept.id]
    with database.connect(both.config.database.address()) as connection, connection.begin():
        assert leases.due(connection, [kept.id, dropped.id], 10) == [kept.id]


def test_what_another_configuration_has_dropped_is_tracked_again(make_etl: MakeEtl, world: World) -> None:
    kept, dropped = world.add_membership(), world.add_membership()
    looks = agenda.Agenda(make_etl().config)
    assert len(looks.due([], 10)) == 2
    sweep.register(make_etl(memberships=[{"id": kept.id, "region": kept.region}]).config)
    assert {each.id for each in looks.due([], 10)} == {kept.id, dropped.id}
    looks.close()


def test_a_row_that_somebody_has_locked_keeps_nobody_from_the_others(make_etl: MakeEtl, world: World) -> None:
    locked, free = world.add_membership(), world.add_membership()
    make_etl(schedule={"every": "6h"}).sweep()
    looks = agenda.Agenda(make_etl(schedule={"every": "1m"}).config)
    with database.connect(make_etl().config.database.address()) as other, other.begin():
        other.execute(
            text("SELECT FROM cleanrooms_etl.membership WHERE membership_id = :it FOR UPDATE"), {"it": locked.id}
        )
        assert [each.id for each in looks.due([], 10)] == [free.id]
    assert {each.id for each in looks.due([], 10)} == {locked.id, free.id}
    looks.close()


def test_what_is_dropped_while_somebody_has_locked_it_is_dropped_later(make_etl: MakeEtl, world: World) -> None:
    kept, dropped = world.add_membership(), world.add_membership()
    make_etl().sweep()
    looks = agenda.Agenda(make_etl(memberships=[{"id": kept.id, "region": kept.region}]).config)
    row = text("SELECT FROM cleanrooms_etl.membership WHERE membership_id = :it FOR UPDATE")
    with database.connect(make_etl().config.database.address()) as other, other.begin():
        other.execute(row, {"it": dropped.id})
        looks.due([], 1)
    looks.due([], 1)
    looks.close()
    tracked = make_etl().query("SELECT membership_id FROM cleanrooms_etl.membership WHERE configured")
    assert tracked == [{"membership_id": kept.id}]


def test_a_due_time_further_off_than_any_schedule_is_of_a_clock_that_was_set_back(
    etl: Etl, membership: Membership
) -> None:
    etl.sync()
    etl.execute("UPDATE cleanrooms_etl.membership SET next_due_at = clock_timestamp() + interval '25 min'")
    assert due(etl) == []
    etl.execute("UPDATE cleanrooms_etl.membership SET next_due_at = clock_timestamp() + interval '1 hour'")
    assert due(etl) == [membership.id]


def test_a_schedule_that_changes_during_a_sync_is_followed_after_it(
    make_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    often = make_etl(schedule={"every": "1m"})
    endpoint.before_page = lambda _: sweep.register(often.config)
    make_etl(schedule={"every": "6h"}).sync()
    assert due(often) == [membership.id]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"every": "6h"}, {"every": "1m"}),
        ({"every": "6h"}, {"every": "6h", "every_open": "1m"}),
        ({"cron": "0 5 * * *"}, {"cron": "0 6 * * *"}),
    ],
)
def test_a_schedule_that_has_changed_is_followed_at_once(
    before: dict[str, str], now: dict[str, str], make_etl: MakeEtl, membership: Membership
) -> None:
    make_etl(schedule=before).sync()
    assert due(make_etl(schedule=before)) == []
    assert due(make_etl(schedule=now)) == [membership.id]


# Who comes too late


def test_whoever_comes_after_another_has_synced_it_leaves_it_alone(etl: Etl, endpoint: Endpoint) -> None:
    etl.sync()
    asked = len(endpoint.requests)
    assert (sync_if_due(etl).outcome, sync_if_due(etl).run_id) == ("busy", None)
    assert len(endpoint.requests) == asked


def test_a_sync_by_hand_does_not_ask_whether_it_is_due(etl: Etl) -> None:
    etl.sync()
    assert etl.sync().outcome == "complete"


# What a run says of the next one


def test_a_run_that_went_on_over_due_times_has_skipped_and_counted_them(
    make_etl: MakeEtl, membership: Membership, endpoint: Endpoint
) -> None:
    assert membership
    etl = make_etl(schedule={"every": "1s"})
    endpoint.before_page = lambda _: endpoint.pause(2.2)
    report = etl.sync()
    assert report.overruns >= 2
    assert etl.query("SELECT overruns FROM cleanrooms.sync_runs") == [{"overruns": report.overruns}]
    assert timedelta(seconds=-0.1) < pause(etl) <= timedelta(seconds=1)


@pytest.mark.parametrize(
    ("code", "least", "most"),
    [("ThrottlingException", 5, 7), ("AccessDeniedException", 60, 75), ("ServiceQuotaExceededException", 15, 19)],
)
def test_what_fails_is_tried_again_by_its_class_of_error(
    etl: Etl, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, code: str, least: int, most: int
) -> None:
    monkeypatch.setattr("etl.clients._REQUESTS", 1)
    endpoint.on(LISTING, error(code))
    assert etl.sync().error_class == code
    assert least - 1 < pause(etl).total_seconds() < most
    assert row(etl)["failures"] == 1


def test_each_further_failure_doubles_the_pause_and_a_complete_run_ends_it(etl: Etl, endpoint: Endpoint) -> None:
    endpoint.on(LISTING, DENIED, DENIED, DENIED)
    pauses = []
    for _ in range(3):
        etl.sync()
        pauses.append(round(pause(etl) / MINUTE))
    assert pauses[1:] == [pytest.approx(2 * pauses[0], abs=1), pytest.approx(4 * pauses[0], abs=1)]
    assert row(etl)["failures"] == 3
    etl.sync()
    assert row(etl)["failures"] == 0


def test_malformed_items_put_nothing_off(etl: Etl, world: World, membership: Membership) -> None:
    world.put_raw(membership, {"no": "job"})
    assert etl.sync().error_class == "RejectedItems"
    assert row(etl)["failures"] == 0
    assert pause(etl) <= 15 * MINUTE


def test_a_run_that_was_stopped_leaves_the_membership_due(etl: Etl, membership: Membership) -> None:
    looks: list[Progress] = []

    def stop(progress: Progress) -> None:
        looks.append(progress)
        if len(looks) > 1:
            raise StoppedError

    sweep.register(etl.config)
    report = sync_membership(etl.config, etl.config.memberships[0], stop)
    assert (report.outcome, report.error_class) == ("partial", "Stopped")
    assert due(etl) == [membership.id]


def test_a_sync_stopped_before_its_beginning_opens_no_run(etl: Etl, endpoint: Endpoint) -> None:
    def stop(_: Progress) -> None:
        raise StoppedError

    sweep.register(etl.config)
    report = sync_membership(etl.config, etl.config.memberships[0], stop)
    assert (report.outcome, report.error_class, report.run_id) == ("partial", "Stopped", None)
    assert etl.query("SELECT FROM cleanrooms.sync_runs") == []
    assert endpoint.requests == []


def test_what_was_put_off_can_be_made_due_at_once_and_the_others_stay(
    make_etl: MakeEtl, world: World, endpoint: Endpoint
) -> None:
    failing, fine = world.add_membership(), world.add_membership()
    etl = make_etl()
    endpoint.on(lambda request: request.membership == failing.id, DENIED)
    etl.sweep()
    assert due(etl) == [failing.id]
    assert fine.id != failing.id


# Trouble


def test_a_database_that_is_not_migrated_is_told(make_etl: MakeEtl, empty_database_url: str) -> None:
    etl = make_etl(
        memberships=[{"id": "3f2a1c9e-5b7d-4e8a-9c1f-0a1b2c3d4e5f", "region": "us-east-1"}],
        database={"url": empty_database_url},
    )
    with pytest.raises(database.DatabaseError, match="run `etl db upgrade`"):
        due(etl)


def test_a_look_after_trouble_is_a_look_on_a_new_connection(etl: Etl, membership: Membership) -> None:
    looks = agenda.Agenda(etl.config)
    assert [each.id for each in looks.due([], 1)] == [membership.id]
    etl.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(database.DatabaseError, match="the database failed: "):
        looks.due([], 1)
    assert [each.id for each in looks.due([], 1)] == [membership.id]
    looks.close()


def test_a_database_that_takes_no_writes_is_told(etl: Etl) -> None:
    looks = agenda.Agenda(etl.config)
    looks.due([], 1)
    [name] = etl.query("SELECT quote_ident(current_database()) AS it")
    etl.execute(f"ALTER DATABASE {name['it']} SET default_transaction_read_only = on")
    looks.close()
    with pytest.raises(database.DatabaseError, match="read-only"):
        looks.due([], 1)


def test_memberships_are_registered_again_after_trouble(etl: Etl, membership: Membership) -> None:
    looks = agenda.Agenda(etl.config)
    looks.due([], 1)
    etl.execute("UPDATE cleanrooms_etl.alembic_version SET version_num = '9999'")
    with pytest.raises(database.DatabaseError, match="newer release"):
        looks.due([], 1)
    etl.execute("UPDATE cleanrooms_etl.alembic_version SET version_num = :revision", revision=tables.REVISION)
    etl.execute("ALTER TABLE cleanrooms_etl.membership DISABLE TRIGGER never_deleted")
    etl.execute("DELETE FROM cleanrooms_etl.membership")
    assert [each.id for each in looks.due([], 1)] == [membership.id]
    looks.close()


def test_daemons_of_one_database_count_each_other(etl: Etl, membership: Membership) -> None:
    assert membership
    one, other = agenda.Agenda(etl.config), agenda.Agenda(etl.config)
    assert (one.daemons(), other.daemons(), one.daemons()) == (1, 2, 2)
    etl.sync()
    other.close()
    assert any(one.daemons() == 1 or Event().wait(0.05) for _ in range(200))  # a session ends in its time
    one.close()


def test_a_newer_schema_ends_the_syncs_that_run(
    etl: Etl, world: World, membership: Membership, endpoint: Endpoint
) -> None:
    world.create_job(membership)
    newer = "UPDATE cleanrooms_etl.alembic_version SET version_num = '9999'"
    endpoint.before_page = lambda _: etl.execute(newer)
    report = etl.sync()
    assert (report.outcome, report.error_class, report.run_id) == ("failed", "DatabaseError", None)
    assert etl.query("SELECT FROM cleanrooms_etl.inference_job") == []


def test_freshness_is_what_the_view_tells(etl: Etl, membership: Membership) -> None:
    etl.sync()
    looks = agenda.Agenda(etl.config)
    [shown] = looks.freshness()
    assert (shown["membership_id"], shown["state"]) == (membership.id, "ok")
    assert isinstance(shown["next_due_at"], datetime)
    looks.close()
