"""Gives a Python process a host clock that is an hour fast, then right, then an hour slow, and so on."""

import datetime
import time
from typing import Any

_STAYS = 4  # seconds
_true_time = time.time
_True = datetime.datetime


def _off() -> float:
    return 3600.0 * (int(time.monotonic() / _STAYS) % 3 - 1)


def _time() -> float:
    return _true_time() + _off()


class _AlsoTrue(type):
    def __instancecheck__(cls, moment: object) -> bool:
        return isinstance(moment, _True)


class _Jumping(datetime.datetime, metaclass=_AlsoTrue):
    """Makes moments of the true kind: of any other msgspec, for one, would not know how to write it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return _True(*args, **kwargs)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _True.now(tz) + datetime.timedelta(seconds=_off())

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(datetime.UTC).replace(tzinfo=None)


time.time = _time
datetime.datetime = _Jumping  # type: ignore[misc]
