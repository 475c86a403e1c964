"""Brings a ledger's tables to those of this version, by the migrations that come with it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, inspect, text

HEAD = "0001"
"""The newest migration."""
VERSIONS = "mpest_ledger_version"
"""The table that says which migrations were done; other programs may have theirs beside it."""

# Says to PostgreSQL that this is about the ledger's tables: any number that nobody else uses.
_LOCK = 0x6D70657374


class Unfit(Exception):
    """It is no ledger, or one of a newer version."""


def config(connection: Connection | None = None) -> Config:
    """What alembic needs. connection: where it works, within the caller's transaction."""
    settings = Config()
    folder = str(Path(__file__).parent / "migrations")
    settings.set_main_option("script_location", folder.replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings


def bring_up(engine: Engine) -> None:
    """Make or change the tables, all of it or nothing; one process at a time. Raises Unfit."""
    with engine.execution_options(reads=True).connect() as connection:
        if _version(connection) == HEAD:
            return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        if _version(connection) == HEAD:
            return
        try:
            command.upgrade(config(connection), "head")
        except CommandError:
            raise Unfit("it is of a newer mpest") from None


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSIONS):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSIONS}")).scalar()  # noqa: S608
