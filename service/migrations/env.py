"""What Alembic runs: the revisions, in the transaction that it is handed."""

from alembic import context

from posneg.service.records import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
