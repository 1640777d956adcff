"""The end of a process and the life of its settings: SIGTERM, RELOAD, sockets that outlive it, and
its limit of open files."""

import os
import select
import signal
import socket
import threading

import psycopg
import pytest

from harness import wait_until
from harness.program import find_binary
from relay_program import Later
from test_endings import stuck_applier


@pytest.fixture(params=["session", "transaction"])
def draining(source, target, programs, request):
    """draining(**environment): a running proxy over small tables, with either pooling."""
    source.script("CREATE TABLE t (id int PRIMARY KEY, v text)", "app", "app")

    def make(**environment):
        environment.setdefault("PGJANUS_POOL", request.param)
        program = programs(source.owner_url, target.owner_url, environment=environment)
        return program.start()
    return make


def noting(client):
    """The texts of what the client is told on the heels of an answer: libpq calls that notices."""
    told = []
    client.add_notice_handler(lambda diagnostic: told.append(diagnostic.message_primary))
    return told


def said_to(client, told=(), limit=20):
    """What an idle client finds when it looks: the FATAL that it was sent, as text."""
    assert select.select([client.fileno()], [], [], limit)[0], "nothing was said"
    with pytest.raises(psycopg.OperationalError) as error:
        client.execute("SELECT 1")
    return " ".join([*told, str(error.value)])


