"""The same schema on PostgreSQL: by its dialect, and on a real server."""

import io
from importlib import import_module

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from fakes.postgres import Postgres
from kubecase.core.model import Status
from kubecase.store.schema import REVISIONS, metadata


def migration_sql() -> str:
    """What the migrations tell a PostgreSQL server to do."""
    told = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": told}
    )
    with Operations.context(context):
        for revision in REVISIONS:
            import_module(f"kubecase.store.migrations.versions.r{revision}").upgrade()
    return told.getvalue()


def definition_sql() -> str:
    """What the definition of the tables would tell it."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    statements = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        statements += [
            str(CreateIndex(index).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda each: str(each.name))
        ]
    return ";\n".join(statements) + ";\n"


def test_the_schema_can_be_said_to_postgresql() -> None:
    """Types and both partial indexes have a form for PostgreSQL."""
    for sql in (migration_sql(), definition_sql()):
        assert "JSONB" in sql
        assert "TIMESTAMP WITH TIME ZONE" in sql
        assert "BYTEA" in sql
        assert "BIGSERIAL" in sql
        assert "WHERE status IN ('created', 'starting', 'running') AND slot IS NOT NULL" in sql
        assert "WHERE state IN ('queued', 'active') AND opened_by = 'service'" in sql
        for status in Status:
            assert f"'{status}'" in sql


SHAPE = """
SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
  WHERE table_schema = 'public' ORDER BY 1, 2;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
  WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2;
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1;
"""

FAULT = """
INSERT INTO fault (id, fingerprint, cluster, resource_kind, resource_name, reason, message,
  severity, severity_word, seen_at, source, labels, raw)
VALUES ({n}, 'f', 'dev', 'Pod', 'a', 'r', 'm', 'info', 'info', now(), 'file', '{{}}', '\\x00');
INSERT INTO incident (id, fault_id, state, opened_at, opened_by, cluster, fingerprint, occurrences)
VALUES ('{n}', {n}, '{state}', now(), '{by}', 'dev', 'f', 1);
"""

ATTEMPT = """
INSERT INTO investigation (incident_id, attempt, agent, status, created_at, ended_at, reason,
  artifacts, rejected, isolation_notes, slot, cluster, owner_host, owner_boot, owner_pid,
  owner_started, epoch)
VALUES ('1', {attempt}, 'claude', '{status}', now(), {ended}, {reason}, '[]', '[]', '[]', {slot},
  'dev', 'h', 'b', 1, 1, 1);
"""


def attempt(
    number: int, status: str, *, slot: str = "0", ended: str = "NULL", reason: str = "NULL"
) -> str:
    return ATTEMPT.format(attempt=number, status=status, slot=slot, ended=ended, reason=reason)


def test_a_server_takes_the_migration_and_it_is_the_definition(postgres: Postgres) -> None:
    """On PostgreSQL, too, the migrations make what the program expects."""
    shapes = []
    for statements in (migration_sql(), definition_sql()):
        name = postgres.new_database()
        postgres.sql(name, statements)
        shapes.append(postgres.sql(name, SHAPE))

    migrated, defined = shapes

    assert migrated == defined
    assert migrated.count("\n") > 100


def test_a_server_holds_to_the_rules(postgres: Postgres) -> None:
    """One unfinished attempt per slot, one open incident per fingerprint, reasons and ends."""
    rules = postgres.new_database()
    postgres.sql(rules, migration_sql())
    postgres.sql(rules, FAULT.format(n=1, state="active", by="service"))
    postgres.sql(rules, FAULT.format(n=2, state="active", by="hand"))
    postgres.sql(rules, FAULT.format(n=3, state="done", by="service"))
    postgres.sql(rules, attempt(1, "running"))
    postgres.sql(rules, attempt(2, "created", slot="1"))
    postgres.sql(rules, attempt(3, "created", slot="NULL"))
    postgres.sql(rules, attempt(4, "success", ended="now()"))
    postgres.sql(rules, attempt(5, "failed", ended="now()", reason="'lost'"))

    for statement, rule in (
        (FAULT.format(n=4, state="queued", by="service"), "uq_incident_open"),
        (attempt(6, "starting"), "uq_investigation_slot"),
        (attempt(6, "paused", ended="now()"), "ck_investigation_status"),
        (attempt(6, "failed", ended="now()"), "ck_investigation_failed_has_reason"),
        (attempt(6, "success"), "ck_investigation_final_has_end"),
    ):
        with pytest.raises(RuntimeError, match=rule):
            postgres.sql(rules, statement)
    postgres.sql(rules, "DELETE FROM incident WHERE id = '1';")
    assert postgres.sql(rules, "SELECT count(*) FROM investigation;") == "0\n"
