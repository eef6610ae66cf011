"""What may happen to the product's own processes."""

import signal
import time
from collections.abc import Iterator
from random import Random

from faults.kinds import kind
from faults.scene import Scene


@kind(0.5, 2)
def daemon_killed(scene: Scene, random: Random) -> Iterator[None]:
    scene.workers.kill(random.choice(scene.workers.daemons))
    yield
    scene.workers.start_daemon()


@kind(2, 8, times=2)
def daemon_frozen(scene: Scene, random: Random) -> Iterator[None]:
    """Also for longer than its lease."""
    daemon = random.choice(scene.workers.daemons)
    daemon.send_signal(signal.SIGSTOP)
    yield
    daemon.send_signal(signal.SIGCONT)


@kind(0.5, 1)
def daemon_stopped(scene: Scene, random: Random) -> Iterator[None]:
    """The successor comes first: the world is never unwatched for longer than it must be."""
    old = random.choice(scene.workers.daemons)
    scene.workers.start_daemon()
    old.send_signal(signal.SIGCONT)
    scene.workers.stop(old)
    yield


@kind(3, 6)
def daemon_whose_host_clock_jumps_by_an_hour(scene: Scene, random: Random) -> Iterator[None]:
    scene.workers.kill(random.choice(scene.workers.daemons))
    odd = scene.workers.start_daemon(has_jumping_clock=True)
    yield
    scene.workers.kill(odd)
    scene.workers.start_daemon()


@kind(1, 4)
def sync_beside_the_daemons(scene: Scene, random: Random) -> Iterator[None]:
    scene.workers.start_sync(*random.choice([(), ("--full",)]))
    yield


@kind(1.5, 4)
def sync_killed(scene: Scene, _: Random) -> Iterator[None]:
    sync = scene.workers.start_sync("--full")
    yield
    scene.workers.kill(sync)


@kind(1.5, 4)
def sync_frozen_and_stopped(scene: Scene, random: Random) -> Iterator[None]:
    sync = scene.workers.start_sync("--full")
    time.sleep(random.uniform(0.3, 1.5))
    sync.send_signal(signal.SIGSTOP)
    yield
    sync.send_signal(signal.SIGTERM)
    sync.send_signal(signal.SIGCONT)


@kind(1, 4)
def membership_taken_out_of_the_configuration(scene: Scene, random: Random) -> Iterator[None]:
    scene.left_out.add(random.choice(scene.estate.memberships).id)
    scene.configure()
    scene.workers.reload()
    yield
    scene.left_out.clear()
    scene.configure()
    scene.workers.reload()
