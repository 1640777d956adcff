"""psycopg2: simple protocol, cursors of the server, COPY, notifications, large objects, cancel."""

import datetime
import decimal
import io
import threading
import uuid

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool
from psycopg2 import sql

from say import RUNNING, URL, refused, say, until

psycopg2.extras.register_uuid()
connection = psycopg2.connect(URL, application_name="psycopg2 script", options="-c geqo=off")
for name in ("server_version", "client_encoding", "DateStyle", "TimeZone", "is_superuser",
             "application_name", "integer_datetimes", "in_hot_standby", "IntervalStyle"):
    say(name, connection.get_parameter_status(name))
say("protocol", connection.info.protocol_version, connection.info.ssl_in_use, connection.status)
cursor = connection.cursor()

# Types.
values = (1, 2**40, 1.5, decimal.Decimal("123.4500"), True, None, "tëxt 'quoted' \\", b"\0\1\xff",
          datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 1, 2, 3, 456789),
          datetime.timedelta(days=3, seconds=4), uuid.UUID(int=7), [1, None, 3], ["a", "b,c", '"'],
          psycopg2.extras.Json({"a": [1, None, "é"]}), psycopg2.extras.NumericRange(1, 9))
cursor.execute("SELECT " + ", ".join(["%s"] * len(values)), values)
row = cursor.fetchone()
say("types", [bytes(value) if isinstance(value, memoryview) else value for value in row])
say("columns", [(column.name, column.type_code, column.internal_size) for column in cursor.description])
cursor.execute("SELECT 'infinity'::float8, 'NaN'::numeric, '[1,2]'::jsonb, '{{1,2},{3,4}}'::int[], "
               "'1 day'::interval, '12:00+02'::timetz, B'101', '10.0.0.1'::inet, point(1, 2)")
say("more types", cursor.fetchone())

# Tables, generated keys, errors and recovery.
cursor.execute("DROP TABLE IF EXISTS p2_items; CREATE TABLE p2_items (id serial PRIMARY KEY, "
               "body text NOT NULL UNIQUE, at timestamptz DEFAULT 'epoch')")
connection.commit()
say("notices", connection.notices)
cursor.executemany("INSERT INTO p2_items (body) VALUES (%s)", [(f"row {n}",) for n in range(50)])
say("rows", cursor.rowcount, cursor.statusmessage)
made = psycopg2.extras.execute_values(
    cursor, "INSERT INTO p2_items (body) VALUES %s RETURNING id", [(f"more {n}",) for n in range(500)],
    page_size=100, fetch=True)
say("returned", made[0], made[-1], len(made))
psycopg2.extras.execute_batch(cursor, "UPDATE p2_items SET body = body || '!' WHERE id = %s",
                              [(n,) for n in range(1, 40)])
connection.commit()
refused("unique", psycopg2.Error, "pgcode", cursor.execute, "INSERT INTO p2_items VALUES (1, 'x')")
refused("aborted", psycopg2.Error, "pgcode", cursor.execute, "SELECT 1")
say("status", connection.info.transaction_status)
connection.rollback()
cursor.execute("SAVEPOINT a")
refused("null", psycopg2.Error, "pgcode", cursor.execute, "INSERT INTO p2_items (body) VALUES (NULL)")
cursor.execute("ROLLBACK TO a; SELECT count(*), sum(id) FROM p2_items")
say("after savepoint", cursor.fetchone())
connection.commit()
for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
    connection.set_session(isolation_level=level, readonly=True)
    cursor.execute("SHOW transaction_isolation")
    say("isolation", cursor.fetchone())
    refused("read only", psycopg2.Error, "pgcode", cursor.execute, "DELETE FROM p2_items")
    connection.rollback()
connection.set_session(isolation_level="DEFAULT", readonly="DEFAULT")

# Cursors of the server.
with connection.cursor("by_name", scrollable=True) as named:
    named.itersize = 7
    named.execute("SELECT id, body FROM p2_items ORDER BY id")
    say("named", named.fetchone(), named.fetchmany(3), sum(1 for _ in named))
    named.scroll(-5)
    say("scrolled", named.fetchall())
