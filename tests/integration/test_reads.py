"""Reads go where they may: only to what the mirror has row for row, and never stale."""

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
