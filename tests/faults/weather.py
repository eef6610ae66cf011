"""What becomes of requests to AWS while faults are on: each fault may answer in the world's place."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from etl.demo.answers import Answer, Reply, error, normal
from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.request import JOB, JOBS, Request
from faults.estate import Estate

Whim = Callable[[Request], Answer | None]
"""Answers a request, or leaves it to others."""

Page = dict[str, Any]
LIST = "trainedModelInferenceJobs"
TOKEN = "nextToken"  # noqa: S105 - the name of a field
_DETOUR = "detour-"
"""Begins the tokens that are ours: what follows is AWS's own."""


class Weather:
    """All whims that are on, the first one first."""

    def __init__(self, endpoint: Endpoint, estate: Estate) -> None:
        self._endpoint = endpoint
        self._estate = estate
        self._whims: list[Whim] = []
        endpoint.on(lambda _: True, self._answer, times=None)

    @contextmanager
    def under(self, whim: Whim) -> Iterator[None]:
        """Let a whim be on."""
        self._whims.append(whim)
        try:
            yield
        finally:
            self._whims.remove(whim)

    def membership_of(self, request: Request) -> Membership | None:
        """The membership whose jobs are asked for, if any are."""
        known = self._estate.world.memberships
        return known.get(request.membership or "") if request.operation == JOBS else None

    def changed(self, request: Request, change: Callable[[Page], object]) -> Answer | None:
        """Answer with the true page, changed; None where none is asked for or it is refused."""
        reply = self.true_reply(request)
        if request.operation != JOBS or not isinstance(reply, Reply):
            return None
        page = json.loads(reply.body)
        change(page)
        return Reply(json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode())

    def true_reply(self, request: Request) -> Answer:
        """Answer what the world says."""
        token = request.query.get(TOKEN, "")
        if not token.startswith(_DETOUR):
            return self._endpoint.reply(request)
        others = {name: value for name, value in request.query.items() if name != TOKEN}
        own = token.removeprefix(_DETOUR)
        return self._endpoint.reply(replace(request, query=others | ({TOKEN: own} if own else {})))

    def _answer(self, request: Request) -> Answer:
        if request.operation == JOB and request.membership == self._estate.closed.id:
            return error("AccessDeniedException")
        for whim in self._whims.copy():
            if (answer := whim(request)) is not None:
                return answer
        return self.true_reply(request) if request.query.get(TOKEN, "").startswith(_DETOUR) else normal()


def detour(request: Request) -> Page:
    """An empty page whose token leads to the page that was asked for."""
    return {LIST: [], TOKEN: _DETOUR + request.query.get(TOKEN, "").removeprefix(_DETOUR)}
