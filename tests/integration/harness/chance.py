"""Schemas and transactions by chance: tables of all kinds and types, and clients that do to them
whatever the schema allows. Everything follows from one seed.
"""

import random

import psycopg

from .load import WriteLoad

# Type: expression of a random value, from chance r() in [0, 1) and a small whole number n().
TYPES = {
    "int": "{n}", "bigint": "{n}::bigint * 1000000007", "smallint": "{n} % 3000",
    "text": "repeat(md5({n}::text), {few})", "varchar(40)": "left(md5({n}::text), {few})",
    "char(7)": "left(md5({n}::text), {few} % 7)", "bytea": "decode(md5({n}::text), 'hex')",
    "numeric": "{n} / 7.0", "numeric(12,3)": "{n} / 8.0", "real": "random()",
    "double precision": "random() * 1e300 - 1e299", "boolean": "{n} % 2 = 0",
    "date": "date '0044-03-15 BC' + {n} * 17", "timestamptz": "now() + {n} * interval '1 s'",
    "timestamp": "CASE WHEN {n} % 50 = 0 THEN '-infinity' ELSE localtimestamp END",
    "interval": "make_interval(months => {n}, secs => {n} / 3.0)", "uuid": "md5({n}::text)::uuid",
    "jsonb": "jsonb_build_object('n', {n}, 'x', NULL, 'q', '\"\\')", "json": "'{{\"a\": 1, \"a\": null}}'",
    "inet": "inet '10.0.0.0' + {n}", "text[]": "ARRAY['a,\"b\"', NULL, {n}::text, '{{}}', '']",
    "int[]": "ARRAY[[{n}, NULL], [2, 3]]", "int4range": "int4range({n}, {n} + {few})",
    "point": "point({n}, 0.1)", "box": "box(point({n}, 1), point(2, 3.3))", "bit(5)": "({n} % 32)::bit(5)",
    "bit varying": "({n} % 32)::bit(5)", "tsvector": "to_tsvector('simple', md5({n}::text) || ' b a')",
    "chance.mood": "(ARRAY['sad', 'fine', 'very fine']::chance.mood[])[1 + {n} % 3]",
    "chance.pair": "ROW({n}, 'x,\"y)')::chance.pair", "chance.small": "{n} % 100",
    "chance.pair[]": "ARRAY[ROW({n}, NULL)::chance.pair, NULL]", "money": "({n} / 7.0)::money",
    "\"char\"": "'a'", "macaddr": "'08:00:2b:01:02:03'", "time": "time '12:00' + {n} * interval '1 s'",
    "chance.mood[]": "ARRAY['very fine', NULL]::chance.mood[]", "xml": "'<a b=\"1\">&amp;</a>'",
}
KEYS = ["int", "bigint", "text", "varchar(40)", "char(7)", "uuid", "numeric", "date", "timestamptz",
        "double precision", "bytea", "inet", "boolean", "chance.mood", "chance.small", "int[]",
        "interval", "bit(5)", "time", "int4range", "jsonb", "smallint", "chance.pair", "money"]

PREFACE = """
CREATE SCHEMA chance;
CREATE TYPE chance.mood AS ENUM ('sad', 'fine', 'very fine');
CREATE TYPE chance.pair AS (a int, b text);
CREATE DOMAIN chance.small AS int CHECK (VALUE < 1000);
CREATE COLLATION chance.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
"""


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


