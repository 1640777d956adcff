"""What a schema has beyond tables: views, rules, triggers, functions, policies, sequences, odd indexes.

make() returns units of DDL (each can be left out when a plan is shrunk) and what writes through them:
functions that take the random chooser and give a step.
"""

from tables import quoted

FEATURES = {"triggers": 0.4, "always_triggers": 0.2, "deferred_triggers": 0.15, "functions": 0.4, "rules": 0.2, "views": 0.35,
            "row_security": 0.2, "sequences": 0.45, "indexes": 0.35, "cycle": 0.25, "materialized": 0.1, "superuser": 0.2,
            "time_checks": 0.1, "zero_update": 0.3}


def make(chooser, tables, features, kinds):
    units, special = [], []
    for name in sorted(FEATURES):
        if name in features and name in MAKERS:
            made, statements = MAKERS[name](chooser, tables)
            units += [unit for unit in made if unit]
            special += statements
    return units, special


def _plain_tables(tables):
    """Tables that every kind of object may hang on."""
    return [table for table in tables if table.columns]


AUDIT = ["CREATE TABLE IF NOT EXISTS app.audit (at timestamptz DEFAULT clock_timestamp(), what text, op text, depth int)",
         "CREATE TABLE IF NOT EXISTS app.totals (name text PRIMARY KEY, n bigint, last double precision)"]


def _triggers(chooser, tables):
    """Row triggers that change and write, statement triggers with transition tables."""
    units = [AUDIT + [
        "CREATE FUNCTION kit.note() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
        "INSERT INTO app.audit (what, op, depth) VALUES (TG_TABLE_NAME, TG_OP, pg_trigger_depth()); RETURN NULL; END $f$",
        "CREATE FUNCTION kit.count() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
        "INSERT INTO app.totals AS t VALUES (TG_TABLE_NAME, 1, random()) ON CONFLICT (name) DO UPDATE SET n = t.n + 1, last = random(); "
        "RETURN NULL; END $f$"]]
    for table in chooser.sample(tables, min(len(tables), 3)):
        made = []
        if chooser.random() < 0.6:
            made.append(f"CREATE TRIGGER note_ AFTER {chooser.choice(['INSERT', 'INSERT OR UPDATE', 'DELETE', 'INSERT OR UPDATE OR DELETE'])} "
                        f"ON {table.name} FOR EACH ROW EXECUTE FUNCTION kit.note()")
        if chooser.random() < 0.6:
            made.append(f"CREATE TRIGGER count_ {chooser.choice(['AFTER', 'BEFORE'])} {chooser.choice(['UPDATE', 'INSERT OR DELETE', 'TRUNCATE'])} "
                        f"ON {table.name} FOR EACH STATEMENT EXECUTE FUNCTION kit.count()")
        if table.loose and chooser.random() < 0.6:
            name = f"kit.change{table.number}"
            made += [f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
                     f"NEW.{table.loose.sql} := (random() * 1000)::int; RETURN NEW; END $f$",
                     f"CREATE TRIGGER change_ BEFORE INSERT OR UPDATE ON {table.name} FOR EACH ROW EXECUTE FUNCTION {name}()"]
        if table.shape == "plain" and table.columns and chooser.random() < 0.4:
            # A trigger that writes its own table, in the middle of the statement.
            name = f"kit.again{table.number}"
            column = chooser.choice(table.columns)
            change = f"UPDATE {table.name} r_ SET {column.sql} = r_.{column.sql} WHERE {table.some(chooser)}"
            if column.mode in ("generated", "always"):
                change = f"DELETE FROM {table.name} r_ WHERE {table.some(chooser)}"
            made += [f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
                     f"IF pg_trigger_depth() < 2 THEN {change}; END IF; RETURN NULL; END $f$",
                     f"CREATE TRIGGER again_ AFTER INSERT OR DELETE ON {table.name} FOR EACH ROW EXECUTE FUNCTION {name}()"]
        units.append(made)
    return units, []


