"""The tables of the service: what came in, what was decided about it, what people said of it."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
)

from kubecase.core.intake import Decision
from kubecase.core.severity import Severity
from kubecase.store.schema import _NUMBER, Document, Moment, Words, _word_of, metadata

intake = Table(
    "intake",
    metadata,
    # One row for each incident that the service has opened.
    Column(
        "incident_id",
        String(36),
        ForeignKey("incident.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("severity", _word_of(Severity, "severity"), nullable=False),
    Column("namespace", Words),
    Column("queued_at", Moment, nullable=False, index=True),
    Column("last_seen_at", Moment, nullable=False),
    Column("closed_at", Moment),
    Column("resolved_at", Moment),
    Column("note", Words),
    Column("tries", Integer, nullable=False),
    Column("reopened", Integer, nullable=False),
    CheckConstraint("tries >= 0", name="tries"),
)

decision = Table(
    "decision",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column("at", Moment, nullable=False, index=True),
    Column("incident_id", ForeignKey("incident.id", ondelete="CASCADE"), index=True),
    Column("cluster", Words, nullable=False),
    Column("source", Words, nullable=False),
    Column("fingerprint", Words, nullable=False),
    Column("resource", Words, nullable=False),
    Column("fault", Words, nullable=False),
    Column("decision", _word_of(Decision, "decision"), nullable=False),
    Column("reason", Words, nullable=False),
)

sign = Table(
    "sign",
    metadata,
    # Faults of which one is not enough, until their second one.
    Column("cluster", Words, nullable=False),
    Column("fingerprint", Words, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("count", Integer, nullable=False),
    PrimaryKeyConstraint("cluster", "fingerprint"),
    Index("ix_sign_first_at", "first_at"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", _NUMBER, primary_key=True),
    Column(
        "incident_id",
        ForeignKey("incident.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("at", Moment, nullable=False),
    Column("verdict", Words, nullable=False),
    Column("cause", Words),
    Column("note", Words),
    Column("by", Words),
)

answer = Table(
    "answer",
    metadata,
    # What was answered to a request with an Idempotency-Key.
    Column("key", Words, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Document),
    Column("at", Moment, nullable=False, index=True),
)
