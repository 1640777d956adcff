"""Two servers that stay, and for each seed fresh databases with a pgjanus between them."""

import base64
import hashlib
import hmac
import json
import shutil
import sys
import tempfile
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

from harness import ClusterFactory, Pgjanus, wait_until  # noqa: E402

SETTINGS = {"deadlock_timeout": "'100ms'", "autovacuum_naptime": "'30s'", "max_prepared_transactions": "40",
            "max_wal_senders": "0", "wal_level": "minimal", "checkpoint_timeout": "'30min'", "log_statement": "'none'",
            "log_lock_waits": "off", "jit": "off"}
TENANT = "tenant"
PASSWORD = "app-secret"


def cheap_verifier(password):
    """What Postgres stores of a SCRAM password, of one round of hashing: a seed logs in some hundred times (RFC 5802, section 3)."""
    def mac(key, text):
        return hmac.new(key, text, hashlib.sha256).digest()

    salt = b"sixteen bytes..."
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    parts = (salt, hashlib.sha256(mac(salted, b"Client Key")).digest(), mac(salted, b"Server Key"))
    return "SCRAM-SHA-256$1:{}${}:{}".format(*(base64.b64encode(part).decode() for part in parts))


class Arena:
    """The servers. Roles: app on either side merely owns its tables on the source; on the target it has
    what rds_superuser has, app_plain has not; tenant is somebody whom policies let see little."""

    def __init__(self, **settings):
        self.directory = Path(tempfile.mkdtemp(prefix="pgjanus-d-"))
        self.directory.chmod(0o755)
        self.factory = ClusterFactory(self.directory)
        self.servers = {side: self.factory.make(side, settings=SETTINGS | settings) for side in ("source", "target")}
        self.count = 0
        verifier = cheap_verifier(PASSWORD)
        for side, server in self.servers.items():
            server.execute(f"CREATE ROLE app LOGIN PASSWORD '{verifier}'; CREATE ROLE {TENANT}; GRANT {TENANT} TO app; "
                           f"CREATE ROLE app_plain LOGIN PASSWORD '{verifier}'; GRANT {TENANT} TO app_plain")
            if side == "target":
                server.execute("GRANT SET ON PARAMETER session_replication_role TO app; GRANT pg_signal_backend, pg_read_all_stats TO app")

    def close(self, keep=False):
        for server in self.servers.values():
            server.stop("immediate")
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def match(self, plan):
        return Match(self, plan)


class Match:
    """The databases and the pgjanus of one run of a plan; a context."""

    def __init__(self, arena, plan):
        arena.count += 1
        self.arena, self.plan, self.servers = arena, plan, arena.servers
        self.database = f"d{arena.count}"
        self.roles = {"source": "app", "target": "app" if plan["options"]["target"] == "rds" else "app_plain"}
        for side, server in self.servers.items():
            if not server.running():  # A run that failed may have left it so.
                server.start()
            server.thaw()
            owner = f" OWNER {self.roles[side]}" if side == "target" and plan["options"]["target"] == "rds" else ""
            with server.connect() as connection:
                collate = plan["options"].get("collate", "C.UTF-8")
                other = f" TEMPLATE template0 LC_COLLATE '{collate}'" if side == "target" and collate != "C.UTF-8" else ""
                connection.execute(f"CREATE DATABASE {self.database}{owner}{other}")
                for preset in plan["options"].get("presets", []):
                    connection.execute(f"ALTER DATABASE {self.database} SET {preset}")
                connection.execute(f"GRANT CREATE ON DATABASE {self.database} TO {self.roles[side]}")
            if not owner:
                server.execute(f"GRANT CREATE ON SCHEMA public TO {self.roles[side]}", database=self.database)
        self.directory = Path(tempfile.mkdtemp(prefix="run-", dir=arena.directory))
        options = plan["options"]
        self.pgjanus = Pgjanus(self.directory, self.url("source"), self.url("target"), environment={
            "PGJANUS_ACKNOWLEDGE": options["acknowledge"], "PGJANUS_ACKNOWLEDGE_WAIT": "200ms", "PGJANUS_POOL": options["pool"],
            "PGJANUS_THREADS": "2", "PGJANUS_READS": options.get("reads", "primary")})
        self.primary = "source"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pgjanus.kill9()
        for server in self.servers.values():
            server.thaw()
            if not server.running():
                server.start()
            for gid, in server.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", database=self.database):
                server.execute(f"ROLLBACK PREPARED '{gid}'", database=self.database)
            server.execute(f"DROP DATABASE {self.database} WITH (FORCE)")

    # Access.

    def url(self, side):
        """The owner's, straight to a side."""
        return self.servers[side].url(self.roles[side], PASSWORD, self.database)

    def superuser(self, side, **options):
        return self.servers[side].connect(self.database, **options)

    def mirror(self):
        return "target" if self.primary == "source" else "source"

    def find_primary(self):
        """Which side the databases say is the primary; no fence may stand there."""
        def ask():
            roles = {}
            for side in self.servers:
                with self.superuser(side, connect_timeout=2) as connection:
                    there = connection.execute("SELECT to_regclass('pgjanus.state')").fetchone()[0]
                    row = connection.execute("SELECT role FROM pgjanus.state").fetchone() if there else None
                    roles[side] = row[0] if row else ("primary" if side == "source" else "mirror")
            primaries = [side for side, role in roles.items() if role == "primary"]
            return primaries[0] if len(primaries) == 1 else None
        self.primary = wait_until(ask, 20, "exactly one side to be the primary")
        return self.primary

    def ask(self, command):
        """Rows of a command on the admin socket."""
        with self.pgjanus.admin() as connection:
            cursor = connection.execute(command)
            return cursor.fetchall() if cursor.description else []

    def command(self, command):
        """Runs a command of the admin socket; None, or why it did not succeed."""
        try:
            self.ask(command)
            return None
        except psycopg.Error as error:
            return f"{error.sqlstate}: {' '.join(str(error).split())}"

    def status(self):
        return self.pgjanus.status()

    def describe(self):
        """For a failure: what pgjanus says of itself."""
        try:
            status = json.dumps(self.status())
        except Exception as error:  # noqa: BLE001 - shown in a failure, whatever it is
            status = f"unknown: {error}"
        return f"status: {status}\n--- pgjanus.log\n{self.pgjanus.log()[-200000:]}"
