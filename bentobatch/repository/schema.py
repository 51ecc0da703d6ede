"""This module describes the catalog's tables, for SQLite and PostgreSQL.

To change them: add a file to migrations/versions, raise REVISION to its number, change the tables here, and let the test
that compares both pass.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0001"
"""The newest file in migrations/versions: what a catalog must have for this bentobatch."""

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def plain_text(length: int) -> String:
    """A text that is ordered by its bytes, as Python does, whatever the database's language is."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


BUNDLES = Table(
    "bundles",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("name", plain_text(63), nullable=False),
    Column("version", plain_text(128), nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("location", String(400), nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", DateTime, nullable=False, index=True),
    Column("entered_at", DateTime, nullable=False),
    Column("metadata", Text, nullable=False),
    UniqueConstraint("name", "version"),
)
"""One row for each saved bundle. Times are UTC; ``metadata`` is JSON, see entry.describe."""

LABELS = Table(
    "labels",
    METADATA,
    Column("bundle_id", ForeignKey(BUNDLES.c.id, ondelete="CASCADE"), primary_key=True),
    Column("key", plain_text(63), primary_key=True),
    Column("value", plain_text(63), nullable=False),
)
