"""How many processors may be used: the affinity and the quota of a container, whichever is less."""

import os
from pathlib import Path

import pytest

from etl import cores


@pytest.mark.parametrize(
    ("quota", "allowed"),
    [
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("190000 100000", 1),
        ("200000 100000", 2),
        ("6400000 100000", 64),
        ("max 100000", 64),
        ("what is this", 64),
        ("", 64),
    ],
)
def test_a_quota_of_a_container_counts_in_whole_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, allowed: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert cores.usable(tmp_path) == allowed


@pytest.mark.parametrize(("quota", "allowed"), [("50000", 1), ("350000", 3), ("-1", 64), ("0", 64)])
def test_so_does_one_of_the_first_version_of_cgroups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, allowed: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores.usable(tmp_path) == allowed


def test_an_affinity_counts_and_a_larger_quota_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    (tmp_path / "cpu.max").write_text("800000 100000\n")
    assert cores.usable(tmp_path) == 1


def test_where_no_affinity_is_known_the_machine_s_processors_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores.usable(tmp_path) == os.cpu_count()
