"""A PostgreSQL server of a test's own: Debian's, in a folder that goes with it."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ports
import psycopg
import pytest

_INSTALLED = Path("/usr/lib/postgresql")
# A machine that has much else to do starts it in that time.
_START_SECONDS = 60


class Postgres:
    """It runs from `start` to `stop`, at the same port each time."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self.port = ports.reserve()
        self.password = secrets.token_hex(8)
        self._schemas = 0
        self._process: subprocess.Popen[bytes] | None = None
        # It refuses to run as root.
        user = pwd.getpwnam("postgres" if _known("postgres") else "nobody")
        self.user = user.pw_name
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        asked = folder / "password"
        asked.write_text(self.password)
        if self._as:
            for path in (folder, asked):
                shutil.chown(path, self.user)
        self._run("initdb", "--no-sync", "-A", "scram-sha-256", "-U", "mpest", f"--pwfile={asked}")

    def _run(self, name: str, *arguments: str) -> None:
        command = [self._programs / name, "-D", self.folder / "data", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, **self._as
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._programs / "postgres", "-D", self.folder / "data"),
                    *("-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1"),
                    *("-c", "fsync=off"),  # it survives kills so, and tests cut no power
                ],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as,
            )
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=10).close()
                return
            except psycopg.OperationalError:
                died = self._process.poll() is not None
                if died or time.monotonic() > end:
                    raise AssertionError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.1)

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT ends it at once and in order; SIGQUIT leaves it to recover."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=_START_SECONDS)
            self._process = None

    def url(self, schema: str = "public") -> str:
        place = f"127.0.0.1:{self.port}/postgres?options=-csearch_path%3D{schema}"
        return f"postgresql://mpest:{self.password}@{place}"

    def empty(self) -> str:
        """The URL of a place without tables: a schema is as good as a database, and cheaper."""
        self._schemas += 1
        name = f"empty_{self._schemas}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return self.url(name)


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def programs() -> list[Path]:
    """Folders of the programs of each version that is installed, the newest last."""
    return sorted(
        (path for path in _INSTALLED.glob("*/bin") if (path / "postgres").exists()),
        key=lambda path: int(path.parent.name),
    )


@contextmanager
def running() -> Iterator[Postgres]:
    """A server for tests; they are skipped where there is none, or fail where CI must have it."""
    versions = programs()
    if not versions:
        why = "needs PostgreSQL (Debian: apt install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(why, pytrace=False)
        pytest.skip(why)
    # Not in pytest's folder, which is for its own user alone.
    folder = Path(tempfile.mkdtemp(prefix="mpest-postgres-"))
    try:
        postgres = Postgres(versions[-1], folder)
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop(signal.SIGQUIT)  # nobody needs what it would write to the disk
    finally:
        shutil.rmtree(folder)
