"""`python -m faults --minutes 5 --seed 7`: prints its figures, and exits with 0 if nothing is wrong."""

import argparse
import secrets
import signal
import sys

from faults.supervisor import supervise


def main() -> None:
    """Run it; whoever stops it leaves nothing behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for how long all is broken; some more to rest")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(1_000_000), help="of what is broken, and when"
    )
    options = parser.parse_args()
    _say(f"breaking for {options.minutes:g} minutes, seed {options.seed}")
    figures = supervise(options.minutes, options.seed)
    for line in figures.lines():
        _say(line)
    sys.exit(0 if figures.is_all_right else 1)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
