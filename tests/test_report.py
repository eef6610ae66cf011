"""The report: its numbers are the views', its page stands alone, and no text from AWS does it harm."""

import json
import os
import re
import resource
import sys
from base64 import b64encode
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from conftest import MINUTE, NOON, Etl, MakeEtl
from sqlalchemy import text
from test_cli import NOWHERE, Cli, Said

from etl import database, tour
from etl.console import Console
from etl.demo.clock import Clock
from etl.demo.membership import Membership
from etl.demo.world import World
from etl.report import comparing, over_time, wording
from etl.report.facts import Facts, read
from etl.report.file import write
from etl.report.page import render
from etl.report.period import DAY, HOUR, MONTH, WEEK, Asked, Period, PeriodError, Step, asked

DAY_LONG = timedelta(days=1)
NOW = datetime(2026, 3, 20, 15, 40, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
THAT_DAY = Asked(MIDNIGHT, MIDNIGHT + DAY_LONG)
HOSTILE = "</script><script>document.title = 'harmed'</script> & <b>\"bold\"</b> \u202egnp\x07"
HARMLESS = "</script><script>document.title = 'harmed'</script> & <b>\"bold\"</b> \\u202egnp\\x07"


class Page(HTMLParser):
    """A page, taken apart as a browser would."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.cells: list[str] = []
        self._in: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in.append(tag)
        if tag == "script":
            self.scripts.append("")
        if tag in {"td", "th"}:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._in and self._in[-1] == "script":
            self.scripts[-1] += data
        if {"td", "th"} & set(self._in):
            self.cells[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def drawings(self) -> dict[str, Any]:
        drawings: dict[str, Any] = json.loads(self.scripts[0])
        return drawings


def facts_of(etl: Etl, wanted: Asked = THAT_DAY, memberships: Sequence[str] = ()) -> Facts:
    with closing(database.connect(etl.config.database.address())) as connection:
        return read(connection, wanted, memberships)


def report(etl: Etl, folder: Path, *words: str, **environ: str) -> Said:
    """Run `etl report` in a process of its own, in that folder."""
    settings = {"ETL_DATABASE_URL": etl.config.database.address(), **environ}
    return Cli(folder).run("report", "--text", *words, **settings)


@pytest.fixture
def lived(etl: Etl, world: World, clock: Clock, membership: Membership) -> Etl:
    """A day of one membership: a job that succeeded, one that failed, one still open; one was cancelled before."""
    scorer = world.add_trained_model(membership, "scorer")
    matcher = world.add_trained_model(membership, "matcher")
    began = NOON - DAY_LONG
    world.create_job(
        membership,
        matcher,
        name="of yesterday",
        status="INACTIVE",
        create_time=began,
        update_time=began + 60 * MINUTE,
    )
    good, bad = (world.create_job(membership, scorer, name=name) for name in ("good", "bad"))
    world.create_job(membership, matcher, name="open")
    etl.sync()
    steps = ((10, good, "CREATE_IN_PROGRESS"), (20, bad, "CREATE_IN_PROGRESS"), (40, good, "ACTIVE"),
             (80, bad, "CREATE_FAILED"))  # fmt: skip
    for minutes, job, status in steps:
        clock.set(NOON + minutes * MINUTE)
        world.set_status(job, status)
        etl.sync()
    return etl


# The period


@pytest.mark.parametrize(
    ("wanted", "period"),
    [
        (
            asked(None, None, None),
            Period(datetime(2026, 2, 18, tzinfo=UTC), datetime(2026, 3, 20, 16, tzinfo=UTC)),
        ),
        (asked(None, None, 1), Period(datetime(2026, 3, 19, tzinfo=UTC), datetime(2026, 3, 20, 16, tzinfo=UTC))),
        (
            asked("2026-03-01", "2026-03-02", None),
            Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
        ),
        (
            asked("2026-03-01T10:59+02:00", "2026-03-01T12:01Z", None),
            Period(datetime(2026, 3, 1, 8, tzinfo=UTC), datetime(2026, 3, 1, 13, tzinfo=UTC)),
        ),
        (
            asked("2026-03-01", "9999-12-31", None),
            Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 20, 16, tzinfo=UTC)),
        ),
        (
            asked(None, "2026-03-10", 2),
            Period(datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC)),
        ),
    ],
)
def test_a_period_is_of_whole_hours_in_utc_and_ends_now_at_the_latest(wanted: Asked, period: Period) -> None:
    assert wanted.period(NOW) == period


@pytest.mark.parametrize(
    ("since", "until", "days", "way_out"),
    [
        ("yesterday", None, None, "write it as 2026-01-31"),
        (None, "9999-12-31T12:00-14:00", None, "write it as 2026-01-31"),
        ("0001-01-01T00:00+14:00", None, None, "write it as 2026-01-31"),
        (None, None, 0, "from 1 to"),
        (None, None, 1_000_000, "from 1 to"),
        ("2026-01-01", None, 3, "leave one out"),
        ("2026-03-21", None, None, "name an earlier moment"),
        ("2026-03-02", "2026-03-02", None, "swap them"),
        (None, "0050-01-01", 36_500, "write fewer"),
    ],
)
def test_a_period_that_cannot_be_is_refused_with_the_way_out(
    since: str | None, until: str | None, days: int | None, way_out: str
) -> None:
    with pytest.raises(PeriodError, match=way_out) as refused:
        asked(since, until, days).period(NOW)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("days", "first", "step"),
    [
        (2, None, HOUR),
        (30, None, DAY),
        (365, None, WEEK),
        (3650, None, MONTH),
        (3650, NOW - DAY_LONG, HOUR),  # as much as there is to show
    ],
)
def test_the_longer_the_data_the_longer_the_steps_of_a_chart(
    days: int, first: datetime | None, step: Step
) -> None:
    assert asked(None, None, days).period(NOW).step(first) == step


# The numbers


def test_the_key_figures_count_what_was_created_and_what_ended_in_the_period(lived: Etl) -> None:
    counts = facts_of(lived).counts
    assert counts == {
        "created": 3, "ended": 2, "succeeded": 1, "failed": 1, "cancelled": 0, "cancel_failed": 0,
        "median_seconds": 3600.0,
    }  # fmt: skip


def test_a_longer_period_counts_more(lived: Etl) -> None:
    counts = facts_of(lived, Asked(MIDNIGHT - DAY_LONG, MIDNIGHT + DAY_LONG)).counts
    assert (counts["created"], counts["ended"], counts["cancelled"]) == (4, 3, 1)


def test_what_ended_is_counted_in_the_hour_of_its_end(lived: Etl) -> None:
    assert [(row["moment"], row["status"], row["jobs"]) for row in facts_of(lived).ended] == [
        (NOON, "ACTIVE", 1),
        (NOON + 60 * MINUTE, "CREATE_FAILED", 1),
    ]


def test_what_was_open_is_counted_as_the_hour_began(lived: Etl) -> None:
    held = {row["moment"]: row["jobs"] for row in facts_of(lived).held if row["status"] == "CREATE_IN_PROGRESS"}
    assert (held[NOON], held[NOON + 60 * MINUTE], held[NOON + 120 * MINUTE]) == (0, 1, 0)


def test_over_days_what_was_open_is_the_mean_of_the_hours(lived: Etl) -> None:
    of_a_year = facts_of(lived, Asked(MIDNIGHT, MIDNIGHT + 6 * DAY_LONG))
    held = {row["moment"]: row["jobs"] for row in of_a_year.held if row["status"] == "CREATE_PENDING"}
    assert of_a_year.step == DAY
    # At noon three jobs wait, and one of them when each of the eleven hours after it begins.
    assert (held[MIDNIGHT], held[MIDNIGHT + DAY_LONG]) == ((3 + 11) / 24, 1)


def test_models_are_told_apart_with_the_quantiles_of_their_times(lived: Etl) -> None:
    (row,) = facts_of(lived).models
    assert (row["model"], row["ended"], row["succeeded"], row["failed"]) == ("scorer", 2, 1, 1)
    assert (row["queue_seconds"][2], row["run_seconds"][2]) == (900, 2700)


def test_times_spread_over_five_bins_for_each_power_of_ten(lived: Etl) -> None:
    bins = [(row["kind"], row["bin"], row["jobs"]) for row in facts_of(lived).spread]
    assert bins == [("queue", 13, 1), ("queue", 15, 1), ("run", 16, 1), ("run", 17, 1)]


def test_jobs_to_look_into_come_slowest_first_and_with_the_window_of_their_end(lived: Etl) -> None:
    facts = facts_of(lived)
    assert [row["name"] for row in facts.slowest] == ["bad", "good"]
    (failure,) = facts.failed
    assert (failure["name"], failure["status"]) == ("bad", "CREATE_FAILED")
    assert failure["not_before"] < failure["changed_time"] == NOON + 80 * MINUTE


def test_what_is_open_now_is_told_whatever_the_period(lived: Etl) -> None:
    (job,) = facts_of(lived, Asked(MIDNIGHT - 9 * DAY_LONG, MIDNIGHT - 8 * DAY_LONG)).open_jobs
    assert (job["name"], job["p95"], job["jobs"]) == ("open", 3600, 1)
    assert job["age_to_p95"] > 1


def test_capacity_is_the_most_that_was_open_at_once(lived: Etl) -> None:
    facts = facts_of(lived)
    by_hour = {row["moment"]: (row["most_open"], row["quota"], row["used"]) for row in facts.capacity}
    assert by_hour[NOON] == (3, 5, 0.6)
    assert by_hour[NOON + 120 * MINUTE] == (1, 5, 0.2)


def test_what_was_skipped_is_named_among_what_not_to_trust(lived: Etl) -> None:
    of_two_days = Asked(MIDNIGHT - DAY_LONG, MIDNIGHT + DAY_LONG)
    assert [(row["kind"], row["changes"]) for row in facts_of(lived, of_two_days).gaps] == [("skipped_states", 1)]


def test_a_report_of_one_membership_leaves_out_the_others(make_etl: MakeEtl, world: World) -> None:
    for number in (1, 2):
        owner = world.add_membership()
        for _ in range(number):
            world.create_job(owner, status="ACTIVE")
    one, two = world.memberships
    etl = make_etl()
    etl.sweep()
    assert [facts_of(etl, THAT_DAY, ids).counts["ended"] for ids in ([], [one], [two], [one, two])] == [3, 1, 2, 3]
    only = facts_of(etl, THAT_DAY, [two])
    assert {row["membership_id"] for row in (*only.freshness, *only.capacity, *only.slowest)} == {two}


@pytest.mark.parametrize(
    ("succeeded", "judged", "lower", "upper"),
    [(1, 1, 0.2065, 1.0), (0, 10, 0.0, 0.2775), (80, 100, 0.7111, 0.8666)],
)
def test_a_success_rate_is_as_sure_as_wilson_says(succeeded: int, judged: int, lower: float, upper: float) -> None:
    assert comparing.interval(succeeded, judged) == pytest.approx((lower, upper), abs=0.0001)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, wording.NOTHING), (0, "0 s"), (0.4, "under 1 s"), (59.6, "1 min"), (61, "1 min 1 s"),
        (599, "9 min 59 s"), (2399, "40 min"), (3599, "1 h"), (4800, "1 h 20 min"), (35_999, "10 h"),
        (86_400 * 1.5, "1 d 12 h"), (86_400 * 4000, "4,000 d"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_two_units_at_most(seconds: float | None, written: str) -> None:
    assert wording.duration(seconds) == written


@pytest.mark.parametrize(
    ("days", "first", "marks"),
    [
        (9, MIDNIGHT - 4 * DAY_LONG, ["Feb 26<br>2026", "Feb 27", "Feb 28", "Mar 1", "Mar 2", "Mar 3"]),
        (800, MIDNIGHT - 780 * DAY_LONG, ["Jan<br>2024", "Apr", "Jul", "Oct", "Jan<br>2025", "Apr", "Jul", "Oct",
                                          "Jan<br>2026"]),
    ],
)  # fmt: skip
def test_an_axis_of_time_marks_whole_steps_and_each_year_once(
    days: int, first: datetime, marks: list[str], lived: Etl
) -> None:
    facts = facts_of(lived, Asked(MIDNIGHT - days * DAY_LONG, MIDNIGHT + 2 * DAY_LONG))
    step = facts.period.step(first)
    steps = {DAY: DAY_LONG, MONTH: timedelta(days=30.5)}
    moments = [
        first + number * steps[step] for number in range(int((MIDNIGHT + 2 * DAY_LONG - first) / steps[step]))
    ]
    rows = [{"moment": moment, "status": "ACTIVE", "jobs": 1} for moment in moments]
    axis = over_time.ended(facts._replace(step=step, held=rows, ended=rows)).layout["xaxis"]
    assert axis["ticktext"] == marks
    assert len(axis["narrow"]["ticktext"]) <= 4


# The page


def test_the_page_asks_no_network_for_anything(lived: Etl) -> None:
    page = Page(render(facts_of(lived)))
    links = [each for _, attributes in page.elements for key, each in attributes.items() if key in {"src", "href"}]
    assert links
    assert all((each or "").startswith(("#", "data:")) for each in links)
    styles = re.search("<style>(.*?)</style>", page.text, re.DOTALL)
    assert styles
    assert "url(" not in styles[1]
    assert "@import" not in styles[1]


def test_the_browser_may_run_these_very_scripts_and_nothing_else(lived: Etl) -> None:
    page = Page(render(facts_of(lived)))
    (policy,) = (
        each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"
    )
    digests = [b64encode(sha256(script.encode()).digest()).decode() for script in page.scripts[1:]]
    hashes = " ".join(f"'sha256-{each}'" for each in digests)
    assert f"default-src 'none'; script-src {hashes};" in (policy or "")
    assert "connect-src" not in (policy or "")


def test_each_chart_has_a_text_in_its_place_and_its_numbers_as_a_table(lived: Etl) -> None:
    page = Page(render(facts_of(lived)))
    drawn = {each["id"]: each["aria-label"] for each in page.all("div") if each.get("class") == "plot"}
    assert set(drawn) == set(page.drawings)
    assert set(drawn) == {
        "ended", "open-over-time", "queue-spread", "run-spread", "model-times", "success", "open-jobs", "capacity",
    }  # fmt: skip
    assert all(drawn.values())
    assert len(page.all("details")) == len(drawn)
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(each.get("scope") for each in page.all("th"))


def test_plotly_knows_all_that_it_is_given(lived: Etl) -> None:
    def coloured(value: Any) -> Any:
        match value:
            case str():
                return "#123456" if value.startswith("--") else value
            case list():
                return [coloured(each) for each in value]
            case dict():
                return {key: coloured(each) for key, each in value.items() if key != "narrow"}  # ours
            case _:
                return value

    for drawing in Page(render(facts_of(lived))).drawings.values():
        go.Figure(coloured(drawing))


def test_a_hostile_text_is_shown_as_it_is_and_does_no_harm(
    etl: Etl, world: World, clock: Clock, membership: Membership
) -> None:
    job = world.create_job(membership, name=HOSTILE)
    world.create_job(membership, name=HOSTILE + "open")
    etl.sync()
    clock.set(NOON + 10 * MINUTE)
    world.set_status(job, "CREATE_FAILED")
    etl.sync()
    page = Page(render(facts_of(etl)))
    assert len(page.scripts) == 3
    assert not page.all("b")
    assert HARMLESS in page.cells
    assert not {"\u202e", "\x07"} & set(page.text)
    (label,) = page.drawings["open-jobs"]["layout"]["yaxis"]["ticktext"]
    assert label == "&lt;/script&gt;&lt;scrip…202egnp\\x07open"
    shown = page.drawings["open-jobs"]["data"][0]["customdata"][0]
    assert shown.startswith(
        "&lt;/script&gt;&lt;script&gt;document.title = 'harmed'&lt;/script&gt; &amp; &lt;b&gt;"
    )


def test_a_status_that_nobody_knows_is_shown_too(etl: Etl, world: World, membership: Membership) -> None:
    world.create_job(membership, status="<PAUSED>")
    etl.sync()
    names = [trace["name"] for trace in Page(render(facts_of(etl))).drawings["open-over-time"]["data"]]
    assert names == ["not known to this release (&lt;PAUSED&gt;)"]


def test_an_empty_database_makes_a_page_that_says_so_in_each_section(etl: Etl, tmp_path: Path) -> None:
    said = report(etl, tmp_path)
    assert (said.code, said.complaints) == (0, [])
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert page.drawings == {}
    assert "The database holds no job yet" in page.text
    sections = re.findall(r'<section id="([a-z-]+)" aria-labelledby.*?</section>', page.text, re.DOTALL)
    empty = [
        match[1]
        for match in re.finditer(r'<section id="([a-z-]+)" aria-labelledby(.*?)</section>', page.text, re.DOTALL)
        if 'class="nothing"' in match[2]
    ]
    assert sections == empty
    assert len(sections) == 8


# The command


def test_it_says_in_one_line_what_it_wrote(lived: Etl, tmp_path: Path) -> None:
    said = report(lived, tmp_path, "--out", "seen.html", "--since", "2026-03-02", "--until", "2026-03-03")
    size = (tmp_path / "seen.html").stat().st_size
    assert said == Said(0, f"wrote seen.html, {size / 1e6:.1f} MB: open it in a browser\n", "")
    assert "2026-03-02 00:00 to 2026-03-03 00:00 UTC" in (tmp_path / "seen.html").read_text("utf-8")


def test_it_says_so_to_programs_too(lived: Etl, tmp_path: Path) -> None:
    (line,) = report(lived, tmp_path, "--json").objects
    assert line == {"file": "report.html", "bytes": (tmp_path / "report.html").stat().st_size}


def test_the_page_goes_to_standard_output_and_nothing_else_does(lived: Etl, tmp_path: Path) -> None:
    said = report(lived, tmp_path, "--out", "-")
    assert said.out.startswith("<!DOCTYPE html>")
    assert said.out.rstrip().endswith("</html>")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--since", "soon"], 2, "etl: --since 'soon' is no date"),
        (["--days", "0"], 2, "etl: --days 0 cannot be"),
        (["--membership", "m-1"], 2, "etl: --membership 'm-1' is not in the database"),
        (["--out", "nowhere/report.html"], 1, "etl: cannot write nowhere/report.html: No such file or directory"),
        (["--out", "/dev/full"], 1, "etl: cannot write /dev/full: No space left on device"),
        (["--out", "."], 1, "etl: cannot write .: Is a directory"),
    ],
)
def test_what_cannot_be_is_one_line_and_its_exit_code(
    words: list[str], code: int, complaint: str, lived: Etl, tmp_path: Path
) -> None:
    said = report(lived, tmp_path, *words)
    assert (said.code, len(said.complaints)) == (code, 1)
    assert said.complaints[0].startswith(complaint)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_away_or_not_migrated_ends_it_with_3(empty_database_url: str, tmp_path: Path) -> None:
    for url, complaint in ((NOWHERE, "cannot reach the database"), (empty_database_url, "run `etl db upgrade`")):
        said = Cli(tmp_path).run("report", ETL_DATABASE_URL=url)
        assert (said.code, len(said.complaints)) == (3, 1)
        assert complaint in said.err


def test_a_role_that_may_read_the_views_only_can_make_it(lived: Etl, tmp_path: Path) -> None:
    address = database.parse(lived.config.database.address())
    lived.execute("CREATE ROLE looks LOGIN PASSWORD 'looks'")
    try:
        url = address.set(username="looks", password="looks").render_as_string(hide_password=False)  # noqa: S106
        hidden = Cli(tmp_path).run("report", ETL_DATABASE_URL=url)
        lived.execute("GRANT USAGE ON SCHEMA cleanrooms TO looks")
        lived.execute("GRANT SELECT ON ALL TABLES IN SCHEMA cleanrooms TO looks")
        shown = Cli(tmp_path).run("report", "--since", "2026-03-02", ETL_DATABASE_URL=url)
    finally:
        lived.execute("DROP OWNED BY looks")
        lived.execute("DROP ROLE looks")
    assert (hidden.code, len(hidden.complaints)) == (3, 1)
    assert "run `etl db grant`" in hidden.err
    assert (shown.code, shown.err) == (0, "")


def test_a_query_that_the_database_gives_up_ends_it_with_a_way_to_ask_for_less(lived: Etl, tmp_path: Path) -> None:
    address = database.parse(lived.config.database.address())
    impatient = address.update_query_dict({"options": "-c statement_timeout=500"})
    with closing(database.connect(lived.config.database.address())) as other, other.begin():
        other.execute(text("LOCK TABLE cleanrooms_etl.inference_job"))
        url = impatient.render_as_string(hide_password=False)
        said = Cli(tmp_path).run("report", ETL_DATABASE_URL=url)
    assert (said.code, len(said.complaints)) == (3, 1)
    assert "ask for fewer --days, or for one --membership" in said.err


def test_without_its_extra_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['plotly'] = None; from etl.cli import main; main()"
    said = Cli(tmp_path).run("report", program=[sys.executable, "-c", program])
    assert said == Said(1, "", "etl: plotly is not installed: install etl with its extra `report`\n")


def test_a_page_that_cannot_be_written_whole_leaves_the_old_one(lived: Etl, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("the old one")

    def half_a_page() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    settings = {"ETL_DATABASE_URL": lived.config.database.address()}
    said = Cli(tmp_path).run("report", preexec_fn=half_a_page, **settings)
    assert (said.code, said.err) == (
        1,
        "etl: cannot write report.html: File too large: name another file with --out\n",
    )
    assert {file.name: file.read_text("utf-8") for file in tmp_path.iterdir()} == {"report.html": "the old one"}


def test_whoever_reads_the_old_page_reads_on_while_the_new_one_takes_its_name(tmp_path: Path) -> None:
    path, link = tmp_path / "report.html", tmp_path / "latest.html"
    path.write_text("the old one")
    link.symlink_to(path)
    with path.open() as reading:
        assert write("the new one", link) == 11
        assert reading.read() == "the old one"
    assert link.is_symlink()
    assert path.read_text() == "the new one"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_demo_ends_with_a_report_in_the_folder_where_it_was_called(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = StringIO()
    tour.run(server, Console(as_json=True, out=said), "etl")
    assert json.loads(said.getvalue().splitlines()[-1])["report"] == str(tmp_path / "demo-report.html")
    assert len(Page((tmp_path / "demo-report.html").read_text("utf-8")).drawings) == 8


def test_the_demo_ends_well_in_a_folder_that_takes_no_file(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo-report.html").mkdir()
    monkeypatch.chdir(tmp_path)
    said = StringIO()
    tour.run(server, Console(as_json=False, out=said), "etl")
    assert "A report to look at in a browser: none, since this folder takes no file" in said.getvalue()


def test_a_second_demo_is_refused_while_one_is_running_and_leaves_its_database_alone(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def begin(address: str) -> str:
        begun.append(address)
        with pytest.raises(database.DatabaseError, match="another demo is running here"):
            tour.run(server, Console(as_json=False, out=StringIO()), "etl")
        raise StopIteration

    monkeypatch.setattr(tour, "_fresh_database", begin)
    for _ in range(2):  # the first one's end lets the next one in
        with pytest.raises(StopIteration):
            tour.run(server, Console(as_json=False, out=StringIO()), "etl")
    assert begun == [server, server]