class Table:
    """One table of the random schema."""

    def __init__(self, number, chooser):
        self.kind = chooser.choice(["plain"] * 5 + ["hash", "range", "tree", "keyless", "keyless",
                                                     "deferrable", "index", "unlogged", "inherits"])
        self.name = f"chance.{quoted(chooser.choice(['t', 'T t', 'ü', 'a.b', 'q%s']) + str(number))}"
        width = chooser.choice([1, 1, 1, 2, 3])
        self.key = [(f"k{i}" if chooser.random() < 0.8 else f"Key \"{i}", chooser.choice(KEYS))
                    for i in range(width)]
        if self.kind in ("hash", "range", "tree"):
            self.key[0] = ("part", "int")
        names = [f"c{i}" if chooser.random() < 0.8 else f"C'o l\\{i}" for i in range(chooser.randrange(1, 7))]
        self.rest = [(name, chooser.choice(list(TYPES))) for name in names]
        self.rest.append(("lucky", "int"))
        self.unique = chooser.random() < 0.3 and self.kind in ("plain", "deferrable", "index")
        self.generated = chooser.random() < 0.3 and self.kind != "inherits"
        self.identity = chooser.random() < 0.2 and self.kind == "plain"
        self.dropped = chooser.random() < 0.3
        self.sql = "".join(self._definition(chooser))
        self.columns = self.key + self.rest

    def _definition(self, chooser):
        keyless = self.kind == "keyless"
        columns = []
        if self.dropped:
            columns.append("gone int")
        for name, kind in self.key:
            collate = ' COLLATE chance.caseless' if kind == "text" and chooser.random() < 0.3 else ""
            columns.append(f"{quoted(name)} {kind}{collate}" + ("" if keyless else " NOT NULL"))
        columns += [f"{quoted(name)} {kind}" for name, kind in self.rest]
        if self.generated:
            columns.append("made int GENERATED ALWAYS AS (lucky * 2) STORED")
        if self.identity:
            columns.append("number bigint GENERATED ALWAYS AS IDENTITY")
        key = ", ".join(quoted(name) for name, _ in self.key)
        if self.kind not in ("keyless", "index"):
            columns.append(f"PRIMARY KEY ({key})"
                           + (" DEFERRABLE INITIALLY DEFERRED" if self.kind == "deferrable" else ""))
        if self.unique:
            columns.append("UNIQUE (lucky) DEFERRABLE" if chooser.random() < 0.5 else "UNIQUE (lucky)")
        by = {"hash": " PARTITION BY HASH (part)", "range": " PARTITION BY RANGE (part)",
              "tree": " PARTITION BY RANGE (part)"}.get(self.kind, "")
        unlogged = "UNLOGGED " if self.kind == "unlogged" else ""
        yield f"CREATE {unlogged}TABLE {self.name} ({', '.join(columns)}){by};\n"
        bare = self.name[:-1]
        if self.kind == "hash":
            for i in range(3):
                yield (f'CREATE TABLE {bare}p{i}" PARTITION OF {self.name} FOR VALUES WITH '
                       f"(MODULUS 3, REMAINDER {i});\n")
        if self.kind in ("range", "tree"):
            sub = " PARTITION BY HASH (part)" if self.kind == "tree" else ""
            yield (f'CREATE TABLE {bare}low" PARTITION OF {self.name} FOR VALUES FROM (MINVALUE) TO (200)'
                   f"{sub};\nCREATE TABLE {bare}high\" PARTITION OF {self.name} DEFAULT;\n")
            if sub:
                for i in range(2):
                    yield (f'CREATE TABLE {bare}low{i}" PARTITION OF {bare}low" FOR VALUES WITH '
                           f"(MODULUS 2, REMAINDER {i});\n")
        if self.dropped:
            yield f"ALTER TABLE {self.name} DROP COLUMN gone;\n"
        if self.kind == "index":
            yield f"CREATE UNIQUE INDEX ON {self.name} ({key});\n"
        if self.kind == "inherits":
            yield f'CREATE TABLE {bare}child" (extra text, PRIMARY KEY ({key})) INHERITS ({self.name});\n'

    def value(self, kind, chooser, key=False, number=None):
        if number:
            return TYPES[kind].format(n=number, few=chooser.randrange(1, 9))
        if not key and chooser.random() < 0.1:
            return "NULL"
        if chooser.random() < 0.05 and kind in ("text", "varchar(40)", "numeric", "double precision", "real"):
            return {"numeric": "'NaN'", "double precision": chooser.choice(["'-0'", "'NaN'", "'Infinity'"]),
                    "real": "'-0'"}.get(kind, chooser.choice(["''", r"E'\\N'", r"E'a\tb\nc\\.'", "'NULL'"]))
        return TYPES[kind].format(n=chooser.randrange(400), few=chooser.randrange(1, 9))

    def values(self, chooser):
        keys = {name for name, _ in self.key}
        return ", ".join("nextval('chance.lucky')" if name == "lucky" and self.unique and chooser.random() < 0.9
                         else self.value(kind, chooser, name in keys and self.kind != "keyless")
                         for name, kind in self.columns)

    def many(self, chooser):
        """Rows beyond what the mirror reads at once."""
        values = ", ".join("nextval('chance.lucky')" if name == "lucky" and self.unique
                           else self.value(kind, chooser, number="g") for name, kind in self.columns)
        start = chooser.randrange(1000)
        clash = "" if self.kind == "deferrable" else " ON CONFLICT DO NOTHING"
        return (f"INSERT INTO {self.name} ({self.names()}) SELECT {values} FROM "
                f"generate_series({start}, {start + chooser.randrange(2000, 5000)}) g{clash}")

    def names(self):
        return ", ".join(quoted(name) for name, _ in self.columns)

    def some(self, chooser):
        return f"lucky % {chooser.choice([3, 7, 20, 40])} = {chooser.randrange(3)}"


