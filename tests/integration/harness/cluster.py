"""Throwaway Postgres servers on loopback.

Postgres refuses to run as root; then everything of a server runs as the user postgres, which the
Debian package makes.
"""

import glob
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import psycopg

from .wait import free_port, wait_until

SUPERUSER = "postgres"


def server_programs():
    """The directory of initdb and postgres: PGJANUS_PG_BIN, or the newest of Debian's."""
    given = os.environ.get("PGJANUS_PG_BIN")
    if given:
        return Path(given)
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
    if not found:
        raise RuntimeError("no Postgres server under /usr/lib/postgresql; tests/run installs one")
    return Path(found[-1])


def as_server_user(command):
    """The command, as a user that Postgres accepts."""
    command = [str(part) for part in command]
    return ["runuser", "-u", SUPERUSER, "--", *command] if os.geteuid() == 0 else command


def run(command, **options):
    """Runs a command, and fails with what it printed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd="/", stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


class TlsFiles:
    """A CA of our own and a server certificate for localhost and 127.0.0.1."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.ca = self.directory / "ca.crt"
        self.certificate = self.directory / "server.crt"
        self.key = self.directory / "server.key"
        self.other_ca = self.directory / "other.crt"  # Signed nothing: verify-ca must refuse.
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in ("ca", "other"):
            run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj",
                 f"/CN=pgjanus test {name}", "-keyout", str(self.directory / f"{name}.key"),
                 "-out", str(self.directory / f"{name}.crt")])
        request = self.directory / "server.csr"
        run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-subj", "/CN=localhost", "-keyout", str(self.key), "-out", str(request)])
        names = self.directory / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        run(["openssl", "x509", "-req", "-days", "30", "-in", str(request), "-CA", str(self.ca),
             "-CAkey", str(self.directory / "ca.key"), "-CAcreateserial", "-extfile", str(names),
             "-out", str(self.certificate)])


