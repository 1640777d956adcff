"""Plays a plan: sessions as threads, what happens to the servers meanwhile, and the judgement."""

import threading
import time

import psycopg

import events
import judge
from arena import TENANT
from harness import wait_until

# What apps are told about their own mistakes; whoever writes by chance makes all of them.
REFUSED_CLASSES = ("21", "22", "23", "44")
REFUSED = {"40001", "40P01", "55000", "55006", "55P03", "57014", "P0001", "24000"}
LOST = {None, "57P01", "57P02", "57P03", "08006", "08003", "08001", "08007", "08004", "53300"}
FENCED = {"25006", "2200H"}
# Whoever changes the schema by chance, and whoever meets it.
DEFINED = {"42P01", "42703", "42P07", "42701", "42704", "42710", "42P16", "42809", "2BP01", "42P17", "42804", "42883", "3F000", "42P06", "42830",
           "0A000", "42611", "428C9", "42846", "42P10"}
CONCURRENT = ("tuple concurrently", "cache lookup failed", "could not open relation")
MISSING = {"42P01", "42703", "42704", "3F000", "42883", "34000", "25P02", "3B001"}  # Of a plan that was cut down.


class Failure(Exception):
    """What a run of a plan found; the first line says which kind."""


class Stalled(BaseException):
    """Not an Exception: wait_until must not take it for "not yet"."""


class Session(threading.Thread):
    """Runs the transactions of one session of the plan, one after the other, whatever happens."""

    def __init__(self, player, plan):
        super().__init__(daemon=True)
        self.player, self.plan, self.log, self.bugs = player, plan, [], []
        self.acknowledged, self.connection, self.broken = [], None, None

    def run(self):
        try:
            for transaction in self.plan["transactions"]:
                if self.player.end.is_set():
                    break
                self._once(transaction)
                self.player.advance()
            if self.connection:
                self.connection.close()
        except Exception as error:  # noqa: BLE001 - a bug of the tester, or what it cannot explain
            self.broken = f"session {self.plan['number']}: {type(error).__name__}: {error}"
            self.player.advance(len(self.plan["transactions"]))

    def _connect(self):
        if self.connection is not None and not self.connection.closed:
            return
        route, match = self.plan["route"], self.player.match
        deadline = time.monotonic() + 30
        while True:
            try:
                if route == "superuser":
                    self.connection = match.superuser(match.primary, connect_timeout=10)
                else:
                    url = match.pgjanus.url if route == "proxy" else match.url(match.primary)
                    self.connection = psycopg.connect(url, autocommit=True, connect_timeout=10)
                if self.plan.get("prepare"):
                    self.connection.prepare_threshold = 0
                for setting in self.plan["set"]:
                    self.connection.execute(setting)
                return
            except psycopg.Error as error:
                if time.monotonic() > deadline or not self.player.disrupted:
                    raise Failure(f"cannot connect: {error}") from None
                self.player.end.wait(0.05)

    def _once(self, transaction):
        self._connect()
        entry = {"session": self.plan["number"], "transaction": transaction["number"], "outcome": "?"}
        self.log.append(entry)
        try:
            self._play(transaction)
            entry["outcome"] = transaction["end"]
            if transaction["ledger"] and transaction["end"] == "commit":
                self.acknowledged.append((self.plan["number"], transaction["number"]))
                self._read_it(entry)
        except psycopg.Error as error:
            entry["outcome"] = f"{error.sqlstate}: {str(error).strip()[:400]}"
            if not self._expected(error):
                self.bugs.append(entry)
            self._recover(error)

    def _read_it(self, entry):
        """Wherever reads go, a session sees what it wrote."""
        if self.plan["route"] == "proxy":
            seen = self.connection.execute(f"SELECT count(*) FROM public.ledger WHERE session = {entry['session']} "
                                           f"AND number = {entry['transaction']}").fetchone()[0]
            if seen != 1:
                self.bugs.append(entry | {"outcome": "its own write is not there to be read"})

    def _expected(self, error):
        state = error.sqlstate
        if self.player.forgiven(error):
            return True
        if state in LOST:
            return self.player.disrupted
        if state in FENCED:
            return self.plan["route"] != "proxy" or state == "2200H"
        return self.player.lenient and state in MISSING

    def _recover(self, error):
        lost = self.connection.closed or error.sqlstate in LOST
        fenced = error.sqlstate in FENCED and self.plan["route"] != "proxy"
        if not lost:
            try:
                self.connection.execute("ROLLBACK")
            except psycopg.Error:
                lost = True
        if lost or fenced:
            self.connection.close()

    def _play(self, transaction):
        run = self.connection.execute
        if transaction["mode"] == "auto":
            self._step(transaction["steps"][0])
            return
        run(f"BEGIN ISOLATION LEVEL {transaction['isolation']}")
        for step in transaction["steps"]:
            self._step(step)
        if transaction["ledger"]:
            run(f"INSERT INTO public.ledger VALUES ({self.plan['number']}, {transaction['number']})")
        if transaction["mode"] == "two_phase":
            name = f"{self.player.match.database}-{self.plan['number']}-{transaction['number']}-{transaction['end']}"
            run(f"PREPARE TRANSACTION '{name}'")
            self._end_prepared(f"{transaction['end'].upper()} PREPARED '{name}'")
        else:
            run(transaction["end"].upper())

    def _end_prepared(self, command):
        """As a transaction manager does: again, until it is done or was."""
        for _ in range(20):
            try:
                self._connect()
                self.connection.execute(command)
                return
            except psycopg.Error as error:
                if error.sqlstate == "42704":
                    return
                if error.sqlstate not in LOST | FENCED:
                    raise
                self.connection.close()

    def _step(self, step):
        run = self.connection.execute
        if isinstance(step, str):
            run(step)
        elif "copy" in step:
            out = f"COPY ({step['copy']}) TO STDOUT {step['with']}"
            with self.connection.cursor() as cursor:
                with cursor.copy(out) as copy:
                    data = b"".join(bytes(block) for block in copy)
                with cursor.copy(f"COPY {step['into']} FROM STDIN {step['with']}") as copy:
                    copy.write(data)
        elif "alone" in step:
            run(step["alone"])
        elif "as_tenant" in step:
            run(f"SET LOCAL ROLE {TENANT}")
            for inner in step["as_tenant"]:
                self._step(inner)
            run("RESET ROLE")
        else:
            self._savepoint(step)

    def _savepoint(self, step):
        if self.connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            for inner in step["savepoint"]:
                self._step(inner)
            return
        run = self.connection.execute
        run("SAVEPOINT here")
        try:
            for inner in step["savepoint"]:
                self._step(inner)
            run("ROLLBACK TO here" if step["end"] == "rollback" else "RELEASE here")
        except psycopg.Error as error:
            if self.connection.closed or error.sqlstate in LOST or not self._expected(error):
                raise
            self.log.append({"session": self.plan["number"], "savepoint": str(error).strip()[:200]})
            run("ROLLBACK TO here")


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
        if state == "42883" and "no binary" in str(error):
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
