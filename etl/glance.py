"""A look at the newest and the open jobs, as far as a quick sweep needs it."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection

from etl import known, leases, quick, source
from etl.quick import OpenJob
from etl.reading import Reading
from etl.scope import Scope
from etl.settling import Settling
from etl.staging import Staged, StagedJobs
from etl.writer import Writer


class Glance:
    """Reads the head of a run's listing, page by page, and settles it."""

    def __init__(
        self, run: leases.Run, scope: Scope, page_size: int, reading: Reading, settling: Settling, writer: Writer
    ) -> None:
        self._run = run
        self._scope = scope
        self._page_size = page_size
        self._reading = reading
        self._settling = settling
        self._writer = writer

    def look(self) -> StagedJobs | None:
        """Read until what comes is known and each open job was seen; None where only a full listing will do.

        Returns those open jobs that AWS was asked for one by one, and that have changed.
        """
        unseen = self._writer.read(lambda connection: known.open_jobs(connection, self._run, self._scope))
        were_open = {job.job_arn for job in unseen.values()}
        seen: set[int] = set()
        for page in self._reading.one_by_one():
            start = len(self._settling.shown)
            known_in_a_row = self._settling.settle_page(page, were_open)
            # What newer jobs have pushed down from the page before is known by now, and tells nothing.
            shown = set(self._settling.shown[start:]) - seen
            seen |= shown
            is_enough = min(known_in_a_row, len(shown)) >= min(quick.KNOWN_IN_A_ROW, len(page.items))
            for key in shown:
                unseen.pop(key, None)
            if not self.is_in_order():
                return None
            if shown and is_enough and self._is_time_to_ask(unseen.keys()):
                return None if self._is_any_left_out(seen) else self._asked(unseen.values())
        return None

    def is_in_order(self) -> bool:
        """Tell whether what was read so far was newest first, in its newest state, and could be read."""
        is_odd = self._settling.stale or self._settling.counts.jobs_rejected
        return self._reading.is_newest_first and not is_odd

    def _is_any_left_out(self, seen: set[int]) -> bool:
        return self._writer.read(
            lambda connection: known.is_any_left_out(connection, self._run, self._scope, seen)
        )

    def _is_time_to_ask(self, unseen: Iterable[int]) -> bool:
        keys = list(unseen)
        pages = self._settling.counts.pages
        farthest = (pages + len(keys)) * self._page_size  # it takes fewer requests to ask for what lies behind

        def places(connection: Connection) -> list[int]:
            return known.places(connection, self._run, self._scope, keys, farthest)

        return not keys or quick.is_cheaper_to_ask(self._writer.read(places), pages, self._page_size)

    def _asked(self, unseen: Iterable[OpenJob]) -> StagedJobs | None:
        """Ask AWS for single jobs; return those that have changed, None where an answer leaves anything open."""

        def answers(listing: source.Listing) -> Iterator[tuple[OpenJob, bytes | None]]:
            for job in unseen:
                yield job, listing.details(job.job_arn)

        changed: StagedJobs = {}
        try:
            for job, details in self._reading.of_single_jobs(answers):
                now = None if details is None else self._settling.decoder.job(quick.as_item(details, job)).job
                if now is None or now.job_arn != job.job_arn or now.update_time < job.update_time:
                    return None
                if (now.status, now.update_time) != (job.status, job.update_time):
                    changed[now.job_arn] = Staged(now, None, len(changed) + 1)
        except (ValueError, RecursionError):  # what is told cannot be read
            return None
        except source.SourceError as error:
            if error.is_lasting:
                return None
            raise  # a full listing would not help against what passes
        return changed