def nothing_left(program):
    assert not list(program.admin_directory.iterdir())
    for port in (program.port, program.http_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


# SIGTERM.

def test_a_drain_in_its_order(draining, source):
    program = draining(PGJANUS_DRAIN="60s")
    with program.connect() as idle, program.connect() as working, program.connect() as cancelled:
        told = [noting(client) for client in (working, cancelled)]
        for client in (idle, working, cancelled):
            client.execute("SELECT 1")
        working.execute("BEGIN; INSERT INTO t VALUES (1, 'x')")
        cancelled.execute("BEGIN")
        sleep = Later(lambda: cancelled.execute("SELECT pg_sleep(60)"))
        wait_until(lambda: source.execute(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"), what="the query")
        program.process.send_signal(signal.SIGTERM)
        assert "shutting down" in said_to(idle)
        assert program.http("/readyz") == (503, "draining\n")
        assert program.http("/healthz")[0] == 200
        with pytest.raises(psycopg.OperationalError, match="shutting down"):
            program.connect()
        # Whoever is still at work keeps what it needs: its transaction, and its cancel requests.
        wait_until(lambda: (cancelled.cancel(), not sleep.running())[1], what="the cancel")
        with pytest.raises(psycopg.errors.QueryCanceled):
            sleep.value()
        cancelled.execute("ROLLBACK")
        assert "shutting down" in said_to(cancelled, told[1])
        wait_until(lambda: 'pgjanus_clients{database="app"} 1\n' in program.http("/metrics")[1],
                   what="the metrics to show the last client")
        working.execute("INSERT INTO t VALUES (2, 'x')")
        working.execute("COMMIT")
        assert "shutting down" in said_to(working, told[0])
    assert program.exited() == 0
    assert source.execute("SELECT count(*) FROM t", database="app")[0][0] == 2
    nothing_left(program)


def test_new_clients_are_told_before_they_log_in(draining):
    program = draining(PGJANUS_DRAIN="60s")
    with program.connect() as working:
        working.execute("BEGIN")
        program.process.send_signal(signal.SIGTERM)
        wait_until(lambda: program.http("/readyz")[0] == 503, what="the drain")
        with socket.create_connection(("127.0.0.1", program.port), timeout=10) as raw:
            raw.sendall(b"\0\0\0\x15\0\3\0\0user\0nobody\0\0\0")
            answer = raw.recv(4096)
        assert answer[:1] == b"E" and b"C57P03" in answer
        working.execute("COMMIT")
    assert program.exited() == 0


def test_the_limit_ends_the_rest(draining, source):
    program = draining(PGJANUS_DRAIN="100ms")
    with program.connect() as open_one, program.connect() as running:
        open_one.execute("BEGIN; INSERT INTO t VALUES (1, 'x')")
        query = Later(lambda: running.execute("SELECT pg_sleep(600)"))
        wait_until(lambda: source.execute(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"), what="the query")
        program.process.send_signal(signal.SIGTERM)
        assert "shutting down" in said_to(open_one)
        with pytest.raises(psycopg.OperationalError, match="shutting down"):
            query.value()
    assert program.exited() == 0
    assert "event=drain_limit_passed" in program.log()
    wait_until(lambda: not source.execute(
        "SELECT 1 FROM pg_stat_activity WHERE usename = 'app'"), what="the servers to be let go")
    assert source.execute("SELECT count(*) FROM t", database="app")[0][0] == 0
    nothing_left(program)


def test_a_second_sigterm_stops_at_once(draining):
    program = draining(PGJANUS_DRAIN="600s")
    with program.connect() as working, \
            socket.create_connection(("127.0.0.1", program.port)):  # Says nothing.
        working.execute("BEGIN")
        program.process.send_signal(signal.SIGTERM)
        wait_until(lambda: program.http("/readyz")[0] == 503, what="the drain")
        program.process.send_signal(signal.SIGTERM)
        assert program.exited(10) == 128 + signal.SIGTERM
        assert "shutting down" in said_to(working)
    assert "event=stopped_at_once" in program.log()
    nothing_left(program)


def test_held_clients_are_let_go_too(draining):
    program = draining(PGJANUS_DRAIN="60s")
    with program.connect() as client:
        client.execute("SELECT 1")
        program.do("pause", "--timeout", "60s")
        held = Later(lambda: client.execute("INSERT INTO t VALUES (1, 'x')"))
        newcomer = Later(program.connect)
        wait_until(lambda: 'pgjanus_held_clients{database="app"} 2\n' in program.http("/metrics")[1],
                   what="both to be held")
        program.process.send_signal(signal.SIGTERM)
        for waiting in (held, newcomer):
            with pytest.raises(psycopg.OperationalError, match="shutting down"):
                waiting.value()
    assert program.exited() == 0


# RELOAD.

def reload(program):
    """RELOAD on the admin socket: what it says, or the error's text."""
    with program.admin() as admin:
        try:
            return " ".join(map(str, admin.execute("RELOAD").fetchone()))
        except psycopg.Error as error:
            return f"refused: {error}"


def config(program):
    with program.admin() as admin:
        return dict(admin.execute("SHOW CONFIG").fetchall())


@pytest.fixture
def configured(source, target, programs, tmp_path):
    """A running proxy with a file; program.write(text) replaces it."""
    file = tmp_path / "pgjanus.toml"
    file.write_text("")
    program = programs(source.owner_url, target.owner_url, arguments=["--config", str(file)],
                       environment={"PGJANUS_DRAIN": None})
    program.write = file.write_text
    program.file = file
    return program.start()


def test_a_reload_changes_what_it_can_and_names_the_rest(configured):
    configured.write('[mirror]\nacknowledge = "primary"\nacknowledge_wait = "250ms"\n'
                     'journal_max = "1GB"\n[run]\ndrain = "3s"\nthreads = 7\n'
                     '[log]\nlevel = "debug"\n[load]\nworkers = 2\n[reads]\nside = "mirror"\n')
    said = reload(configured)
    changed, later = said.split("at the next start: ")
    for name in ("acknowledge,", "acknowledge_wait", "journal_max", "drain", "log_level",
                 "load_workers"):
        assert name in changed
    assert "threads" in later and "reads" in later and "READS" in later
    now = config(configured)
    assert (now["acknowledge"], now["acknowledge_wait"], now["drain"]) == ("primary", "250ms", "3s")
    assert now["threads"] == "number of cores" and now["reads"] == "primary"
    configured.write("")
    configured.process.send_signal(signal.SIGHUP)
    wait_until(lambda: config(configured)["acknowledge"] == "both", what="the reload by SIGHUP")


@pytest.mark.parametrize("broken, line", [("[mirror]\nacknowledge = 'both\n", 2),
                                          ("[mirror]\n\nacknowledge = 'perhaps'\n", 3),
                                          ("[run]\ndrain = '3s'\ndrian = '2s'\n", 3)])
def test_a_broken_file_changes_nothing_and_is_told_by_its_line(configured, broken, line):
    before = config(configured)
    configured.write(broken)
    assert f"{configured.file}:{line}" in reload(configured)
    configured.process.send_signal(signal.SIGHUP)
    wait_until(lambda: configured.log().count("event=reload_failed") == 2, what="SIGHUP's log")
    assert config(configured) == before


def test_a_reload_lets_commits_go_that_wait_for_the_mirror(configured, app, target):
    app("CREATE TABLE kept (id int PRIMARY KEY)")
    configured.write('[mirror]\nacknowledge_wait = "10m"\n')
    reload(configured)
    for verb in ("prepare", "load"):
        configured.do(verb)
    configured.wait_in_sync()
    with configured.connect() as client, stuck_applier(target):
        write = Later(lambda: client.execute("INSERT INTO kept VALUES (1)"))
        def waits():
            with configured.admin() as admin:
                return "waiting_for_mirror" in str(admin.execute("SHOW CLIENTS").fetchall())
        wait_until(waits, what="the commit to wait")
        configured.write('[mirror]\nacknowledge = "primary"\n')
        assert "acknowledge" in reload(configured)
        write.value()


# Sockets that outlive the process.

@pytest.fixture(params=["session", "transaction"])
def activated(programs, source, target, tmp_path, request):
    """A proxy that is started with its listening socket, as systemd does it; not started."""
    wrapper = tmp_path / "activate"
    wrapper.write_text("#!/bin/bash\nif [ \"$1\" = run ]; then exec 3<&\"$SOCKET\"; "
                       "export LISTEN_FDS=1 LISTEN_PID=$$; fi\n"
                       f"exec {find_binary()} \"$@\"\n")
    wrapper.chmod(0o755)
    program = programs(source.owner_url, target.owner_url, binary=wrapper)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", program.port))
        listening.listen(1024)
        program.environment = {"SOCKET": str(listening.fileno()), "PGJANUS_DRAIN": "30s",
                               "PGJANUS_POOL": request.param}
        program.pass_fds = (listening.fileno(),)
        yield program
        program.stop()


def test_an_inherited_socket_is_used_and_outlives_us(activated):
    activated.start()
    assert "inherited=yes" in activated.log()
    with activated.connect() as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
        activated.process.send_signal(signal.SIGTERM)
        said_to(client)
    assert activated.exited() == 0
    waiting = Later(activated.connect)  # Nobody serves: it waits in the kernel's queue.
    activated.start()
    with waiting.value() as client:
        assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_restart_refuses_nobody(activated):
    activated.start()
    stop, errors, served = threading.Event(), [], []

    def come_and_go():
        while not stop.is_set():
            try:
                with activated.connect(connect_timeout=60) as client:
                    client.execute("SELECT 1")
                served.append(1)
            except psycopg.Error as error:
                errors.append(str(error))
    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        before = len(served)
        wait_until(lambda: len(served) > before + 40 or errors, 60, "clients to be served")
        assert activated.term() == 0
        activated.start()
    before = len(served)
    wait_until(lambda: len(served) > before + 40 or errors, 60, "clients to be served")
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not errors, errors[:3]


def test_what_is_no_listening_socket_is_refused(activated):
    with socket.socket() as unconnected:
        activated.environment["SOCKET"] = str(unconnected.fileno())
        activated.pass_fds = (unconnected.fileno(),)
        activated.start(ready=False)
        assert activated.exited() == 1 and "no listening stream socket" in activated.log()


def test_the_service_manager_is_told(draining, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(tmp_path / "notify")
        manager.bind(path)
        manager.settimeout(20)
        program = draining(NOTIFY_SOCKET=path)
        assert b"READY=1" in manager.recv(1024)
        program.process.send_signal(signal.SIGHUP)
        assert b"RELOADING=1" in manager.recv(1024)
        assert b"READY=1" in manager.recv(1024)
        assert program.term() == 0
        assert b"STOPPING=1" in manager.recv(1024)


# Open files.

@pytest.fixture
def limited(programs, source, target, tmp_path):
    """limited(files): a proxy that may open so many files; not started."""
    def make(files):
        wrapper = tmp_path / f"limited-{files}"
        wrapper.write_text(f"#!/bin/bash\nulimit -Sn 50; ulimit -Hn {files}\n"
                           f"exec {find_binary()} \"$@\"\n")
        wrapper.chmod(0o755)
        return programs(source.owner_url, target.owner_url, binary=wrapper,
                        environment={"PGJANUS_THREADS": "2"})
    return make


def test_too_many_clients_are_told_so(limited):
    program = limited(200).start()  # 152 aside, three each.
    assert "limit=200 clients_max=16" in program.log()
    clients = [program.connect() for _ in range(16)]
    with pytest.raises(psycopg.OperationalError, match="too many clients already"):
        program.connect()
    clients.pop().close()
    wait_until(program.connect, what="a place to be free")


def test_a_limit_that_leaves_no_clients_is_an_error(limited):
    program = limited(100)
    program.start(ready=False)
    assert program.exited() == 1 and "open files leaves none for clients" in program.log()


def test_running_out_of_descriptors_is_survived(limited):
    program = limited(200).start()

    def served():
        with program.connect() as client:
            return client.execute("SELECT 1").fetchone()
    assert served()  # UBSan's first look at a class needs descriptors, too.
    silent = [socket.create_connection(("127.0.0.1", program.port)) for _ in range(300)]
    wait_until(lambda: "event=accept_failed" in program.log(), what="the shortage to be said")
    for connection in silent:
        connection.close()
    wait_until(served, what="clients to be served again")
    assert program.log().count("event=accept_failed") <= 3
    assert os.path.exists(f"/proc/{program.process.pid}")
