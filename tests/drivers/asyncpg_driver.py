"""asyncpg: binary, its own statement cache, introspection of types, COPY, cursors, timeouts."""

import asyncio
import datetime
import decimal
import json
import uuid

import asyncpg

from say import RUNNING, URL, say


async def refused(label, awaitable):
    try:
        await awaitable
    except (asyncpg.PostgresError, asyncio.TimeoutError, asyncpg.InterfaceError) as raised:
        say(label, type(raised).__name__, getattr(raised, "sqlstate", None), str(raised))
        return
    raise AssertionError(f"{label}: it did not fail")


async def types(connection):
    await connection.execute(
        "DROP TABLE IF EXISTS a_items; DROP TYPE IF EXISTS a_pair, a_mood; DROP DOMAIN IF EXISTS a_positive;"
        "CREATE TYPE a_mood AS ENUM ('sad', 'ok'); CREATE TYPE a_pair AS (a int, b a_mood); "
        "CREATE DOMAIN a_positive AS int CHECK (VALUE > 0); "
        "CREATE TABLE a_items (id serial PRIMARY KEY, tags text[], pairs a_pair[], p a_positive, body jsonb, "
        "at timestamptz, n numeric, u uuid, span tstzrange)")
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    at = datetime.datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=datetime.timezone.utc)
    for turn in range(6):
        row = await connection.fetchrow(
            "INSERT INTO a_items (tags, pairs, p, body, at, n, u, span) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
            "RETURNING *", ["a", None, "b,c"], [(turn, "ok"), (2, "sad")], turn + 1, {"deep": [1, None]}, at,
            decimal.Decimal("1.500"), uuid.UUID(int=turn), asyncpg.Range(at, None))
        say("row", dict(row))
    await refused("domain", connection.execute("INSERT INTO a_items (p) VALUES ($1)", -1))
    await refused("wrong type", connection.fetchval("SELECT $1::int", "text"))
    say("values", await connection.fetchrow(
        "SELECT $1::float8, $2::interval, $3::date, $4::bytea, $5::int[], $6::inet, 'a'::\"char\", 1::oid, "
        "'(1,2)'::point, now() > 'epoch', '{}'::json, B'101'", float("inf"), datetime.timedelta(2, 3, 4),
        datetime.date.max, b"\0\xff", [[1, 2], [3, 4]], "10.0.0.0/8"))
    large = "ü" * (4 << 20)
    say("large", await connection.fetchval("SELECT $1::text", large) == large)


async def statements(connection):
    statement = await connection.prepare("SELECT id, $1::int AS given FROM a_items WHERE id <= $2 ORDER BY id")
    say("attributes", [(a.name, a.type.name) for a in statement.get_attributes()],
        [p.name for p in statement.get_parameters()])
    for turn in range(5):
        say("prepared", [tuple(row) for row in await statement.fetch(turn, 3)])
    say("explained", "Plan" in (await statement.explain(1, 1))[0])
    for turn in range(150):  # More than its cache holds: statements are closed.
        await connection.fetchval(f"SELECT {turn} + $1::int", turn)
    await connection.executemany("INSERT INTO a_items (tags) VALUES ($1)", [([str(n)],) for n in range(2000)])
    await refused("many, one wrong", connection.executemany(
        "INSERT INTO a_items (id) VALUES ($1)", [(n,) for n in (90_001, 90_002, 1, 90_003)]))
    say("none of them", await connection.fetchval("SELECT count(*) FROM a_items WHERE id > 90000"))
    # A table that changes shape: asyncpg prepares again by itself.
    await connection.execute("CREATE TABLE a_shape (a int)")
    say("shape", await connection.fetch("SELECT * FROM a_shape"))
    await connection.execute("ALTER TABLE a_shape ADD b int; INSERT INTO a_shape VALUES (1, 2)")
    say("shape", [tuple(row) for row in await connection.fetch("SELECT * FROM a_shape")])
    await connection.execute("DROP TABLE a_shape")