class ClusterFactory:
    """Makes servers: initdb once, a copy of it for each."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.programs = server_programs()
        self.made = []
        self._template = None
        self._tls = None

    def template(self):
        if self._template is None:
            path = self._own_directory("template")
            run(as_server_user([self.programs / "initdb", "-D", path / "data", "-U", SUPERUSER,
                                "--auth=trust", "--no-sync", "--encoding=UTF8",
                                "--locale=C.UTF-8"]))
            self._template = path / "data"
        return self._template

    def tls(self):
        """The certificates of this test run, made at first use."""
        if self._tls is None:
            self._tls = TlsFiles(self.directory / "tls")
        return self._tls

    def make(self, name="server", **options):
        """A running server; options as of Cluster."""
        cluster = Cluster(self, self._own_directory(name), name, **options)
        self.made.append(cluster)
        cluster.start()
        return cluster

    def _own_directory(self, name):
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))
        if os.geteuid() == 0:
            shutil.chown(path, SUPERUSER, SUPERUSER)
        path.chmod(0o755)
        return path


class Cluster:
    """One Postgres server. stop(), start(), kill9(), freeze() and thaw() work at any time.

    `fsync` on where durability is tested; `auth` is the pg_hba method of TCP clients
    (scram-sha-256, md5, password, trust); `tls` offers TLS (ClusterFactory.tls() has the files);
    `settings` go to postgresql.conf.
    """

    def __init__(self, factory, directory, name, *, fsync=False, auth="scram-sha-256", tls=False,
                 settings=None, port=None):
        self.factory, self.directory, self.name = factory, directory, name
        self.data = directory / "data"
        self.log_path = directory / "server.log"
        self.port = port or free_port()
        self.host = "127.0.0.1"
        run(as_server_user(["cp", "-a", factory.template(), self.data]))
        values = {
            "listen_addresses": "'127.0.0.1'", "unix_socket_directories": f"'{directory}'",
            "max_connections": "120", "shared_buffers": "'64MB'",
            "fsync": "on" if fsync else "off", "max_prepared_transactions": "10",
            "log_line_prefix": "'%m [%p] %q%u@%d/%a '", "log_lock_waits": "on",
            "password_encryption": "'md5'" if auth == "md5" else "'scram-sha-256'",
        }
        if tls:
            files = factory.tls()
            for source, wanted in ((files.certificate, "server.crt"), (files.key, "server.key")):
                shutil.copy(source, self.data / wanted)
                (self.data / wanted).chmod(0o600)
                if os.geteuid() == 0:
                    shutil.chown(self.data / wanted, SUPERUSER, SUPERUSER)
            values["ssl"] = "on"
        values.update(settings or {})
        self._write("postgresql.auto.conf",
                    "".join(f"{key} = {value}\n" for key, value in values.items()))
        self.hba(auth)

    # Life and death.

    def start(self):
        """Starts and waits until it accepts connections."""
        for attempt in range(3):
            try:
                run(as_server_user([self._program("pg_ctl"), "start", "-w", "-t", "60", "-D",
                                    self.data, "-l", self.log_path, "-o", f"-p {self.port}"]))
                return
            except RuntimeError:
                taken = "Address already in use" in self.log()
                if not taken or attempt == 2:
                    raise
                self.port = free_port()

    def stop(self, mode="fast"):
        """pg_ctl stop; mode immediate is a crash (no checkpoint)."""
        if self.running():
            self.thaw()
            run(as_server_user([self._program("pg_ctl"), "stop", "-w", "-t", "60", "-m", mode,
                                "-D", self.data]))

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def kill9(self):
        """SIGKILL to every process of the server, and waits until they are gone."""
        processes = self.processes()
        # The postmaster first, frozen, so that it starts no new children meanwhile.
        self._signal(processes[:1], signal.SIGSTOP)
        processes = self.processes()
        self._signal(processes, signal.SIGKILL)
        wait_until(lambda: not any(_alive(pid) for pid in processes), 20,
                   f"the processes of {self.name} to be gone")
        # Where init reaps slowly, the dead postmaster's id still looks taken to the next one.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        (self.directory / f".s.PGSQL.{self.port}.lock").unlink(missing_ok=True)

    def freeze(self):
        """SIGSTOP to every process: connections stay open, nothing answers."""
        self._signal(self.processes()[:1], signal.SIGSTOP)
        self._signal(self.processes(), signal.SIGSTOP)

    def thaw(self):
        self._signal(self.processes(), signal.SIGCONT)

    def running(self):
        processes = self.processes()
        return bool(processes) and _alive(processes[0])

    def processes(self):
        """Process ids: the postmaster first, then its children."""
        try:
            postmaster = int((self.data / "postmaster.pid").read_text().split("\n")[0])
        except (FileNotFoundError, ValueError):
            return []
        if not _alive(postmaster):
            return []
        children = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    parent = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1]
                                 .split()[1])
                except (FileNotFoundError, ProcessLookupError, IndexError):
                    continue
                if parent == postmaster:
                    children.append(int(entry))
        return [postmaster, *children]

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # Access.

    def hba(self, method="scram-sha-256", lines=None):
        """Rewrites pg_hba.conf: `method` for TCP, trust for our own socket. Reload follows when
        the server runs."""
        text = "\n".join(lines or [f"host all all 127.0.0.1/32 {method}"])
        self._write("pg_hba.conf", f"local all all trust\n{text}\n")
        if self.running():
            self.execute("SELECT pg_reload_conf()")

    def configure(self, **settings):
        """ALTER SYSTEM and reload."""
        for key, value in settings.items():
            self.execute(f"ALTER SYSTEM SET {key} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def connect(self, database="postgres", user=SUPERUSER, **options):
        """A superuser's connection over the server's own socket, autocommit unless told."""
        options.setdefault("autocommit", True)
        options.setdefault("application_name", "test harness")
        return psycopg.connect(host=str(self.directory), port=self.port, dbname=database,
                               user=user, **options)

    def execute(self, sql, parameters=None, database="postgres", user=SUPERUSER):
        """Runs SQL in a connection of its own; rows, when there are any."""
        with self.connect(database, user) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else None

    def script(self, sql, database="postgres", user=SUPERUSER):
        """Runs a text of many statements with psql; stops at the first error."""
        run([self._program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", self.directory,
             "-p", str(self.port), "-U", user, "-d", database, "-c", sql])

    def url(self, user, password=None, database="postgres", **parameters):
        """A libpq URL over TCP."""
        secret = f":{quote(password, safe='')}" if password is not None else ""
        query = "&".join(f"{key}={quote(str(value), safe='')}"
                         for key, value in parameters.items())
        return (f"postgresql://{quote(user, safe='')}{secret}@{self.host}:{self.port}/"
                f"{quote(database, safe='')}{'?' + query if query else ''}")

    def plain_owner(self, role="app", password="app-secret", database="app"):
        """A database and a role that merely owns its tables there: no superuser, no replication,
        no right to session_replication_role; it may CREATE in the database. Hosts grant no more."""
        self.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB "
                     f"PASSWORD '{password}'")
        self.execute(f"CREATE DATABASE {database}")
        self.execute(f"GRANT CREATE ON DATABASE {database} TO {role}")
        self.execute(f"GRANT CREATE ON SCHEMA public TO {role}", database=database)
        return self.url(role, password, database)

    def rds_owner(self, role="app", password="target-secret", database="app"):
        """A database and a role with what rds_superuser has and we use: it owns the database and
        may set session_replication_role; no superuser."""
        self.execute(f"CREATE ROLE {role} LOGIN NOSUPERUSER CREATEROLE CREATEDB "
                     f"PASSWORD '{password}'")
        self.execute(f"CREATE DATABASE {database} OWNER {role}")
        self.execute(f"GRANT SET ON PARAMETER session_replication_role TO {role}")
        self.execute(f"GRANT pg_signal_backend, pg_read_all_stats TO {role}")
        return self.url(role, password, database)

    def _program(self, name):
        return str(self.factory.programs / name)

    def _write(self, name, text):
        path = self.data / name
        path.write_text(text)
        if os.geteuid() == 0:
            shutil.chown(path, SUPERUSER, SUPERUSER)

    @staticmethod
    def _signal(processes, number):
        """As root or as the servers' own user: no other needs it."""
        for pid in processes:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


def _alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
