"""A membership's jobs as AWS lists them: its pages, and what can go wrong with them.

boto3 does the talking: credentials, signing, endpoints, retries and throttling are its own. Only the body of
a successful page is ours, since botocore takes a damaged one for an empty success, and the pages after the first
repeat its request (`onward`).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Any, Literal, TypeVar, cast

from botocore.client import BaseClient
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from etl import clients, codes, onward, wire
from etl.calls import Calls, counted
from etl.config import Aws, Membership
from etl.masking import masked

NO_PROGRESS = "NoProgress"
"""The code of an answer that did not come."""

MAX_RESULTS = 100
"""What AWS gives on one page at the most."""

MAX_PAGES = 100_000
"""A listing longer than ten million jobs is taken for one that never ends."""

_SHORTEST_TOKEN = 8  # characters: a shorter one is no secret, and may stand in any word
_MESSAGE_LIMIT = 2_000  # characters: a proxy that answers in AWS's place may send a whole web page

_QUERY = re.compile(r'\?[^\s"]*')  # of a URL: it holds the nextToken, which is nobody's business
_NO_CREDENTIALS = (
    "no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
    " or run where a role is attached"
)

# Not permitted, or answered by a proxy that does not know the operation: either way AWS has told us nothing.
_NO_ANSWER = {*codes.DENIALS, "UnknownOperationException", "403", "404", "405", "501"}

T = TypeVar("T")

Cure = Literal["restart", "refresh"]


class SourceError(Exception):
    """AWS did not give what was asked: `code` is its error code, or the name of what we found wrong.

    `cure` says what may help once: list again from the start, or do so with new credentials.
    """

    def __init__(self, code: str, message: str, cure: Cure | None = None) -> None:
        super().__init__(_one_line(message) or "no reason was given")
        self.code = _one_line(code) or "Unknown"
        self.cure = cure

    @property
    def is_lasting(self) -> bool:
        """Whether AWS will go on answering so to who asks for a single job."""
        return self.code in _NO_ANSWER or self.code in {"ValidationException", "DamagedPage"}


def _one_line(words: object) -> str:
    """Return what came over the wire as one line of bounded length that can be stored and shown.

    AWS's own words may quote the request that it refuses, with its session token.
    """
    plain = "".join(char if char.isprintable() else " " for char in str(words))
    return " ".join(masked(plain).split())[:_MESSAGE_LIMIT]


@dataclass
class Listing:
    """The jobs of one membership as AWS lists them now, and the calls that it took to learn of them."""

    aws: Aws
    membership: Membership
    calls: Calls = field(default_factory=Calls)
    has_more: bool = True
    """Whether AWS has pages that have not been read."""

    def __post_init__(self) -> None:
        self._slot = clients.Slot(self.aws)

    def leave(self) -> None:
        """Leave behind the request that is under way: it no longer counts among those that are."""
        self._slot.leave()

    def begin_anew(self) -> None:
        """Let the next call look for credentials again: this one may hang in that."""
        clients.begin_anew(self.aws, self.membership)

    def pages(self) -> Iterator[list[bytes]]:
        """Yield each page's raw items until AWS says that there are no more; raises `SourceError`.

        A refused token and expired credentials each start the listing again, once: what was listed before
        then comes a second time.
        """
        tried: set[Cure] = set()
        while True:
            try:
                yield from self._pages_of_one_pass()
            except SourceError as error:
                if error.cure is None or error.cure in tried:
                    raise
                tried.add(error.cure)
            else:
                return

    def exists(self, job_arn: str) -> bool | None:
        """Ask AWS for this one job: True, False, or None where we are not permitted to ask.

        Raises `SourceError` for any other answer.
        """
        try:
            return self.details(job_arn) is not None
        except SourceError as error:
            if error.code in _NO_ANSWER:
                return None
            raise

    def details(self, job_arn: str) -> bytes | None:
        """Return what AWS tells of this one job, None where it knows no such job.

        It is the body of ``GetTrainedModelInferenceJob``. Raises `SourceError` for any other answer.
        """
        try:
            return self._ask(lambda client: self._job(client, job_arn))
        except SourceError as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise

    def _job(self, client: Any, job_arn: str) -> bytes:
        response = client.get_trained_model_inference_job(
            membershipIdentifier=self.membership.id, trainedModelInferenceJobArn=job_arn
        )
        return cast("bytes", wire.taken(response))

    def models(self, most: int | None = None) -> list[wire.Model]:
        """Return the membership's trained models, each with its newest version; raises `SourceError`.

        `most` are enough for who only wants to know whether it is permitted.
        """
        request = {"membershipIdentifier": self.membership.id, "maxResults": most or MAX_RESULTS}
        return list(islice(self._models("list_trained_models", request), most))

    def versions(self, model_arn: str) -> list[wire.Model]:
        """Return all versions of a trained model; raises `SourceError`."""
        request = {
            "membershipIdentifier": self.membership.id,
            "trainedModelArn": model_arn,
            "maxResults": MAX_RESULTS,
        }
        return list(self._models("list_trained_model_versions", request))

    def _models(self, method: str, request: dict[str, Any]) -> Iterator[wire.Model]:
        for page in self._listed(method, request):
            yield from page.items

    def _pages_of_one_pass(self) -> Iterator[list[bytes]]:
        for page in self._listed("list_trained_model_inference_jobs", self._request()):
            self.has_more = page.token is not None
            yield page.items

    def _listed(self, method: str, request: dict[str, Any]) -> Iterator[wire.Page[Any]]:
        """Yield each page of a listing."""
        pages = onward.Pages(method, request)
        token: str | None = None
        tokens: set[bytes] = set()
        for _ in range(MAX_PAGES):
            page = self._ask(partial(pages.read, token=token), token)
            yield page
            token = page.token
            if token is None:
                return
            # Digests, since a token may be 10 kB long; botocore would page round a cycle for ever.
            mark = blake2b(token.encode(), digest_size=16).digest()
            if mark in tokens:
                raise SourceError("RepeatedToken", "AWS gave the same nextToken twice: its pages go round")
            tokens.add(mark)
        raise SourceError("TooManyPages", f"the listing did not end within {MAX_PAGES:,} pages")

    def _request(self) -> dict[str, Any]:
        request = {
            "membershipIdentifier": self.membership.id,
            "maxResults": self.aws.page_size,
            "trainedModelArn": self.membership.trained_model_arn,
            "trainedModelVersionIdentifier": self.membership.trained_model_version_identifier,
        }
        return {name: value for name, value in request.items() if value is not None}

    def _ask(self, ask: Callable[[BaseClient], T], token: str | None = None) -> T:
        """Return the answer to what `ask` asks AWS, with a `token` or none; raises `SourceError`."""
        client: BaseClient | None = None
        try:
            with counted(self.calls):
                client = clients.client(self.aws, self.membership)
                with self._slot:
                    return ask(client)
        except ClientError as error:
            refusal = self._refusal(error, token, client)
            if client and refusal.cure == "refresh":
                clients.replace(self.aws, self.membership, client)
            raise refusal from error
        except NoCredentialsError as error:
            raise SourceError(type(error).__name__, _NO_CREDENTIALS) from error
        # ValueError: botocore's, of an endpoint's URL. OSError: of a file that credentials are renewed from.
        except (BotoCoreError, ValueError, OSError) as error:
            raise SourceError(type(error).__name__, _QUERY.sub("", str(error))) from error
        except RuntimeError as error:  # botocore's, of credentials that were expired when they came
            raise SourceError("ExpiredCredentials", f"is this machine's clock right? {error}") from error
        except wire.DamagedError as error:
            raise SourceError("DamagedPage", f"what AWS answers cannot be read: {error}") from error

    def _refusal(self, error: ClientError, next_token: str | None, client: BaseClient | None) -> SourceError:
        code = error.response["Error"]["Code"]
        message = str(error.response["Error"].get("Message", ""))
        for token in (self.calls.token, next_token or ""):
            if len(token) >= _SHORTEST_TOKEN:
                message = message.replace(token, "***")
        if error.operation_name == "AssumeRole" and self.membership.role_arn:
            return SourceError(code, self._not_assumed(code, message))
        if client is None or error.operation_name not in wire.OPERATIONS:
            return SourceError(code, f"our own credentials are not to be had ({error.operation_name}): {message}")
        if code in codes.DENIALS:
            partition = client.meta.partition
            return SourceError(code, self._missing_permission(error.operation_name, message, partition))
        if code in codes.REFUSALS:
            return SourceError(code, message, cure="refresh")
        is_refused = next_token is not None and code == "ValidationException"
        return SourceError(code, message, cure="restart" if is_refused else None)

    def _not_assumed(self, code: str, message: str) -> str:
        failure = f"the role {self.membership.role_arn} cannot be assumed"
        if code != "AccessDenied":
            return f"{failure}: {message}"
        given = "the external_id given" if self.membership.external_id else "no external_id"
        return (
            f"{failure}; its trust policy must allow sts:AssumeRole to our credentials, with {given}"
            f" (AWS: {message})"
        )

    def _missing_permission(self, operation: str, message: str, partition: str) -> str:
        """Name what AWS does not: the second permission that every call with a membership needs."""
        who = self.membership.role_arn or "the default credentials"
        region, name = self.membership.region, self.membership.id
        return (
            f"{who} may not call {operation} for membership {name}; allow cleanrooms-ml:{operation} on *"
            " and cleanrooms:PassMembership on"
            f" arn:{partition}:cleanrooms:{region}:<account>:membership/{name};"
            f" is {region} its Region? (AWS: {message})"
        )
