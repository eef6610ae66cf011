"""Checks the Helm chart, and what it makes of its values."""

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import yaml

from deploy.checks.tools import DEPLOY, Skipped

CHART = DEPLOY / "helm/cleanroomsml-etl"

VERSIONS = ("1.27.0", kubernetes_validate.latest_version())
"""The oldest that Chart.yaml allows, and the newest whose schemas are there."""

ALWAYS = {"ConfigMap", "Job", "NetworkPolicy", "ServiceAccount"}
KINDS = {
    "daemon": ALWAYS | {"Deployment", "PodDisruptionBudget", "PodMonitor"},
    "cronjob": ALWAYS | {"CronJob"},
}
"""What each variant makes."""

POD = {
    "automountServiceAccountToken": False,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""The profile that Kubernetes calls restricted, and what we promise beyond it."""


def helm() -> Iterator[str]:
    """Lint both variants of the chart with Helm, and judge what it makes of them as Kubernetes would."""
    try:
        import helm_python  # noqa: PLC0415 - there is no wheel for some machines
    except ImportError:
        raise Skipped("there is no helm-python-sdk for this machine") from None
    for variant, kinds in KINDS.items():
        values = yaml.safe_load((CHART / f"ci/{variant}-values.yaml").read_text())
        values["config"] = (DEPLOY / "etl.example.toml").read_text()
        messages = helm_python.lint(CHART, values, strict=True)["messages"]
        wrong = [each for each in messages if each["severity"] > 1]  # 1 is a hint: the chart has no icon
        if wrong:
            yield from (f"{variant}: {each['path']}: {each['error']}" for each in wrong)
            continue
        with helm_python.Chart.load(CHART) as chart:
            rendered = chart.render(values, name="release", namespace="namespace")
        yield from (f"{variant}: {each}" for each in judged(rendered, kinds))


def judged(rendered: dict[str, str], kinds: set[str]) -> Iterator[str]:
    """Yield what is wrong with the manifests that came out of the chart's templates."""
    manifests = (text for name, text in sorted(rendered.items()) if name.endswith(".yaml"))
    items = [item for text in manifests for item in yaml.safe_load_all(text) if item]
    yield from (f"{kind}: missing, or not promised" for kind in {item["kind"] for item in items} ^ kinds)
    for item in items:
        yield from (f"{item['kind']}: {each}" for each in (*refused(item), *unsafe(item)))


def refused(item: dict[str, Any]) -> Iterator[str]:
    """Yield what Kubernetes would refuse of an object. It cannot judge one that is not its own (PodMonitor)."""
    if item["apiVersion"] == "monitoring.coreos.com/v1":
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"as of {version}: {error.message}"


def unsafe(item: dict[str, Any]) -> Iterator[str]:
    """Yield what a pod, at whatever depth of an object, is allowed beyond our promise."""
    for pod in pods(item):
        yield from (f"{key} is {pod.get(key)}" for key, value in POD.items() if pod.get(key) != value)
        for container in pod["containers"]:
            if container.get("securityContext") != CONTAINER:
                yield f"securityContext is {container.get('securityContext')}"
            secrets = {each["name"] for each in container["env"] if "secretKeyRef" in each.get("valueFrom", {})}
            if secrets != {"ETL_DATABASE_URL"}:
                yield f"what comes from a Secret is {secrets}"
            if "memory" not in container["resources"].get("limits", {}):
                yield f"resources are {container['resources']}"


def pods(item: object) -> Iterator[dict[str, Any]]:
    """Yield every pod's specification that an object holds."""
    if isinstance(item, dict):
        if "containers" in item:
            yield item
        for value in item.values():
            yield from pods(value)
