"""List all jobs with boto3's paginator and throw them away."""

import sys

from benchmarks.peers.listing import pages


def main(endpoint: str, membership: str) -> None:
    """List."""
    for page in pages(endpoint, membership):
        for _ in page:
            pass


if __name__ == "__main__":
    main(*sys.argv[1:3])
