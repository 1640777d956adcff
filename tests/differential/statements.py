"""Random statements over the tables of a seed. A step of a transaction is SQL, or one of

    {"savepoint": [step, ...], "end": "release" | "rollback"}
    {"as_tenant": [step, ...]}     as the role whom policies restrict
    {"alone": SQL}                 a CALL that commits by itself
    {"copy": SELECT, "into": "table (columns)", "with": options}   rows go out and come back by COPY
"""

from tables import quoted


class Statements:
    """What the sessions of a seed may do: tables with weights, and statements that features add."""

    def __init__(self, chooser, tables, features, special):
        self.tables, self.features, self.special = tables, features, special
        self.chooser = chooser

    def step(self, depth=0):
        chooser = self.chooser
        if "savepoints" in self.features and depth < 3 and chooser.random() < 0.15:
            return {"savepoint": [self.step(depth + 1) for _ in range(chooser.randrange(1, 4))],
                    "end": chooser.choice(["release", "release", "rollback"])}
        if self.special and chooser.random() < 0.25:
            step = chooser.choice(self.special)(chooser)
            if not (isinstance(step, dict) and "alone" in step and depth):
                return step
        table = chooser.choice(self.tables)
        kinds = {"insert": 6, "upsert": 2 if table.keyed in ("pk", "index") else 0, "update": 4, "key": 2, "touch": 1,
                 "delete": 2, "unique_swap": 2 if table.twin else 0, "truncate": 0.25 if "truncate" in self.features else 0,
                 "copy": 1 if "copy" in self.features else 0, "merge": 1 if "merge" in self.features and table.shape != "inherits" else 0,
                 "cte": 1 if "cte" in self.features else 0, "do": 0.7 if "do" in self.features else 0,
                 "cursor": 0.4 if "cursor" in self.features else 0, "many": 0.1 if "many" in self.features and "triggers" not in self.features else 0,
                 "select_into_itself": 0.7, "from": 0.7, "twice": 1 if table.key else 0}
        kind = chooser.choices(list(kinds), list(kinds.values()))[0]
        return getattr(self, "_" + kind)(table)

    # Parts of statements.

    def _names(self, columns):
        return ", ".join(column.sql for column in columns)

    def _some_columns(self, table):
        """Columns of an INSERT: all that can be written, or only those without which it cannot be."""
        columns = table.writable()
        if self.chooser.random() < 0.2:
            columns = [c for c in columns if c in table.key or c is table.part or self.chooser.random() < 0.6]
        return columns

    def _row(self, table, columns, *, update=False):
        return "(" + ", ".join(table.value(column, self.chooser, update=update) for column in columns) + ")"

    def _where(self, table):
        """`FROM`-side name and condition: any relation of the tree, ONLY now and then."""
        relation = self.chooser.choice(table.relations) if self.chooser.random() < 0.4 else table.name
        only = "ONLY " if table.shape == "inherits" and self.chooser.random() < 0.3 else ""
        return f"{only}{relation} r_", table.some(self.chooser)

    def _settable(self, table):
        keys = {id(column) for column in table.key}
        return [column for column in table.writable() if id(column) not in keys]

    # Statements.

    def _insert(self, table):
        columns = self._some_columns(table)
        if not columns:
            return f"INSERT INTO {table.name} DEFAULT VALUES"
        count = self.chooser.choice([1, 1, 1, 2, 3, 8])
        rows = ", ".join(self._row(table, columns) for _ in range(count))
        relation = self.chooser.choice(table.relations) if self.chooser.random() < 0.2 else table.name
        ignore = " ON CONFLICT DO NOTHING" if table.keyed != "deferrable" and self._arbitrates(table) and self.chooser.random() < 0.5 else ""
        returning = " RETURNING *" if self.chooser.random() < 0.2 else ""
        return f"INSERT INTO {relation} ({self._names(columns)}) VALUES {rows}{ignore}{returning}"

    @staticmethod
    def _arbitrates(table):
        """ON CONFLICT without a target takes no deferrable constraint."""
        return not table.twin and not table.exclusive_columns

    def _upsert(self, table):
        columns = table.writable()
        settable = self._settable(table)
        if not settable or table.exclusive_columns:
            return self._insert(table)
        chosen = self.chooser.choice(settable)
        value = f"EXCLUDED.{chosen.sql}" if self.chooser.random() < 0.7 else table.value(chosen, self.chooser, update=True)
        rows = ", ".join(self._row(table, columns) for _ in range(self.chooser.choice([1, 1, 2])))
        return (f"INSERT INTO {table.name} AS r_ ({self._names(columns)}) VALUES {rows} "
                f"ON CONFLICT ({self._names(table.key)}) DO UPDATE SET {chosen.sql} = {value}")

    def _update(self, table):
        settable = self._settable(table)
        if not settable:
            return self._key(table)
        relation, some = self._where(table)
        columns = self.chooser.sample(settable, min(len(settable), self.chooser.randrange(1, 4)))
        sets = ", ".join(f"{c.sql} = {table.value(c, self.chooser, update=True)}" for c in columns)
        return f"UPDATE {relation} SET {sets} WHERE {some}"

    def _key(self, table):
        """Keys and partition keys change; all of an integer key may shift at once."""
        if not table.key:
            return self._insert(table)
        relation, some = self._where(table)
        column = self.chooser.choice(table.key)
        if column.kind in ("int", "integer", "bigint") and self.chooser.random() < 0.5:
            change = self.chooser.choice(["{0} + 1", "-{0}", "{0} # 1", "11 - {0}"]).format("r_." + column.sql)
            some = "true" if self.chooser.random() < 0.5 else some
            return f"UPDATE {relation} SET {column.sql} = {change} WHERE {some}"
        return f"UPDATE {relation} SET {column.sql} = {table.value(column, self.chooser, update=True)} WHERE {some}"

    def _touch(self, table):
        """An UPDATE that changes nothing, or turns one spelling of a value into another."""
        if not table.writable():
            return self._insert(table)
        relation, some = self._where(table)
        column = self.chooser.choice(table.writable())
        return f"UPDATE {relation} SET {column.sql} = r_.{column.sql} WHERE {some}"

    def _delete(self, table):
        relation, some = self._where(table)
        if self.chooser.random() < 0.1:
            some = "true"
        return f"DELETE FROM {relation} WHERE {some}" + (" RETURNING *" if self.chooser.random() < 0.2 else "")

    def _unique_swap(self, table):
        twin = table.twin.sql
        one, two = self.chooser.sample(range(60), 2)
        return (f"UPDATE {table.name} SET {twin} = CASE {twin} WHEN {one} THEN {two} ELSE {one} END "
                f"WHERE {twin} IN ({one}, {two})" if self.chooser.random() < 0.5
                else f"UPDATE {table.name} SET {twin} = {twin} + 1 WHERE {twin} > {one}")

    def _twice(self, table):
        """Deleted and inserted again, with other values or another spelling of the key."""
        columns = table.writable()
        return {"savepoint": [f"DELETE FROM {table.name} r_ WHERE {table.some(self.chooser)}",
                              f"INSERT INTO {table.name} ({self._names(columns)}) VALUES {self._row(table, columns)}"],
                "end": "release"}

    def _truncate(self, table):
        only = "ONLY " if table.shape == "inherits" and self.chooser.random() < 0.5 else ""
        relation = self.chooser.choice(table.relations) if self.chooser.random() < 0.3 else table.name
        return (f"TRUNCATE {only}{relation}" + self.chooser.choice(["", " RESTART IDENTITY"])
                + self.chooser.choice(["", " CASCADE"]))

    def _copy(self, table):
        columns = self._some_columns(table)
        columns = [c for c in columns if c.mode not in ("default", "default_sequence")]
        if not columns:
            return self._insert(table)
        values = []
        for column in columns:
            value = table.value(column, self.chooser, update=True)
            if self.chooser.random() < 0.6 and column.mode == "plain" and column not in table.exclusive_columns \
                    and column is not table.part and column is not table.twin:
                value = table.kinds.series("integer" if column.kind == "int" else column.kind, "g_")
            values.append(value)
        start = self.chooser.randrange(400)
        return {"copy": f"SELECT {', '.join(values)} FROM generate_series({start}, {start + self.chooser.randrange(1, 6)}) g_",
                "into": f"{table.name} ({self._names(columns)})",
                "with": self.chooser.choice(["", "", "(FORMAT csv)", "(FORMAT binary)"])}

    def _merge(self, table):
        columns, settable = table.writable(), self._settable(table)
        keys = [c for c in table.key if c.kind == "int" or c.kind in table.kinds.keys and not table.kinds.foreign(c.kind)]
        if not keys or not settable:
            return self._insert(table)
        key = self.chooser.choice(keys)
        value = f"CAST({table.value(key, self.chooser, update=True)} AS {key.kind})"
        change = self.chooser.choice(settable if self.chooser.random() < 0.6 else table.writable())
        matched = (f"WHEN MATCHED AND {table.some(self.chooser)} THEN DELETE " if self.chooser.random() < 0.4 else "") + (
            f"WHEN MATCHED THEN UPDATE SET {change.sql} = {table.value(change, self.chooser, update=True)} "
            if self.chooser.random() < 0.8 else "")
        other = f"WHEN NOT MATCHED THEN INSERT ({self._names(columns)}) VALUES {self._row(table, columns)}" \
            if self.chooser.random() < 0.8 or not matched else ""
        return f"MERGE INTO {table.name} r_ USING (SELECT {value} AS key_) s_ ON r_.{key.sql} = s_.key_ {matched}{other}"

    def _cte(self, table):
        other = self.chooser.choice(self.tables)
        first = self._delete(table).replace(" RETURNING *", "") + " RETURNING 1 AS one_"
        columns = other.writable()
        if not columns:
            return self._insert(table)
        return (f"WITH gone_ AS ({first}), came_ AS (INSERT INTO {other.name} ({self._names(columns)}) "
                f"SELECT {self._row(other, columns, update=True)[1:-1]} FROM gone_ LIMIT 1 RETURNING 1) SELECT count(*) FROM came_")

    def _do(self, table):
        inner = self._plain(table)
        return (f"DO $do_$ BEGIN FOR turn_ IN 1..2 LOOP {inner}; END LOOP; "
                f"EXCEPTION WHEN unique_violation THEN {self._plain(table)}; END $do_$")

    def _plain(self, table):
        """A statement without a result."""
        return self.chooser.choice([self._update, self._delete, self._touch])(table).replace(" RETURNING *", "")

    def _cursor(self, table):
        settable = self._settable(table)
        if not settable or table.shape != "plain":
            return self._update(table)
        column = self.chooser.choice(settable)
        return {"savepoint": [f"DECLARE cur_ CURSOR FOR SELECT * FROM {table.name} r_ WHERE {table.some(self.chooser)} FOR UPDATE",
                              "FETCH 1 FROM cur_",
                              f"UPDATE {table.name} SET {column.sql} = {table.value(column, self.chooser, update=True)} WHERE CURRENT OF cur_",
                              "CLOSE cur_"], "end": "release"}

    def _many(self, table):
        """More rows than the mirror reads at once."""
        columns = [c for c in table.writable() if c.mode in ("plain", "default", "default_sequence")
                   and c not in table.exclusive_columns and c is not table.twin and c is not table.part]
        if table.part or len(columns) < len(table.key) or not columns or table.twin or table.exclusive_columns or table.keyed == "deferrable":
            return self._update(table)
        values = ", ".join(table.kinds.series("integer" if c.kind == "int" else c.kind, "g_") for c in columns)
        return (f"INSERT INTO {table.name} ({self._names(columns)}) SELECT {values} FROM generate_series(1000, 4500) g_ "
                "ON CONFLICT DO NOTHING")

    def _select_into_itself(self, table):
        columns = table.writable()
        if not columns:
            return self._insert(table)
        keys = {id(column) for column in table.key}
        values = ", ".join(table.value(c, self.chooser, update=True) if id(c) in keys or self.chooser.random() < 0.2 else f"r_.{c.sql}"
                           for c in columns)
        return (f"INSERT INTO {table.name} ({self._names(columns)}) SELECT {values} FROM {table.name} r_ "
                f"WHERE {table.some(self.chooser)} ORDER BY random() LIMIT 2")

    def _from(self, table):
        settable = self._settable(table)
        if not settable:
            return self._key(table)
        column = self.chooser.choice(settable)
        return (f"UPDATE {table.name} r_ SET {column.sql} = {table.value(column, self.chooser, update=True)} "
                f"FROM (SELECT {quoted('x')} FROM generate_series(1, 3) x) s_ WHERE {table.some(self.chooser)}")