def _always_triggers(chooser, tables):
    """Triggers that fire in replica mode, too: on the mirror they must not."""
    table = chooser.choice([t for t in tables if t.shape != "inherits"] or tables)
    mode = chooser.choice(["ALWAYS", "REPLICA"])
    return [AUDIT + [
        "CREATE FUNCTION kit.always() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
        "INSERT INTO app.audit (what, op) VALUES ('always', TG_OP); RETURN NULL; END $f$",
        f"CREATE TRIGGER always_ AFTER INSERT OR UPDATE OR DELETE ON {table.name} FOR EACH ROW EXECUTE FUNCTION kit.always()",
        f"ALTER TABLE {table.name} ENABLE {mode} TRIGGER always_"]], []


def _deferred_triggers(chooser, tables):
    table = chooser.choice(tables)
    return [AUDIT + [
        "CREATE FUNCTION kit.late() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
        "INSERT INTO app.totals AS t VALUES ('late', 1, 0) ON CONFLICT (name) DO UPDATE SET n = t.n + 1; RETURN NULL; END $f$",
        f"CREATE CONSTRAINT TRIGGER late_ AFTER INSERT OR UPDATE OR DELETE ON {table.name} DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION kit.late()"]], []


def _functions(chooser, tables):
    """SELECTs that write."""
    table = chooser.choice(_plain_tables(tables) or tables)
    units = [AUDIT + [
        f"CREATE FUNCTION kit.work(share int) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $f$ DECLARE n bigint; BEGIN "
        f"DELETE FROM {table.name} r_ WHERE abs(hashtext((r_)::text)) % share = 0; GET DIAGNOSTICS n = ROW_COUNT; "
        "INSERT INTO app.totals AS t VALUES ('work', n, random()) ON CONFLICT (name) DO UPDATE SET n = t.n + EXCLUDED.n; "
        "RETURN n; END $f$",
        "CREATE FUNCTION kit.say(what text) RETURNS text LANGUAGE sql VOLATILE AS "
        "$f$ INSERT INTO app.audit (what, op) VALUES (what, 'say') RETURNING what $f$",
        "CREATE PROCEDURE kit.steps(what text) LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO app.audit (what) VALUES (what); COMMIT; "
        "INSERT INTO app.audit (what) VALUES (what || ' again'); ROLLBACK; INSERT INTO app.audit (what) VALUES (what || ' last'); END $f$"]]
    return units, [lambda c: f"SELECT kit.work({c.randrange(3, 12)})", lambda c: f"SELECT kit.say('x{c.randrange(9)}') FROM generate_series(1, 2)",
                   lambda c: {"alone": f"CALL kit.steps('p{c.randrange(9)}')"},
                   lambda c: "SELECT * FROM app.totals, kit.say('from a join')"]


def _rules(chooser, tables):
    plain = [t for t in _plain_tables(tables) if t.shape == "plain" and t.loose]
    if not plain:
        return [], []
    table = chooser.choice(plain)
    event = chooser.choice(["INSERT", "UPDATE", "DELETE"])
    row = "OLD" if event == "DELETE" else "NEW"
    if chooser.random() < 0.7:
        rule = f"DO ALSO INSERT INTO app.audit (what, op, depth) VALUES ('rule', '{event}', {row}.{table.loose.sql})"
    else:
        # Rules act on what a foreign key does, too: instead of a CASCADE there is a row that refers to nothing.
        if any("FOREIGN KEY" in sql for sql in table.after):
            event = "INSERT"
            row = "NEW"
        rule = f"DO INSTEAD INSERT INTO app.audit (what, op) VALUES ('instead', '{event}')"
        event += f" TO {table.name} WHERE {row}.{table.loose.sql} % 3 = 0"
        return [AUDIT + [f"CREATE RULE rule_ AS ON {event} {rule}"]], []
    return [AUDIT + [f"CREATE RULE rule_ AS ON {event} TO {table.name} {rule}"]], []


