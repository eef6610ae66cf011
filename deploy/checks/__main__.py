"""Runs all checks, and tells how each of them went."""

import sys
from collections.abc import Callable, Iterator

from deploy.checks.aws import cloudformation, iam
from deploy.checks.dependencies import dependencies
from deploy.checks.grafana import grafana
from deploy.checks.hosts import docker, systemd
from deploy.checks.kubernetes import helm
from deploy.checks.prometheus import prometheus
from deploy.checks.tools import Skipped


def tell(check: Callable[[], Iterator[str]]) -> bool:
    """Run a check, say how it went, and return whether nothing was wrong."""
    verdict = "ok"
    wrong = []
    try:
        wrong = list(check())
    except Skipped as reason:
        verdict = f"skipped: {reason}"
    sys.stdout.write("".join(f"deploy: {check.__name__}: {line}\n" for line in wrong or [verdict]))
    return not wrong


if __name__ == "__main__":
    checks = (systemd, docker, iam, cloudformation, helm, prometheus, grafana, dependencies)
    verdicts = [tell(check) for check in checks]
    sys.exit(not all(verdicts))
