"""The outbox gets what sending takes: a reference that stays the same, and a lease.

No version before this one wrote to the table, so it is made anew rather than altered.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATES = ("pending", "delivered", "given_up")


def upgrade() -> None:
    """Make the outbox with references and leases."""
    op.drop_table("delivery")
    _delivery(
        [
            sa.Column("reference", sa.String(64), nullable=False),
            sa.Column("last_error", sa.Text()),
            sa.Column("lease", sa.String(36)),
            sa.Column("leased_until", sa.DateTime(timezone=True)),
            sa.UniqueConstraint("reference", name=op.f("uq_delivery_reference")),
        ]
    )


def downgrade() -> None:
    """Make the outbox of before; messages that wait in it are lost."""
    op.drop_table("delivery")
    _delivery([sa.Column("reference", sa.Text()), sa.Column("last_error", sa.Text())])


def _delivery(more: list[Any]) -> None:
    moment = sa.DateTime(timezone=True)
    word = sa.Enum(
        *_STATES,
        name=op.f("ck_delivery_state"),
        native_enum=False,
        create_constraint=True,
        length=16,
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("incident_id", sa.String(36)),
        sa.Column("attempt", sa.Integer()),
        sa.Column("sink", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("state", word, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("next_try_at", moment),
        sa.Column("delivered_at", moment),
        *more,
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incident.id"],
            name=op.f("fk_delivery_incident"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint(
            "incident_id",
            "attempt",
            "sink",
            "kind",
            name=op.f("uq_delivery_incident_id_attempt_sink_kind"),
        ),
    )
    op.create_index("ix_delivery_state_next_try_at", "delivery", ["state", "next_try_at"])
