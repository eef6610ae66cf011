"""The wheel: built from the checkout, installed far from it, and working there with nothing but itself."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from etl.demo.endpoint import Endpoint
from etl.demo.membership import Membership
from etl.demo.world import World
from etl.tables import REVISION

ROOT = Path(__file__).parent.parent


def run(*words: str | Path, cwd: Path, **environ: str) -> str:
    """Run to the end, and return what it said on stdout; what went wrong is said to whoever reads the test."""
    done = subprocess.run(  # noqa: S603 - our own words
        words, check=False, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with the tools that are here: no isolation, no network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with the wheel in it; its dependencies are lent by ours."""
    folder = tmp_path_factory.mktemp("elsewhere") / "environment"
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=folder,
    )
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # A folder named in a .pth file is searched, but its own .pth files, our editable install's too, are not read.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_holds_the_program_and_its_migrations_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = {
        f"{prefix}{file.relative_to(folder)}"
        for folder, prefix in ((ROOT / "etl", "etl/"), (ROOT / "migrations", "etl/migrations/"))
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert names == source


def test_what_runs_is_what_was_installed(installed: Path, tmp_path: Path) -> None:
    script = "import etl, sys; print(etl.__file__, *sys.path, sep='\\n')"
    module, *path = run(installed / "python", "-c", script, cwd=tmp_path).splitlines()
    assert module.startswith(str(installed.parent))
    assert str(ROOT) not in path


def test_an_installed_wheel_migrates_syncs_and_tells(
    installed: Path,
    tmp_path: Path,
    empty_database_url: str,
    endpoint: Endpoint,
    world: World,
    membership: Membership,
) -> None:
    world.create_job(membership)
    (tmp_path / "etl.toml").write_text(f'[[membership]]\nid = "{membership.id}"\nregion = "us-east-1"\n')
    settings = {"ETL_DATABASE_URL": empty_database_url, "ETL_AWS_ENDPOINT_URL": endpoint.url}

    def etl(*words: str) -> str:
        return run(installed / "etl", *words, "--text", cwd=tmp_path, **settings)

    assert etl("db", "upgrade") == f"migrated from nothing to {REVISION}\n"
    assert "complete  1 page  1 listed  1 new" in etl("sync")
    assert f"{membership.id} " in etl("status")
    assert etl("db", "current") == f"{REVISION}\n"