def _views(chooser, tables):
    plain = [t for t in _plain_tables(tables) if t.loose]
    if not plain:
        return [], []
    table = chooser.choice(plain)
    view, other = f'app."view{table.number}"', f'app."instead{table.number}"'
    check = chooser.choice(["", " WITH CHECK OPTION", " WITH LOCAL CHECK OPTION"])
    units = [[f"CREATE VIEW {view} AS SELECT * FROM {table.name} WHERE {table.loose.sql} % 2 = 0 OR {table.loose.sql} IS NULL{check}"],
             AUDIT + [f"CREATE VIEW {other} AS SELECT {table.loose.sql} AS n, count(*) AS many FROM {table.name} GROUP BY 1",
                      f"CREATE FUNCTION kit.instead{table.number}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
                      f"DELETE FROM {table.name} r_ WHERE r_.{table.loose.sql} = OLD.n; "
                      "INSERT INTO app.audit (what, op) VALUES ('view', TG_OP); RETURN OLD; END $f$",
                      f"CREATE TRIGGER instead_ INSTEAD OF DELETE ON {other} FOR EACH ROW EXECUTE FUNCTION kit.instead{table.number}()"]]
    writable = table.writable()

    def insert(c):
        values = ", ".join(table.value(column, c) for column in writable)
        return f"INSERT INTO {view} ({', '.join(column.sql for column in writable)}) VALUES ({values})"
    return units, [insert, lambda c: f"UPDATE {view} SET {table.loose.sql} = {c.randrange(400) * 2} WHERE {table.loose.sql} % 3 = {c.randrange(3)}",
                   lambda c: f"DELETE FROM {view} WHERE {table.loose.sql} % 7 = {c.randrange(7)}",
                   lambda c: f"DELETE FROM {other} WHERE n % 5 = {c.randrange(5)}"]


def _row_security(chooser, tables):
    """Policies that show the tenant some of the rows; the owner sees all."""
    plain = [t for t in _plain_tables(tables) if t.loose]
    if not plain:
        return [], []
    table = chooser.choice(plain)
    units = [[f"ALTER TABLE {table.name} ENABLE ROW LEVEL SECURITY",
              f"CREATE POLICY some_ ON {table.name} TO tenant USING ({table.loose.sql} % 2 = 0) WITH CHECK ({table.loose.sql} % 2 = 0)"]]
    writable = table.writable()

    def insert(c):
        values = ", ".join(table.value(column, c) for column in writable)
        return {"as_tenant": [f"INSERT INTO {table.name} ({', '.join(column.sql for column in writable)}) VALUES ({values})"]}
    return units, [insert, lambda c: {"as_tenant": [f"UPDATE {table.name} SET {table.loose.sql} = {c.randrange(200) * 2}"]},
                   lambda c: {"as_tenant": [f"DELETE FROM {table.name} WHERE {table.loose.sql} % 3 = 0"]}]


def _sequences(chooser, tables):
    odd = ["INCREMENT -3 START -5", "MAXVALUE 20 CYCLE", "CACHE 7", "AS smallint START 32000 CACHE 3", "MINVALUE -10 START -10 INCREMENT 5",
           "INCREMENT 9223372036854775 START 1", "MINVALUE 5 MAXVALUE 9 START 7 CYCLE INCREMENT 2", "INCREMENT -1 MINVALUE -4 MAXVALUE 4 START 4 CYCLE CACHE 2"]
    names = [f"app.{quoted('seq ' + str(number))}" for number in range(3)]
    units = [[f"CREATE SEQUENCE {name} {chooser.choice(odd)}"] for name in names]
    units += [AUDIT + [f"CREATE TABLE app.numbered (id bigint DEFAULT nextval('{names[0]}'), other bigint DEFAULT nextval('{names[0]}'), "
                       "own serial, PRIMARY KEY (own))"]]

    def literal(c):
        return "'" + c.choice(names) + "'"
    return units, [lambda c: f"SELECT nextval({literal(c)})", lambda c: f"SELECT nextval({literal(c)}) FROM generate_series(1, {c.randrange(1, 9)})",
                   lambda c: "INSERT INTO app.numbered DEFAULT VALUES", lambda c: "DELETE FROM app.numbered WHERE own % 2 = 0",
                   lambda c: f"SELECT setval({literal(c)}, {c.randrange(-4, 20)}, {c.choice(['true', 'false'])})",
                   lambda c: {"savepoint": [f"SELECT nextval({literal(c)})"], "end": "rollback"},
                   lambda c: "TRUNCATE app.numbered RESTART IDENTITY"]


