"""SQLAlchemy: reflection, ORM, relationships, bulk inserts, nested transactions, streaming results;
with psycopg2 and, where this version has it, asyncpg."""

import asyncio
import datetime
import decimal
import enum
import uuid

import sqlalchemy as sa
from sqlalchemy import exc, orm
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import create_async_engine

from say import URL, say

Base = orm.declarative_base(metadata=sa.MetaData(schema="sa_script"))


class Mood(enum.Enum):
    sad = 1
    happy = 2


class Author(Base):
    __tablename__ = "authors"
    id = sa.Column(sa.Integer, sa.Identity(), primary_key=True)
    name = sa.Column(sa.String(40), nullable=False, unique=True)
    mood = sa.Column(sa.Enum(Mood, name="mood"))
    profile = sa.Column(pg.JSONB, server_default="{}")
    tags = sa.Column(pg.ARRAY(sa.Text))
    token = sa.Column(pg.UUID(as_uuid=True))
    books = orm.relationship("Book", back_populates="author", cascade="all, delete-orphan", order_by="Book.id")


class Book(Base):
    __tablename__ = "books"
    id = sa.Column(sa.BigInteger, primary_key=True)
    author_id = sa.Column(sa.ForeignKey(Author.id, ondelete="CASCADE"), index=True)
    title = sa.Column(sa.Text, nullable=False)
    price = sa.Column(sa.Numeric(10, 2))
    at = sa.Column(sa.DateTime(timezone=True), default=datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc))
    author = orm.relationship(Author, back_populates="books")
    __table_args__ = (sa.CheckConstraint("price >= 0", name="price_positive"),)


def refused(label, call):
    try:
        call()
    except exc.DBAPIError as error:
        say(label, type(error).__name__, error.orig.pgcode, str(error.orig).strip())
        return
    raise AssertionError(label)


def schema(engine):
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA IF EXISTS sa_script CASCADE"))
        connection.execute(sa.schema.CreateSchema("sa_script"))
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)  # Checks, and makes nothing.
    looked = sa.inspect(engine)
    for table in sorted(looked.get_table_names("sa_script")):
        say(table, [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in looked.get_columns(table, "sa_script")],
            looked.get_pk_constraint(table, "sa_script"), looked.get_foreign_keys(table, "sa_script"),
            sorted(index["name"] for index in looked.get_indexes(table, "sa_script")),
            looked.get_check_constraints(table, "sa_script"))
    say("enums", looked.get_enums("sa_script"))
    reflected = sa.MetaData()
    reflected.reflect(engine, schema="sa_script")
    say("reflected", sorted(reflected.tables))


def objects(engine):
    with orm.Session(engine) as session:
        for number in range(20):
            session.add(Author(name=f"author {number}", mood=Mood.happy, profile={"n": [number, None]},
                               tags=["x", "y,z"], token=uuid.UUID(int=number),
                               books=[Book(id=number * 10 + k, title=f"book {k} é", price=decimal.Decimal("9.90"))
                                      for k in range(3)]))
        session.commit()
        found = session.execute(
            sa.select(Author).options(orm.selectinload(Author.books)).where(Author.name.like("author 1%"))
            .order_by(Author.id)).scalars().all()
        say("found", [(a.id, a.mood, a.profile, a.tags, a.token, [(b.id, b.price, b.at) for b in a.books]) for a in found])
        found[0].name = "renamed"
        found[1].books.pop()
        session.delete(found[2])
        session.flush()
        with session.begin_nested() as nested:
            session.execute(sa.update(Book).values(price=0))
            nested.rollback()
        session.commit()
        say("sums", session.execute(sa.select(sa.func.count(), sa.func.sum(Book.price))).one())
        session.add(Author(name="renamed"))
        refused("unique", session.commit)
        session.rollback()
        refused("check", lambda: session.execute(sa.update(Book).values(price=-1)))
        session.rollback()
        say("jsonb", session.execute(sa.select(Author.name).where(Author.profile["n"][0].as_integer() == 3)).scalars().all())
        say("locked", session.execute(sa.select(Author.id).with_for_update(skip_locked=True).limit(3).order_by(Author.id)).scalars().all())
        session.rollback()


def core(engine):
    books = Book.__table__
    with engine.connect() as connection:
        insert = pg.insert(books).values([{"id": n, "title": f"bulk {n}"} for n in range(500, 1500)])
        say("bulk", connection.execute(insert.on_conflict_do_nothing().returning(books.c.id)).fetchall()[-1])
        upsert = pg.insert(books).values(id=500, title="again")
        say("upsert", connection.execute(upsert.on_conflict_do_update(
            index_elements=[books.c.id], set_={"title": upsert.excluded.title}).returning(books.c.title)).scalar())
        connection.execute(books.insert(), [{"id": n, "title": "many"} for n in range(2000, 2600)])
        connection.commit() if hasattr(connection, "commit") else None
    with engine.connect().execution_options(stream_results=True, yield_per=50) as connection:
        say("streamed", sum(row.id for row in connection.execute(sa.select(books.c.id))))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM sa_script.books"))
        say("isolation", connection.execute(sa.text("SHOW transaction_isolation")).scalar())
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        say("isolation", connection.execute(sa.text("SHOW transaction_isolation")).scalar())
    with engine.connect() as connection:
        say("back", connection.execute(sa.text("SHOW transaction_isolation")).scalar())
        twophase = connection.execute(sa.text("SELECT 1")).scalar()
        say("one", twophase)


async def asynchronous():
    engine = create_async_engine(URL.replace("postgresql://", "postgresql+asyncpg://"), pool_size=3)
    async with engine.begin() as connection:
        result = await connection.execute(sa.select(sa.func.count(), sa.func.max(Book.id)))
        say("asyncpg", tuple(result.one()))
        stream = await connection.stream(sa.select(Book.id).where(Book.id > 2000).order_by(Book.id))
        say("asyncpg streamed", sum([row.id async for row in stream]))

    async def one(number):
        async with engine.connect() as connection:
            return (await connection.execute(sa.text("SELECT CAST(:n AS int)"), {"n": number})).scalar()
    say("gathered", sum(await asyncio.gather(*[one(number) for number in range(60)])))
    await engine.dispose()


main_engine = sa.create_engine(URL, future=True, pool_size=3, pool_pre_ping=True, connect_args={
    "application_name": "sqlalchemy script"})
for part in (schema, objects, core):
    part(main_engine)
asyncio.run(asynchronous())
Base.metadata.drop_all(main_engine)
with main_engine.begin() as last:
    last.execute(sa.text("DROP SCHEMA sa_script CASCADE"))
main_engine.dispose()
say("well")
