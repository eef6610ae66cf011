"""Answers one request as AWS would: checks credentials and parameters, asks the world, words the errors."""

import re
from collections.abc import Callable
from http.client import responses

from etl.demo import request as ask
from etl.demo.answers import Error, Reply, error
from etl.demo.request import Request
from etl.demo.resources import to_json
from etl.demo.sts import Sts, error_xml
from etl.demo.world import MOST_RESULTS, Refused, World

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MODEL_ARN = re.compile(
    rf"arn:aws[-a-z]*:cleanrooms-ml:[-a-z0-9]+:[0-9]{{12}}:membership/{_UUID.pattern}/trained-model/[-a-zA-Z0-9_/.]+"
)


def reply(world: World, sts: Sts, request: Request) -> Reply | Error:
    """Answer as AWS would."""
    try:
        if request.is_sts:
            return Reply(sts.answer(request), content_type="text/xml")
        return Reply(_json(world, sts, request))
    except Refused as refused:
        return error(refused.code, message=refused.message)


def worded(problem: Error, request: Request) -> Reply:
    """Put an error into the wire format of the service that was asked."""
    if request.is_sts:
        return Reply(error_xml(problem.code, problem.message), problem.status, "text/xml")
    return Reply(to_json({"message": problem.message}), problem.status)


def phrase(status: int) -> str:
    """Word a status, also one that HTTP does not know."""
    return responses.get(status, "Unknown")


def _json(world: World, sts: Sts, request: Request) -> bytes:
    answer = _OPERATIONS.get(request.operation)
    if answer is None:
        raise Refused("UnknownOperationException", "")
    membership_id = _readable(world, sts, request)
    return answer(world, membership_id, request)


def _readable(world: World, sts: Sts, request: Request) -> str:
    """Find the membership if the caller may read it; whether it exists is nobody else's business."""
    session = sts.session(request)
    membership_id = _valid("membershipIdentifier", request.membership, _UUID) or ""
    membership = world.memberships.get(membership_id)
    readable = session is None or session.role.memberships is None or membership_id in session.role.memberships
    if membership is None or membership.region != request.region or not readable:
        action = f"cleanrooms-ml:{request.operation}"
        raise Refused("AccessDeniedException", f"User is not authorized to perform: {action} on {membership_id}")
    return membership_id


def _jobs(world: World, membership_id: str, request: Request) -> bytes:
    query = request.query
    return world.list_jobs(
        membership_id,
        trained_model_arn=_valid("trainedModelArn", query.get("trainedModelArn"), _MODEL_ARN),
        version=_valid("trainedModelVersionIdentifier", query.get("trainedModelVersionIdentifier"), _UUID),
        token=query.get("nextToken"),
        max_results=_max_results(query.get("maxResults")),
    )


def _job(world: World, membership_id: str, request: Request) -> bytes:
    return world.get_job(membership_id, request.resource or "")


def _models(world: World, membership_id: str, request: Request) -> bytes:
    most = _max_results(request.query.get("maxResults"))
    return world.list_trained_models(membership_id, token=request.query.get("nextToken"), max_results=most)


def _versions(world: World, membership_id: str, request: Request) -> bytes:
    most = _max_results(request.query.get("maxResults"))
    arn = _valid("trainedModelArn", request.resource, _MODEL_ARN) or ""
    return world.list_versions(membership_id, arn, token=request.query.get("nextToken"), max_results=most)


_OPERATIONS: dict[str, Callable[[World, str, Request], bytes]] = {
    ask.JOBS: _jobs,
    ask.JOB: _job,
    ask.MODELS: _models,
    ask.VERSIONS: _versions,
}


def _valid(name: str, value: str | None, pattern: re.Pattern[str]) -> str | None:
    if value is not None and not pattern.fullmatch(value):
        raise Refused("ValidationException", f"Value at '{name}' failed to satisfy constraint: {pattern.pattern}")
    return value


def _max_results(told: str | None) -> int:
    if told is None:
        return MOST_RESULTS
    if not (told.isascii() and told.isdigit() and 1 <= int(told) <= MOST_RESULTS):
        raise Refused("ValidationException", f"Value at 'maxResults' must be between 1 and {MOST_RESULTS}")
    return int(told)
