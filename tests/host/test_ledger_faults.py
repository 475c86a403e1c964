"""A disk that is full, a file that is locked, a server that is away; what must never change."""

import datetime
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ledger_filler
import psycopg
import pytest
import release
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledger_boards import ANN, Authority, board, make, units
from postgres import Postgres
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from mpest.exits import CliError, Exit
from mpest.station.ledger import database, schema
from mpest.station.ledger.ledger import Ledger
from mpest.station.ledger.tables import Table
from mpest.station.ledger.units import Duplicate, LedgerError, Who


def test_the_migrations_make_the_tables(ledger_url: str) -> None:
    opened = database.Database(ledger_url)
    with opened.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"version_table": schema.VERSIONS, "compare_type": True},
        )
        assert compare_metadata(context, Table.metadata) == []
        assert context.get_current_revision() == schema.HEAD
    opened.close()
    assert ScriptDirectory.from_config(schema.config()).get_heads() == [schema.HEAD]


def test_a_ledger_of_a_newer_version(ledger_url: str) -> None:
    opened = database.Database(ledger_url)
    with opened.engine.begin() as connection:
        connection.execute(text(f"UPDATE {schema.VERSIONS} SET version_num = '9999'"))
    opened.close()
    with pytest.raises(LedgerError, match=r"can't use the ledger .*: it is of a newer mpest"):
        Ledger(ledger_url)


