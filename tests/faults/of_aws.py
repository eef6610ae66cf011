"""What AWS, and whatever lies between it and us, may do."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from random import Random
from uuid import UUID

from etl.demo import answers
from etl.demo.answers import Answer
from etl.demo.request import JOB, MODELS, VERSIONS, Request
from faults.estate import SECOND, Life
from faults.kinds import kind
from faults.scene import Scene
from faults.weather import LIST, TOKEN, Page, Whim, detour

HOUR = timedelta(hours=1)
_MODELS = "trainedModels"
_LAG = (2, 20)  # seconds of a replica

Make = Callable[[], Answer]


def _some(random: Random, share: float, make: Make, *operations: str) -> Whim:
    """Answer some requests, of these operations or of all."""

    def whim(request: Request) -> Answer | None:
        is_meant = not operations or request.operation in operations
        return make() if is_meant and random.random() < share else None

    return whim


def _over_one(scene: Scene, random: Random, whim: Whim) -> AbstractContextManager[None]:
    """Let a whim be on for one membership, so that the others go on: mostly for one where it does most harm."""
    struck = random.choice([*scene.estate.memberships, scene.estate.closed]).id
    return scene.weather.under(lambda request: whim(request) if request.membership == struck else None)


def _pages(scene: Scene, random: Random, share: float, change: Callable[[Request, Page], object]) -> Whim:
    """Change some pages of jobs."""

    def whim(request: Request) -> Answer | None:
        if random.random() >= share:
            return None
        return scene.weather.changed(request, lambda page: change(request, page))

    return whim


# It refuses


@kind(1, 4)
def throttling_storm(scene: Scene, random: Random) -> Iterator[None]:
    with scene.weather.under(_some(random, 0.8, lambda: answers.error("ThrottlingException"))):
        yield


@kind(1, 3)
def server_errors(scene: Scene, random: Random) -> Iterator[None]:
    def make() -> Answer:
        status = random.choice([500, 502, 503, 504])
        if random.random() < 0.5:
            return answers.error("InternalServiceException", status)
        return answers.body(b"<html><h1>Bad Gateway</h1></html>", status)

    with scene.weather.under(_some(random, 0.6, make)):
        yield


@kind(0.5, 2)
def access_denied(scene: Scene, random: Random) -> Iterator[None]:
    with scene.weather.under(_some(random, 0.5, lambda: answers.error("AccessDeniedException"))):
        yield


@kind(4, 8, times=2)
def all_pages_but_the_first_are_refused(scene: Scene, random: Random) -> Iterator[None]:
    """So many partial listings in a row that a job would be gone, were they complete."""

    def whim(request: Request) -> Answer | None:
        return answers.error("AccessDeniedException") if TOKEN in request.query else None

    with _over_one(scene, random, whim):
        yield


@kind(1, 4)
def only_listing_is_permitted(scene: Scene, random: Random) -> Iterator[None]:
    denied = _some(random, 1, lambda: answers.error("AccessDeniedException"), JOB, MODELS, VERSIONS)
    with scene.weather.under(denied):
        yield


@kind(0.5, 2)
def expired_tokens(scene: Scene, random: Random) -> Iterator[None]:
    with scene.weather.under(_some(random, 0.4, lambda: answers.error("ExpiredTokenException"))):
        yield


@kind(0.5, 1)
def expired_credentials(scene: Scene, _: Random) -> Iterator[None]:
    scene.endpoint.expire_credentials()
    yield


@kind(0.5, 2)
def refused_next_tokens(scene: Scene, random: Random) -> Iterator[None]:
    def whim(request: Request) -> Answer | None:
        is_refused = TOKEN in request.query and random.random() < 0.4
        return answers.error("ValidationException", message="Invalid nextToken") if is_refused else None

    with scene.weather.under(whim):
        yield


@kind(1, 4)
def clock_of_aws_an_hour_off(scene: Scene, random: Random) -> Iterator[None]:
    scene.endpoint.clock_skew = random.choice([HOUR, -HOUR])
    try:
        with scene.weather.under(_some(random, 0.3, lambda: answers.error("RequestTimeTooSkewed", 403))):
            yield
    finally:
        scene.endpoint.clock_skew = timedelta(0)


# The way to it breaks


@kind(4, 9)
def resets(scene: Scene, random: Random) -> Iterator[None]:
    with _over_one(scene, random, _some(random, 0.5, answers.reset)):
        yield


@kind(4, 9)
def resets_mid_body(scene: Scene, random: Random) -> Iterator[None]:
    with _over_one(scene, random, _some(random, 0.5, lambda: answers.truncated(random.random()))):
        yield


@kind(4, 9)
def bodies_that_stall(scene: Scene, random: Random) -> Iterator[None]:
    with _over_one(scene, random, _some(random, 0.2, lambda: answers.truncated(random.random(), 1.5))):
        yield


@kind(4, 9)
def slow_answers(scene: Scene, random: Random) -> Iterator[None]:
    with _over_one(scene, random, _some(random, 0.3, lambda: answers.slow(random.uniform(0.2, 1.5)))):
        yield


@kind(4, 9)
def hangs(scene: Scene, random: Random) -> Iterator[None]:
    with _over_one(scene, random, _some(random, 0.1, lambda: answers.slow(scene.deadline * 1.5))):
        yield


# Its answers are damaged


def _damaged(scene: Scene, random: Random, make: Callable[[bytes], bytes]) -> Whim:
    def whim(request: Request) -> Answer | None:
        if random.random() >= 0.4:
            return None
        reply = scene.weather.true_reply(request)
        return answers.body(make(reply.body)) if isinstance(reply, answers.Reply) else None

    return whim


@kind(4, 9)
def truncated_json(scene: Scene, random: Random) -> Iterator[None]:
    with _over_one(scene, random, _damaged(scene, random, lambda body: body[: int(len(body) * random.random())])):
        yield


@kind(4, 9)
def html_with_200(scene: Scene, random: Random) -> Iterator[None]:
    with _over_one(scene, random, _damaged(scene, random, lambda _: b"<html>Please log in</html>")):
        yield


@kind(4, 9)
def bodies_that_are_empty_or_something_else(scene: Scene, random: Random) -> Iterator[None]:
    others = [b"", b"{}", b"null", b"[]", b'{"trainedModelInferenceJobs":null}', b"\xff\xfe", b"{" * 5_000]
    with _over_one(scene, random, _damaged(scene, random, lambda _: random.choice(others))):
        yield


# Its pages are odd


@kind(4, 9)
def cycling_tokens(scene: Scene, random: Random) -> Iterator[None]:
    def change(request: Request, page: Page) -> None:
        if TOKEN in request.query:
            page[TOKEN] = request.query[TOKEN]

    with _over_one(scene, random, _pages(scene, random, 0.5, change)):
        yield


@kind(4, 9)
def empty_tokens(scene: Scene, random: Random) -> Iterator[None]:
    with _over_one(scene, random, _pages(scene, random, 0.4, lambda _, page: page.update({TOKEN: ""}))):
        yield


@kind(4, 9)
def empty_pages_with_a_token(scene: Scene, random: Random) -> Iterator[None]:
    def change(request: Request, page: Page) -> None:
        page.pop(TOKEN, None)
        page.update(detour(request))

    with _over_one(scene, random, _pages(scene, random, 0.3, change)):
        yield


@kind(4, 9)
def duplicates(scene: Scene, random: Random) -> Iterator[None]:
    """Only of jobs of whose age AWS does not lie: of others the later read tells, and here reads may overtake."""

    def change(request: Request, page: Page) -> None:
        membership = scene.weather.membership_of(request)
        assert membership
        honest = [life for life in scene.estate.listed(membership) if not life.is_liar]
        again = random.sample(honest, min(len(honest), 3))
        page[LIST] += page[LIST][:2] + [json.loads(life.job.rendered()) for life in again]

    with _over_one(scene, random, _pages(scene, random, 0.4, change)):
        yield


@kind(4, 9)
def pages_in_no_order(scene: Scene, random: Random) -> Iterator[None]:
    with _over_one(scene, random, _pages(scene, random, 0.5, lambda _, page: random.shuffle(page[LIST]))):
        yield


@kind(4, 9)
def jobs_inserted_and_vanishing_while_paging(scene: Scene, random: Random) -> Iterator[None]:
    def whim(request: Request) -> None:
        membership = scene.weather.membership_of(request)
        if membership and TOKEN in request.query and random.random() < 0.3:
            if random.random() < 0.3:
                scene.estate.create(membership)
            else:
                scene.estate.flicker(membership)

    with _over_one(scene, random, whim):
        yield


@kind(4, 8, times=3)
def mixed_replicas(scene: Scene, random: Random) -> Iterator[None]:
    """Some requests are answered by one that lags: it knows older states of jobs, and no new ones."""
    lag = random.uniform(*_LAG) * SECOND

    def item(arn: str | None) -> bytes | None:
        life = scene.estate.lives.get(arn or "")
        return scene.estate.view(life, scene.estate.world.now() - lag) if life else None

    def change(_: Request, page: Page) -> None:
        arns = [listed.get("trainedModelInferenceJobArn") for listed in page[LIST] if isinstance(listed, dict)]
        page[LIST] = [json.loads(seen) for seen in map(item, arns) if seen]

    def single(request: Request) -> Answer | None:
        is_unknown = request.operation == JOB and random.random() < 0.6 and item(request.resource) is None
        return answers.error("ResourceNotFoundException") if is_unknown else None

    scene.workers.start_sync("--full")
    with scene.weather.under(_pages(scene, random, 0.6, change)), scene.weather.under(single):
        yield


# It tells of models what is not so, by which a listing is split


def _listings_of_models(scene: Scene, random: Random, change: Callable[[Request, list[Page]], object]) -> Whim:
    """Change some listings of models and of versions."""

    def whim(request: Request) -> Answer | None:
        if request.operation not in (MODELS, VERSIONS) or random.random() < 0.2:
            return None
        reply = scene.weather.true_reply(request)
        if not isinstance(reply, answers.Reply):
            return None
        page = json.loads(reply.body)
        change(request, page[_MODELS])
        return answers.body(json.dumps(page).encode())

    return whim


@kind(4, 8, times=2)
def models_that_are_not_told_of(scene: Scene, random: Random) -> Iterator[None]:
    """One of them is so new that no stored job names it: only a listing that is not split shows its jobs."""
    membership = random.choice(scene.estate.memberships)
    newest = scene.estate.add_model(membership)

    def change(_: Request, models: list[Page]) -> None:
        models[:] = [model for model in models if model["trainedModelArn"] != newest.arn]
        del models[random.randrange(len(models) + 1) :]

    with scene.weather.under(_listings_of_models(scene, random, change)):
        scene.estate.create(membership, newest)
        scene.workers.start_sync("--full")
        yield


@kind(4, 8, times=2)
def models_that_do_not_exist(scene: Scene, random: Random) -> Iterator[None]:
    """Of some AWS then lists no jobs, others it does not know when it is asked for their jobs."""
    version = str(UUID(int=random.getrandbits(128), version=4))
    arn = random.choice(scene.estate.memberships).models[0].arn + version
    ghosts = {"versionIdentifier": version, "trainedModelArn": arn}
    is_refused = random.random() < 0.5

    def change(request: Request, models: list[Page]) -> None:
        for model in models[:1]:
            name = "versionIdentifier" if request.operation == VERSIONS else "trainedModelArn"
            models.append(model | {name: ghosts[name]})

    def refuse(request: Request) -> Answer | None:
        is_meant = is_refused and version in f"{request.query}{request.resource}"
        return answers.error("ResourceNotFoundException") if is_meant else None

    with scene.weather.under(refuse), scene.weather.under(_listings_of_models(scene, random, change)):
        scene.workers.start_sync("--full")
        yield


# Its items are odd


@kind(4, 9)
def malformed_rows(scene: Scene, random: Random) -> Iterator[None]:
    membership = random.choice(scene.estate.memberships)
    other = random.choice(scene.estate.memberships)
    job = random.choice(scene.estate.listed(other)).job.wire()
    rows: tuple[object, ...] = (None, 7, "text", {}, job | {"status": 3}, job | {"membershipIdentifier": "other"})
    items = [scene.estate.world.put_raw(membership, row) for row in rows]
    try:
        yield
    finally:
        for item in items:
            scene.estate.world.remove(membership, item)


@kind(4, 9)
def absurd_times(scene: Scene, random: Random) -> Iterator[None]:
    def change(_: Request, page: Page) -> None:
        for item in [item for item in page[LIST] if isinstance(item, dict)][:1]:
            item["updateTime"] = random.choice(["2999-01-01T00:00:00Z", "soon", "", 1e300])

    with _over_one(scene, random, _pages(scene, random, 0.3, change)):
        yield


@kind(3, 6)
def many_jobs_vanish_at_once(scene: Scene, random: Random) -> Iterator[None]:
    victims: Sequence[Life] = scene.estate.listed(random.choice(scene.estate.memberships))
    for life in victims[: len(victims) // 2]:
        scene.estate.vanish(life, seconds=random.uniform(2, 8))
    yield
