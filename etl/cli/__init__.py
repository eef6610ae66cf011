"""The command line: which commands there are. Each is a module; it imports what it needs when it runs."""

import click

from etl.cli import daemon, db, demo, doctor, report, status, sync, verify
from etl.cli.errors import Etl


@click.group(cls=Etl, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="cleanroomsml-etl")
def main() -> None:
    """Keep the status history of AWS Clean Rooms ML inference jobs in Postgres.

    AWS shows each trained model inference job's present status only. `etl sync` lists the jobs of every
    configured membership and records what changed, so that plain SQL answers what ran when, for how long,
    and what failed.

    \b
    Look around:            etl demo
    Sync once (cron):       etl sync
    Sync for years:         etl daemon
    Is the data fresh?      etl status
    What is wrong?          etl doctor
    Look at it:             etl report
    Query it:               etl db psql

    Exit codes: 0 all well, 1 something failed or is late, 2 configuration, 3 database.
    """  # noqa: D301 - click's own mark, a real backspace: the lines behind it stay lines


for _command in (
    sync.sync,
    daemon.daemon,
    status.status,
    doctor.doctor,
    verify.verify,
    report.report,
    demo.demo,
    db.db,
):
    main.add_command(_command)
