"""Jobs as rows in the text that COPY reads: what Postgres makes of them is what was given."""

from datetime import UTC, datetime

import msgspec
from conftest import NOON
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, text
from test_jobs import ARN, item

from etl import database, jobs, staging
from etl.jobs import Job
from etl.reconcile import staged_job
from etl.staging import Staged

DIGEST = "0123456789abcdef0123456789abcdef"

# Whatever Postgres can store, and more often what has a meaning in COPY, in an array or in JSON.
letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.text(st.one_of(st.sampled_from('\\\t\n\r\v\b\f",{}N.'), letters), max_size=12)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2262, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
extras = st.dictionaries(texts, st.one_of(st.none(), texts, st.lists(texts, max_size=2)), max_size=2)


@st.composite
def staged_jobs(draw: st.DrawFn) -> Staged:
    """Make a job whose texts and times are anything, and some texts nothing."""
    job = jobs.decode(item(), ARN.split("/")[1], NOON).job
    odd = {
        "name": draw(texts),
        "status": draw(texts),
        "trained_model_arn": draw(texts),
        "create_time": draw(moments),
        "update_time": draw(moments),
        "description": draw(st.none() | texts),
        "logs_status_details": draw(st.none() | texts),
        "output_account_ids": draw(st.lists(texts, max_size=3)),
        "extra": draw(extras),
    }
    return Staged(
        msgspec.structs.replace(job, **odd), draw(st.sampled_from([None, DIGEST])), draw(st.integers(1, 9))
    )


def copied(connection: Connection, staged: list[Staged], encoding: str = "UTF8") -> list[Staged]:
    """Return what stands in the staging table once these are copied to it by a client of some encoding."""
    with connection.begin():
        connection.execute(text("SELECT set_config('client_encoding', :encoding, true)"), {"encoding": encoding})
        staging.copy(connection, staging.rows(staged))
        rows = connection.execute(select(staged_job)).mappings().all()
    facts = [{name: row[name] for name in Job.__struct_fields__} for row in rows]
    digests = [row["digest"] and row["digest"].hex for row in rows]
    return [
        Staged(Job(**fact), digest, row["place"]) for fact, digest, row in zip(facts, digests, rows, strict=True)
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(staged_jobs(), max_size=4))
def test_what_is_copied_is_what_was_given(database_url: str, staged: list[Staged]) -> None:
    with database.connect(database_url) as connection:
        assert copied(connection, staged) == staged


def test_a_text_that_looks_like_null_is_none(database_url: str) -> None:
    job = jobs.decode(item(name=r"\N", description=""), ARN.split("/")[1], NOON).job
    with database.connect(database_url) as connection:
        [(stored, _, _)] = copied(connection, [Staged(job, None, 1)])
    assert (stored.name, stored.description, stored.metrics_status) == (r"\N", "", None)


def test_what_is_copied_does_not_depend_on_the_encoding_of_the_session(database_url: str) -> None:
    job = jobs.decode(item(name="f\u00e4hig"), ARN.split("/")[1], NOON).job
    with database.connect(database_url) as connection:
        [(stored, _, _)] = copied(connection, [Staged(job, None, 1)], "LATIN1")
    assert stored.name == "f\u00e4hig"
