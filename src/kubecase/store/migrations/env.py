"""Run by alembic for `store.migrate`, on the connection and in the transaction handed over."""

from alembic import context

from kubecase.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
