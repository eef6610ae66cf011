"""The page: sections of charts and tables, put together with all that they need to be seen without a network."""

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from etl.report import comparing, durations, over_time, tables
from etl.report.drawing import Chart, Table
from etl.report.facts import Facts
from etl.report.palette import STATUSES
from etl.report.wording import duration, moment, name, number, share


class Figure(NamedTuple):
    """A key figure: a word, its value, and what is behind it; `alarm` where somebody should look."""

    title: str
    value: str
    note: str
    alarm: bool = False


class Section(NamedTuple):
    """A part of the page under its own heading; of its parts those that stand side by side come first."""

    key: str
    title: str
    says: str
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    empty: str = "Nothing of this kind in the period."


SWATCHES = {
    **{status: colour for status, (_, colour) in STATUSES.items()},
    "ok": "--succeeded",
    "late": "--cancelling",
    "failing": "--failed",
    "never": "--neutral",
}
"""What stands before a status or a state in a table: its colour, beside the word."""


def render(facts: Facts) -> str:
    """Return the whole page as HTML."""
    environment = Environment(
        loader=PackageLoader("etl.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = _sections(facts)
    scripts = [get_plotlyjs(), _shipped(environment, "page.js")]
    return environment.get_template("page.html").render(
        title="Clean Rooms ML inference jobs",
        period=f"{moment(facts.period.since)} to {moment(facts.period.until)} UTC",
        made=f"{moment(facts.now)} UTC",
        memberships=[name(each) for each in facts.memberships],
        is_empty=facts.first is None,
        figures=_figures(facts),
        sections=sections,
        swatches=SWATCHES,
        style=Markup(_shipped(environment, "page.css")),  # noqa: S704 - our own file
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own file, and Plotly's
        policy=_policy(scripts),
        drawings=Markup(_as_json([chart for section in sections for chart in section.charts])),  # noqa: S704 - escaped
    )


def _shipped(environment: Environment, file: str) -> str:
    """Return a file of ours as it is."""
    loader = environment.loader or PackageLoader("etl.report")
    return loader.get_source(environment, file)[0]


def _policy(scripts: Sequence[str]) -> str:
    """Return what the browser may do with the page: run these very scripts, and ask nobody for anything.

    Plotly sets styles as it draws, and makes pictures of a chart for who saves one.
    """
    hashes = " ".join(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _as_json(charts: Sequence[Chart]) -> str:
    """Return what is to be drawn, in JSON that cannot end the element which it stands in."""
    drawings: dict[str, Any] = {
        chart.key: {"data": chart.traces, "layout": chart.layout} for chart in charts if chart.traces
    }
    return json.dumps(drawings, separators=(",", ":")).replace("<", "\\u003c")


def _figures(facts: Facts) -> list[Figure]:
    counts = facts.counts
    judged = counts["succeeded"] + counts["failed"]
    open_jobs = facts.open_jobs[0] if facts.open_jobs else {"jobs": 0, "unusual": 0}
    fresh = facts.freshness[0] if facts.freshness else {"memberships": 0, "troubled": 0}
    median = duration(counts["median_seconds"])
    return [
        Figure("Jobs created", number(counts["created"]), "in the period"),
        Figure(
            "Jobs ended",
            number(counts["ended"]),
            f"in the period, {number(counts['cancelled'])} of them cancelled",
        ),
        Figure(
            "Success rate",
            share(counts["succeeded"], judged),
            f"{number(counts['failed'])} of {number(judged)} failed",
        ),
        Figure("Median time", median, "from creation to end, of those that ended"),
        Figure(
            "Open now",
            number(open_jobs["jobs"]),
            f"{number(open_jobs['unusual'])} older than usual for their model",
            bool(open_jobs["unusual"]),
        ),
        Figure(
            "Memberships not fresh",
            number(fresh["troubled"]),
            f"of {number(fresh['memberships'])} configured",
            bool(fresh["troubled"]),
        ),
    ]


def _sections(facts: Facts) -> list[Section]:
    return [
        Section(
            "over-time",
            "What happened",
            "Colours mean the same status in every chart and table of this page.",
            [over_time.ended(facts), over_time.held(facts)],
        ),
        Section(
            "durations",
            "How long jobs take",
            "Only jobs that ended in the period count, since those still open would make it look faster than it"
            " was; and of those only what a sync saw begin and end. A time is as sharp as the syncs are frequent:"
            " each job's row in job_timings has its bounds.",
            [durations.spread(facts, "queue"), durations.spread(facts, "run"), durations.models(facts)],
        ),
        Section("reliability", "How well models do", "", [comparing.success(facts)]),
        Section("open", "What is open now", "", [comparing.still_open(facts)]),
        Section(
            "quota",
            "How full it gets",
            "AWS refuses a job above the quota of its membership, or of its account in the Region. The quotas are"
            " those that are configured.",
            [over_time.capacity(facts)],
            [tables.accounts(facts)],
            "No account is known yet.",
        ),
        Section(
            "jobs",
            "Jobs to look into",
            "At most 20 each. Why a job failed is not in AWS's list: ask AWS for that one job. A failure lies"
            " between the two moments that its row gives.",
            (),
            [tables.slowest(facts), tables.failed(facts)],
            "None in the period.",
        ),
        Section(
            "freshness",
            "How fresh this is",
            "As it was when this page was made, whatever the period. Late: the last complete sweep is older than"
            " twice its interval. Failing: the latest syncs were not complete." + _more_memberships(facts),
            (),
            [tables.freshness(facts)],
            "No membership is configured.",
        ),
        Section(
            "trust",
            "What not to trust",
            tables.sharpness(facts),
            (),
            [tables.gaps(facts)],
            "No recorded change of the period is in doubt.",
        ),
    ]


def _more_memberships(facts: Facts) -> str:
    known = facts.freshness[0]["memberships"] if facts.freshness else 0
    shown = len(facts.freshness)
    return f" The first {shown} of {known:,} memberships." if known > shown else ""
