"""The program `relay` (tests/tools/relay.cpp) as a process, and what its tests share."""

import os
import subprocess
import threading
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parents[2]
# The sessions' tests run in both modes: PGJANUS_POOL=transaction is the other one.
POOL = os.environ.get("PGJANUS_POOL")
TOOL = os.environ.get("PGJANUS_RELAY") or str(ROOT / "build" / "dev" / "tests" / "relay")


class Relay:
    """The program `relay`: sessions whose view is changed by commands."""

    def __init__(self, source_url, target_url, log_path, *options):
        self.log_path = log_path
        if POOL:
            options = (f"pool={POOL}", *options)
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                [TOOL, "127.0.0.1:0", source_url, target_url, "threads=2", "log=debug", *options],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        first = self.process.stdout.readline()
        assert first.startswith("ok listening"), f"{first}\n{self.log()}"
        self.port = int(first.rsplit(":", 1)[1])
        self.lock = threading.Lock()

    def tell(self, command):
        with self.lock:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().strip()
        assert answer.startswith("ok"), f"{command}: {answer}\n{self.log()}"
        return answer[3:]

    def url(self, password="app-secret", **options):
        parameters = "&".join(f"{key}={value}" for key, value in options.items())
        return f"postgresql://app:{password}@127.0.0.1:{self.port}/app?{parameters}"

    def connect(self, **options):
        options.setdefault("autocommit", True)
        return psycopg.connect(self.url(), **options)

    def number(self, name):
        words = self.tell("totals").split()
        return int(words[words.index(name) + 1])

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            assert self.process.wait(20) == 0, self.log()
        assert "app-secret" not in self.log()


def prepare(server):
    """A role and a database `app` with what the tests use."""
    server.owner_url = server.plain_owner()
    server.script("CREATE TABLE side (name text); CREATE TABLE t (id int primary key, v text);"
                  "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE SEQUENCE s; CREATE ROLE other;"
                  f"GRANT other TO app; INSERT INTO side VALUES ('{server.name}');"
                  "GRANT ALL ON ALL TABLES IN SCHEMA public TO app, other;"
                  "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app", "app")


def side(connection):
    return connection.execute("SELECT name FROM side").fetchone()[0]


def flip(relay, to="target"):
    """What a flip does to sessions, without databases that mirror."""
    relay.tell("hold")
    assert relay.tell("quiesce 5000") == "0"
    relay.tell(f"primary {to}")
    relay.tell("release")


class Later:
    """A call in a thread of its own."""

    def __init__(self, call):
        self.result = self.error = None
        self.thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self.thread.start()

    def _run(self, call):
        try:
            self.result = call()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self.error = error

    def running(self):
        return self.thread.is_alive()

    def value(self, limit=20):
        self.thread.join(limit)
        assert not self.thread.is_alive(), "still running"
        if self.error:
            raise self.error
        return self.result