async def transactions(connection):
    async def failing():
        async with connection.transaction():
            await connection.execute("DELETE FROM a_items")
            await connection.execute("SELECT 1/0")
    async with connection.transaction(isolation="serializable"):
        await refused("nested", failing())
        say("still", await connection.fetchval("SELECT count(*) FROM a_items"))
        say("isolation", await connection.fetchval("SHOW transaction_isolation"))
    async with connection.transaction(readonly=True, isolation="serializable", deferrable=True):
        try:
            async with connection.transaction():
                await refused("read only", connection.execute("DELETE FROM a_items"))
        except asyncpg.PostgresError as error:
            say("so", error.sqlstate)
    async with connection.transaction():
        cursor = await connection.cursor("SELECT generate_series(1, $1::int)", 100)
        say("cursor", [row[0] for row in await cursor.fetch(3)], await cursor.forward(10), (await cursor.fetchrow())[0])
        say("iterated", sum([row[0] async for row in connection.cursor("SELECT generate_series(1, 500)", prefetch=7)]))
        # Two portals at once.
        first = await connection.cursor("SELECT generate_series(1, 9)")
        second = await connection.cursor("SELECT generate_series(11, 19)")
        say("two", [((await first.fetchrow())[0], (await second.fetchrow())[0]) for _ in range(4)])


async def copies(connection):
    say("copied", await connection.copy_records_to_table(
        "a_items", records=[(n, ["r"]) for n in range(10_000, 15_000)], columns=["id", "tags"]))
    blocks = []

    async def keep(block):
        blocks.append(block)
    say("out", await connection.copy_from_query("SELECT id FROM a_items WHERE id >= $1 ORDER BY id", 10_000,
                                                output=keep, format="csv"), len(b"".join(blocks)))
    await refused("twice", connection.copy_records_to_table("a_items", records=[(1,)] * 9, columns=["id"]))

    async def source():
        yield b"20000\n20001\n"
        raise asyncpg.InterfaceError("given up by the client")
    await refused("given up", connection.copy_to_table("a_items", source=source(), columns=["id"]))
    say("rows", await connection.fetchval("SELECT count(*) FROM a_items"))


async def asynchronous(connection):
    heard, all_heard = [], asyncio.Event()

    def listener(_connection, _pid, channel, payload):
        heard.append((channel, payload))
        if len(heard) == 3:
            all_heard.set()
    notices = []
    connection.add_log_listener(lambda _connection, message: notices.append((message.severity, message.message)))
    await connection.add_listener("a_news", listener)
    other = await asyncpg.connect(URL)
    for number in range(3):
        await other.execute("SELECT pg_notify('a_news', $1)", str(number))
    await asyncio.wait_for(all_heard.wait(), 20)
    say("heard", heard)
    await connection.remove_listener("a_news", listener)
    await connection.execute("DO $$ BEGIN RAISE NOTICE 'a notice'; END $$")
    say("notices", notices)
    await refused("timeout", connection.execute("SELECT pg_sleep(55)", timeout=0.2))
    say("usable", await connection.fetchval("SELECT 1"))
    task = asyncio.create_task(connection.fetchval("SELECT pg_sleep(54)"))
    while await other.fetchval(RUNNING.replace("%s", "$1"), "SELECT pg_sleep(54)%") != 1:
        pass  # Asking takes its time.
    task.cancel()  # asyncpg sends a cancel request and waits for the connection to be usable.
    try:
        await task
    except asyncio.CancelledError:
        say("cancelled")
    say("usable", await connection.fetchval("SELECT 2"))
    await connection.reset()
    await other.close()


async def pool():
    async with asyncpg.create_pool(URL, min_size=2, max_size=4, max_queries=20, command_timeout=30) as members:
        async def work(number):
            async with members.acquire() as member, member.transaction():
                await member.execute("SET LOCAL application_name = 'worker'")
                return await member.fetchval("SELECT $1::int + count(*)::int FROM a_items WHERE id < 5", number)
        say("pool", sum(await asyncio.gather(*[work(number) for number in range(200)])))
        say("names", {await members.fetchval("SHOW application_name") for _ in range(8)})


async def main():
    connection = await asyncpg.connect(URL, server_settings={"application_name": "asyncpg script", "jit": "off"})
    say("settings", connection.get_settings().application_name, connection.get_settings().server_encoding,
        connection.get_server_version()[:2])
    for part in (types, statements, transactions, copies, asynchronous):
        await part(connection)
    await pool()
    await connection.execute("DROP TABLE a_items; DROP TYPE a_pair, a_mood; DROP DOMAIN a_positive")
    await connection.close()
    say("well")


asyncio.run(main())
