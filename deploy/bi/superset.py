"""A throw-away Superset: its files and its SQLite database lie in a temporary folder, it listens on loopback."""

import json
import os
import secrets
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from deploy.bi.seen import DEPLOY, ROOT, Failed, run

PROGRAM = ROOT / ".venv/superset/bin/superset"
BUNDLE = DEPLOY / "superset"
DATABASE_FILE = "databases/Clean_Rooms_ML.yaml"

_CONFIG = """\
SECRET_KEY = {key!r}
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/superset.db"
TALISMAN_ENABLED = False      # it asks for HTTPS
WTF_CSRF_ENABLED = False      # it asks for a browser's cookies
"""
_SECONDS_TO_START = 120


def zipped(file: Path, uri: str) -> Path:
    """Write the bundle as Superset takes it, with the address of the database in the place of the example's."""
    with zipfile.ZipFile(file, "w") as archive:
        for each in sorted(BUNDLE.rglob("*.yaml")):
            name = each.relative_to(BUNDLE).as_posix()
            lines = each.read_text("utf-8").splitlines()
            if name == DATABASE_FILE:
                lines = [
                    f"sqlalchemy_uri: {uri}" if line.startswith("sqlalchemy_uri: ") else line for line in lines
                ]
            archive.writestr(f"superset/{name}", "\n".join(lines) + "\n")
    return file


class Superset:
    """Superset's command line, and its HTTP API while it is served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._password = secrets.token_urlsafe()
        self._port = _free_port()
        self._token = ""
        self._opener = build_opener(ProxyHandler({}))
        config = folder / "superset_config.py"
        config.write_text(_CONFIG.format(key=secrets.token_urlsafe(42), folder=folder), "utf-8")
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "FLASK_APP": "superset",
            "SUPERSET_HOME": str(folder),
            "SUPERSET_CONFIG_PATH": str(config),
        }

    def command(self, *words: str | Path) -> str:
        """Run a command of Superset's."""
        return run(PROGRAM, *words, environ=self._environ, folder=self.folder)

    def prepare(self) -> None:
        """Make its database, its roles and an administrator."""
        self.command("db", "upgrade")
        names = ("--username", "admin", "--firstname", "A", "--lastname", "B", "--email", "admin@example.org")
        self.command("fab", "create-admin", *names, "--password", self._password)
        self.command("init")

    @contextmanager
    def served(self) -> Iterator[Self]:
        """Serve it, and end it whatever happens."""
        with (self.folder / "log").open("w") as log:
            words = (PROGRAM, "run", "--host", "127.0.0.1", "--port", str(self._port), "--with-threads")
            process = subprocess.Popen(  # noqa: S603 - our own words
                words, cwd=self.folder, env=self._environ, stdout=log, stderr=log
            )
            try:
                self._log_in(process)
                yield self
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _log_in(self, process: "subprocess.Popen[bytes]") -> None:
        end = time.monotonic() + _SECONDS_TO_START
        who = {"username": "admin", "password": self._password, "provider": "db"}
        while time.monotonic() < end and process.poll() is None:
            try:
                self._token = self.ask("POST", "security/login", who)["access_token"]
            except URLError:
                time.sleep(0.5)
            else:
                return
        raise Failed(f"Superset did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def ask(self, method: str, path: str, given: object = None) -> Any:
        """Return what its API answers; raises `Failed` with what it says is wrong."""
        return self._send(method, path, json.dumps(given).encode() if given else None, "application/json")

    def upload(self, path: str, file: Path, **fields: str) -> Any:
        """Return what its API answers to a form with a file."""
        boundary = secrets.token_hex()
        parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
        parts.append((f'name="formData"; filename="{file.name}"', file.read_bytes()))
        body = b"".join(
            f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + value + b"\r\n"
            for head, value in parts
        )
        return self._send(
            "POST", path, body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
        )

    def _send(self, method: str, path: str, body: bytes | None, kind: str) -> Any:
        headers = {"Accept": "application/json", **({"Content-Type": kind} if body else {})}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = Request(f"http://127.0.0.1:{self._port}/api/v1/{path}", body, headers, method=method)
        try:
            with self._opener.open(request, timeout=60) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise Failed(
                f"{method} {path}: {error.code} {error.read()[:1000].decode(errors='replace')}"
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
