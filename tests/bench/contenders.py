"""What is measured: each contender has servers of its own and a URL for pgbench.

All servers have the same settings, fsync on; every contender's own choices stand here.
"""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import ClusterFactory, Pgjanus, free_port, wait_until
from harness.cluster import SUPERUSER, as_server_user, run

SERVER = {"max_connections": "200", "shared_buffers": "'256MB'", "max_wal_size": "'4GB'"}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Contender:
    """A way from pgbench to a database."""

    name = ""

    def __init__(self, factory, scale):
        self.factory, self.scale = factory, scale
        self.servers = []

    def server(self, name, *, filled):
        """A server with database app; `filled`: with pgbench's tables, made by the app's role."""
        server = self.factory.make(name, fsync=True, auth="trust", settings=SERVER)
        server.plain_owner()
        server.execute("GRANT SET ON PARAMETER session_replication_role TO app")
        if filled:
            run([server.factory.programs / "pgbench", "-i", "-q", "-s", str(self.scale),
                 "-h", str(server.directory), "-p", str(server.port), "-U", "app", "app"])
        self.servers.append(server)
        return server

    def set_up(self):
        raise NotImplementedError

    def url(self):
        raise NotImplementedError

    def settle(self):
        """Before a measurement: the checkpoint that is due does not fall into it by chance."""
        for server in self.servers:
            server.execute("CHECKPOINT")

    def tear_down(self):
        pass


class Direct(Contender):
    name = "direct"

    def set_up(self):
        self.server("direct", filled=True)

    def url(self):
        return self.servers[0].url("app", "app-secret", "app")


