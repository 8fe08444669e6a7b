"""The tables, one definition for SQLite and PostgreSQL.

A change here needs a new file in `migrations/versions` and its name at the end of `REVISIONS`;
a test compares what the migrations build with what stands here.
"""

import math
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

from kubecase.core.model import IncidentState, Reason, Status
from kubecase.core.severity import Severity

REVISIONS = ("0001", "0002", "0003")
"""Every revision of the schema that this program knows, oldest first."""

RAW_BYTES = 8 * 1024 * 1024
"""The largest payload of a fault that is kept."""


class OpenedBy(StrEnum):
    """Who opened an incident: a person at the command line, or the service for a source."""

    HAND = "hand"
    SERVICE = "service"


class DeliveryState(StrEnum):
    """Where a message to a sink stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


class Moment(TypeDecorator[datetime]):
    """A moment in UTC. Goes in timezone-aware, comes out timezone-aware, sorts as it passes."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """`value` in UTC; refuses one without a time zone, which could mean anything."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """`value` with its time zone, which SQLite does not keep."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text from anybody. What PostgreSQL cannot store (NUL, half of a pair) becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """`value` as both databases can store it."""
        return None if value is None else storable(value)


class Document(TypeDecorator[Any]):
    """Parsed JSON from anybody, cleaned like `Words`; numbers that JSON lacks become null."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """JSONB where there is such a thing."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(JSONB(none_as_null=True))
        return dialect.type_descriptor(JSON(none_as_null=True))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """`value` as both databases can store it."""
        return storable(value)


def storable(value: Any) -> Any:
    """`value` (text, or parsed JSON) with everything replaced that a database would refuse."""
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {storable(str(key)): storable(each) for key, each in value.items()}
        case list() | tuple():
            return [storable(each) for each in value]
    return value


def _word_of(words: type[StrEnum], name: str) -> Enum:
    """Text that the database itself holds to `words`."""
    return Enum(
        words,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
_UNFINISHED = "status IN ('created', 'starting', 'running')"

metadata = MetaData(
    naming_convention={
        # Named throughout, as only what has a name can be altered later on both databases.
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

fault = Table(
    "fault",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("fingerprint", Words, nullable=False),
    Column("cluster", Words, nullable=False),
    Column("namespace", Words),
    Column("resource_kind", Words, nullable=False),
    Column("resource_name", Words, nullable=False),
    Column("resource_api_version", Words),
    Column("resource_uid", Words),
    Column("reason", Words, nullable=False),
    Column("message", Words, nullable=False),
    Column("severity", _word_of(Severity, "severity"), nullable=False),
    Column("severity_word", Words, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("source", Words, nullable=False),
    Column("labels", Document, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    CheckConstraint(f"length(raw) <= {RAW_BYTES}", name="raw_size"),
)

incident = Table(
    "incident",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("fault_id", _NUMBER, ForeignKey("fault.id"), nullable=False, unique=True),
    Column("state", _word_of(IncidentState, "state"), nullable=False),
    Column("opened_at", Moment, nullable=False, index=True),
    Column("opened_by", _word_of(OpenedBy, "opened_by"), nullable=False),
    Column("cluster", Words, nullable=False),
    Column("fingerprint", Words, nullable=False),
    Column("occurrences", Integer, nullable=False),
    CheckConstraint("occurrences >= 1", name="occurrences"),
)
_OPEN = "state IN ('queued', 'active') AND opened_by = 'service'"
Index(
    "uq_incident_open",
    incident.c.cluster,
    incident.c.fingerprint,
    unique=True,
    sqlite_where=text(_OPEN),
    postgresql_where=text(_OPEN),
)

investigation = Table(
    "investigation",
    metadata,
    Column("incident_id", ForeignKey("incident.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("agent", Words, nullable=False),
    Column("status", _word_of(Status, "status"), nullable=False),
    Column("reason", _word_of(Reason, "reason")),
    Column("error", Words),
    Column("created_at", Moment, nullable=False, index=True),
    Column("started_at", Moment),
    Column("ended_at", Moment, index=True),
    Column("workspace", Words),
    Column("output_log", Words),
    Column("run_dir", Words),
    Column("exit", Document),
    Column("usage", Document),
    Column("artifacts", Document, nullable=False),
    Column("rejected", Document, nullable=False),
    Column("isolation", Words),
    Column("isolation_notes", Document, nullable=False),
    Column("slot", Integer),
    Column("cluster", Words, nullable=False),
    Column("cancel_requested_at", Moment),
    Column("owner_host", Words, nullable=False),
    Column("owner_boot", Words, nullable=False),
    Column("owner_pid", Integer, nullable=False),
    Column("owner_started", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    CheckConstraint("attempt >= 1", name="attempt"),
    CheckConstraint("(status = 'failed') = (reason IS NOT NULL)", name="failed_has_reason"),
    CheckConstraint(f"({_UNFINISHED}) = (ended_at IS NULL)", name="final_has_end"),
)
_HOLDS_SLOT = f"{_UNFINISHED} AND slot IS NOT NULL"
Index(
    "uq_investigation_slot",
    investigation.c.cluster,
    investigation.c.slot,
    unique=True,
    sqlite_where=text(_HOLDS_SLOT),
    postgresql_where=text(_HOLDS_SLOT),
)


def _of_investigation() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["incident_id", "attempt"],
        ["investigation.incident_id", "investigation.attempt"],
        ondelete="CASCADE",
    )


transition = Table(
    "transition",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("incident_id", String(36), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("from_status", _word_of(Status, "from_status"), nullable=False),
    Column("to_status", _word_of(Status, "to_status"), nullable=False),
    Column("at", Moment, nullable=False),
    Column("detail", Words),
    _of_investigation(),
    # No status is reached twice: a transition that is recorded twice is refused here.
    UniqueConstraint("incident_id", "attempt", "to_status"),
)

report = Table(
    "report",
    metadata,
    Column("incident_id", String(36), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("report", Document),
    Column("findings", Document),
    Column("headline", Words),
    Column("saved_at", Moment, nullable=False),
    _of_investigation(),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    # Without an incident: a message about the service itself ("degraded", "recovered").
    Column("incident_id", ForeignKey("incident.id", ondelete="CASCADE")),
    Column("attempt", Integer),
    Column("sink", Words, nullable=False),
    Column("kind", Words, nullable=False),
    Column("payload", Document, nullable=False),
    Column("state", _word_of(DeliveryState, "state"), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("next_try_at", Moment),
    Column("delivered_at", Moment),
    # The same at every send, so that a receiver can tell a repetition.
    Column("reference", String(64), nullable=False),
    Column("last_error", Words),
    # Who is sending it just now, and until when nobody else may.
    Column("lease", String(36)),
    Column("leased_until", Moment),
    UniqueConstraint("incident_id", "attempt", "sink", "kind"),
    UniqueConstraint("reference"),
    Index("ix_delivery_state_next_try_at", "state", "next_try_at"),
)
