"""What deploy/ says of the program is true of it. Tools of their own read the same files: `make check-deploy`."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import click
import pytest
from prometheus_client import CollectorRegistry

from etl import config, loading
from etl.cli import main
from etl.doctor import policies
from etl.metrics import Metrics
from etl.monitor import Monitor

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/cleanroomsml-etl"
DEPLOYMENT = CHART / "templates/deployment.yaml"
DOCKERFILE = DEPLOY / "docker/Dockerfile"
STACK = DEPLOY / "ecs/etl.yaml"

TEXTS = {
    str(file.relative_to(ROOT)): file.read_text()
    for file in sorted(DEPLOY.rglob("*"))
    if file.is_file() and not {"bi", "checks", "logs", "target"} & {*file.parts}  # the latter two are dbt's
}

MEMBERSHIP = policies.Parts("aws", "us-east-1", "111122223333", "3f2a1c9e-5b7d-4e8a-9c1f-0a1b2c3d4e5f")
IAM_POLICY = policies.to_list(MEMBERSHIP) + policies.to_get(MEMBERSHIP) + policies.to_list_models()


def commands() -> Iterator[str]:
    """Yield each use of the program: by its path, or as a list behind the image's entry point."""
    for name, text in TEXTS.items():
        for words in re.findall(r"(?:/opt/etl/bin/etl|-- etl) ([-a-z/. ]+)", text):
            yield f"{name}: {words.strip()}"
        for words in re.findall(
            r"(?:(?<=args: )|(?<=CMD )|(?<=IsDaemon, )|(?<=\[daemon\], ))\[([-a-z, \"]+)\]", text
        ):
            yield f"{name}: {' '.join(re.findall('[-a-z]+', words))}"


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_is_one_that_the_program_takes(command: str) -> None:
    taken: click.Command = main
    rest = command.partition(": ")[2].split()
    with click.Context(main) as context:
        while isinstance(taken, click.Group):
            _, found, rest = taken.resolve_command(context, rest)
            assert found
            taken = found
        taken.make_context("etl", rest, parent=context)


@pytest.mark.parametrize("command", ["daemon", "sync --quiet"])
@pytest.mark.parametrize("way", ["deploy/systemd", "deploy/helm", "deploy/ecs"])
def test_there_is_a_daemon_and_a_timer_of_each_kind(way: str, command: str) -> None:
    assert [each for each in commands() if each.startswith(way) and f": {command}" in each]


def test_the_example_is_a_configuration_without_a_password() -> None:
    read = loading.load(DEPLOY / "etl.example.toml", {})
    assert read.memberships
    assert read.database.url is None


@pytest.mark.parametrize("file", [DOCKERFILE, STACK, DEPLOYMENT], ids=lambda file: file.name)
def test_every_port_is_the_daemons_own(file: Path) -> None:
    _, _, port = config.Daemon().listen.rpartition(":")
    known = {"10001", "5432", "65535"}  # the user, the database and the last of all ports
    assert set(re.findall(r"(?<![-\w])[1-9][0-9]{3,4}\b(?!-)", file.read_text())) - known == {port}


@dataclass
class Health:
    """As well as a test wants it."""

    trouble: str | None = None

    def is_alive(self) -> str | None:
        return self.trouble

    def is_ready(self) -> str | None:
        return self.trouble


def asked_by_the_image(health: Health, **environ: str) -> int:
    """Run the health check of the Dockerfile against a daemon of such a health, and return its exit status."""
    python, *words = health_check()
    assert python == "python"
    with Monitor("127.0.0.1:0", health, CollectorRegistry()) as monitor:
        _, _, port = str(monitor.address).rpartition(":")
        here = [sys.executable, *(word.replace("9464", port) for word in words)]
        return subprocess.run(here, check=False, capture_output=True, env={**os.environ, **environ}).returncode  # noqa: S603


def health_check() -> list[str]:
    (listed,) = re.findall(r"HEALTHCHECK .*\\\n *CMD (\[.*\])", DOCKERFILE.read_text())
    words: list[str] = json.loads(listed)
    return words


def test_the_image_is_healthy_while_the_daemon_is_alive() -> None:
    assert asked_by_the_image(Health()) == 0


def test_the_image_is_not_healthy_when_the_daemon_is_stuck() -> None:
    assert asked_by_the_image(Health("the scheduler does not tick")) == 1


