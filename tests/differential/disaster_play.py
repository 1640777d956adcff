"""Plays a seed of flips under disasters: rounds of clients and flips, each with a judgement."""

import random
import threading
import time
import traceback
from collections import Counter

import psycopg

import disaster_flips
import judge
import shop
from client import FENCED
from disaster_flips import Flip, verb_from
from harness import wait_until
from harness.wait import PATIENCE
from shoppers import Around, Book, Through, Watcher, Writer

# Makes the commits of decision and promotion last, so that kills meet the moments between them.
LATE = """
CREATE FUNCTION pgjanus.late() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER late AFTER UPDATE OF role ON pgjanus.state DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW WHEN (OLD.role IS DISTINCT FROM NEW.role) EXECUTE FUNCTION pgjanus.late();
ALTER TABLE pgjanus.state ENABLE ALWAYS TRIGGER late
"""
MISSED = "ddl_may_be_missed"


def plan_of(seed, rounds):
    """All chance of a seed, but for what clients do (each has its own, of the seed and its name)."""
    chance = random.Random(seed)
    return {"seed": seed, "superuser": chance.random() < 0.5, "wait": chance.choice(["60s", "2s"]), "early": chance.random() < 0.5,
            "pause": chance.choice([0.15, 0.4, 1.0]), "slow": chance.choice([0, 0, 0.03, 0.1, 0.25]),
            "options": {"target": chance.choice(["rds", "rds", "rds", "plain"]), "acknowledge": "both", "reads": "primary",
                        "pool": chance.choice(["session", "session", "transaction"])},
            "rounds": [{"writers": chance.choice([4, 5, 6]), "again": chance.random() < 0.3,
                        "flips": [disaster_flips.draw(chance) for _ in range(chance.choice([1, 2, 3]))]} for _ in range(rounds)]}


