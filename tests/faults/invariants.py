"""What must hold at each moment, whatever is broken: `etl verify`, and what shows only to who looks again."""

from collections.abc import Iterator

from sqlalchemy import text

from etl import database, verify
from faults.server import Server


class Invariants:
    """Looked at now and then; remembers the history that it saw, which only grows, unless commits are lost."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._losses = server.losses
        self._history: set[tuple[object, ...]] = set()

    @property
    def changes(self) -> int:
        """How many changes of status it saw at its last look."""
        return len(self._history)

    def broken(self) -> Iterator[str]:
        """Say what does not hold; raises what the database raises, and `DatabaseError` while it is migrated."""
        with database.connect(self._server.owner_url) as connection:
            database.check_revision(connection)
            with connection.begin():
                history = {tuple(row) for row in connection.execute(text(_HISTORY))}
                unfenced = connection.execute(text(_UNFENCED)).all()
            if self._server.losses == self._losses:
                yield from (f"history is no longer what it was: {row}" for row in self._history - history)
            self._history, self._losses = history, self._server.losses
            yield from (f"a run wrote though another had taken over: {row}" for row in unfenced)
            for finding in verify.findings(connection):
                if finding.broken:
                    yield f"{finding.check.name}: {finding.broken}, {finding.examples}"


_HISTORY = """
    SELECT job_key, changed_time, from_status, from_time, to_status, not_before, observed_at, time_basis
    FROM cleanrooms_etl.status_transition
"""
_UNFENCED = """
    SELECT moved.run_id, moved.observed_at, successor.run_id, successor.started_at
    FROM cleanrooms_etl.status_transition AS moved JOIN cleanrooms_etl.sync_run AS run USING (run_id)
    JOIN cleanrooms_etl.sync_run AS successor
        ON successor.membership_key = run.membership_key AND successor.run_id > run.run_id
    WHERE moved.observed_at > successor.started_at + interval '1 second'
"""  # a run's own moment is taken a little before it is alone
