"""The comparison at the end: its own idea of everything, from plain SQL and pg_dump.

Shares no code with pgjanus and does not ask it anything.
"""

import difflib
import re
import subprocess
from collections import Counter

PINNED = """
SET row_security = off; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres'; SET timezone = 'UTC';
SET extra_float_digits = 3; SET bytea_output = 'hex'; SET search_path = pg_catalog; SET client_encoding = 'UTF8';
SET lock_timeout = '10s'; SET statement_timeout = '60s'
"""
OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgjanus') AND n.nspname !~ '^pg_'"
RELATIONS = f"""
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       coalesce((SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE "C") FROM pg_attribute a
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = %s AND c.relpersistence <> 't' AND {OURS} ORDER BY 1
"""


def _relations(connection, kind):
    return dict(connection.execute(RELATIONS, (kind,)).fetchall())


def _lines(connection, name, columns):
    """The rows of one relation (not of its children) as COPY's text, a multiset."""
    text = bytearray()
    with connection.cursor() as cursor, cursor.copy(f"COPY (SELECT {columns} FROM ONLY {name}) TO STDOUT") as copy:
        for block in copy:
            text += block
    return Counter(bytes(text).split(b"\n")[:-1])


def rows_differ(left, right):
    """Sentences on every table whose rows differ between two superuser connections; empty: equal."""
    found = []
    for connection in (left, right):
        connection.execute(PINNED)
    for connection in (left, right):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        one, other = _relations(left, "r"), _relations(right, "r")
        found += [f"table {name} is on one side only" for name in sorted(one.keys() ^ other.keys())]
        for name in sorted(one.keys() & other.keys()):
            if one[name] != other[name]:
                found.append(f"table {name}: columns {one[name]} against {other[name]}")
                continue
            ours, theirs = (_lines(connection, name, one[name]) for connection in (left, right))
            if ours != theirs:
                found.append(f"table {name} ({one[name]}): {ours.total()} rows against {theirs.total()}; only left "
                             f"{_some(ours - theirs)}; only right {_some(theirs - ours)}")
    finally:
        for connection in (left, right):
            connection.execute("ROLLBACK")
    return found


def _some(lines):
    return f"{lines.total()} {[line[:300].decode(errors='replace') for line in list(lines)[:3]]}"


def sequences_differ(left, right):
    """last_value and is_called of every sequence; exact after a flip."""
    found = []
    one, other = _relations(left, "S"), _relations(right, "S")
    found += [f"sequence {name} is on one side only" for name in sorted(one.keys() ^ other.keys())]
    for name in sorted(one.keys() & other.keys()):
        values = [connection.execute(f"SELECT last_value, is_called FROM {name}").fetchone() for connection in (left, right)]
        if values[0] != values[1]:
            found.append(f"sequence {name}: {values[0]} against {values[1]}")
    return found


def catalog(cluster, database):
    """pg_dump's schema as a sorted list of statements, without what is pgjanus's."""
    done = subprocess.run(
        ["pg_dump", "-s", "-x", "-O", "-N", "pgjanus", "-h", str(cluster.directory), "-p", str(cluster.port), "-U", "postgres",
         "-d", database], capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"pg_dump: {done.stderr}"]
    pieces = re.split(r"\n--\n-- Name: .*\n--\n", re.sub(r"\n\\(un)?restrict .*", "\n", done.stdout))[1:]
    pieces = [re.sub(r"\n--\n-- PostgreSQL database dump complete(.|\n)*", "", piece) for piece in pieces]
    pieces = [piece for piece in pieces if "app.brief" not in piece]  # A CHECK of the moment comes back NOT VALID, by design.
    pieces = [re.sub(r"^SET default_\w+ = .*;$", "", piece, flags=re.MULTILINE).strip() for piece in pieces]
    return sorted(piece for piece in pieces if piece and not _of_pgjanus(piece))


def _of_pgjanus(piece):
    return "EXECUTE FUNCTION pgjanus." in piece or re.search(r"ENABLE ALWAYS TRIGGER \"?pgjanus_", piece)


def catalogs_differ(expected, found):
    """A diff of two catalogs; empty: equal."""
    return [line for line in difflib.unified_diff("\n".join(expected).split("\n"), "\n".join(found).split("\n"), "expected", "found",
                                                  lineterm="", n=1)]
