"""`etl doctor`: looks at everything that a sync needs, changes nothing, and says what to do.

Whoever does not answer is left behind after some seconds. What depends on a check that failed is not looked at.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from etl import loading
from etl.config import ConfigError
from etl.console import Advance
from etl.doctor import aws, configuration, database
from etl.doctor.clocks import Now
from etl.doctor.findings import Finding, unseen

__all__ = ["Finding", "Now", "examine"]


def examine(file: Path | None, environ: Mapping[str, str], now: Now, advance: Advance) -> Iterator[Finding]:
    """Yield what is found, as it is found. `now` is this machine's clock."""
    origin = loading.origin(file, environ)
    try:
        settings = loading.load(file, environ)
    except ConfigError as error:
        yield from configuration.complaints(error, origin)
        yield unseen("database", "AWS and the database", "the configuration cannot be used")
        return
    yield from configuration.examine(settings, origin, environ)
    yield from database.examine(settings, environ, now)
    if settings.memberships:
        yield from aws.examine(settings, now, advance)
