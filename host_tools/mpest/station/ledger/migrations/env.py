"""How alembic runs the migrations: on the connection that `schema.bring_up` hands it."""

from alembic import context

from mpest.station.ledger.schema import VERSIONS
from mpest.station.ledger.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    version_table=VERSIONS,
)
with context.begin_transaction():
    context.run_migrations()
