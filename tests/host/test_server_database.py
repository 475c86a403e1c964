"""The files of the database: which of them hold what, while a server runs and after it."""

import contextlib
import shutil
import sqlite3
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from server_client import connect, enroll, make_csr
from test_server_repeat import serving

from mpest.server import EstServer, ServerConfig
from mpest.server.database import Database


def copied(directory: Path, to: Path, *names: str) -> set[bytes]:
    """The certificates on record in a copy of these files alone."""
    to.mkdir()
    for name in names:
        shutil.copy(directory / name, to)
    database = Database(to / "est.db")
    try:
        return {issued.der for issued in database.issued()}
    finally:
        database.close()


def new_certificate(server: EstServer, name: str) -> bytes:
    pem = server.new_identity(name)[0]
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


async def test_after_a_stop_one_file_is_all(tmp_path: Path) -> None:
    config = ServerConfig(directory=tmp_path / "ca")
    async with EstServer(config) as server:
        certificate = new_certificate(server, "board-1")
        files = list(config.directory.glob("est.db*"))
        assert {path.name for path in files} == {"est.db", "est.db-wal", "est.db-shm"}
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {path.name for path in config.directory.glob("est.db*")} == {"est.db"}
    assert copied(config.directory, tmp_path / "copy", "est.db") == {certificate}


async def test_while_it_runs_the_newest_is_in_another(tmp_path: Path) -> None:
    config = ServerConfig(directory=tmp_path / "ca")
    async with EstServer(config) as server:
        certificates = {new_certificate(server, "board-1")}
        server._database.checkpoint()
        assert copied(config.directory, tmp_path / "moved", "est.db") == certificates
        certificates.add(new_certificate(server, "board-2"))
        assert len(copied(config.directory, tmp_path / "one", "est.db")) == 1
        assert copied(config.directory, tmp_path / "both", "est.db", "est.db-wal") == certificates
        # As the documents have it.
        target = tmp_path / "backup.db"
        with (
            contextlib.closing(sqlite3.connect(config.directory / "est.db")) as source,
            contextlib.closing(sqlite3.connect(target)) as backup,
        ):
            source.backup(backup)
        (tmp_path / "restored").mkdir()
        shutil.copy(target, tmp_path / "restored/est.db")
        assert copied(tmp_path / "restored", tmp_path / "again", "est.db") == certificates


async def test_after_a_kill_the_next_start_has_it(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    with serving(directory) as server:
        async with connect(server) as session:
            assert (await enroll(session, make_csr()))[0] == 200
        server.process.kill()
        server.process.wait(60)
    assert (directory / "est.db-wal").stat().st_size > 0
    with serving(directory):
        assert len(copied(directory, tmp_path / "copy", "est.db")) == 1
