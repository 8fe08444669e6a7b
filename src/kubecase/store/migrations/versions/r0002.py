"""The tables of the service: intake, decisions, second signs, feedback, remembered answers."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_SEVERITIES = ("info", "warning", "critical")
_DECISIONS = (
    "opened", "joined", "reopened", "member", "pending", "filtered", "suppressed", "refused",
    "resolved",
)  # fmt: skip


def upgrade() -> None:
    """Add what the service keeps."""
    _intake()
    _decision()
    _sign()
    _feedback()
    _answer()


def downgrade() -> None:
    """Forget it; incidents and attempts stay."""
    for table in ("answer", "feedback", "sign", "decision", "intake"):
        op.drop_table(table)


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _moment() -> sa.DateTime:
    return sa.DateTime(timezone=True)


def _document() -> sa.types.TypeEngine[Any]:
    return sa.JSON().with_variant(JSONB(), "postgresql")


def _word(table: str, column: str, words: tuple[str, ...]) -> sa.Enum:
    name = op.f(f"ck_{table}_{column}")
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=16)


def _of_incident(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["incident_id"], ["incident.id"], name=op.f(f"fk_{table}_incident"), ondelete="CASCADE"
    )


def _intake() -> None:
    op.create_table(
        "intake",
        sa.Column("incident_id", sa.String(36), nullable=False),
        sa.Column("severity", _word("intake", "severity", _SEVERITIES), nullable=False),
        sa.Column("namespace", sa.Text()),
        sa.Column("queued_at", _moment(), nullable=False),
        sa.Column("last_seen_at", _moment(), nullable=False),
        sa.Column("closed_at", _moment()),
        sa.Column("resolved_at", _moment()),
        sa.Column("note", sa.Text()),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("reopened", sa.Integer(), nullable=False),
        sa.CheckConstraint("tries >= 0", name=op.f("ck_intake_tries")),
        _of_incident("intake"),
        sa.PrimaryKeyConstraint("incident_id", name=op.f("pk_intake")),
    )
    op.create_index(op.f("ix_intake_queued_at"), "intake", ["queued_at"])


def _decision() -> None:
    op.create_table(
        "decision",
        sa.Column("id", _number(), nullable=False),
        sa.Column("at", _moment(), nullable=False),
        sa.Column("incident_id", sa.String(36)),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.Column("decision", _word("decision", "decision", _DECISIONS), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        _of_incident("decision"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
    )
    op.create_index(op.f("ix_decision_at"), "decision", ["at"])
    op.create_index(op.f("ix_decision_incident_id"), "decision", ["incident_id"])


def _sign() -> None:
    op.create_table(
        "sign",
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("first_at", _moment(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "fingerprint", name=op.f("pk_sign")),
    )
    op.create_index("ix_sign_first_at", "sign", ["first_at"])


def _feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("id", _number(), nullable=False),
        sa.Column("incident_id", sa.String(36), nullable=False),
        sa.Column("at", _moment(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("by", sa.Text()),
        _of_incident("feedback"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
    )
    op.create_index(op.f("ix_feedback_incident_id"), "feedback", ["incident_id"])


def _answer() -> None:
    op.create_table(
        "answer",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", _document()),
        sa.Column("at", _moment(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_answer")),
    )
    op.create_index(op.f("ix_answer_at"), "answer", ["at"])
