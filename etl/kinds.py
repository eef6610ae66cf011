"""What a setting can be: the kinds of values, each with what is said of one that is none."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from etl import cron

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LAST_PORT = 65_535


def _duration(value: object) -> object:
    """Read ``30s``, ``15m``, ``6h`` or ``1d``; a timedelta passes."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a number with its unit: 30s, 15m, 6h or 1d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


Duration = Annotated[timedelta, BeforeValidator(_duration)]


def _no_truth(value: object) -> object:
    """Refuse true and false where a number stands: pydantic takes them for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - what pydantic takes for a complaint
    return value


Whole = Annotated[int, BeforeValidator(_no_truth)]
Rate = Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False), BeforeValidator(_no_truth)]


def _like(pattern: str, what: str) -> AfterValidator:
    """Require the whole text to match, and say in words what was expected."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {what}")
        return value

    return AfterValidator(check)


def _with_a_possible_port(address: str) -> str:
    """Refuse a port above 65535, for which the monitor would take any free one."""
    if int(address.rpartition(":")[2]) > _LAST_PORT:
        raise ValueError(f"must have a port up to {_LAST_PORT}")
    return address


UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
"""A text that matches is a UUID as AWS writes it."""

_MODEL_ARN = rf"arn:aws[-a-z]*:cleanrooms-ml:[-a-z0-9]+:[0-9]{{12}}:(membership/{UUID}/)?trained-model/.+"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z]([-.0-9A-Za-z]*[0-9A-Za-z])?)(:[0-9]{1,5})?"  # as botocore allows
_ADDRESS = r"(\[[0-9A-Fa-f:.]+\]|[-.0-9A-Za-z]+):[0-9]{1,5}"

Url = Annotated[str, _like(rf"https?://{_HOST}(/\S*)?", "https:// or http://, then host, port and path")]
MembershipId = Annotated[str, _like(UUID, "a membership's id: 36 characters of 0-9, a-f and -")]
Region = Annotated[str, _like(r"[a-z]+(-[a-z]+)+-[0-9]+", "a region such as us-east-1")]
RoleArn = Annotated[
    str, _like(r"arn:aws[-a-z]*:iam::[0-9]{12}:role/\S+", "a role: arn:aws:iam::<account>:role/<name>")
]
Address = Annotated[
    str, _like(_ADDRESS, "host:port, such as 127.0.0.1:9464"), AfterValidator(_with_a_possible_port)
]
ModelVersion = Annotated[str, _like(UUID, "a version's identifier: 36 characters of 0-9, a-f and -")]
ModelArn = Annotated[str, _like(_MODEL_ARN, "the ARN of a trained model: arn:aws:cleanrooms-ml:...")]
Jobs = Annotated[Whole, Field(ge=1, le=1_000_000)]


def _fires(line: str) -> str:
    cron.longest_pause(line)
    return line


Every = Annotated[timedelta, Field(ge=timedelta(seconds=1), le=timedelta(days=366)), BeforeValidator(_duration)]
Cron = Annotated[str, AfterValidator(_fires)]
