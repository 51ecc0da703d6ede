"""This module is run by Alembic, which wants it: it applies the steps on the connection that catalog.py has opened."""

from __future__ import annotations

from alembic import context

from bentobatch.repository.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
