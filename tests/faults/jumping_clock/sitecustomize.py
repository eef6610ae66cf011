"""Gives a Python process a host clock that is an hour fast, then right, then an hour slow, and so on."""

import datetime
import time

_STAYS = 4  # seconds
_true_time = time.time


def _off() -> float:
    return 3600.0 * (int(time.monotonic() / _STAYS) % 3 - 1)


def _time() -> float:
    return _true_time() + _off()


class _Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "_Jumping":
        return super().now(tz) + datetime.timedelta(seconds=_off())

    @classmethod
    def utcnow(cls) -> "_Jumping":
        return cls.now(datetime.UTC).replace(tzinfo=None)


time.time = _time
datetime.datetime = _Jumping  # type: ignore[misc]