def test_the_image_asks_no_proxy_how_the_daemon_is() -> None:
    assert asked_by_the_image(Health(), http_proxy="http://127.0.0.1:9") == 0


def test_the_stack_asks_what_the_image_asks() -> None:
    assert health_check()[-1] in " ".join(STACK.read_text().split())


def test_the_chart_asks_for_paths_that_the_monitor_answers() -> None:
    paths = re.findall(r"path: (/\w+)$", DEPLOYMENT.read_text(), re.MULTILINE)
    assert sorted(paths) == ["/healthz", "/metrics", "/readyz"]
    with Monitor("127.0.0.1:0", Health(), CollectorRegistry()) as monitor:
        for path in paths:
            with urlopen(f"http://{monitor.address}{path}", timeout=5) as answer:
                assert answer.status == 200


def test_every_metric_of_an_alert_is_one_that_the_daemon_tells() -> None:
    metrics = Metrics(running=lambda: 0, buckets=list, tick_age=lambda: 0.0)
    suffixes = {"counter": "_total", "info": "_info"}
    told = {family.name + suffixes.get(family.type, "") for family in metrics.registry.collect()}
    expressions = re.findall(r"expr: (?:>-\n)?(.*?)\n +for:", TEXTS["deploy/prometheus/etl.rules.yaml"], re.DOTALL)
    asked = set(re.findall(r"\betl_\w+", " ".join(expressions)))
    assert len(expressions) == 7
    assert asked <= told


@pytest.mark.parametrize(
    ("file", "statements"),
    [
        ("iam-policy.json", IAM_POLICY),
        ("iam-assume-role-policy.json", policies.to_assume("arn:aws:iam::THEIR_ACCOUNT_ID:role/THEIR_ROLE")),
        ("iam-trust-policy.json", policies.trust("arn:aws:iam::YOUR_ACCOUNT_ID:role/YOUR_ROLE", True)),
    ],
)
def test_a_policy_is_what_the_doctor_prescribes(file: str, statements: list[policies.Statement]) -> None:
    text = TEXTS[f"deploy/{file}"]
    if file == "iam-policy.json":
        for place, value in zip(("REGION", "ACCOUNT_ID", "MEMBERSHIP_ID"), MEMBERSHIP[1:], strict=True):
            text = text.replace(place, value)
    by_name = {statement["Sid"]: statement for statement in json.loads(text)["Statement"]}
    assert by_name == {statement["Sid"]: statement for statement in statements}


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("deploy/systemd/etl-daemon.service", "TimeoutStopSec="),
        ("deploy/systemd/etl-sync.service", "TimeoutStopSec="),
        ("deploy/helm/cleanroomsml-etl/templates/_pod.tpl", "terminationGracePeriodSeconds: "),
        ("deploy/ecs/etl.yaml", "StopTimeout: "),
    ],
)
def test_there_is_more_time_to_stop_than_the_daemon_takes(file: str, key: str) -> None:
    (seconds,) = re.findall(rf"{key}([0-9]+)", TEXTS[file])
    assert 15 < int(seconds) <= 120  # Fargate gives no more


def test_the_build_is_given_all_that_it_copies() -> None:
    copied = [
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
        for source in line.split()
    ]
    given = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(copied) == sorted(given)
    assert all((ROOT / source).exists() for source in given)


@pytest.mark.parametrize("file", sorted(TEXTS))
def test_nothing_runs_whatever_is_latest(file: str) -> None:
    assert ":latest" not in TEXTS[file]


def versions(requirements: str) -> set[str]:
    return set(re.findall(r"^\S+==\S+", (ROOT / f"requirements/{requirements}.txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("requirements", ["run", "build"])
def test_the_image_holds_the_versions_that_the_tests_run_with(requirements: str) -> None:
    assert versions(requirements) <= versions("dev")


@pytest.mark.parametrize("file", sorted(TEXTS))
def test_every_version_of_ours_is_the_packages(file: str) -> None:
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    named = re.findall(r"(?:^version: |^appVersion: \"|\betl:)([0-9][.0-9]*[0-9])", TEXTS[file], re.MULTILINE)
    assert set(named) <= {release}
    assert named or not file.endswith("Chart.yaml")
