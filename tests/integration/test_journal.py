"""The journal's size: what a backlog made of it is given back."""

from harness import wait_until

LARGE = 64 << 20  # Up to here it stays as it is.


def test_an_index_that_a_backlog_has_grown_is_made_small_again(app, sides, pgjanus):
    """No vacuum does that. Old keys, each with an entry of its own, stand for the ten millions that it takes otherwise."""
    app("CREATE TABLE t (id int PRIMARY KEY)")
    for verb in ("prepare", "load"):
        pgjanus.do(verb)
    index = "SELECT pg_relation_size('pgjanus.journal_xid')"
    sides.source.execute("ALTER INDEX pgjanus.journal_xid SET (deduplicate_items = off)")
    sides.source.execute("INSERT INTO pgjanus.journal (xid, table_id) SELECT (3 + i % 600)::text::xid8, 1 FROM generate_series(1, 3500000) i")
    assert sides.source.execute(index).fetchone()[0] > LARGE
    with pgjanus.connect() as client:
        client.execute("INSERT INTO t VALUES (1)")
        wait_until(lambda: sides.source.execute(index).fetchone()[0] < LARGE / 8, 180, "the index to be small", every=0.1)
        client.execute("INSERT INTO t VALUES (2)")
    wait_until(lambda: pgjanus.status()["mirror"]["journal_bytes"] < LARGE / 8, 60, "the journal to be small", every=0.1)
    pgjanus.wait_in_sync()
    assert sides.target.execute("SELECT count(*) FROM t").fetchone() == (2,)