class PgBouncer(Contender):
    """Otherwise as packaged."""

    name, mode = "PgBouncer", "session"

    def set_up(self):
        server = self.server("bouncer", filled=True)
        self.port = free_port()
        directory = server.directory
        (directory / "users.txt").write_text('"app" "app-secret"\n')
        (directory / "bouncer.ini").write_text(
            f"[databases]\napp = host=127.0.0.1 port={server.port} dbname=app\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {directory}/users.txt\npool_mode = {self.mode}\n"
            f"default_pool_size = {600 if self.mode == 'session' else 20}\n"
            f"max_client_conn = 1000\nlogfile = {directory}/bouncer.log\n"
            "ignore_startup_parameters = extra_float_digits\n")
        # A login's usual limit of 1,024 files holds 500 sessions; pgjanus raises its own.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.process = subprocess.Popen(
            as_server_user(["prlimit", f"--nofile={files}", "pgbouncer", "-q", directory / "bouncer.ini"]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def url(self):
        return f"postgresql://app@127.0.0.1:{self.port}/app"

    def tear_down(self):
        self.process.terminate()
        self.process.wait(20)


class PgPool(Contender):
    """Native replication: every write goes to both servers as SQL text, the second after the
    first. Reads stay on one server, as everywhere else here."""

    name = "pgpool-II native replication"

    def set_up(self):
        servers = [self.server("pool-1", filled=True), self.server("pool-2", filled=True)]
        self.port = free_port()
        directory = servers[0].directory
        settings = {
            "backend_clustering_mode": "'native_replication'", "listen_addresses": "'127.0.0.1'",
            "port": self.port, "pcp_listen_addresses": "''", "pcp_port": free_port(),
            "socket_dir": f"'{directory}'", "unix_socket_directories": f"'{directory}'",
            "pcp_socket_dir": f"'{directory}'", "num_init_children": 80, "max_pool": 1,
            "load_balance_mode": "off", "replicate_select": "off", "enable_pool_hba": "off",
            "memory_cache_enabled": "off", "pid_file_name": f"'{directory}/pgpool.pid'",
            "logdir": f"'{directory}'", "health_check_period": 0, "log_min_messages": "warning",
            "sr_check_period": 0, "use_watchdog": "off", "connection_cache": "on",
        }
        for number, server in enumerate(servers):
            settings[f"backend_hostname{number}"] = "'127.0.0.1'"
            settings[f"backend_port{number}"] = server.port
            settings[f"backend_weight{number}"] = 1
            settings[f"backend_data_directory{number}"] = f"'{server.data}'"
            settings[f"backend_flag{number}"] = "'ALLOW_TO_FAILOVER'"
        configuration = directory / "pgpool.conf"
        configuration.write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        for name in ("pcp.conf", "pool_hba.conf"):
            (directory / name).write_text("")
        with open(directory.parent / "pgpool.log", "ab") as log:
            self.process = subprocess.Popen(
                as_server_user(["pgpool", "-n", "-D", "-f", configuration, "-F",
                                directory / "pcp.conf", "-a", directory / "pool_hba.conf"]),
                stdout=log, stderr=log)

    def url(self):
        return f"postgresql://app@127.0.0.1:{self.port}/app"

    def tear_down(self):
        stop = subprocess.run(
            as_server_user(["pgpool", "-f", self.servers[0].directory / "pgpool.conf", "-m",
                            "fast", "stop"]),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if stop.returncode:
            self.process.terminate()
        self.process.wait(60)


class Passing(Contender):
    """pgjanus with nothing prepared."""

    name, pool = "pgjanus, pass-through", "session"

    def program(self, source, target, acknowledge):
        directory = Path(self.factory.directory) / f"pgjanus-{acknowledge}-{source.port}"
        self.pgjanus = Pgjanus(directory, source.url("app", "app-secret", "app"),
                               target.url("app", "app-secret", "app"),
                               environment={"PGJANUS_ACKNOWLEDGE": acknowledge,
                                            "PGJANUS_POOL": self.pool})
        self.pgjanus.start()

    def set_up(self):
        source = self.server("passing", filled=True)
        self.program(source, self.server("passing-target", filled=False), "primary")

    def url(self):
        return self.pgjanus.url

    def tear_down(self):
        self.pgjanus.stop()


class Mirroring(Passing):
    """pgjanus that mirrors; COMMIT waits for both sides."""

    name = "pgjanus, mirroring, both"
    acknowledge = "both"

    def set_up(self):
        source = self.server(f"source-{self.acknowledge}", filled=True)
        self.program(source, self.server(f"target-{self.acknowledge}", filled=False),
                     self.acknowledge)
        for verb in ("prepare", "load", "verify"):
            self.pgjanus.do(verb, timeout=600)

    def settle(self):
        super().settle()
        self.pgjanus.wait_in_sync(300)


class MirroringPrimary(Mirroring):
    """pgjanus that mirrors; COMMIT waits for the primary only."""

    name = "pgjanus, mirroring, primary"
    acknowledge = "primary"


ALL = {"direct": Direct, "pgbouncer": PgBouncer, "passing": Passing, "both": Mirroring,
       "primary": MirroringPrimary, "pgpool": PgPool}


def answers(contender):
    """Waits until the contender answers a query."""
    import psycopg

    def once():
        with psycopg.connect(contender.url(), connect_timeout=5) as connection:
            return connection.execute("SELECT count(*) FROM pgbench_branches").fetchone()
    wait_until(once, 30, f"{contender.name} to answer")


@contextlib.contextmanager
def standing(kinds, arguments):
    """(directory, contenders): those of `kinds` that --only names, set up and answering; torn down at the end."""
    directory = Path(tempfile.mkdtemp(prefix="pgjanus-bench-"))
    directory.chmod(0o755)
    factory, contenders = ClusterFactory(directory), {}
    try:
        for key in arguments.only.split(","):
            contenders[key] = kinds[key](factory, arguments.scale)
            say(f"setting up {contenders[key].name}")
            contenders[key].set_up()
            answers(contenders[key])
        yield directory, contenders
    finally:
        for contender in contenders.values():
            try:
                contender.tear_down()
            except Exception as error:  # noqa: BLE001 - the others must be torn down as well
                say(f"{contender.name} did not end cleanly: {error}")
        for server in factory.made:
            server.stop("immediate")
        tidy(directory)


def tidy(directory):
    """Removes what a run left, unless asked to keep it."""
    if not os.environ.get("PGJANUS_BENCH_KEEP"):
        shutil.rmtree(directory, ignore_errors=True)


__all__ = ["ALL", "Contender", "SUPERUSER", "say", "standing"]