class Player:
    """One run of a plan. `found` are sentences, the kind before the first colon; `excused` says that they are all explained by DDL in the gap."""

    def __init__(self, arena, plan, *, gap=False):
        self.arena, self.plan, self.gap = arena, plan, gap
        self.found, self.classes, self.said, self.log = [], Counter(), [], ""
        self.book, self.lasts = Book(), 0.4

    def play(self):
        self.arena.servers["source"].execute(f"ALTER ROLE app {'' if self.plan['superuser'] else 'NO'}SUPERUSER")
        with self.arena.match(self.plan) as match:
            self.match = match
            match.pgjanus.environment["PGJANUS_ACKNOWLEDGE_WAIT"] = self.plan["wait"]
            try:
                self._begin()
                for number, each in enumerate(self.plan["rounds"]):
                    self._round(number, each)
                    if self.found:
                        break
            except (AssertionError, psycopg.Error, OSError):
                self.found.append(f"tester: {traceback.format_exc()}")
            finally:
                self.book.end.set()
                for server in match.servers.values():
                    server.thaw()
            self.found += self.book.unexplained()
            self.log = match.pgjanus.log()
            if MISSED in self.log:  # pgjanus cannot know whether anybody did; only with `gap` somebody may have.
                self._say(f"the log says {MISSED}")
            self.state = match.describe() if self.found else ""
        return not self.found

    def excused(self):
        """With --ddl-in-gap: the schema differs, or its rows, and the log says why."""
        kinds = {sentence.split(":")[0] for sentence in self.found}
        return self.gap and MISSED in self.log and kinds <= {"rows", "verify", "catalog", "sequences"}

    def _say(self, text):
        self.said.append(f"{time.time():.3f} {text}")

    # A round.

    def _begin(self):
        match, plan = self.match, self.plan
        with psycopg.connect(match.url("source"), autocommit=True) as connection:
            connection.execute(shop.SCHEMA)
        match.pgjanus.start()
        early = [Writer(match, self.book, f"early{number}", plan["seed"], number) for number in range(3 if plan["early"] else 0)]
        for client in early:
            client.start()
        match.pgjanus.do("prepare")
        match.pgjanus.do("load")
        self._stop(early)
        match.pgjanus.wait_in_sync()
        if plan["slow"]:
            for side in match.servers:
                with psycopg.connect(match.url(side), autocommit=True) as connection:
                    connection.execute(LATE.format(seconds=plan["slow"]))

    def _round(self, number, plan):
        match, book, seed = self.match, self.book, f"{self.plan['seed']}/{number}"
        book.end = threading.Event()
        clients = [Writer(match, book, f"writer{each}", seed, each) for each in range(plan["writers"])]
        clients += [Through(match, book, seed, self.plan["pause"]), Around(match, book, seed, self.plan["pause"]), Watcher(match, book)]
        for client in clients:
            client.start()
        try:
            book.end.wait(0.5)
            for event in plan["flips"]:
                self._flip(event)
                if self.found:
                    break
                book.end.wait(event["rest"])
        finally:
            self._stop(clients)
        if not self.found:
            self._judge()
        if not self.found:
            self._last_flip()
        if not self.found and plan["again"]:
            self._judge()
        self._say(f"round {number}: {len(book.acknowledged)} acknowledged so far, {len(book.defined)} times the schema was changed, "
                  f"the slowest {book.slowest[0]:.1f} s, a flip {self.lasts * 1000:.0f} ms")

    def _stop(self, clients):
        self.book.end.set()
        for client in clients:
            client.join(45 * PATIENCE)
            if client.is_alive():
                self.found.append(f"hang: {client.name} goes on long after the end; {self.match.describe()}")
        if clients:
            self.book.end = threading.Event()

    def _flip(self, event):
        try:
            self.match.pgjanus.wait_in_sync(5)
        except AssertionError:
            pass  # Under DDL all the time it may not be; the flip waits, or is refused.
        flip = Flip(self.match, self.book, event, slow=self.plan["slow"], lasts=self.lasts, gap=self.gap)
        outcome = flip.play()
        self.lasts = flip.lasts
        self.classes[outcome] += 1
        self.found += flip.found
        self._say(f"from {flip.began:.3f}, {flip.ended - flip.began:.1f} s: {outcome}"
                  + (", then in sync only once DDL paused" if flip.needed_quiet else ""))

    # Judgement. Nobody writes.

    def _connections(self):
        self.book.primary = self.match.find_primary()
        return self.match.superuser(self.match.primary), self.match.superuser(self.match.mirror())

    def _same_rows(self, primary, mirror):
        differ = []

        def same():
            differ[:] = judge.rows_differ(primary, mirror)
            return not differ
        try:
            wait_until(same, 12, every=0.2)
        except AssertionError:
            self.found.append(f"rows: differ while in sync (left: {self.match.primary}): {differ}")
        return not differ

    def _judge(self):
        if not self._in_sync():
            return
        primary, mirror = self._connections()
        with primary, mirror:
            same = self._same_rows(primary, mirror)
            for side, connection in ((self.match.primary, primary), (self.match.mirror(), mirror)):
                there = {token for token, in connection.execute("SELECT token FROM public.ledger")}
                lost = [told for token, told in self.book.acknowledged.items() if token not in there]
                if lost:
                    self.found.append(f"lost: {len(lost)} acknowledged transactions on the {side}: {lost[:4]}")
        verified = self.match.pgjanus.cli("verify")
        if (verified.code == 0) != same:
            self.found.append(f"verify: {verified} against rows that are {'equal' if same else 'different'}")
        self._fence()

    def _in_sync(self):
        try:
            self.match.pgjanus.wait_in_sync(30)
            return True
        except AssertionError as error:
            self.found.append(f"not in sync: {error}")
            return False

    def _fence(self):
        """Whoever goes to the mirror by mistake is refused. A serial's number may be taken there: 23505, refused all the same."""
        with psycopg.connect(self.match.url(self.match.mirror()), autocommit=True) as connection:
            for sql in shop.DIRECT_WRITES:
                try:
                    connection.execute(sql)
                    self.found.append(f"fence: the mirror ({self.match.mirror()}) took {sql}")
                except psycopg.Error as error:
                    if error.sqlstate not in FENCED | {"23505"}:
                        self.found.append(f"fence: {sql}: {error.sqlstate} {error}")

    def _last_flip(self):
        """A flip with nobody there: after it sequences are the same, and the new primary's catalog is what the old one's was."""
        primary, mirror = self._connections()
        with primary, mirror:
            self._wait_for_foreign_keys(primary)
            before = self.match.primary
            golden = judge.catalog(self.match.servers[before], self.match.database)
            if not self._flip_at_last(before):
                return
            after = self.match.find_primary()
            if after == before:
                self.found.append("flip: it succeeded, and the primary is the same")
                return
            self.found += [f"sequences: differ after a flip to the {after}: {each}" for each in judge.sequences_differ(mirror, primary)]
            self._same_catalog(golden, after)
            self._same_rows(mirror, primary)
        self.book.primary = after

    def _wait_for_foreign_keys(self, primary):
        query = "SELECT 1 FROM pgjanus.kept WHERE kind = 'foreign key' LIMIT 1"
        try:
            wait_until(lambda: not primary.execute(query).fetchone(), 25)
        except AssertionError:
            self.found.append(f"catalog: foreign keys do not come back on the {self.match.primary}")

    def _flip_at_last(self, primary):
        for _ in range(4):
            outcome = self.match.pgjanus.cli(verb_from(primary), "--force", "--wait", "5s", "--timeout", "10s")
            if outcome.code == 0:
                return True
            self._say(f"the last flip: {' '.join(str(outcome).split())[:300]}")
            if not self._in_sync():
                return False
        self.found.append(f"flip: with nobody there it does not go through: {outcome}")
        return False

    def _same_catalog(self, golden, side):
        differ = []

        def same():
            differ[:] = judge.catalogs_differ(golden, judge.catalog(self.match.servers[side], self.match.database))
            return not differ
        try:
            wait_until(same, 20, every=0.3)
        except AssertionError:
            self.found.append(f"catalog: the {side}'s is not what the old primary's was:\n" + "\n".join(differ)[:3000])
