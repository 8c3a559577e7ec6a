"""Alembic's entry: `portal.store` hands over an open connection; there is no alembic.ini and no offline mode."""

from alembic import context

from portal.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