with connection.cursor("held", withhold=True) as held:
    held.execute("SELECT generate_series(1, 10)")
    connection.commit()
    say("held", held.fetchall())
connection.commit()

# COPY, both ways and failing.
cursor.copy_from(io.StringIO("".join(f"{n}\tcopied {n}\n" for n in range(1000, 6000))), "p2_items",
                 columns=("id", "body"))
out = io.StringIO()
cursor.copy_expert("COPY (SELECT id, body FROM p2_items ORDER BY id) TO STDOUT (FORMAT csv)", out)
say("copy", cursor.rowcount, len(out.getvalue()), out.getvalue()[-20:])
connection.commit()
refused("copy fails", psycopg2.Error, "pgcode", cursor.copy_from, io.StringIO("x\ty\n" * 9), "p2_items")
connection.rollback()
large = "ü" * (3 << 20)
cursor.execute("SELECT %s::text, length(%s)", (large, large))
back = cursor.fetchone()
say("large", back[0] == large, back[1])

# Large objects use FunctionCall.
lob = connection.lobject(0, "wb")
lob.write(b"\0\1" * 50_000)
lob.seek(10)
lob.truncate(70_000)
lob.close()
lob = connection.lobject(lob.oid, "rb")
say("large object", len(lob.read()))
lob.unlink()
connection.commit()

# Notifications and cancel.
listener = psycopg2.connect(URL)
listener.autocommit = True
listener.cursor().execute("LISTEN p2_news")
cursor.execute("NOTIFY p2_news, 'one'; SELECT pg_notify('p2_news', 'two')")
connection.commit()


def heard():
    listener.poll()
    return len(listener.notifies) == 2


until(heard, "two notifications")
say("heard", [(notify.channel, notify.payload) for notify in listener.notifies])


def cancel():
    def running():
        with listener.cursor() as other:
            other.execute(RUNNING, ("SELECT pg_sleep(58)%",))
            return other.fetchone() == (1,)
    until(running, "the statement to run")
    connection.cancel()


thread = threading.Thread(target=cancel)
thread.start()
refused("cancelled", psycopg2.Error, "pgcode", cursor.execute, "SELECT pg_sleep(58)")
thread.join()
connection.rollback()
cursor.execute("SET statement_timeout = 40")
refused("timeout", psycopg2.Error, "pgcode", cursor.execute, "SELECT pg_sleep(30)")
connection.rollback()
connection.reset()  # ABORT; RESET ALL; SET SESSION AUTHORIZATION DEFAULT.
cursor.execute("SHOW statement_timeout")
say("reset", cursor.fetchone())
connection.commit()

# Two-phase commit, notices, composed SQL, a pool, asynchronous connections.
connection.tpc_begin("p2 gid")
cursor.execute(sql.SQL("DELETE FROM {} WHERE id > %s").format(sql.Identifier("p2_items")), (5000,))
connection.tpc_prepare()
connection.reset()
say("prepared", [xid.gtrid for xid in connection.tpc_recover()])
connection.rollback()
connection.tpc_rollback("p2 gid")
cursor.execute("DO $$ BEGIN FOR i IN 1..60 LOOP RAISE NOTICE 'notice %', i; END LOOP; END $$")
say("notices", len(connection.notices), connection.notices[-1])
connection.commit()
pool = psycopg2.pool.ThreadedConnectionPool(2, 4, URL)
for turn in range(8):
    member = pool.getconn()
    with member, member.cursor() as other:
        other.execute("SELECT count(*) FROM p2_items WHERE id > %s", (turn,))
        say("pool", other.fetchone())
    pool.putconn(member)
pool.closeall()
nonblocking = psycopg2.connect(URL, async_=True)
psycopg2.extras.wait_select(nonblocking)
with nonblocking.cursor() as other:
    other.execute("SELECT repeat('z', 1000000)")
    psycopg2.extras.wait_select(nonblocking)
    say("async", len(other.fetchone()[0]))
nonblocking.close()
cursor.execute("DROP TABLE p2_items")
connection.commit()
connection.close()
listener.close()
say("well")