class ChanceLoad(WriteLoad):
    """Clients that write by chance. Rows that would break a constraint are the app's own errors:
    such a transaction is rolled back, as apps do, and is no error of the test."""

    REFUSED = ("23505", "23514", "23502", "40001", "40P01", "21000", "22003", "22001", "23P01", "22P02",
               "22008", "23503", "55000", "55006", "22004", "42P18")

    def __init__(self, url, tables, *, two_phase=True, **options):
        self.tables, self.two_phase = tables, two_phase
        super().__init__(url, self._one, **options)

    def statement(self, chooser):
        table = chooser.choice(self.tables)
        kind = chooser.randrange(12)
        rows = ", ".join(f"({table.values(chooser)})" for _ in range(chooser.randrange(1, 5)))
        insert = f"INSERT INTO {table.name} ({table.names()}) VALUES {rows}"
        one, other = chooser.choice(table.columns), chooser.choice(table.columns)
        change = f"{quoted(one[0])} = {table.value(one[1], chooser, one in table.key)}"
        if kind < 4:
            return insert + (" ON CONFLICT DO NOTHING" if table.kind not in ("deferrable",)
                             and chooser.random() < 0.7 else "")
        if kind < 7:
            return f"UPDATE {table.name} SET {change}, lucky = lucky WHERE {table.some(chooser)}" \
                if one[0] != "lucky" else f"UPDATE {table.name} SET lucky = lucky + 0 WHERE {table.some(chooser)}"
        if kind == 7:
            return f"DELETE FROM {table.name} WHERE {table.some(chooser)}"
        if kind == 8:
            return (f"WITH gone AS (DELETE FROM {table.name} WHERE {table.some(chooser)} RETURNING *) "
                    f"SELECT count(*) FROM gone")
        if kind == 9 and chooser.random() < 0.1:
            return f"TRUNCATE {table.name}"
        if kind == 9 and chooser.random() < 0.05:
            return chooser.choice([table.many(chooser), f"UPDATE {table.name} SET lucky = lucky",
                                   f"DELETE FROM {table.name}", "SELECT pg_sleep(0.2)"])
        if kind == 10:
            return f"UPDATE {table.name} SET {quoted(other[0])} = {quoted(other[0])} WHERE {table.some(chooser)}"
        return insert

    def _one(self, connection, chooser, worker, count):
        if chooser.random() < 0.1:
            connection.execute(chooser.choice([
                "SET DateStyle = 'German'", "SET TimeZone = 'Asia/Kolkata'", "SET extra_float_digits = -3",
                "SET bytea_output = 'escape'", "SET IntervalStyle = 'sql_standard'", "RESET ALL",
                "SET search_path = chance", "SET xmlbinary = hex", "SET array_nulls = off",
                "SET default_transaction_isolation = 'repeatable read'"]))
        two_phase = self.two_phase and chooser.random() < 0.05
        name = f"chance-{worker}-{count}-{chooser.random()}"
        try:
            connection.execute("BEGIN")
            for _ in range(chooser.randrange(1, 6)):
                if chooser.random() < 0.3:
                    self._inside_savepoint(connection, chooser)
                else:
                    connection.execute(self.statement(chooser))
            ending = chooser.random()
            if two_phase:
                connection.execute(f"PREPARE TRANSACTION '{name}'")
                connection.execute(f"{'COMMIT' if ending < 0.7 else 'ROLLBACK'} PREPARED '{name}'")
            else:
                connection.execute("COMMIT" if ending < 0.9 else "ROLLBACK")
        except Exception as error:
            state = getattr(error, "sqlstate", None)
            if connection.closed or state not in self.REFUSED:
                raise
            connection.execute("ROLLBACK")
            return None
        return worker, count

    def _inside_savepoint(self, connection, chooser):
        connection.execute("SAVEPOINT here")
        try:
            connection.execute(self.statement(chooser))
            connection.execute("ROLLBACK TO here" if chooser.random() < 0.4 else "RELEASE here")
        except Exception as error:
            if connection.closed or getattr(error, "sqlstate", None) not in self.REFUSED:
                raise
            connection.execute("ROLLBACK TO here")


def chance_schema(connection, seed, count=14):
    """Makes the tables of a seed and a few rows as the user of `connection`; returns the tables."""
    chooser = random.Random(f"schema/{seed}")
    tables = [Table(number, chooser) for number in range(count)]
    connection.execute(PREFACE + "CREATE SEQUENCE chance.lucky START 1000")
    for table in tables:
        connection.execute(table.sql)
        for _ in range(30):
            try:
                connection.execute(f"INSERT INTO {table.name} ({table.names()}) "
                                   f"VALUES ({table.values(chooser)})")
            except psycopg.Error as error:
                if error.sqlstate not in ChanceLoad.REFUSED:
                    raise
    return tables
