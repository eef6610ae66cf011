"""The clocks that a simulated world can run by."""

from datetime import UTC, datetime, timedelta


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:  # noqa: D102 - a clock tells the time
        return self.moment

    def set(self, moment: datetime) -> None:
        """Move to a moment."""
        self.moment = moment

    def advance(self, stretch: timedelta) -> None:
        """Move on by a stretch."""
        self.moment += stretch


def real_time() -> datetime:
    """Tell the host's time."""
    return datetime.now(UTC)
