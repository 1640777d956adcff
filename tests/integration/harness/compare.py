"""Exact comparison of two databases with plain COPY and sorting.

Shares nothing with the program: neither code nor its idea of keys, chunks or boundaries.
"""

import hashlib
from collections import Counter

from .wait import wait_until

SETTINGS = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL row_security = off; SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL intervalstyle = 'postgres'; SET LOCAL timezone = 'UTC';
SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex';
SET LOCAL search_path = pg_catalog; SET LOCAL client_encoding = 'UTF8';
SET LOCAL lock_timeout = '20s'; SET LOCAL statement_timeout = '120s'
"""

HIDDEN = "('pg_catalog', 'information_schema', 'pgjanus')"

RELATIONS = f"""
SELECT n.nspname, c.relname, c.relkind::text,
       (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attname)
          FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = ANY(%s) AND c.relpersistence <> 't'
   AND n.nspname NOT IN {HIDDEN} AND n.nspname NOT LIKE 'pg\\_%%'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
 ORDER BY 1, 2
"""


def _quoted(schema, name):
    def quote(text):
        return '"' + text.replace('"', '""') + '"'
    return f"{quote(schema)}.{quote(name)}"


def _rows(connection, schema, name, columns):
    """Every row as COPY's text, sorted by bytes. Partition roots hold none themselves."""
    chosen = ", ".join(columns) if columns else ""
    lines = bytearray()
    with connection.cursor() as cursor, cursor.copy(
            f"COPY (SELECT {chosen} FROM ONLY {_quoted(schema, name)}) TO STDOUT") as copy:
        for block in copy:
            lines += block
    return sorted(bytes(lines).split(b"\n")[:-1])


def _state(connection, kinds):
    return {(row[0], row[1]): (row[2], row[3])
            for row in connection.execute(RELATIONS, (list(kinds),)).fetchall()}


def compare(source, target, *, sequences=False, materialized_views=False):
    """Differences between two open superuser connections, as sentences; empty: equal.

    Rows of all tables (leaf partitions one by one) and, when asked, last_value and is_called of
    every sequence: those agree exactly only after a flip.
    """
    kinds = "r" + ("m" if materialized_views else "")
    with source.transaction(), target.transaction():
        for connection in (source, target):
            connection.execute(SETTINGS)
        differences = _compare_tables(source, target, kinds)
        if sequences:
            differences += _compare_sequences(source, target)
    return differences


def _compare_tables(source, target, kinds):
    differences = []
    left, right = _state(source, kinds), _state(target, kinds)
    for only, where in ((left.keys() - right.keys(), "source"), (right.keys() - left.keys(), "target")):
        differences += [f"table {s}.{n} is only on the {where}" for s, n in sorted(only)]
    for key in sorted(left.keys() & right.keys()):
        if left[key] != right[key]:
            differences.append(f"table {'.'.join(key)}: columns {left[key][1]} on the source, "
                               f"{right[key][1]} on the target")
            continue
        rows = [_rows(connection, *key, left[key][1]) for connection in (source, target)]
        if hashlib.md5(b"\n".join(rows[0])).digest() != hashlib.md5(b"\n".join(rows[1])).digest():
            differences.append(_describe(key, *rows))
    return differences


def _describe(key, left, right):
    """Counts, and the first few rows that differ."""
    missing, extra = Counter(left) - Counter(right), Counter(right) - Counter(left)

    def some(rows):
        shown = [row[:160].decode(errors="replace") for row, _ in list(rows.items())[:3]]
        return f"{sum(rows.values())} {shown}"
    return (f"table {'.'.join(key)}: {len(left)} rows on the source, {len(right)} on the target; "
            f"only on the source {some(missing)}; only on the target {some(extra)}")


def _compare_sequences(source, target):
    differences = []
    left, right = _state(source, "S"), _state(target, "S")
    for key in sorted(left.keys() | right.keys()):
        values = []
        for connection, known in ((source, left), (target, right)):
            values.append(connection.execute(
                f"SELECT last_value, is_called FROM {_quoted(*key)}").fetchone()
                if key in known else None)
        if values[0] != values[1]:
            differences.append(f"sequence {'.'.join(key)}: {values[0]} on the source, "
                               f"{values[1]} on the target")
    return differences


def assert_equal(source, target, **options):
    """compare(), failing with every difference."""
    differences = compare(source, target, **options)
    assert not differences, "the two sides differ:\n" + "\n".join(differences)


def equal_within(source, target, limit=30.0, **options):
    """Waits until both sides are equal (writes have stopped); fails with what differs at last."""
    differences = []

    def equal():
        differences[:] = compare(source, target, **options)
        return not differences

    wait_until(equal, limit, lambda: "both sides to be equal; at last differ:\n" + "\n".join(differences),
               every=0.1)
