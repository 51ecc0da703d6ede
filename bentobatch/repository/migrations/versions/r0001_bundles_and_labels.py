"""This module is the first step: the tables for bundles and their labels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make both tables. The types are written out: this file must not change when schema.py does."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "bundles",
        sa.Column("id", number, primary_key=True, autoincrement=True),
        sa.Column("name", _plain_text(63), nullable=False),
        sa.Column("version", _plain_text(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("location", sa.String(400), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("entered_at", sa.DateTime(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.UniqueConstraint("name", "version", name="uq_bundles_name_version"),
        sa.UniqueConstraint("location", name="uq_bundles_location"),
        sa.PrimaryKeyConstraint("id", name="pk_bundles"),
    )
    op.create_index("ix_bundles_digest", "bundles", ["digest"])
    op.create_index("ix_bundles_created_at", "bundles", ["created_at"])
    op.create_table(
        "labels",
        sa.Column("bundle_id", number, nullable=False),
        sa.Column("key", _plain_text(63), nullable=False),
        sa.Column("value", _plain_text(63), nullable=False),
        sa.ForeignKeyConstraint(["bundle_id"], ["bundles.id"], name="fk_labels_bundle_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("bundle_id", "key", name="pk_labels"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("labels")
    op.drop_table("bundles")


def _plain_text(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")
