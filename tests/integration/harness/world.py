"""A schema that migrations trip over, and clients that use all of it."""

from pathlib import Path

from .load import WriteLoad

SCHEMA = (Path(__file__).parent / "world.sql").read_text()


class WorldLoad(WriteLoad):
    """Every step notes (worker, count) in ledger, in the same transaction as what it does. A
    second load on the same schema takes other numbers (`first`)."""

    def __init__(self, url, *, first=0, **options):
        self.first = first
        self.kinds = [getattr(Steps, name) for name in dir(Steps) if not name.startswith("_")]
        super().__init__(url, self._one, **options)

    def _one(self, connection, chooser, number, count):
        worker = self.first + number
        kind = chooser.choice(self.kinds)
        with connection.transaction():
            connection.execute("INSERT INTO ledger VALUES (%s, %s, %s)",
                               (worker, count, kind.__name__))
            kind(connection.execute, connection, chooser, worker)
        return worker, count

    def check_kept(self, *connections):
        """Every acknowledged step is on each of the given sides."""
        promised = {promise for list_ in self.acknowledged for promise in list_}
        for connection in connections:
            there = set(connection.execute("SELECT worker, count FROM public.ledger").fetchall())
            lost = sorted(promised - there)
            assert not lost, (f"{len(lost)} of {len(promised)} acknowledged writes are missing on "
                              f"port {connection.info.port} (seed {self.seed}): {lost[:5]}")


