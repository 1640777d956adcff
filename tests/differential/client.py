"""One session of a plan: its transactions, and what an app would take from a database meanwhile."""

import threading
import time

import psycopg

from arena import TENANT

LOST = {None, "57P01", "57P02", "57P03", "08006", "08003", "08001", "08007", "08004", "53300"}
FENCED = {"25006", "2200H"}
MISSING = {"42P01", "42703", "42704", "3F000", "42883", "34000", "25P02", "3B001"}  # Of a plan that was cut down.


class Failure(Exception):
    """What a run of a plan found; the first line says which kind."""

class Session(threading.Thread):
    """Runs the transactions of one session of the plan, one after the other, whatever happens."""

    def __init__(self, player, plan):
        super().__init__(daemon=True)
        self.player, self.plan, self.log, self.bugs = player, plan, [], []
        self.in_doubt = []  # How transactions end whose PREPARE was not answered.
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
        for end in self.in_doubt:  # The server may have been slower with it than we were.
            self._end_prepared(end)
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
            end = f"{transaction['end'].upper()} PREPARED '{name}'"
            try:
                run(f"PREPARE TRANSACTION '{name}'")
            except psycopg.Error as error:
                if self.connection.closed or error.sqlstate in LOST:  # It may stand, and hold up everybody.
                    self.in_doubt.append(end)
                    self._end_prepared(end)
                raise
            self._end_prepared(end)
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
