"""One random table: its definition and statements that write it."""

from dataclasses import dataclass

from kinds import COLLATIONS

# Names that clash with SQL's words, with what generated SQL uses by itself, or with careless quoting.
NAMES = ["key", "changed", "new_rows", "old_rows", "xid", "table_id", "weight", "k", "f", "select", "Ünï", "a b",
         'q"q', "per%s", "dollar$1", "back\\slash", "x" * 63, "excluded", "row", "t", "old", "new", "id", "journal",
         "array", "line\nbreak", "'", "concat", "num_nulls", "value", "n", "o", "r", "s", "b", "p", "{}", "tg_op",
         "current_user", "m", "l", "c", "i", "g", "kept", "missing", "rows", "count", "position", "ordinality"]


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


@dataclass
class Column:
    """`mode`: plain, generated, always (identity), default (identity or sequence), reference."""

    name: str
    kind: str
    mode: str = "plain"
    collate: str = ""
    target: object = None  # Of a reference: (table, column).

    @property
    def sql(self):
        return quoted(self.name)


class Table:
    """A table of the schema of a seed. `sql` makes it, statements one by one."""

    def __init__(self, number, chooser, kinds, features, others):
        self.chooser, self.kinds, self.features = chooser, kinds, features
        self.number = number
        self.label = chooser.choice(["t", "t", "T t", "ü", "a.b", "q%s", "user", "pgjanus"]) + str(number)
        self.schema = "app" if chooser.random() < 0.7 else "Odd Schema"
        self.name = f"{quoted(self.schema)}.{quoted(self.label)}"
        self.used, self.columns, self.sql, self.constraints, self.after = set(), [], [], [], []
        self.exclusive_columns = []
        self.shape = self._one({"plain": 6, "partitions": 3, "inherits": 1})
        self.keyed = self._one({"pk": 8, "keyless": 3, "index": 1.5, "deferrable": 1.5})
        self.unlogged = "unlogged" in features and self.shape == "plain" and chooser.random() < 0.3
        self._make_columns(others)
        self._make_table()

    # Definition.

    def _one(self, weights):
        """A choice among those that the seed's features allow."""
        allowed = {name: weight for name, weight in weights.items()
                   if name in ("plain", "pk") or name in self.features}
        return self.chooser.choices(list(allowed), list(allowed.values()))[0]

    def _name(self):
        while True:
            name = self.chooser.choice(NAMES) if "names" in self.features and self.chooser.random() < 0.6 \
                else f"c{self.chooser.randrange(30)}"
            if name not in self.used:
                self.used.add(name)
                return name

    def _column(self, kind, **options):
        column = Column(self._name(), kind, **options)
        if (kind in ("text", "varchar(40)", "char(7)") or kind.endswith(".citext")) and "collations" in self.features \
                and self.chooser.random() < 0.4:
            column.collate = f" COLLATE {self.chooser.choice(COLLATIONS)}"
        self.columns.append(column)
        return column

    def _make_columns(self, others):
        chooser, kinds, features = self.chooser, self.kinds, self.features
        self.part = self._column(chooser.choice(["int", "int", "text"])) if self.shape == "partitions" else None
        width = chooser.choice([1, 1, 1, 2, 3])
        self.key = [self.part] if self.part else []
        while len(self.key) < width:
            self.key.append(self._column(chooser.choice(kinds.keys if "key_types" in features else ["int", "bigint", "text"])))
        for _ in range(chooser.randrange(0, 5)):
            self._column(chooser.choice(kinds.all if "types" in features else ["int", "text", "timestamptz"]))
        if "wide" in features and chooser.random() < 0.2:
            for number in range(140):
                self.columns.append(Column(f"w{number}", chooser.choice(["int", "text"])))
        if "toast" in features and chooser.random() < 0.4:
            self._column("text", mode="big")
        if "generated" in features and chooser.random() < 0.4 and self.shape != "inherits":
            self._column("int", mode="generated")
        if "identity" in features and chooser.random() < 0.5 and self.shape == "plain":
            self._column(chooser.choice(["bigint", "int"]), mode=chooser.choice(["always", "default"]))
        if "serial" in features and chooser.random() < 0.4:
            self._column("bigint", mode="default_sequence")
        if "references" in features and others and chooser.random() < 0.7:
            self._refer(others)
        self.loose = self._column("int") if chooser.random() < 0.8 else None
        self.twin = self._column("int") if "unique" in features and chooser.random() < 0.5 and self.shape == "plain" else None
        self.swap = chooser.random() < 0.5
        if "exclusion" in features and self.shape == "plain" and chooser.random() < 0.5:
            self.exclusive_columns = [self._column("int4range")]
        if "no_columns" in features and self.keyed == "keyless" and self.shape == "plain" and chooser.random() < 0.3:
            self.columns, self.key, self.loose, self.twin, self.exclusive_columns, self.after = [], [], None, None, [], []

    def _refer(self, others):
        """A foreign key to an earlier table of one key column, or to this one."""
        chooser = self.chooser
        candidates = [other for other in others if len(other.key) == 1 and other.keyed == "pk" and other.shape != "inherits"
                      and other.unlogged == self.unlogged]
        if len(self.key) == 1 and self.keyed == "pk" and self.shape == "plain":
            candidates.append(self)
        if not candidates:
            return
        target = chooser.choice(candidates)
        column = self._column(target.key[0].kind, mode="reference", target=target)
        column.collate = target.key[0].collate
        actions = ["CASCADE", "CASCADE", "SET NULL", "NO ACTION", "SET DEFAULT"]
        deferrable = chooser.choice(["", "", " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED"])
        self.after.append(
            f"ALTER TABLE {self.name} ADD FOREIGN KEY ({column.sql}) REFERENCES {target.name} ON DELETE "
            f"{chooser.choice(actions)} ON UPDATE {chooser.choice(actions)}{deferrable}")

    def _type(self, column):
        text = f"{column.sql} {column.kind}{column.collate}"
        if column.mode == "generated":
            loose = self.loose.sql if self.loose else "NULL::int"
            return text + f" GENERATED ALWAYS AS ({loose} % 1000 * 2) STORED"
        if column.mode in ("always", "default"):
            return text + f" GENERATED {'ALWAYS' if column.mode == 'always' else 'BY DEFAULT'} AS IDENTITY"
        if column.mode == "default_sequence":
            return text + " DEFAULT nextval('kit.loose')"
        if self.keyed == "index" and column in self.key:
            return text + " NOT NULL"
        return text

    def _make_table(self):
        chooser = self.chooser
        parts = [self._type(column) for column in self.columns]
        dropped = "dropped" in self.features and chooser.random() < 0.5
        if dropped:
            for number in range(chooser.randrange(1, 3)):
                parts.insert(chooser.randrange(len(parts) + 1), f"gone{number} text DEFAULT 'gone'")
        key = ", ".join(column.sql for column in self.key)
        if self.keyed in ("pk", "deferrable"):
            parts.append(f"PRIMARY KEY ({key})" + (" DEFERRABLE INITIALLY DEFERRED" if self.keyed == "deferrable" else ""))
        if self.twin:
            nulls = " NULLS NOT DISTINCT" if chooser.random() < 0.3 else ""
            parts.append(f"UNIQUE{nulls} ({self.twin.sql})" + chooser.choice(["", " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED"]))
        if self.exclusive_columns:
            parts.append(f"EXCLUDE USING gist ({self.exclusive_columns[0].sql} WITH &&)" + chooser.choice(["", " DEFERRABLE"]))
        if "checks" in self.features and self.loose and not self.part and chooser.random() < 0.5:
            parts.append(f"CHECK ({self.loose.sql} < 100000)")
        by = ""
        if self.part:
            self.by = chooser.choice(["RANGE", "LIST", "HASH"]) if self.part.kind == "int" else chooser.choice(["HASH", "LIST"])
            by = f" PARTITION BY {self.by} ({self.part.sql})"
        self.sql.append(f"CREATE {'UNLOGGED ' if self.unlogged else ''}TABLE {self.name} ({', '.join(parts)}){by}")
        if dropped:
            for number in range(2):
                self.sql.append(f"ALTER TABLE {self.name} DROP COLUMN IF EXISTS gone{number}")
        if self.part:
            self._make_partitions()
        if self.keyed == "index":
            self.sql.append(f"CREATE UNIQUE INDEX ON {self.name} ({key})")
        if self.shape == "inherits":
            primary = f", PRIMARY KEY ({key})" if self.keyed == "pk" else ""
            self.sql.append(f"CREATE TABLE {self._partition('child')} (extra text{primary}) INHERITS ({self.name})")
            if chooser.random() < 0.5:
                self.sql.append(f"CREATE TABLE {self._partition('grandchild')} (extra2 int) INHERITS ({self._partition('child')})")
        for column in self.columns:
            if column.mode == "big":
                self.sql.append(f"ALTER TABLE {self.name} ALTER {column.sql} SET STORAGE {chooser.choice(['EXTERNAL', 'EXTENDED', 'MAIN'])}")

    def _partition(self, suffix):
        return f"{quoted(self.schema)}.{quoted(self.label + '_' + suffix)}"

    def _bound(self, number):
        """The clause of partition 0 or 1; 2 is the rest."""
        if self.by == "HASH":
            return f"FOR VALUES WITH (MODULUS 3, REMAINDER {number})"
        if number == 2:
            return "DEFAULT"
        if self.by == "RANGE":
            return ["FOR VALUES FROM (MINVALUE) TO (4)", "FOR VALUES FROM (4) TO (8)"][number]
        if self.part.kind == "int":
            return ["FOR VALUES IN (0, 1, 2, 3)", "FOR VALUES IN (4, 5, NULL)" if self.keyed == "keyless" else "FOR VALUES IN (4, 5)"][number]
        return ["FOR VALUES IN ('0', '1', '2', '3')", "FOR VALUES IN ('4', '5')"][number]

    def _make_partitions(self):
        chooser = self.chooser
        for number in range(3):
            name = self._partition(f"p{number}")
            if "sub_partitions" in self.features and number == 0:
                self.sql.append(f"CREATE TABLE {name} PARTITION OF {self.name} {self._bound(number)} PARTITION BY HASH ({self.part.sql})")
                for sub in range(2):
                    self.sql.append(f"CREATE TABLE {self._partition(f'p0s{sub}')} PARTITION OF {name} FOR VALUES WITH (MODULUS 2, REMAINDER {sub})")
            elif "reordered" in self.features and number == 1 and chooser.random() < 0.7 and self.keyed != "index":
                # Attached later, with its columns in another order and a hole of its own.
                columns = [column for column in self.columns if column.mode != "generated"]
                chooser.shuffle(columns)
                made = [column for column in self.columns if column.mode == "generated"]
                parts = ["hole int"] + [self._type(c) + (" NOT NULL" if c in self.key and self.keyed in ("pk", "deferrable") else "")
                                        for c in columns + made]
                self.sql.append(f"CREATE TABLE {name} ({', '.join(parts)})")
                self.sql.append(f"ALTER TABLE {name} DROP COLUMN hole")
                self.sql.append(f"ALTER TABLE {self.name} ATTACH PARTITION {name} {self._bound(number)}")
            else:
                self.sql.append(f"CREATE TABLE {name} PARTITION OF {self.name} {self._bound(number)}")

    # What statements name.

    @property
    def relations(self):
        """The table and its parts, any of which a statement may name."""
        names = [self.name]
        if self.part:
            names += [self._partition("p0"), self._partition("p1"), self._partition("p2")]
            if "sub_partitions" in self.features:
                names += [self._partition("p0s0")]
        if self.shape == "inherits":
            names += [self._partition("child")] * 2
        return names

    def writable(self):
        return [column for column in self.columns if column.mode not in ("generated", "always")]

    def value(self, column, chooser, *, update=False):
        """A random value for a column, as an expression."""
        keyed = column in self.key
        if column.mode == "reference":
            if chooser.random() < 0.15:
                return "NULL"
            key = column.target.key[0].sql
            return (f"(SELECT {key} FROM {column.target.name} ORDER BY hashtext({key}::text || "
                    f"'{chooser.randrange(10)}') LIMIT 1)")
        if column.mode == "big":
            size = chooser.choice([1, 100, 400, 3000])
            return (f"(SELECT string_agg(md5(x::text || '{chooser.randrange(1000)}'), '') FROM generate_series(1, {size}) x)")
        if column.mode in ("default", "default_sequence") and not update and chooser.random() < 0.7:
            return "DEFAULT"
        if not (keyed and self.keyed != "keyless") and chooser.random() < 0.12:
            return "NULL"
        if column is self.part:
            return f"'{chooser.randrange(12)}'::{column.kind}"
        if column is self.twin:
            return str(chooser.randrange(60))
        if column in self.exclusive_columns:
            start = chooser.randrange(300)
            return f"int4range({start}, {start + chooser.randrange(1, 4)})"
        return self.kinds.value(column.kind if not column.kind == "int" else "integer", chooser, reach=16 if keyed else 400)

    def some(self, chooser, alias="r_"):
        """A condition that holds for some rows, whatever their types."""
        share = chooser.choice([2, 3, 5, 9, 20])
        return f"abs(hashtext(({alias})::text)) % {share} = {chooser.randrange(share)}"

