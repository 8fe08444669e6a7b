"""The first tables: faults, incidents, attempts with their transitions and reports, the outbox."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SEVERITIES = ("info", "warning", "critical")
_STATES = ("queued", "active", "done", "expired", "suppressed")
_STATUSES = ("created", "starting", "running", "success", "failed", "timeout", "cancelled")
_REASONS = (
    "start_error", "exit_code", "signal", "no_report", "stalled", "output_limit", "disk_limit",
    "budget", "quota", "auth", "lost", "internal",
)  # fmt: skip
_UNFINISHED = "status IN ('created', 'starting', 'running')"
_OPEN = sa.text("state IN ('queued', 'active') AND opened_by = 'service'")
_HOLDS_SLOT = sa.text(f"{_UNFINISHED} AND slot IS NOT NULL")


def upgrade() -> None:
    """Make all tables of the first release."""
    _fault()
    _incident()
    _investigation()
    _transition()
    _report()
    _delivery()


def downgrade() -> None:
    """Leave nothing but an empty database."""
    for table in ("delivery", "report", "transition", "investigation", "incident", "fault"):
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


def _of_investigation(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["incident_id", "attempt"],
        ["investigation.incident_id", "investigation.attempt"],
        name=op.f(f"fk_{table}_investigation"),
        ondelete="CASCADE",
    )


def _fault() -> None:
    op.create_table(
        "fault",
        sa.Column("id", _number(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text()),
        sa.Column("resource_kind", sa.Text(), nullable=False),
        sa.Column("resource_name", sa.Text(), nullable=False),
        sa.Column("resource_api_version", sa.Text()),
        sa.Column("resource_uid", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("severity", _word("fault", "severity", _SEVERITIES), nullable=False),
        sa.Column("severity_word", sa.Text(), nullable=False),
        sa.Column("seen_at", _moment(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("labels", _document(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("length(raw) <= 8388608", name=op.f("ck_fault_raw_size")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fault")),
    )


def _incident() -> None:
    op.create_table(
        "incident",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("fault_id", _number(), nullable=False),
        sa.Column("state", _word("incident", "state", _STATES), nullable=False),
        sa.Column("opened_at", _moment(), nullable=False),
        sa.Column("opened_by", _word("incident", "opened_by", ("hand", "service")), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("occurrences", sa.Integer(), nullable=False),
        sa.CheckConstraint("occurrences >= 1", name=op.f("ck_incident_occurrences")),
        sa.ForeignKeyConstraint(["fault_id"], ["fault.id"], name=op.f("fk_incident_fault")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
        sa.UniqueConstraint("fault_id", name=op.f("uq_incident_fault_id")),
    )
    op.create_index(op.f("ix_incident_opened_at"), "incident", ["opened_at"])
    op.create_index(
        "uq_incident_open",
        "incident",
        ["cluster", "fingerprint"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def _investigation() -> None:
    op.create_table(
        "investigation",
        sa.Column("incident_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("status", _word("investigation", "status", _STATUSES), nullable=False),
        sa.Column("reason", _word("investigation", "reason", _REASONS)),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("started_at", _moment()),
        sa.Column("ended_at", _moment()),
        sa.Column("workspace", sa.Text()),
        sa.Column("output_log", sa.Text()),
        sa.Column("run_dir", sa.Text()),
        sa.Column("exit", _document()),
        sa.Column("usage", _document()),
        sa.Column("artifacts", _document(), nullable=False),
        sa.Column("rejected", _document(), nullable=False),
        sa.Column("isolation", sa.Text()),
        sa.Column("isolation_notes", _document(), nullable=False),
        sa.Column("slot", sa.Integer()),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("cancel_requested_at", _moment()),
        *_owner_columns(),
        *_investigation_rules(),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incident.id"],
            name=op.f("fk_investigation_incident"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("incident_id", "attempt", name=op.f("pk_investigation")),
    )
    op.create_index(op.f("ix_investigation_created_at"), "investigation", ["created_at"])
    op.create_index(op.f("ix_investigation_ended_at"), "investigation", ["ended_at"])
    op.create_index(
        "uq_investigation_slot",
        "investigation",
        ["cluster", "slot"],
        unique=True,
        sqlite_where=_HOLDS_SLOT,
        postgresql_where=_HOLDS_SLOT,
    )


def _owner_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("owner_host", sa.Text(), nullable=False),
        sa.Column("owner_boot", sa.Text(), nullable=False),
        sa.Column("owner_pid", sa.Integer(), nullable=False),
        sa.Column("owner_started", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
    )


def _investigation_rules() -> tuple[sa.CheckConstraint, ...]:
    return (
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_investigation_attempt")),
        sa.CheckConstraint(
            "(status = 'failed') = (reason IS NOT NULL)",
            name=op.f("ck_investigation_failed_has_reason"),
        ),
        sa.CheckConstraint(
            f"({_UNFINISHED}) = (ended_at IS NULL)",
            name=op.f("ck_investigation_final_has_end"),
        ),
    )


def _transition() -> None:
    op.create_table(
        "transition",
        sa.Column("id", _number(), nullable=False),
        sa.Column("incident_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("from_status", _word("transition", "from_status", _STATUSES), nullable=False),
        sa.Column("to_status", _word("transition", "to_status", _STATUSES), nullable=False),
        sa.Column("at", _moment(), nullable=False),
        sa.Column("detail", sa.Text()),
        _of_investigation("transition"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transition")),
        sa.UniqueConstraint(
            "incident_id",
            "attempt",
            "to_status",
            name=op.f("uq_transition_incident_id_attempt_to_status"),
        ),
    )


def _report() -> None:
    op.create_table(
        "report",
        sa.Column("incident_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("report", _document()),
        sa.Column("findings", _document()),
        sa.Column("headline", sa.Text()),
        sa.Column("saved_at", _moment(), nullable=False),
        _of_investigation("report"),
        sa.PrimaryKeyConstraint("incident_id", "attempt", name=op.f("pk_report")),
    )


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", _number(), nullable=False),
        sa.Column("incident_id", sa.String(36)),
        sa.Column("attempt", sa.Integer()),
        sa.Column("sink", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", _document(), nullable=False),
        sa.Column(
            "state",
            _word("delivery", "state", ("pending", "delivered", "given_up")),
            nullable=False,
        ),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", _moment(), nullable=False),
        sa.Column("next_try_at", _moment()),
        sa.Column("delivered_at", _moment()),
        sa.Column("reference", sa.Text()),
        sa.Column("last_error", sa.Text()),
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
