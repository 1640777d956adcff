"""Reads go where they may: only to what the mirror has row for row, and never stale."""

import os
import signal

from harness import wait_until


def test_reads_go_to_the_mirror_only_where_it_is_exact(source, target, app, programs):
    app("CREATE TABLE orders (id int PRIMARY KEY, note text);"
        "CREATE TABLE left_out (id int PRIMARY KEY);"
        "CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM orders;"
        "CREATE VIEW shown AS SELECT * FROM orders;"
        "CREATE FUNCTION served_by() RETURNS int STABLE LANGUAGE sql AS 'SELECT inet_server_port()'")
    pgjanus = programs(source.owner_url, target.owner_url,
                       arguments=["--exclude", "public.left_out"]).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.do("reads", "mirror")
    pgjanus.wait_in_sync()

    with pgjanus.connect(autocommit=True) as client:
        def side(relation):
            port = client.execute(f"SELECT served_by(), count(*) FROM {relation}").fetchone()[0]
            return {source.port: "source", target.port: "target"}[port]

        # The names that are safe are read anew when mirroring begins.
        wait_until(lambda: side("orders") == "target", 40, "reads to reach the mirror")
        assert side("public.orders") == "target"
        for relation in ("left_out", "totals", "shown", "pg_class"):
            assert side(relation) == "source", relation
        for number in range(50):  # A session sees its own writes, wherever it reads.
            client.execute("INSERT INTO orders VALUES (%s, 'mine')", (number,))
            assert client.execute("SELECT count(*) FROM orders").fetchone()[0] == number + 1
        with client.transaction():
            assert side("orders") == "source"
        pgjanus.do("reads", "primary")
        assert side("orders") == "source"


def test_a_session_sees_its_own_writes_while_a_table_is_loaded_again(source, target, app, pgjanus):
    """Its batches leave the table out, so the mirror may not serve it, nor be said to have what is written."""
    app("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 200000) n;"
        "CREATE INDEX ON t (a, id); CREATE INDEX ON t (id, a)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    pgjanus.do("reads", "target")
    missed, number, states = [], 200000, set()
    with pgjanus.connect(autocommit=True) as client:
        wait_until(lambda: client.execute("SELECT current_setting('port') FROM t WHERE id = 1").fetchone() == (str(target.port),), 40,
                   "reads to reach the mirror")
        loading = pgjanus.cli_process("load", "public.t")
        while loading.poll() is None:
            number += 1
            client.execute("INSERT INTO t VALUES (%s, 'y')", (number,))
            if client.execute("SELECT count(*) FROM t WHERE id = %s", (number,)).fetchone() != (1,):
                missed.append(number)
            states.add(pgjanus.status()["mirror"]["state"])
        assert loading.returncode == 0 and not missed, (len(missed), number - 200000)
        assert "catching_up" in states, states
        pgjanus.wait_in_sync()
        wait_until(lambda: client.execute("SELECT current_setting('port') FROM t WHERE id = 1").fetchone() == (str(target.port),), 40,
                   "reads to come back to the mirror")


def test_reads_leave_a_mirror_that_falls_behind_while_no_commit_waits_for_it(source, target, sides, app, programs):
    """What others wrote is missing there for a second at most, or for as long as a commit may wait."""
    app("CREATE TABLE t (id int PRIMARY KEY)")
    pgjanus = programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE": "primary"}).start()
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    pgjanus.wait_in_sync()
    pgjanus.do("reads", "target")
    with pgjanus.connect(autocommit=True) as client:
        def read():
            return client.execute("SELECT current_setting('port')::int, count(*) FROM t").fetchone()
        wait_until(lambda: read() == (target.port, 0), 40, "reads to reach the mirror")
        backend = sides.target.execute("SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%mirror applier%'").fetchone()[0]
        os.kill(backend, signal.SIGSTOP)
        try:
            sides.source.execute("INSERT INTO t VALUES (1)")
            wait_until(lambda: read() == (source.port, 1), 20, "reads to come back to the primary")
        finally:
            os.kill(backend, signal.SIGCONT)
        wait_until(lambda: read() == (target.port, 1), 40, "reads to reach the mirror again")
