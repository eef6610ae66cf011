"""Runs all checks, and tells what each of them has seen; or writes the descriptions."""

import signal
import sys
from collections.abc import Callable, Iterator

from deploy.bi import charts, dbt, descriptions, grafana
from deploy.bi.seen import ROOT, Failed, Seen
from deploy.bi.world import World, made, server
from etl import database, dictionary

_CHECKS: dict[str, Callable[[World], Iterator[Seen]]] = {
    "grafana": grafana.check,
    "dbt": dbt.check,
    "superset": charts.check,
}


def known(url: str) -> list[dictionary.Entry]:
    """Return what the database says of its views."""
    with database.connect(url) as connection, connection.begin():
        return dictionary.entries(connection)


def tell(name: str, seen: Iterator[Seen]) -> bool:
    """Say what a check sees as it goes, and return whether all was well and there was something."""
    verdicts = []
    try:
        for each in seen:
            say(name, each)
            verdicts.append(each.is_well)
    except Failed as error:
        say(name, Seen(str(error), is_well=False))
        return False
    return bool(verdicts) and all(verdicts)


def say(name: str, seen: Seen) -> None:
    """Print a line of a check at once."""
    sys.stdout.write(f"bi: {name}: {'' if seen.is_well else 'WRONG: '}{seen.what}\n")
    sys.stdout.flush()


def check() -> bool:
    """Make a world, and look at it with everything."""
    with server() as url:
        verdicts = [tell("descriptions", descriptions.check(known(url)))]
        world = made(url)
        jobs = world.ask("SELECT count(*) FROM cleanrooms.inference_jobs")
        say("world", Seen(f"{jobs} jobs of two weeks"))
        verdicts += [tell(name, look(world)) for name, look in _CHECKS.items()]
    return all(verdicts)


def describe() -> None:
    """Write the database's comments into the files that repeat them."""
    with server() as url:
        for file in descriptions.write(known(url)):
            sys.stdout.write(f"{file.relative_to(ROOT)}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # what was started ends with us
    match sys.argv[1:]:
        case []:
            sys.exit(not check())
        case ["describe"]:
            describe()
        case _:
            sys.exit("usage: python -m deploy.bi [describe]")