def _indexes(chooser, tables):
    """Only the catalog cares, and inserts that meet them."""
    units = []
    for table in _plain_tables(tables):
        if not table.loose:
            continue
        n = table.loose.sql
        units.append([chooser.choice([
            f"CREATE INDEX ON {table.name} ({n}) WHERE {n} > 5", f"CREATE INDEX ON {table.name} (({n} + 1), {n} DESC NULLS LAST)",
            f"CREATE INDEX ON {table.name} USING brin ({n})", f"CREATE INDEX ON {table.name} USING hash ({n})",
            f"CREATE INDEX ON {table.name} ({n}) INCLUDE ({table.columns[0].sql}) WITH (fillfactor = 70)",
            f"ALTER TABLE {table.name} SET (fillfactor = 50)", f"COMMENT ON TABLE {table.name} IS 'it''s a table'",
            f"ALTER TABLE {table.name} ALTER {n} SET STATISTICS 77", f"ALTER TABLE {table.name} REPLICA IDENTITY FULL"]
            if table.shape == "plain" else [f"CREATE INDEX ON {table.name} ({n})", f"COMMENT ON COLUMN {table.name}.{n} IS E'line\\nbreak'"])])
        if table.shape == "plain" and chooser.random() < 0.3:
            units.append([f"CREATE UNIQUE INDEX ON {table.name} ((md5({n}::text))) WHERE {n} > 300"])
    return units, []


def _cycle(chooser, tables):
    """Two tables that refer to each other; a row of one needs one of the other in the same transaction."""
    actions = [chooser.choice(["CASCADE", "NO ACTION", "SET NULL", "CASCADE"]) for _ in range(2)]
    units = [["CREATE TABLE app.man (id int PRIMARY KEY, wife int)",
              f"CREATE TABLE app.wife (id int PRIMARY KEY, man int NOT NULL REFERENCES app.man ON DELETE {actions[0] if actions[0] != 'SET NULL' else 'CASCADE'} "
              "ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED)",
              f"ALTER TABLE app.man ADD FOREIGN KEY (wife) REFERENCES app.wife ON DELETE {actions[1]} ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED"]]

    def both(c):
        one, two = c.randrange(30), c.randrange(30)
        return {"savepoint": [f"INSERT INTO app.man VALUES ({one}, {two})", f"INSERT INTO app.wife VALUES ({two}, {one})"], "end": "release"}
    return units, [both, both, lambda c: f"DELETE FROM app.man WHERE id % 4 = {c.randrange(4)}", lambda c: "UPDATE app.wife SET id = id + 100 WHERE id < 10",
                   lambda c: f"UPDATE app.man SET id = {c.randrange(30)} WHERE id = {c.randrange(30)}",
                   lambda c: {"savepoint": ["DELETE FROM app.man", "INSERT INTO app.man VALUES (1, NULL)"], "end": "release"}]


def _materialized(chooser, tables):
    table = chooser.choice(tables)
    return [[f"CREATE MATERIALIZED VIEW app.counted AS SELECT count(*) FROM {table.name}"]], [lambda c: "REFRESH MATERIALIZED VIEW app.counted"]


def _time_checks(chooser, tables):
    """A CHECK that holds when its row comes, and not for long."""
    return [["CREATE TABLE app.brief (id int PRIMARY KEY, until timestamptz CHECK (until > clock_timestamp()))"]], [
        lambda c: f"INSERT INTO app.brief VALUES ({c.randrange(99)}, clock_timestamp() + interval '{c.choice(['30 ms', '1 s', '1 day'])}') ON CONFLICT DO NOTHING",
        lambda c: f"DELETE FROM app.brief WHERE id % 3 = {c.randrange(3)}"]


def _zero_update(chooser, tables):
    """Statements that change no row, and rows that come and go within a transaction."""
    table = chooser.choice(tables)
    return [], [lambda c: f"DELETE FROM {table.name} WHERE false", lambda c: f"INSERT INTO {table.name} SELECT * FROM {table.name} WHERE false"
                if all(column.mode not in ("generated", "always") for column in table.columns) and table.columns else "SELECT 1"]


MAKERS = {"triggers": _triggers, "always_triggers": _always_triggers, "deferred_triggers": _deferred_triggers, "functions": _functions,
          "rules": _rules, "views": _views, "row_security": _row_security, "sequences": _sequences, "indexes": _indexes, "cycle": _cycle,
          "materialized": _materialized, "time_checks": _time_checks, "zero_update": _zero_update}
