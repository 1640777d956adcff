"""The harness itself: it must find what differs, and servers must die and come back."""

import contextlib

import psycopg
import pytest

from harness import LedgerLoad, assert_equal, compare, wait_until


def test_the_comparison_finds_each_kind_of_difference(source, target, sides):
    for server, role in ((source, "app"), (target, "app")):
        server.script("CREATE TABLE same (id int PRIMARY KEY, body text);"
                      "INSERT INTO same SELECT n, repeat('x', n) FROM generate_series(1, 100) n;"
                      "CREATE TABLE bag (note text); INSERT INTO bag VALUES ('a'), ('a'), (NULL);"
                      "CREATE SEQUENCE numbers", "app", role)
    assert_equal(sides.source, sides.target, sequences=True)

    sides.target.execute("UPDATE bag SET note = '' WHERE note IS NULL")
    assert len(compare(sides.source, sides.target)) == 1
    sides.target.execute("UPDATE bag SET note = NULL WHERE note = ''")
    sides.target.execute("DELETE FROM same WHERE id = 7")
    assert "only on the source 1" in compare(sides.source, sides.target)[0]
    sides.target.execute("INSERT INTO same VALUES (7, repeat('x', 7))")
    sides.target.execute("SELECT nextval('numbers')")
    assert not compare(sides.source, sides.target)
    assert "sequence public.numbers" in compare(sides.source, sides.target, sequences=True)[0]
    sides.target.execute("CREATE TABLE more ()")
    assert "only on the target" in compare(sides.source, sides.target)[0]


def test_a_plain_owner_may_not_set_the_replication_role(source, target):
    with psycopg.connect(source.owner_url, autocommit=True) as owner:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute("SET session_replication_role = replica")
        owner.execute("CREATE SCHEMA of_mine")
    with psycopg.connect(target.owner_url, autocommit=True) as owner:
        owner.execute("SET session_replication_role = replica")


def test_a_killed_server_keeps_what_was_acknowledged(cluster, seed):
    server = cluster("durable", fsync=True)
    url = server.plain_owner()
    server.script(LedgerLoad.SCHEMA, "app", "app")
    with LedgerLoad(url, seed=seed) as load:
        load.progress(50)
        server.kill9()
        server.start()
        load.progress(50)
    assert load.errors
    with server.connect("app") as connection:
        load.check_kept(connection)


def test_a_frozen_server_answers_again_when_thawed(source):
    client = psycopg.connect(source.owner_url, autocommit=True)
    with contextlib.closing(client):
        source.freeze()
        client.pgconn.send_query(b"SELECT 1")
        client.pgconn.flush()
        assert client.pgconn.is_busy()
        source.thaw()

        def answered():
            client.pgconn.consume_input()
            return not client.pgconn.is_busy()
        wait_until(answered, 10, "the answer of the thawed server")


def test_a_server_offers_tls_under_a_ca_of_our_own(cluster, factory):
    server = cluster("tls", tls=True)
    url = server.plain_owner()
    files = factory.tls()
    with psycopg.connect(url, sslmode="verify-full", sslrootcert=str(files.ca)) as client:
        assert client.pgconn.ssl_in_use
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(url, sslmode="verify-ca", sslrootcert=str(files.other_ca))
