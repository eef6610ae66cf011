"""What AWS's answers look like on the wire: bytes to raw items, taken before botocore parses them."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import msgspec
from botocore.client import BaseClient

T = TypeVar("T")


class DamagedError(Exception):
    """AWS answered with success, each time that botocore tried, and with a body that cannot be read."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing: its items, and the token of the next page."""

    items: list[T]
    token: str | None


class _Body(msgspec.Struct):
    trainedModelInferenceJobs: list[msgspec.Raw]  # noqa: N815 - the name on the wire
    nextToken: str | None = None  # noqa: N815 - the name on the wire


_decode_body = msgspec.json.Decoder(_Body).decode


def _split(body: bytes) -> Page[bytes]:
    """Split a page into its items without decoding them; raises ValueError if it is not a whole page."""
    try:
        page = _decode_body(body)
        items, token = [bytes(item) for item in page.trainedModelInferenceJobs], page.nextToken
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        items, token = _split_tolerantly(body)
    return Page(items, _usable(token))


_DECODER = json.JSONDecoder(strict=False)
_BETWEEN_VALUES = re.compile(r"[ \t\n\r,:]*")


def _split_tolerantly(body: bytes) -> tuple[list[bytes], str | None]:
    """Split a page of which one item may be odd: half a surrogate pair, NaN, a raw control character.

    The standard library reads those, if slowly. Each item keeps its bytes: it is known again by them.
    """
    text = body.decode("utf-8", "surrogateescape")
    page = _DECODER.decode(text)
    if not isinstance(page, dict) or not isinstance(page.get("trainedModelInferenceJobs"), list):
        raise ValueError("it has no list of jobs")  # noqa: TRY004 - as of any page that cannot be read
    told = list(_standing(text, text.index("{") + 1))
    starts = {name: start for (name, _, _), (_, start, _) in zip(told[::2], told[1::2], strict=True)}
    items = _standing(text, starts["trainedModelInferenceJobs"] + 1)
    token = msgspec.convert(page.get("nextToken"), str | None)
    return [text[start:end].encode("utf-8", "surrogateescape") for _, start, end in items], token


def _standing(text: str, at: int) -> Iterator[tuple[Any, int, int]]:
    """Yield the values of an array, or names and values of an object, from `at` to its end; with start and end."""
    while text[(at := _BETWEEN_VALUES.match(text, at).end())] not in "]}":  # type: ignore[union-attr]
        value, end = _DECODER.raw_decode(text, at)
        yield value, at, end
        at = end


def _usable(token: str | None) -> str | None:
    if token == "":
        raise ValueError("its nextToken is empty")
    if token:
        token.encode()  # a ValueError where half a surrogate pair is in it: no request could hold that
    return token


class _Job(msgspec.Struct):
    """What is looked at of a single job: that the answer is about one."""

    trainedModelInferenceJobArn: str  # noqa: N815 - the name on the wire


_decode_job = msgspec.json.Decoder(_Job).decode


def _details(body: bytes) -> bytes:
    """Return what is told of a single job as it came; raises ValueError if it is about none."""
    _decode_job(body)
    return body


class Model(msgspec.Struct, frozen=True):
    """A trained model, or one version of it."""

    arn: str = msgspec.field(name="trainedModelArn")
    version: str | None = msgspec.field(name="versionIdentifier", default=None)


class _Models(msgspec.Struct):
    trainedModels: list[Model]  # noqa: N815 - the name on the wire
    nextToken: str | None = None  # noqa: N815 - the name on the wire


_decode_models = msgspec.json.Decoder(_Models).decode


def _models(body: bytes) -> Page[Model]:
    """Read a page of trained models, or of the versions of one; raises ValueError if it is none."""
    page = _decode_models(body)
    return Page(page.trainedModels, _usable(page.nextToken))


def _take(
    read: Callable[[bytes], object],
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    **_: object,
) -> None:
    """Take an answer's bytes before botocore parses them (its event ``before-parse``).

    botocore's own parsing costs two thirds of a sync and drops fields that it does not know. A body that cannot
    be read becomes an error that botocore retries; left alone it would pass for an empty success.
    """
    if response_dict["status_code"] >= HTTPStatus.MULTIPLE_CHOICES:
        response_dict["body"] = _refusal_that_can_be_read(response_dict["body"])
        return
    try:
        customized_response_dict["taken"] = read(response_dict["body"])
    except (ValueError, RecursionError) as error:
        response_dict["status_code"] = 500
        response_dict["headers"]["x-amzn-errortype"] = "RequestTimeout"
        response_dict["body"] = json.dumps({"message": str(error)}).encode()
    else:
        response_dict["body"] = b""


def _refusal_that_can_be_read(body: bytes) -> bytes:
    """Return the body of an error; one that botocore's parser would stumble over becomes the error's message."""
    try:
        words = json.loads(body or b"{}")
        readable = {name: word for name, word in words.items() if isinstance(word, str)}
    except (ValueError, AttributeError, RecursionError):
        words, readable = None, {}
    if words != readable:
        readable.setdefault("message", body.decode(errors="replace"))
    return json.dumps(readable).encode()


_READERS: dict[str, Callable[[bytes], object]] = {
    "ListTrainedModelInferenceJobs": _split,
    "GetTrainedModelInferenceJob": _details,
    "ListTrainedModels": _models,
    "ListTrainedModelVersions": _models,
}

OPERATIONS = frozenset(_READERS)
"""What AWS is asked."""


def read_on(client: BaseClient, service: str) -> None:
    """Let the client's answers be read here; `taken` then returns what was read."""
    for operation, read in _READERS.items():
        client.meta.events.register(f"before-parse.{service}.{operation}", partial(_take, read))


def taken(response: dict[str, Any]) -> Any:
    """Return what was read of an answer, a `Page` of a listing; raises `DamagedError` where it was damaged."""
    if "taken" not in response:  # the HTTP status was 200, so botocore raised nothing
        raise DamagedError(response.get("Error", {}).get("Message", ""))
    return response["taken"]
