"""Types and random values of them, as SQL.

A template makes a value from a small whole number (@n), a smaller one (@f), and whatever SQL has to
offer; few numbers, so that keys meet each other. `odd` values are those that tools get wrong.
"""

# Type: (template, may be a key, odd values).
BUILT_IN = {
    "smallint": ("@n", True, ["-32768", "32767"]),
    "integer": ("@n", True, ["-2147483648", "2147483647"]),
    "bigint": ("@n::bigint * 1000000007", True, ["-9223372036854775808", "'9223372036854775807'"]),
    "numeric": ("@n / 7.0", True, ["'NaN'", "'Infinity'", "'-Infinity'", "1.0", "1.00", "1.000", "1e-400",
                                   "'123456789012345678901234567890.000000000000000000001'", "0.00", "-0.0"]),
    "numeric(12,3)": ("@n / 8.0", True, ["'NaN'", "1.0"]),
    "real": ("(@n / 3.0)::real", True, ["'NaN'", "'-0'", "'Infinity'", "1e-45", "'3.4028235e38'"]),
    "double precision": ("@n / 3.0::float8", True, ["'NaN'", "'-0'", "0", "'-Infinity'", "5e-324", "random()", "0.1 + 0.2"]),
    "money": ("(@n / 7.0)::numeric::money", True, ["'-92233720368547758.08'"]),
    "text": ("repeat(md5((@n)::text), @f)", True, ["''", r"E'\\N'", r"E'a\tb\nc\r\\.'", "'NULL'", "'{}'", "E'\\u00e9'",
                                                 "E'e\\u0301'", "' '", "'a'", "'A'", "'ß'", "'SS'", "E'\\U0001F600'", "'\"'"]),
    "varchar(40)": ("left(md5((@n)::text), @f)", True, ["''", "' '", "'a  '", "'A'"]),
    "char(7)": ("left(md5((@n)::text), @f % 7)", True, ["''", "'a'", "'a  '"]),
    "name": ("'n' || @n", True, []),
    '"char"': ("chr(97 + (@n) % 20)", True, ["''", r"E'\\N'", r"E'\\'"]),
    "bytea": ("decode(md5((@n)::text), 'hex')", True, ["''", r"'\x00ff5c'", r"'\x5c78'"]),
    "boolean": ("(@n) % 2 = 0", True, []),
    "date": ("date '2001-02-03' + (@n) * 17", True, ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'"]),
    "time": ("time '12:00' + (@n) * interval '1.000001 s'", True, ["'24:00'", "'00:00'"]),
    "timetz": ("timetz '12:00+01' + (@n) * interval '1 s'", True, ["'24:00-15:59'", "'12:00+00'", "'14:00+02'"]),
    "timestamp": ("timestamp '2001-02-03' + (@n) * interval '1 day 1.000001 s'", True,
                  ["'infinity'", "'0044-03-15 12:00 BC'", "localtimestamp"]),
    "timestamptz": ("timestamptz '2001-02-03 00:00+00' + (@n) * interval '1 hour 1.000001 s'", True,
                    ["'-infinity'", "'0044-03-15 12:00+00 BC'", "clock_timestamp()", "'1890-01-01 12:00:00+00:53:28'"]),
    "timestamptz(0)": ("timestamptz '2001-02-03 00:00+00' + (@n) * interval '1.4 s'", True, ["now()"]),
    "interval": ("make_interval(months => @n, secs => (@n) / 3.0)", True,
                 ["'1 mon'", "'30 days'", "'720 hours'", "'-1 year +1 day -00:00:00.000001'", "'1 day'", "'24:00'"]),
    "interval(2)": ("(@n) * interval '1.005 s'", False, []),
    "uuid": ("md5((@n)::text)::uuid", True, ["gen_random_uuid()", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"]),
    "json": ("json_build_object('n', @n, 'x', NULL)", False, ["'{\"a\": 1,  \"a\": null}'", "'null'", "'1.0e0'", "'\"\\u0041\"'"]),
    "jsonb": ("jsonb_build_object('n', @n, 'x', NULL, 'q', '\"\\')", True, ["'null'", "'1.10'", "'1.1'", "'[]'", "'\"\"'", "'{}'"]),
    "jsonpath": ("'$.a[' || @n || ']'", False, ["'lax $ ? (@.\"x y\" > 1)'"]),
    "xml": ("('<a b=\"' || @n || '\">&amp;</a>')::xml", False, ["''", "'<?xml version=\"1.0\"?><x/>'"]),
    "inet": ("inet '10.0.0.0' + @n", True, ["'10.0.0.1/8'", "'10.0.0.1'", "'::ffff:10.0.0.1'", "'::1/64'"]),
    "cidr": ("('10.0.' || (@n) % 256 || '.0/24')::cidr", True, ["'::/0'"]),
    "macaddr": ("('08:00:2b:01:02:' || lpad(to_hex((@n) % 256), 2, '0'))::macaddr", True, []),
    "macaddr8": ("('08:00:2b:01:02:03:04:' || lpad(to_hex((@n) % 256), 2, '0'))::macaddr8", True, []),
    "bit(5)": ("(@n % 32)::int::bit(5)", True, ["B'00000'"]),
    "varbit": ("(@n % 32)::int::bit(5)", True, ["B''", "B'0'", "B'00'"]),
    "tsvector": ("to_tsvector('simple', md5((@n)::text) || ' b a')", True, ["''", "'''a'':1A ''b c'':2'"]),
    "tsquery": ("to_tsquery('simple', 'a & ' || 'b' || (@n))", True, ["''", "'!a | (b & ''c d'':A*)'"]),
    "point": ("point(@n, 0.1)", False, ["'(NaN,-0)'", "'(1e-300,Infinity)'"]),
    "line": ("line(point(0, @n), point(1, 2.3 + (@n)))", False, []),
    "lseg": ("lseg(point(@n, 1), point(2, 3.3))", False, []),
    "box": ("box(point(@n, 1), point(2, 3.3))", False, []),
    "path": ("('[(0,0),(1,' || @n || ')]')::path", False, ["'((0,0),(1,1))'"]),
    "polygon": ("polygon(circle(point(@n, 1), 2.5))", False, []),
    "circle": ("circle(point(@n, 1), 2.5)", False, []),
    "int4range": ("int4range(@n, @n + @f)", True, ["'empty'", "'(,)'", "'[,5]'"]),
    "numrange": ("numrange(@n / 4.0, @n + @f, '[]')", True, ["'empty'", "'(1.0,2.00]'"]),
    "tstzrange": ("tstzrange('2001-02-03 00:00+00', timestamptz '2001-02-04 00:00+00' + (@n) * interval '1 s')", True,
                  ["'[-infinity,)'", "'empty'"]),
    "daterange": ("daterange(date '2001-02-03' + @n, date '2011-02-03' + @n)", True, ["'(,infinity)'"]),
    "int4multirange": ("int4multirange(int4range(@n, @n + 2), int4range(@n + 5, @n + 9))", True, ["'{}'", "'{(,)}'"]),
    "tsmultirange": ("tsmultirange(tsrange('2001-02-03', timestamp '2001-02-04' + (@n) * interval '1 s'))", True, ["'{}'"]),
    "oid": ("@n", True, ["4294967295"]),
    "xid": ("(@n)::text::xid", False, []),
    "xid8": ("(@n)::text::xid8", True, ["'18446744073709551615'"]),
    "cid": ("(@n)::text::cid", False, []),
    "tid": ("('(' || @n || ',1)')::tid", False, []),
    "pg_lsn": ("('0/' || to_hex(@n))::pg_lsn", True, ["'FFFFFFFF/FFFFFFFF'"]),
    "pg_snapshot": ("('10:' || 10 + (@n) || ':')::pg_snapshot", False, []),
    "regclass": ("'pg_class'", False, ["0::oid", "'kit.loose'", "123456::oid"]),
    "regtype": ("'int4[]'", False, ["'kit.mood'", "'char'", "'\"char\"'"]),
    "regproc": ("'pg_catalog.now'", False, []),
    "regprocedure": ("'abs(int)'", False, []),
    "regnamespace": ("'kit'", False, []),
    "regconfig": ("'simple'", False, []),
    "oidvector": ("'1 2 ' || @n", False, ["''"]),
    "int2vector": ("'1 ' || (@n) % 100", False, []),
    "refcursor": ("'c' || @n", False, []),
    "aclitem": ("'postgres=r/postgres'", False, []),
    "integer[]": ("ARRAY[@n, NULL, 2]", True, ["'{}'", "'[0:1]={1,2}'", "'{{1,NULL},{2,3}}'", "'[2:2][-1:0]={{1,2}}'"]),
    "text[]": ("ARRAY['a,\"b\"', NULL, (@n)::text, '{}', '']", True, ["'{NULL,\"NULL\",\"\\\\\"}'", "'{}'", "ARRAY[' ']"]),
    "numeric[]": ("ARRAY[@n / 7.0, 'NaN', 1.00]", True, []),
    "timestamptz[]": ("ARRAY[now(), 'infinity', NULL]", False, []),
    "box[]": ("ARRAY[box(point(@n, 1), point(2, 3)), NULL]", False, []),
    "bytea[]": ("ARRAY[decode(md5((@n)::text), 'hex'), '\\x']", True, []),
    "json[]": ("ARRAY[json_build_object('n', @n), 'null']", False, []),
    "int4range[]": ("ARRAY[int4range(@n, NULL), 'empty']", True, []),
}

# Made by the app's own schema `kit`.
OWN = {
    "kit.mood": ("(ARRAY['sad', 'fine', 'very, \"fine\"']::kit.mood[])[1 + (@n) % 3]", True, []),
    "kit.mood[]": ("ARRAY['very, \"fine\"', NULL, 'sad']::kit.mood[]", True, ["'{}'"]),
    "kit.pair": ("ROW(@n, 'x,\"y)')::kit.pair", True, ["ROW(NULL, '')", "ROW(NULL, NULL)", "ROW(1, NULL)"]),
    "kit.pair[]": ("ARRAY[ROW(@n, '{}')::kit.pair, NULL, ROW(NULL, NULL)]", True, ["'{}'"]),
    "kit.nested": ("ROW(ROW(@n, 'a')::kit.pair, ARRAY[1, NULL], 'sad', @n % 100)::kit.nested", True, ["ROW(NULL, NULL, NULL, NULL)"]),
    "kit.shrunk": ("ROW(@n, 0.5)::kit.shrunk", False, []),
    "kit.small": ("@n % 100", True, []),
    "kit.small[]": ("ARRAY[@n % 100, NULL]::kit.small[]", True, []),
    "kit.label": ("'l' || @n", True, ["''"]),
    "kit.list": ("ARRAY[@n, NULL]", True, ["'{}'"]),
    "kit.couple": ("ROW(@n, 'domain')", False, []),
    "kit.floats": ("kit.floats((@n)::float8, (@n + @f)::float8)", True, ["'empty'", "'[-0,0]'", "'(,NaN)'"]),
    "kit.many_floats": ("kit.many_floats(kit.floats((@n)::float8, NULL))", True, ["'{}'"]),
    "kit.floats[]": ("ARRAY[kit.floats((@n)::float8, NULL), NULL]", True, []),
}

# Extension: its types.
CONTRIB = {
    "citext": {"@x.citext": ("(ARRAY['Word', 'word', 'WORD', 'other'])[1 + (@n) % 4] || @n / 4", True, ["''", "'STRASSE'"]),
               "@x.citext[]": ("ARRAY['A', 'a', NULL]", True, [])},
    "hstore": {"@x.hstore": ("@x.hstore('k' || @n, NULL)", True, ["''", "'\"a\"=>\"b,\\\"c\", d=>NULL'"])},
    "ltree": {"@x.ltree": ("'Top.a' || @n", True, ["''"]), "@x.lquery": ("'*.a' || @n || '.*'", False, []),
              "@x.ltree[]": ("ARRAY['a.b', NULL]", True, [])},
    "cube": {"@x.cube": ("@x.cube(ARRAY[@n, 0.1], ARRAY[1, 2])", True, ["'(1e-300)'"])},
    "isn": {"@x.isbn13": ("'978-0-393-04002-9'", True, [])},
    "seg": {"@x.seg": ("(@n) || ' .. ' || @n + 1", True, ["'1.00 .. 2.0'", "'~1'"])},
    "intarray": {"@x.query_int": ("'1&(2|' || @n || ')'", False, [])},
}

KIT = [
    "CREATE SCHEMA kit",
    "CREATE TYPE kit.mood AS ENUM ('sad', 'fine')", "ALTER TYPE kit.mood ADD VALUE 'very, \"fine\"' AFTER 'sad'",
    "CREATE TYPE kit.pair AS (a int, b text)",
    "CREATE DOMAIN kit.small AS smallint CHECK (VALUE < 1000)",
    "CREATE DOMAIN kit.label AS varchar(20) DEFAULT 'none' CHECK (VALUE <> 'forbidden')",
    "CREATE DOMAIN kit.list AS int[] CHECK (array_length(VALUE, 1) < 100)",
    "CREATE DOMAIN kit.couple AS kit.pair CHECK ((VALUE).a IS NULL OR (VALUE).a < 1000000)",
    "CREATE TYPE kit.nested AS (p kit.pair, l int[], m kit.mood, s kit.small)",
    "CREATE TYPE kit.shrunk AS (gone text, a int, gone2 int, b real)",
    "ALTER TYPE kit.shrunk DROP ATTRIBUTE gone", "ALTER TYPE kit.shrunk DROP ATTRIBUTE gone2",
    "CREATE TYPE kit.floats AS RANGE (subtype = float8, subtype_diff = float8mi, multirange_type_name = kit.many_floats)",
    "CREATE COLLATION kit.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    "CREATE COLLATION kit.numbers (provider = icu, locale = 'en-u-kn-true')",
    "CREATE SEQUENCE kit.loose START 1000",
]
COLLATIONS = ["kit.caseless", "kit.caseless", "kit.numbers", '"C"', '"POSIX"', '"und-x-icu"']


class Kinds:
    """The types that a seed may use: the built-in ones, the app's own, those of its extensions."""

    def __init__(self, extensions, home):
        self.known = dict(BUILT_IN) | dict(OWN)
        for extension in extensions:
            for name, (template, key, odd) in CONTRIB.get(extension, {}).items():
                self.known[name.replace("@x", home)] = (
                    template.replace("@x", home), key, [value.replace("@x", home) for value in odd])
        self.keys = [name for name, (_, key, _) in self.known.items() if key]
        self.all = list(self.known)
        self.foreign = lambda name: name.startswith((home + ".", "kit."))  # Its operators may not be on the path.

    def value(self, kind, chooser, *, reach=400, odd=0.12):
        """A random value as an expression of that type."""
        template, _, odds = self.known[kind]
        if odds and chooser.random() < odd:
            return f"CAST({chooser.choice(odds)} AS {kind})"
        text = template.replace("@n", str(chooser.randrange(reach))).replace("@f", str(chooser.randrange(1, 9)))
        return f"CAST({text} AS {kind})"

    def series(self, kind, number):
        """A value that follows the expression `number`."""
        return f"CAST({self.known[kind][0].replace('@n', number).replace('@f', '3')} AS {kind})"
