"""Plays a plan: sessions, what happens to the servers meanwhile, and the judgement."""

import threading

import psycopg

import events
import judge
from arena import TENANT
from client import FENCED, Failure, Session
from harness import wait_until

# What apps are told about their own mistakes; whoever writes by chance makes all of them.
REFUSED_CLASSES = ("21", "22", "23", "44")
REFUSED = {"40001", "40P01", "55000", "55006", "55P03", "57014", "P0001", "24000"}
# Whoever changes the schema by chance, and whoever meets it.
DEFINED = {"42P01", "42703", "42P07", "42701", "42704", "42710", "42P16", "42809", "2BP01", "42P17", "42804", "42883", "3F000", "42P06", "42830",
           "0A000", "42601", "42611", "428C9", "42846", "42P10"}
CONCURRENT = ("tuple concurrently", "cache lookup failed", "could not open relation")


class Stalled(BaseException):
    """Not an Exception: wait_until must not take it for "not yet"."""


class Player:
    """One run of one plan. play() returns statistics or raises Failure."""

    def __init__(self, arena, plan, *, lenient=False):
        self.arena, self.plan, self.lenient = arena, plan, lenient
        self.end, self.disrupted = threading.Event(), False
        self._lock, self.done, self.total = threading.Condition(), 0, 0
        self.sessions, self.happened, self.log = [], [], ""

    def forgiven(self, error):
        """An app's own mistake, which it would have made without pgjanus."""
        state = error.sqlstate
        if "ddl" in self.plan["features"] and (state in DEFINED or (state == "XX000" and any(words in str(error) for words in CONCURRENT))):
            return True
        if state in REFUSED or (state and state[:2] in REFUSED_CLASSES and state not in FENCED):
            return True
        if state == "0A000":
            return "cannot truncate a table referenced" in str(error) or "moving row to another partition" in str(error) or "rules" in self.plan["features"]
        if state == "42601" and "RETURNING must have" in str(error):  # Of a table without columns.
            return True
        if (state == "42883" and "no binary" in str(error)) or "malformed tsquery" in str(error):  # An empty one, in binary COPY.
            return True
        return state == "42501" and "row_security" in self.plan["features"]

    def advance(self, steps=1):
        with self._lock:
            self.done += steps
            self._lock.notify_all()

    def wait_for(self, count, limit=60):
        """Until so many transactions of this phase have been played."""
        with self._lock:
            if not self._lock.wait_for(lambda: self.done >= min(count, self.total), limit):
                raise Failure(f"hang: {self.done} of {self.total} transactions after {limit} s\n{self._activity()}")

    def play(self):
        with self.arena.match(self.plan) as match:
            self.match = match
            try:
                self._make_schema()
                for number, phase in enumerate(self.plan["phases"]):
                    self._phase(phase, first=number == 0)
                self._final_flips()
                if self.plan["options"].get("finish"):
                    self._finish()
            except Failure as failure:
                raise Failure(f"{failure}\n--- events: {self.happened}\n{match.describe()}") from None
            except (AssertionError, psycopg.Error) as error:
                raise Failure(f"{type(error).__name__}: {error}\n--- events: {self.happened}\n{match.describe()}") from None
            finally:
                self.log = match.pgjanus.log()
                self.end.set()
                match.pgjanus.kill9()
                for session in self.sessions:
                    session.join(10)

    def _make_schema(self):
        match = self.match
        with psycopg.connect(match.url("source"), autocommit=True) as connection:
            for unit in self.plan["schema"]:
                for statement in unit:
                    try:
                        connection.execute(statement)
                    except psycopg.Error as error:
                        if not self.lenient:
                            raise Failure(f"generator: {statement}: {error}") from None
            self._grant("source")
            for statement in self.plan["fill"]:
                try:
                    connection.execute(statement)
                except psycopg.Error as error:
                    if not self.lenient and not self.forgiven(error):
                        raise Failure(f"generator: {statement}: {error}") from None
        self.golden = judge.catalog(match.servers["source"], match.database)

    def _grant(self, side):
        """The rights of the policies' and rules' role (a rule acts as its table's owner), which stay behind as all rights do."""
        if self.plan["options"].get("grants"):
            with self.match.superuser(side) as connection:
                for schema in ("app", '"Odd Schema"', "kit", "public"):
                    connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {TENANT}")
                    connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {TENANT}")
                    connection.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {TENANT}")

    def _start_mirroring(self):
        for verb in ("PREPARE", "LOAD"):
            killed = self.plan["options"].get("killed", {}).get(verb.lower())
            if killed:
                self.disrupted = True
                running = self.match.pgjanus.cli_process(verb.lower())
                self.end.wait(killed)
                self.match.pgjanus.restart()
                running.communicate(timeout=30)
            outcome = self.match.command(verb)
            if outcome:
                raise Failure(f"{verb}: {outcome}")
        self._grant("target")

    def _phase(self, phase, first):
        self.done, self.total = 0, sum(len(session["transactions"]) for session in phase["sessions"])
        if first:
            self.match.pgjanus.start()
        if first and not phase["early"]:
            self._start_mirroring()
        current = [Session(self, session) for session in phase["sessions"]]
        self.sessions += current
        for session in current:
            session.start()
        if first and phase["early"]:
            self._start_mirroring()
        for event in phase["events"]:
            self.wait_for(int(event["after"] * self.total))
            self.happened.append((event["do"], self.done, events.happen(self, event)))
        self.wait_for(self.total)
        for session in current:
            session.join(20)
        self._settle()
        self._judge_sessions(current)
        self._judge_rows("after a phase")
        if phase["flip"]:
            self._flip_now()

    def _settle(self):
        """All writers have ended: what is prepared is ended too, and the mirror catches up."""
        side = self.match.find_primary()
        with self.match.superuser(side) as connection:
            for name, in connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").fetchall():
                connection.execute(f"{name.rsplit('-', 1)[1].upper()} PREPARED '{name}'")
        self.wait_in_sync()

    def wait_in_sync(self):
        def in_sync():
            state = self.match.status()["mirror"]
            if state["state"] == "stalled" and state["error"]:
                raise Stalled(state["error"])
            return state["state"] == "in_sync"
        try:
            wait_until(in_sync, 25, "the mirror to be in sync", every=0.01)
        except Stalled as error:
            raise Failure(f"stalled: {error}") from None
        except AssertionError as error:
            raise Failure(f"not in sync: {error}") from None

    def _judge_sessions(self, sessions):
        for session in sessions:
            if session.broken:
                raise Failure(f"session: {session.broken}")
            if session.bugs:
                raise Failure(f"client error: {session.bugs[:3]} of {session.plan['route']}")
        if any(name == "kill_primary" for name, *_ in self.happened):
            return  # synchronous_commit = off may be among the settings.
        with self.match.superuser(self.match.primary) as connection:
            there = set(connection.execute("SELECT session, number FROM public.ledger").fetchall())
        lost = [entry for session in self.sessions for entry in session.acknowledged if entry not in there]
        if lost:
            raise Failure(f"lost: {lost} acknowledged, and not on the primary")

    def _judge_rows(self, when, limit=8):
        """The mirror may be on its way for writers that waited for nothing; not for long."""
        match, found = self.match, []
        with match.superuser(match.primary) as primary, match.superuser(match.mirror()) as mirror:
            def equal():
                found[:] = judge.rows_differ(primary, mirror)
                return not found
            try:
                wait_until(equal, limit, "equal rows", every=0.02)
            except AssertionError as error:
                self.wait_in_sync()  # Says it better when the mirror stands.
                raise Failure(f"rows differ {when}: left: {match.primary}\n" + ("\n".join(found) or str(error))) from None

    def _flip_now(self):
        """Nobody writes: the flip must succeed, and everything be equal."""
        match = self.match
        verb = "CUTOVER" if match.primary == "source" else "CUTOVER TO SOURCE"
        outcome = None
        for _ in range(3):  # It may find out just then that a server was started anew, and refuse or undo itself.
            outcome = match.command(f"{verb} WAIT '5s' TIMEOUT '10s' FORCE")
            if not outcome or ("undone" not in outcome and "guard in_sync" not in outcome):
                break
            self.wait_in_sync()
        if outcome:
            raise Failure(f"flip: {verb} with nobody there: {outcome}")
        match.find_primary()
        with match.superuser(match.primary) as primary, match.superuser(match.mirror()) as mirror:
            found = judge.sequences_differ(primary, mirror)
        if found:
            raise Failure(f"sequences differ after {verb} (left: {match.primary}):\n" + "\n".join(found))
        self._judge_rows(f"after {verb}")

    def _final_flips(self):
        """The other side is primary once more, with the schema as it was made; and this one again, where
        no phase has done so."""
        if "ddl" in self.plan["features"]:
            with self.match.superuser(self.match.primary) as connection:  # Constraints come back NOT VALID after a flip, and are validated then.
                wait_until(lambda: not connection.execute("SELECT 1 FROM pgjanus.kept WHERE kind = 'foreign key' LIMIT 1").fetchone(), 20, "constraints to be validated")
            self.golden = judge.catalog(self.match.servers[self.match.primary], self.match.database)
        for _ in range(1 if any(phase["flip"] for phase in self.plan["phases"]) else 2):
            self._flip_now()
            server, found = self.match.servers[self.match.primary], []

            def same(server=server, found=found):
                found[:] = judge.catalogs_differ(self.golden, judge.catalog(server, self.match.database))
                return not found
            try:
                wait_until(same, 10, "the catalog", every=0.1)
            except AssertionError:
                raise Failure(f"catalog of {self.match.primary} differs:\n" + "\n".join(found)) from None

    def _finish(self):
        """Nothing of pgjanus is left in the app's way."""
        outcome = self.match.command(f"FINISH CONFIRM '{self.match.database}'")
        if outcome and "brief_until_check" in outcome:
            return  # Refused as it should be: a CHECK of the moment, which rows break by now, came back NOT VALID.
        if outcome:
            raise Failure(f"finish: {outcome}")
        with self.match.superuser(self.match.primary) as connection:
            left = connection.execute("SELECT tgrelid::regclass::text, tgname FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid "
                                      "WHERE pronamespace = 'pgjanus'::regnamespace").fetchall()
        found = judge.catalogs_differ(self.golden, judge.catalog(self.match.servers[self.match.primary], self.match.database))
        if left or found:
            raise Failure(f"finish left something: {left}\n" + "\n".join(found))

    def _activity(self):
        lines = []
        for side in ("source", "target"):
            try:
                with self.match.superuser(side, connect_timeout=3) as connection:
                    lines += [f"{side}: {row}" for row in connection.execute(
                        "SELECT pid, application_name, state, wait_event_type, wait_event, pg_blocking_pids(pid), left(query, 100) "
                        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").fetchall()]
            except psycopg.Error as error:
                lines.append(f"{side}: {error}")
        return "\n".join(lines)
