"""Grants have a Chinese title; people may cancel jobs of theirs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("grant", sa.Column("title_zh", sa.Text(), nullable=False, server_default=""))
    op.create_index("ix_job_person_end", "job", ["person", "end"])
    op.create_table(
        "cancelled",
        sa.Column("cluster", sa.String(length=64), nullable=False),
        sa.Column("job", sa.BigInteger(), nullable=False),
        sa.Column("submit", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "job", "submit", name=op.f("pk_cancelled")),
    )
