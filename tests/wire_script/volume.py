"""Long messages and long pipelines (checklist 1e)."""

from .case import case
from .messages import COPY_DONE, SYNC, bind, copy_data, describe_portal, execute, parse, query

MEGABYTE = 1 << 20
LONG = 20 * MEGABYTE


@case("a query of 20 MB", bulk=True)
def _(peer):
    peer.send(query("SELECT length('" + "x" * LONG + "')"))
    peer.ready()


@case("a Parse of 20 MB, used by name", bulk=True)
def _(peer):
    peer.send(parse("SELECT length('" + "x" * LONG + "')", "long"), SYNC, bind(statement="long"), execute(), SYNC)
    peer.ready(2)


@case("a parameter of 20 MB", bulk=True)
def _(peer):
    peer.send(parse("SELECT length($1), md5($1)", types=(25,)), bind(("y" * LONG,)), describe_portal(), execute(),
              SYNC)
    peer.ready()


@case("a row of 20 MB between small ones", bulk=True)
def _(peer):
    peer.send(query(f"SELECT 1; SELECT repeat('z', {LONG}), 2; SELECT 3"))
    peer.ready()


@case("CopyData of 20 MB, in and out", bulk=True)
def _(peer):
    peer.send(query("CREATE TEMP TABLE t (a text)"), query("COPY t FROM STDIN"))
    peer.until("G")
    peer.send(copy_data(b"w" * LONG + b"\n"), COPY_DONE, query("COPY t TO STDOUT"))
    peer.ready(2)


@case("messages of every length around the sizes of buffers", bulk=True)
def _(peer):
    for size in (1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16, 1 << 17):
        for delta in range(-40, 6):
            peer.send(query("SELECT '" + "v" * (size + delta) + "'"))
            peer.ready()


@case("a pipeline of 3000 steps, sent while its answers are read", bulk=True)
def _(peer):
    step = parse("SELECT $1::int, repeat('u', 1000)") + bind(("7",)) + execute()
    peer.send(step * 3000, SYNC)
    peer.ready()


@case("100,000 rows", bulk=True)
def _(peer):
    peer.send(query("SELECT i, md5(i::text) FROM generate_series(1, 100000) i"))
    peer.ready()


@case("CopyData in 20,000 small messages", bulk=True)
def _(peer):
    peer.send(query("CREATE TEMP TABLE t (a int)"), query("COPY t FROM STDIN"))
    peer.until("G")
    peer.send(*(copy_data(b"%d\n" % i) for i in range(20_000)), COPY_DONE, query("SELECT count(*), sum(a) FROM t"))
    peer.ready(2)


@case("a string of 5,000 statements", bulk=True)
def _(peer):
    peer.send(query("".join(f"SELECT {n};" for n in range(5000))))
    peer.ready()


@case("2,000 batches, each with its own Sync, sent while their answers are read", bulk=True)
def _(peer):
    for n in range(2000):
        peer.send(parse("SELECT 1/(($1::int + 1) % 7)"), bind((str(n),)), describe_portal(), execute(), SYNC)
    peer.ready(2000)


@case("an error of 4 MB and a notice of 4 MB", bulk=True)
def _(peer):
    peer.send(query("DO $$ BEGIN RAISE NOTICE '%', repeat('n', 4000000); RAISE EXCEPTION '%', repeat('e', 4000000); END $$"))
    peer.ready()
