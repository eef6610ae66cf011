"""Which release of this program this is: told to AWS, kept with each run, logged and counted."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return the version that is installed. To look it up takes a millisecond."""
    return metadata.version("cleanroomsml-etl")