class Steps:
    """One unit of work each; names go into the ledger. No step may fail by design: rows that
    clients fight for are taken in one order or skipped."""

    def people_come(run, _connection, chooser, worker):
        run("INSERT INTO people (email, home, boss) SELECT %s || nextval('loose') || '@Example.org', "
            "ROW('st', 1)::place, (SELECT min(id) FROM people)", (f"P{worker}-",))
        if chooser.random() < 0.3:
            run("SELECT adopt(currval('people_id_seq'))")

    def people_go(run, _connection, chooser, worker):
        run("DELETE FROM people WHERE id IN (SELECT id FROM people WHERE email LIKE %s AND id > 3000 "
            "ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)", (f"p{worker}-%",))

    def moods(run, _connection, chooser, _worker):
        run("UPDATE good_people SET mood = 'bad', seen = now(), score = random() * 100 WHERE id = "
            "(SELECT id FROM people WHERE id = %s FOR UPDATE SKIP LOCKED)",
            (chooser.randrange(1, 3000),))
        run("UPDATE people SET mood = DEFAULT WHERE id = (SELECT id FROM people WHERE id = %s "
            "FOR UPDATE SKIP LOCKED)", (chooser.randrange(1, 3000),))

    def seats_swap(run, _connection, chooser, _worker):
        one, two = sorted(chooser.sample(range(1, 41), 2))
        run("SELECT FROM seats WHERE id IN (%s, %s) ORDER BY id FOR UPDATE", (one, two))
        run("UPDATE seats s SET holder = o.holder FROM seats o WHERE (s.id, o.id) IN "
            "((%s, %s), (%s, %s))", (one, two, two, one))
        run("UPDATE seats SET label = 'moving ' || id WHERE id = %s", (one,))
        run("UPDATE seats SET label = 'seat ' || id WHERE id = %s", (one,))

    def rooms_shift(run, _connection, chooser, _worker):
        one = chooser.randrange(1, 31)
        run("SELECT FROM rooms WHERE id = %s FOR UPDATE", (one,))
        run("DELETE FROM rooms WHERE id = %s", (one,))
        run("INSERT INTO rooms (id, during) VALUES (%s, int4range(%s, %s))",
            (one, one * 10, one * 10 + chooser.randrange(1, 10)))

    def odd_names(run, _connection, chooser, worker):
        run('INSERT INTO "Odd Names"."Table ""quoted""" VALUES (%s, %s, %s) ON CONFLICT '
            '("select", "Key One") DO UPDATE SET "Ünïcode \\ value" = EXCLUDED."Ünïcode \\ value" '
            '|| random()', (f"k{worker}", chooser.choice(["1", "1.0", "2.50"]), "wért"))

    def spellings(run, _connection, chooser, worker):
        run("INSERT INTO spelled VALUES (%s, random()) ON CONFLICT (word) DO UPDATE SET word = "
            "EXCLUDED.word, amount = EXCLUDED.amount",
            (chooser.choice(["word", "Word", "WORD"]) + str(worker),))

    def bags(run, _connection, chooser, worker):
        run("INSERT INTO bag VALUES (%s, NULL), (%s, NULL), (NULL, %s)",
            (worker, worker, str(chooser.randrange(3))))
        run("DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE a = %s LIMIT 1 FOR UPDATE "
            "SKIP LOCKED)", (chooser.randrange(7),))
        run("UPDATE bag SET b = b || 'x' WHERE ctid IN (SELECT ctid FROM bag WHERE b = '1' LIMIT 1 "
            "FOR UPDATE SKIP LOCKED)")

    def measured(run, _connection, chooser, worker):
        run("INSERT INTO measures (area, at, value) VALUES (%s, now() - random() * interval "
            "'900 days', random())", (chooser.choice(["north", "south", "east", "west"]),))
        run("UPDATE measures SET area = CASE area WHEN 'north' THEN 'south' ELSE 'north' END "
            "WHERE (area, at, id) IN (SELECT area, at, id FROM measures WHERE id %% 8 = %s AND "
            "random() < 0.01 LIMIT 1 FOR UPDATE SKIP LOCKED)", (worker,))

    def animals_grow(run, _connection, chooser, _worker):
        run("UPDATE animals SET name = name || '.' WHERE id IN (SELECT id FROM animals WHERE id = %s "
            "FOR UPDATE SKIP LOCKED)", (chooser.choice([3, 1003]),))

    def copied(run, connection, chooser, worker):
        with connection.cursor() as cursor, cursor.copy("COPY bag FROM STDIN") as copy:
            for number in range(chooser.randrange(1, 20)):
                copy.write_row((number, f"copy {worker}"))
        run("DELETE FROM bag WHERE b = %s", (f"copy {worker}",))

    def savepoints(run, connection, _chooser, worker):
        class Undone(Exception):
            pass
        try:
            with connection.transaction():
                run("INSERT INTO changes (what) VALUES ('never')")
                raise Undone
        except Undone:
            pass
        with connection.transaction():
            run("INSERT INTO changes (what) VALUES (%s)", (f"kept {worker}",))

    def merged(run, _connection, chooser, worker):
        run("MERGE INTO cache USING (SELECT %s AS key) n ON cache.key = n.key WHEN MATCHED THEN "
            "UPDATE SET value = random() WHEN NOT MATCHED THEN INSERT VALUES (n.key, '0')",
            (f"{worker}/{chooser.randrange(20)}",))

    def done_in_blocks(run, _connection, _chooser, _worker):
        run("DO $$ BEGIN INSERT INTO tasks (taken) SELECT NULL FROM generate_series(1, 2); "
            "PERFORM nextval('round'); END $$")

    def queued(run, _connection, _chooser, worker):
        run("WITH mine AS (SELECT id FROM tasks WHERE taken IS NULL ORDER BY id LIMIT 2 FOR UPDATE "
            "SKIP LOCKED), taken AS (UPDATE tasks SET taken = %s WHERE id IN (SELECT id FROM mine) "
            "RETURNING id) INSERT INTO changes (what) SELECT 'task ' || id FROM taken", (worker,))

    def widened(run, _connection, chooser, worker):
        run("UPDATE wide SET other = %s WHERE id = %s", (f"by {worker}", chooser.randrange(1, 21)))

    def visited(run, _connection, _chooser, _worker):
        run("INSERT INTO visits SELECT id, clock_timestamp(), 1.50 FROM pets WHERE owner <= 3000 "
            "ORDER BY random() LIMIT 1")

    def kept_exact(run, _connection, chooser, _worker):
        run("UPDATE kinds SET f8 = random(), b = decode(md5(random()::text), 'hex'), tz = "
            "clock_timestamp(), i = random() * interval '1 year' WHERE id = %s",
            (chooser.choice([1, 2, 3]),))
