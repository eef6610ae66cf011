"""`etl sync`: one sweep, told a line a membership, and stopped at the next page when asked."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli import imports
from etl.cli.configuration import with_database, with_memberships
from etl.cli.errors import EXIT_TROUBLE
from etl.cli.options import with_options
from etl.cli.signals import Signals
from etl.console import Advance, Console

if TYPE_CHECKING:
    from etl.run import Progress, Watcher
    from etl.sync import SyncReport

# What `etl --help` need not wait for is imported when the command runs.
# ruff: noqa: PLC0415


@click.command()
@with_options
@click.option("--membership", "ids", multiple=True, metavar="ID", help="Sync this membership only; repeatable.")
@click.option("--full", is_flag=True, help="List everything, where a quick sweep would do.")
@click.option("--quiet", is_flag=True, help="Print nothing of memberships in which nothing changed or failed.")
def sync(file: Path | None, as_json: bool | None, ids: tuple[str, ...], full: bool, quiet: bool) -> None:
    """Sync the configured memberships once.

    A sweep is quick where that is enough: it reads the newest jobs and sees every open one. Each `full_every`, and
    with --full, all jobs are listed.

    Prints a line for each membership. Exits with 0 if all were synced, or are just being synced by another
    worker (busy); with 1 if any was not, or not wholly. Ctrl-C stops at the next page and keeps what was read;
    a second one ends it at once.

    For cron: with --quiet, output means that a job is new, changed, gone, unreadable or of an unknown status, or
    that something failed.
    """
    signals = Signals()
    with imports.kept():
        from etl import crew
        from etl.sweep import register, sweep

    config = with_memberships(file)
    memberships = config.only(ids)
    config = with_database(config)
    console = Console(as_json=as_json)
    register(config)
    are_fine = True
    not_begun = 0
    with (
        crew.syncing(config, memberships) as sync_one,  # first: it forks, and the others start threads
        console.progress(wanted=not quiet) as advance,
        ThreadPoolExecutor(config.aws.max_concurrency) as executor,
    ):
        for report in sweep(config, memberships, executor, _watcher(signals, advance), sync_one, full=full):
            are_fine &= report.is_fine
            if _never_began(report):
                not_begun += 1
            elif not quiet or is_news(report):
                _show(console, report)
    if not_begun:
        console.complain(f"asked to stop before {not_begun:,} of {len(memberships):,} memberships were begun")
    sys.exit(0 if are_fine else EXIT_TROUBLE)


def _watcher(signals: Signals, advance: Advance) -> "Watcher":
    from etl.run import StoppedError

    def watch(progress: "Progress") -> None:
        if signals.is_stopping:
            raise StoppedError
        advance(progress.membership_id, progress.jobs_listed, progress.expected_jobs)

    return watch


def _never_began(report: "SyncReport") -> bool:
    return report.error_class == "Stopped" and report.run_id is None


def is_news(report: "SyncReport") -> bool:
    """Tell whether somebody who wants to hear of changes and failures only wants to hear of this."""
    counts = report.counts
    changes = counts.jobs_new + counts.jobs_changed + counts.transitions + counts.jobs_absent
    return not report.is_fine or bool(changes or counts.jobs_rejected or counts.unknown_statuses)


def _show(console: Console, report: "SyncReport") -> None:
    counts = report.counts
    shown = (
        f"{report.membership_id}  {report.outcome:<8}{'  quick' * (report.kind == 'quick')}"
        f"  {counts.pages:,} page{'s' * (counts.pages != 1)}"
        f"  {counts.jobs_listed:,} listed"
        f"  {counts.jobs_new:,} new  {counts.jobs_changed:,} changed  {counts.transitions:,} transitions"
        f"  {counts.jobs_unchanged:,} unchanged"
    )
    for label, number in (
        ("stale", counts.jobs_stale),
        ("set aside", counts.jobs_rejected),
        ("no longer listed", counts.jobs_absent),
    ):
        shown += f"  {number:,} {label}" if number else ""
    for unknown, number in counts.unknown_statuses.items():
        shown += f"  {number:,} of unknown status {unknown}"
    fields = {**vars(report), **vars(counts), "seconds": round(report.seconds, 3)}
    del fields["counts"]
    console.say(f"{shown}  {report.seconds:.1f} s", **fields)
    if report.error:
        console.complain(f"{report.membership_id}: {report.error_class}: {report.error}")
