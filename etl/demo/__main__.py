"""The simulated service as a process of its own, for benchmarks: one JSON line tells where it is."""

import argparse
import json
import sys
from contextlib import suppress
from random import Random
from threading import Event

from etl.demo.endpoint import Endpoint
from etl.demo.scenario import populate
from etl.demo.world import World

_A_WHILE = 60.0  # seconds


def main() -> None:
    """Serve still memberships full of jobs until interrupted."""
    with suppress(KeyboardInterrupt):
        _serve(_options())


def _serve(options: argparse.Namespace) -> None:
    world = World(random=Random(options.seed))  # noqa: S311 - seeded on purpose: the same ids each time
    for _ in range(options.memberships):
        membership = world.add_membership()
        populate(world, membership, options.jobs)
        for item in membership.items:
            item.rendered()  # now, so that the first listing is served as fast as all later ones
    with Endpoint(world, port=options.port, latency_seconds=options.latency_ms / 1000) as endpoint:
        line = json.dumps({"url": endpoint.url, "memberships": list(world.memberships)})
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        never = Event()
        while not never.wait(_A_WHILE):
            endpoint.forget_requests()  # nobody asks what they were


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m etl.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--memberships", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1000, help="in each membership")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="of each answer")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