def test_tables_of_another_program(ledger_url: str) -> None:
    """Nothing half is left of ours."""
    url = database.address(ledger_url)
    if url.drivername == "sqlite":
        with sqlite3.connect(str(url.database)) as connection:
            connection.execute("CREATE TABLE unit (name TEXT)")
    else:
        with psycopg.connect(ledger_url) as connection:
            connection.execute("CREATE TABLE unit (name TEXT)")
    for _ in range(2):
        with pytest.raises(LedgerError, match=r"\bunit\b.* already exists"):
            Ledger(ledger_url)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE history SET outcome = 'fine'", "DELETE FROM history", "TRUNCATE history"],
)
def test_the_history_is_append_only(ledger_url: str, statement: str) -> None:
    if statement.startswith("TRUNCATE") and ledger_url.startswith("sqlite"):
        statement = "INSERT OR REPLACE INTO history SELECT * FROM history"
    with Ledger(ledger_url) as ledger:
        ledger.open_batch("one", "d", None, units(1), {}, ANN)
        before = ledger.history()
        opened = database.Database(ledger_url)
        with pytest.raises(SQLAlchemyError, match="append-only"), opened.engine.begin() as one:
            one.execute(text(statement))
        opened.close()
        assert ledger.history() == before


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(str(path)) as ledger:
        ledger.open_batch("one", "d", None, units(1000), {}, ANN)
    limit = path.stat().st_size + 3_000_000
    done = subprocess.run(
        [sys.executable, ledger_filler.__file__, path, str(limit)],
        env={**os.environ, "PYTHONPATH": str(Path(ledger_filler.__file__).parent)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    made = int(done.stdout)
    assert made > 5
    assert done.stderr.startswith(f"7 can't use the ledger {path}: "), done.stderr
    assert done.stderr.count("\n") == 1
    with Ledger(str(path)) as ledger:  # there is room again
        counts = ledger.counts("one")
        assert counts.done == made and counts.working <= 1
        last = f"{made + 1:08x}"
        unit = ledger.claim("one", ANN, last)
        assert unit.serial == f"A{made + 1:04}"
        finished = [event for event in ledger.history() if event.event == "finish"]
        assert len(finished) == made == len({event.serial for event in finished})


def test_a_locked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    path = tmp_path / "ledger.db"
    with Ledger(str(path)) as ledger:
        ledger.open_batch("one", "d", None, units(1), {}, ANN)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerError, match="database is locked") as caught:
            ledger.claim("one", ANN, "ab")
        assert caught.value.exit_code == Exit.STORAGE
        assert ledger.counts("one").open == 1  # readers go on
        other.execute("COMMIT")
        other.close()
        assert ledger.claim("one", ANN, "ab").serial == "A0001"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(str(path)).close()
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(LedgerError) as caught, Ledger(str(path)) as ledger:
        ledger.open_batch("one", "d", None, units(1), {}, ANN)
    assert caught.value.message.count("\n") == 0


def test_postgresql_away(postgres: Postgres) -> None:
    """A worker waits for it; whoever has no time is told at once; nothing is half."""
    url = postgres.empty()
    authority = Authority()
    with Ledger(url, patience=datetime.timedelta(seconds=0.5)) as ledger:
        ledger.open_batch("one", "d", None, units(2), {}, ANN)
        unit = ledger.claim("one", ANN, "ab")
        postgres.stop()
        for use in (
            lambda: ledger.claim("one", ANN, "cd"),
            lambda: ledger.step(unit, ANN, "key", "done", 1.0),
            lambda: ledger.units(),
            lambda: Ledger(url),
        ):
            with pytest.raises(LedgerError, match=r"[Cc]onnection|terminat") as caught:
                use()
            assert caught.value.exit_code == Exit.STORAGE
            assert "\n" not in caught.value.message
            assert postgres.password not in caught.value.message
        postgres.start()
        assert ledger.counts("one").open == 1
        ledger.step(unit, ANN, "key", "done", 1.0)
        make(ledger, "one", board("cd"), authority)
        # Killed and restarted between two calls: the second one never notices.
        postgres.stop(signal.SIGQUIT)
        postgres.start()
        ledger.step(unit, ANN, "request", "done", 1.0)
        steps = [event.step for event in ledger.history(unit.serial) if event.event == "step"]
    assert steps == ["key", "request"]


def test_what_a_broken_board_may_print(ledger_url: str) -> None:
    """It ends up in the history on one line, whatever it is."""
    with Ledger(ledger_url) as ledger:
        ledger.open_batch("one", "d", None, units(1), {}, ANN)
        unit = ledger.claim("one", ANN, "ab")
        garbage = "\0\ud800\u202e\n\x1b[2J" * 100_000
        ledger.step(unit, ANN, "accept", garbage, 1.0, printed=garbage[:50])
        ledger.fail(unit, ANN, garbage, garbage)
        ledger.failed("one", ANN, "identify", garbage)
        for event in ledger.history()[2:]:
            assert event.outcome.startswith("\\x00\\ud800\\u202e\\n\\x1b[2J")
            assert event.outcome.isprintable() and len(event.outcome) == 500
        assert ledger.history()[2].detail["printed"] == garbage[:50]
    for port in ("a\nb", "\ud800", "x" * 201):
        with pytest.raises(CliError):
            Who("station", port, "ann")


def test_readers_wait_too(postgres: Postgres) -> None:
    with Ledger(postgres.empty()) as ledger:
        ledger.open_batch("one", "d", None, units(2), {}, ANN)
        postgres.stop()
        with ThreadPoolExecutor(1) as pool:
            counts = pool.submit(ledger.counts, "one")
            time.sleep(0.2)
            assert not counts.done()
            postgres.start()
            assert counts.result(timeout=60).open == 2


def test_a_user_of_postgresql_with_few_rights(postgres: Postgres) -> None:
    """What docs/factory.md gives stations is enough to work, and not to change the history."""
    url = postgres.empty()
    authority = Authority()
    with Ledger(url) as ledger:
        ledger.open_batch("one", "d", None, units(3), {}, ANN)
    with psycopg.connect(url) as connection:
        (schema_name,) = connection.execute("SELECT current_schema").fetchone() or ("",)
        for statement in (
            "CREATE ROLE station LOGIN PASSWORD 'station'",
            "GRANT USAGE ON SCHEMA {} TO station",
            "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {} TO station",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {} TO station",
            "GRANT DELETE ON twin TO station",
        ):
            connection.execute(statement.format(schema_name))
    with Ledger(url.replace(f"mpest:{postgres.password}", "station:station")) as ledger:
        make(ledger, "one", board("ab"), authority)
        ledger.open_batch("two", "d", None, units(1, start=7), {}, ANN)
        ledger.rework("A0001", ANN, "returned")
        make(ledger, "one", board("ab"), authority)
        ledger.revoked([ledger.superseded("A0001")[0].fingerprint], ANN)
        with pytest.raises(Duplicate):
            ledger.claim("one", ANN, "cd", others=[("1-9", "")])
        with (
            pytest.raises(SQLAlchemyError, match="must be owner of"),
            ledger._database.engine.begin() as one,
        ):
            one.execute(text("ALTER TABLE history DISABLE TRIGGER ALL"))


@pytest.mark.parametrize("kept", [True, False])
def test_an_answer_to_a_commit_that_is_lost(postgres: Postgres, kept: bool) -> None:
    """Whether it was committed or not, each call has its effect once."""
    with Ledger(postgres.empty()) as ledger:
        ledger.open_batch("one", "d", None, units(2), {}, ANN)
        engine = ledger._database.engine
        lost = []

        def commit_and_lose(connection: object) -> None:
            """psycopg's commit, after which or instead of which the connection breaks."""
            raw = connection.dbapi_connection  # type: ignore[attr-defined]
            if not lost:
                lost.append(True)
                if kept:
                    usual(raw)
                raw.close()
            usual(raw)

        usual, engine.dialect.do_commit = engine.dialect.do_commit, commit_and_lose
        one = board("ab")
        unit = ledger.claim("one", ANN, "ab")
        for call in (
            lambda: ledger.step(unit, ANN, "key", "done", 1.0),
            lambda: ledger.record_request(unit, ANN, one.key_hash, one.csr),
            lambda: ledger.record_certificate(unit, ANN, Authority().issue(one.csr)),
            lambda: ledger.fail(unit, ANN, "enrol", "no"),
        ):
            lost.clear()
            call()
        again = ledger.claim("one", ANN, "ab")
        lost.clear()
        done = ledger.finish(again, ANN, again.chain)
        assert (done.state, done.failures, len(ledger.certificates())) == ("done", 1, 1)
        events = [event.event for event in ledger.history(unit.serial)]
    assert events == ["claim", "step", "request", "certificate", "fail", "claim", "finish"]


def test_four_open_a_new_ledger_at_once(ledger_url: str) -> None:
    code = (
        "import sys; from mpest.station.ledger.ledger import Ledger\n"
        "from mpest.station.ledger.units import NewUnit\n"
        "units = [NewUnit(f'A{count}', {}) for count in range(50)]\n"
        "Ledger(sys.argv[1]).open_batch('one', 'd', None, units, {})"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, ledger_url], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said.decode()
    with Ledger(ledger_url) as ledger:
        assert ledger.counts("one").open == 50


def test_times_of_stations_whose_clocks_differ(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's clock says when a lease ends."""

    class Wrong(datetime.datetime):
        @classmethod
        def now(cls, zone: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime(2001, 1, 1, tzinfo=zone)

    monkeypatch.setattr(database, "datetime", Wrong)
    with Ledger(postgres.empty()) as ledger:
        ledger.open_batch("one", "d", None, units(1), {}, ANN)
        latest = ledger.latest()
    assert latest and abs(latest.timestamp() - time.time()) < 3600


def test_it_works_from_a_wheel(tmp_path: Path) -> None:
    """Migrations, schema and templates come with it."""
    wheel, _ = release.build(release.ROOT, tmp_path)
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, tmp_path / "site"], check=True)
    code = (
        "import mpest.station.ledger.manifest as m, mpest.station.ledger.export as e\n"
        "from mpest.station.ledger.ledger import Ledger\n"
        "from mpest.station.ledger.report import report\n"
        "import datetime\n"
        "with Ledger('ledger.db') as ledger:\n"
        "    batch = ledger.open_batch('one', 'd', None, [], {})\n"
        "    print(len(report(ledger, 'one', batch.opened)) > 99)\n"
        "print(m.__file__, m.schema()['$id'], e.names())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout
    assert done.stdout.endswith("urn:mpest:manifest:1 ['aws-iot', 'csv']\n")
