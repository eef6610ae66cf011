"""Workers: as many at a time as there are slots, nobody's membership twice, and no more than is wanted."""

import time
from collections.abc import Callable
from threading import Event, Lock, Thread, current_thread

import pytest

from etl.config import Membership
from etl.workers import Workers

MANY = [Membership(id=f"00000000-0000-4000-8000-{number:012}", region="us-east-1") for number in range(12)]
PATIENCE = 10.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Scene:
    """Workers whose syncs last until they may go on, and what was synced."""

    def __init__(self) -> None:
        self.may_go_on = Event()
        self.begun: list[str] = []
        self.most_at_once = 0
        self.answer = True
        self.workers = Workers(self._sync)
        self._lock = Lock()

    def _sync(self, membership: Membership) -> bool:
        with self._lock:
            self.begun.append(membership.id)
            self.most_at_once = max(self.most_at_once, len(self.workers.busy_with))
        self.may_go_on.wait(PATIENCE)
        return self.answer

    def finish(self) -> None:
        self.may_go_on.set()
        until(lambda: not self.workers.busy_with)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_all_that_is_due_is_synced_once_on_no_more_threads_than_slots(scene: Scene) -> None:
    scene.workers.begin(MANY, 3)
    until(lambda: len(scene.begun) == 3)
    scene.finish()
    until(lambda: len(scene.begun) == len(MANY))
    assert sorted(scene.begun) == [each.id for each in MANY]
    assert scene.most_at_once == 3


def test_what_is_given_up_is_taken_up_by_another_and_its_worker_takes_no_more(scene: Scene) -> None:
    hangs, waits = MANY[:2]
    scene.workers.begin([hangs], 1)
    until(lambda: scene.begun == [hangs.id])
    until(lambda: scene.workers.give_up_silent(0.05) == {hangs.id})
    scene.workers.begin([hangs, waits], 1)
    until(lambda: scene.begun == [hangs.id, hangs.id])
    scene.finish()
    until(lambda: len(scene.begun) == 3 and not scene.workers.busy_with)
    assert scene.begun == [hangs.id, hangs.id, waits.id]


def test_only_who_syncs_a_membership_now_gives_a_sign_of_it() -> None:
    begun: list[Thread] = []
    is_over = Event()

    def hang(_: Membership) -> bool:
        begun.append(current_thread())
        while not is_over.wait(0.01):
            if current_thread() is begun[0] and len(begun) > 1:  # the one that was given up is alive after all
                workers.hear()
        return True

    workers = Workers(hang)
    for times in (1, 2):
        workers.begin(MANY[:1], 1)
        until(lambda: len(begun) == times)  # noqa: B023 - it is asked for in this very round
        until(lambda: workers.give_up_silent(0.1) == {MANY[0].id})
    is_over.set()
    for thread in begun:
        thread.join(PATIENCE)
    assert workers.busy_with == []


def test_one_look_gives_nothing_up(scene: Scene) -> None:
    hangs = MANY[0]
    scene.workers.begin([hangs], 1)
    until(lambda: scene.begun == [hangs.id])
    time.sleep(0.05)
    assert scene.workers.give_up_silent(0.05) == set()
    assert scene.workers.busy_with == [hangs.id]
    assert scene.workers.give_up_silent(PATIENCE) == set()  # not silent for so long: the count begins anew
    assert scene.workers.give_up_silent(0.05) == set()
    assert scene.workers.give_up_silent(0.05) == {hangs.id}


def test_a_worker_that_has_died_gives_no_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.excepthook", lambda _: None)  # it is we who let it die

    def die(_: Membership) -> bool:
        raise SystemExit

    workers = Workers(die)
    workers.begin(MANY[:1], 1)
    for thread in workers.threads:
        thread.join(PATIENCE)
    until(lambda: workers.give_up_silent(PATIENCE) == {MANY[0].id})
    assert workers.busy_with == []


def test_what_is_begun_again_meanwhile_is_not_synced_twice_at_once(scene: Scene) -> None:
    scene.workers.begin(MANY[:2], 8)
    until(lambda: len(scene.begun) == 2)
    scene.workers.begin(MANY[:4], 8)
    until(lambda: len(scene.begun) == 4)
    scene.finish()
    assert sorted(scene.begun) == [each.id for each in MANY[:4]]


def test_a_worker_that_does_not_go_on_leaves_the_rest_waiting(scene: Scene) -> None:
    scene.answer = False
    scene.workers.begin(MANY, 2)
    until(lambda: len(scene.begun) == 2)
    scene.finish()
    assert len(scene.begun) == 2


def test_once_no_more_is_wanted_only_what_was_begun_is_finished(scene: Scene) -> None:
    scene.workers.begin(MANY, 2)
    until(lambda: len(scene.begun) == 2)
    scene.workers.take_no_more()
    scene.finish()
    assert len(scene.begun) == 2
