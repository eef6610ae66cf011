"""Breaks things for a while, then lets all rest, and tells what came of it."""

from collections.abc import Iterable
from datetime import datetime
from random import Random

from faults import figures, of_aws, of_database, of_workers, scene
from faults.figures import Figures
from faults.invariants import Invariants
from faults.kinds import KINDS
from faults.probes import Probes
from faults.quiet import Quiet
from faults.scene import Scene
from faults.storm import Storm

__all__ = ["of_aws", "of_database", "of_workers", "supervise"]  # importing the kinds makes them known

_RUNS = "SELECT kind, outcome, count(*) FROM cleanrooms_etl.sync_run GROUP BY kind, outcome ORDER BY kind, outcome"
_SPLIT = "SELECT count(*) FROM cleanrooms_etl.sync_run WHERE listings > 1"
_LAST_COMPLETE = "SELECT max(started_at) FROM cleanrooms_etl.sync_run WHERE outcome = 'complete'"


def supervise(minutes: float, seed: int) -> Figures:
    """Break for so long what can be broken."""
    told = Figures(seed)
    with scene.opened(Random(seed)) as where:  # noqa: S311 - seeded on purpose
        possible = [kind for kind in KINDS if kind.is_possible(where)]
        told.others["grace for what is missing"] = where.grace
        invariants = Invariants(where.server)
        storm = Storm(where, possible, told, invariants)
        storm.rage(minutes * 60)
        told.not_tried = [kind.name for kind in KINDS if kind.name not in told.tried]
        quiet = Quiet(where, told)
        quiet.settle()
        quiet.sweep_once_more()
        quiet.look_at_views()
        Probes(where, told).tell_all()
        told.add((figures.AFTER, what) for what in invariants.broken())
        told.add((figures.FAULTS, what) for what in where.workers.faults())
        _tell(where, told, storm.ended, invariants.changes)
    return told


def _tell(where: Scene, told: Figures, ended: Iterable[tuple[str, datetime]], changes: int) -> None:
    """Add what tells how hard it was tried."""
    with where.server.session() as session:
        runs = session.execute(_RUNS).fetchall()
        [[last]] = session.execute(_LAST_COMPLETE).fetchall()
        [[split]] = session.execute(_SPLIT).fetchall()
    told.survived.update(name for name, moment in ended if last and last > moment)
    told.others |= {
        "AWS calls": len(where.endpoint.requests),
        "jobs": len(where.estate.lives),
        "changes of status": sum(len(life.steps) for life in where.estate.lives.values()),
        "changes stored": changes,
        "runs lost in failovers": where.server.runs_lost,
        "listings that were split": split,
        "runs": ", ".join(f"{number} {kind} {outcome}" for kind, outcome, number in runs),
    }
