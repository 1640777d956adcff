"""Alembic: a line of revisions as their authors write them; up, some down, up again."""

import os
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config

ENVIRONMENT = '''
from alembic import context
from sqlalchemy import engine_from_config, pool
engine = engine_from_config(context.config.get_section("alembic"), prefix="sqlalchemy.", poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
'''

REVISIONS = [
    ('''
    op.create_table("customer", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(50), nullable=False),
                    sa.Column("kind", sa.Enum("person", "company", name="customer_kind"), server_default="person"))
    op.create_table("invoice", sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
                    sa.Column("customer_id", sa.Integer, sa.ForeignKey("customer.id", ondelete="CASCADE")),
                    sa.Column("amount", sa.Float), sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now()))
    op.execute("INSERT INTO customer (name) SELECT 'customer ' || i FROM generate_series(1, 50) i")
    op.execute("INSERT INTO invoice (customer_id, amount) SELECT 1 + i % 50, i / 4.0 FROM generate_series(1, 300) i")
    ''', 'op.drop_table("invoice"); op.drop_table("customer"); op.execute("DROP TYPE customer_kind")'),
    ('''
    op.add_column("customer", sa.Column("email", sa.Text))
    op.execute("UPDATE customer SET email = replace(name, ' ', '.') || '@example.org'")
    op.alter_column("customer", "email", nullable=False)
    op.create_unique_constraint("uq_customer_email", "customer", ["email"])
    ''', 'op.drop_column("customer", "email")'),
    ('''
    op.alter_column("invoice", "amount", type_=sa.Numeric(12, 2), postgresql_using="round(amount::numeric, 2)")
    op.create_check_constraint("ck_amount", "invoice", "amount >= 0")
    op.create_index("ix_invoice_open", "invoice", ["customer_id", sa.text("at DESC")], postgresql_where=sa.text("amount > 10"))
    ''', '''
    op.drop_index("ix_invoice_open"); op.drop_constraint("ck_amount", "invoice")
    op.alter_column("invoice", "amount", type_=sa.Float)
    '''),
    ('''
    with op.get_context().autocommit_block():
        op.execute("ALTER TYPE customer_kind ADD VALUE IF NOT EXISTS 'state' BEFORE 'company'")
        op.create_index("ix_name", "customer", ["name"], postgresql_concurrently=True)
    op.execute("UPDATE customer SET kind = 'state' WHERE id % 9 = 0")
    ''', '''
    with op.get_context().autocommit_block():
        op.drop_index("ix_name", "customer", postgresql_concurrently=True)
    '''),
    ('''
    op.rename_table("customer", "client")
    op.alter_column("client", "name", new_column_name="title")
    op.create_table("line", sa.Column("invoice_id", sa.Integer, sa.ForeignKey("invoice.id"), primary_key=True),
                    sa.Column("n", sa.SmallInteger, primary_key=True), sa.Column("what", postgresql.JSONB, nullable=False),
                    sa.Column("tags", postgresql.ARRAY(sa.Text), server_default="{}"), sa.Column("code", postgresql.UUID))
    lines = sa.table("line", sa.column("invoice_id"), sa.column("n"), sa.column("what", postgresql.JSONB))
    op.bulk_insert(lines, [{"invoice_id": i, "n": n, "what": {"n": n}} for i in range(1, 20) for n in range(3)])
    op.execute("CREATE VIEW due AS SELECT c.title, sum(i.amount) FROM client c JOIN invoice i ON i.customer_id = c.id GROUP BY 1")
    ''', '''
    op.execute("DROP VIEW due"); op.drop_table("line"); op.alter_column("client", "title", new_column_name="name")
    op.rename_table("client", "customer")
    '''),
    ('''
    op.execute("DROP VIEW due")
    op.drop_constraint("invoice_customer_id_fkey", "invoice", type_="foreignkey")
    op.create_foreign_key("fk_client", "invoice", "client", ["customer_id"], ["id"], ondelete="SET NULL", deferrable=True, initially="DEFERRED")
    op.alter_column("client", "id", type_=sa.BigInteger)
    op.alter_column("client", "title", comment="as on paper", server_default="nobody")
    op.create_table_comment("client", "was customer")
    op.create_exclude_constraint("one_at_a_time", "line", ("invoice_id", "="), ("n", "="), using="btree")
    ''', '''
    op.drop_constraint("fk_client", "invoice")
    op.create_foreign_key("invoice_customer_id_fkey", "invoice", "client", ["customer_id"], ["id"], ondelete="CASCADE")
    op.drop_constraint("one_at_a_time", "line"); op.drop_table_comment("client")
    op.alter_column("client", "title", comment=None, server_default=None)
    op.alter_column("client", "id", type_=sa.Integer)
    op.execute("CREATE VIEW due AS SELECT c.title, sum(i.amount) FROM client c JOIN invoice i ON i.customer_id = c.id GROUP BY 1")
    '''),
]

directory = Path(tempfile.mkdtemp())
(directory / "versions").mkdir()
(directory / "env.py").write_text(ENVIRONMENT)
for n, (up, down) in enumerate(REVISIONS):
    (directory / "versions" / f"r{n}.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\nfrom sqlalchemy.dialects import postgresql\n"
        f"revision, down_revision = 'r{n}', {repr(f'r{n - 1}') if n else None}\n"
        f"def upgrade():\n    {up.strip()}\ndef downgrade():\n    {down.strip()}\n")
config = Config()
config.set_main_option("script_location", str(directory))
config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"].replace("postgres://", "postgresql://").replace("%", "%%"))
for call, where in ((command.upgrade, "r3"), (command.downgrade, "r1"), (command.upgrade, "head"), (command.downgrade, "r3"),
                    (command.upgrade, "head")):
    call(config, where)
    print(call.__name__, where)
