"""Checks the alert rules."""

import shutil
from collections.abc import Iterator
from typing import Any

import promql_parser
import yaml

from deploy.checks.tools import DEPLOY, Skipped, run

RULES = DEPLOY / "prometheus/etl.rules.yaml"


def prometheus() -> Iterator[str]:
    """Run promtool on the alert rules and their tests; where there is none, read the grammar of the rules."""
    if promtool := shutil.which("promtool"):
        for words in (("check", "rules", RULES), ("test", "rules", RULES.with_suffix(".test.yaml"))):
            status, report = run(promtool, *words)
            if status:
                yield report
        return
    wrong = [*misspelt(yaml.safe_load(RULES.read_text()))]
    if not wrong:
        raise Skipped("promtool is not installed here: the grammar is right, the tests were not run")
    yield from wrong


def misspelt(rules: dict[str, Any]) -> Iterator[str]:
    """Yield which expressions are no PromQL."""
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        try:
            promql_parser.parse(rule["expr"])
        except ValueError as error:
            yield f"{rule['alert']}: {error}"
