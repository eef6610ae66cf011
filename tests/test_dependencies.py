"""A known vulnerability fails `make check`; that nobody can be asked does not."""

import json
from typing import Any

import pytest

from deploy.checks.dependencies import vulnerabilities
from deploy.checks.tools import Skipped

SOUND = {"name": "boto3", "version": "1.44.5", "vulns": []}
FLAWED = {"name": "h11", "version": "0.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.2"]}]}
UNKNOWN = {"name": "rich", "skip_reason": "Dependency not found on PyPI"}


def said(*dependencies: dict[str, Any]) -> str:
    return f"a warning\n{json.dumps({'dependencies': dependencies, 'fixes': []})}\n"


def test_each_known_vulnerability_is_a_complaint() -> None:
    assert list(vulnerabilities(said(SOUND, FLAWED, UNKNOWN))) == ["h11 0.1 has PYSEC-1, mended in 0.2"]
    assert list(vulnerabilities(said(SOUND))) == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (said(SOUND, UNKNOWN), "1 of 2 packages are unknown"),
        ("Traceback ...\nConnectionError: no route", "nobody was asked: ConnectionError: no route"),
        ("", "pip-audit said nothing"),
    ],
)
def test_what_nobody_can_say_is_told_and_fails_nothing(words: str, reason: str) -> None:
    with pytest.raises(Skipped, match=reason):
        list(vulnerabilities(words))
