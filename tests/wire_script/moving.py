"""Sessions between two messages of which everything is moved to another server (a flip).

Each move is played at a server without interruption, and through pgjanus with a flip between `before` and
`after`: what the client sees must be the same.
"""

import struct
from dataclasses import dataclass
from typing import Callable

from .messages import (COPY_DONE, FLUSH, SYNC, bind, close_statement, copy_data, describe_statement, execute,
                       message, parse, query, text)
from .peer import Peer

MOVES = []


@dataclass
class Move:
    """`stays`: the session stands inside something, so that a flip must give up and leave it alone."""

    sentence: str
    before: Callable
    after: Callable
    parameters: tuple = ()  # Of the startup message.
    stays: bool = False

    def __str__(self):
        return self.sentence


def move(sentence, before, after, parameters=(), stays=False):
    MOVES.append(Move(sentence, before, after, parameters, stays))


def run_move(one, address, login, between=lambda: None):
    """The transcript of a move; `between` is called when the client stands between transactions."""
    peer = Peer(address, login)
    try:
        peer.start(*one.parameters)
        one.before(peer)
        between()
        one.after(peer)
        peer.send(query("SELECT 'nothing was left over'"))
        peer.ready()
    finally:
        peer.close()
    return peer.transcript


def queries(*texts):
    """A step that runs these one after the other."""
    def play(peer):
        for sql in texts:
            peer.send(query(sql))
            peer.ready()
    return play


def batch(*messages):
    """A step that sends these with a Sync behind them."""
    def play(peer):
        peer.send(*messages, SYNC)
        peer.ready()
    return play


NAMED = parse("SELECT $1::int + 1 AS sum, $2::text", "s", (23, 0))

move("nothing but a log-in", lambda peer: None, queries("SELECT 1"))
move("a named statement", batch(NAMED), batch(describe_statement("s"), bind(("41", "x"), "s"), execute()))
move("a named statement that was used before", batch(NAMED, bind(("1", "y"), "s"), execute()),
     batch(bind(("41", None), "s"), execute()))
move("the unnamed statement", batch(parse("SELECT 'unnamed', $1::int")), batch(bind(("3",)), execute()))
move("an unnamed statement that a simple query ended", lambda peer: (batch(parse("SELECT 1"))(peer),
                                                                      queries("SELECT 2")(peer)),
     batch(bind(), execute()))
move("a statement that was closed", batch(NAMED, close_statement("s")), batch(bind(("1", "2"), "s"), execute()))
move("a statement whose Parse failed", batch(parse("SELEC 1", "s")), batch(bind((), "s"), execute()))
move("a name that is taken", batch(NAMED), batch(parse("SELECT 2", "s")))
move("DEALLOCATE ALL", lambda peer: (batch(NAMED)(peer), queries("DEALLOCATE ALL")(peer)),
     batch(bind(("1", "2"), "s"), execute()))
move("DISCARD ALL", lambda peer: (queries("SET my.own = 'x'")(peer), batch(NAMED)(peer),
                                  queries("DISCARD ALL")(peer)),
     lambda peer: (batch(bind(("1", "2"), "s"), execute())(peer), queries("SHOW my.own")(peer)))
move("a statement of 50 kB", batch(parse("SELECT length('" + "x" * 50_000 + "')", "long")),
     batch(bind((), "long"), execute()))
move("many statements", batch(*(parse(f"SELECT {i}", f"s{i}") for i in range(200))),
     batch(*(bind((), f"s{i}") + execute() for i in range(0, 200, 7))))
move("settings", queries("SET TimeZone = 'Asia/Tokyo'", "SET DateStyle = 'German'", "SET search_path = a, \"B c\", pg_catalog",
                         "SET application_name = 'it''s \"me\"'", "SET extra_float_digits = 0", "SET my.own = ''"),
     queries("SHOW TimeZone", "SHOW DateStyle", "SHOW search_path", "SHOW application_name",
             "SHOW extra_float_digits", "SHOW my.own", "SELECT '2026-01-02 03:04:05+00'::timestamptz"))
move("settings by set_config and inside functions",
     queries("SELECT set_config('work_mem', '5MB', false)", "DO $$ BEGIN SET statement_timeout = '61s'; END $$"),
     queries("SHOW work_mem", "SHOW statement_timeout"))
move("settings that were rolled back or were local",
     queries("BEGIN", "SET TimeZone = 'Asia/Tokyo'", "ROLLBACK", "BEGIN", "SET LOCAL work_mem = '6MB'", "COMMIT"),
     queries("SHOW TimeZone", "SHOW work_mem"))
move("settings that were reset", queries("SET work_mem = '7MB'", "SET geqo = off", "RESET work_mem", "RESET ALL"),
     queries("SHOW work_mem", "SHOW geqo"))
move("settings of the start-up packet, and what RESET goes back to", lambda peer: None,
     queries("SHOW geqo", "SET geqo = on", "RESET geqo", "SHOW geqo", "SHOW work_mem", "RESET ALL", "SHOW TimeZone"),
     (("options", "-c geqo=off -c work_mem=9MB"), ("TimeZone", "Asia/Tokyo")))
move("client_encoding", queries("SET client_encoding = 'LATIN1'"),
     lambda peer: (peer.send(message("Q", text("SELECT 'gr\xfcn', length('gr\xfcn')".encode("latin-1")))),
                   peer.ready()))
move("session characteristics",
     queries("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"),
     queries("SHOW transaction_isolation", "SHOW transaction_read_only", "CREATE TABLE refused (a int)"))
move("the first half of a query", lambda peer: peer.send(query("SELECT 'in two halves'")[:12]),
     lambda peer: (peer.send(query("SELECT 'in two halves'")[12:]), peer.ready()))
move("the first half of a header", lambda peer: peer.send(b"Q\0\0"),
     lambda peer: (peer.send(query("SELECT 1")[3:]), peer.ready()))
move("stray CopyData", lambda peer: peer.send(message("d", b"stray"), message("c")), queries("SELECT 1"))
move("a transaction afterwards", queries("SELECT 1"), queries("BEGIN", "SELECT 1", "SELECT 1/0", "ROLLBACK"))
move("a failed transaction before", queries("BEGIN", "SELECT 1/0", "ROLLBACK"), queries("SELECT 1"))
move("a function call afterwards", queries("SELECT 1"),
     lambda peer: (peer.send(message("F", struct.pack(">IHHHiiiiH", 177, 1, 1, 2, 4, 20, 4, 22, 1))), peer.ready()))


def inside(sentence, before, after):
    move(sentence, before, after, stays=True)


def begin_copy(peer):
    peer.send(query("BEGIN; CREATE TABLE copied_in (a int); COPY copied_in FROM STDIN"))
    peer.until("G")
    peer.send(copy_data(b"1\n"))


def begin_batch(peer):
    peer.send(parse("SELECT generate_series(1, 5)"), bind(portal="p"), execute("p", 2), FLUSH)
    peer.until("s")


LONG = query("SELECT length('" + "x" * 3_000_000 + "')")

inside("an open transaction", queries("BEGIN", "SELECT 1"), queries("SELECT 2", "COMMIT"))
inside("a failed transaction", queries("BEGIN", "SELECT 1/0"), queries("SELECT 2", "ROLLBACK"))
inside("a batch without its Sync, a portal suspended in it", begin_batch, batch(execute("p")))
inside("a batch that failed, its Sync not sent yet",
       lambda peer: (peer.send(parse("SELEC"), FLUSH), peer.until("E")), batch(parse("SELECT 'skipped'")))
inside("COPY in", begin_copy, lambda peer: (peer.send(copy_data(b"2\n"), COPY_DONE), peer.ready(),
                                            queries("SELECT sum(a) FROM copied_in", "ROLLBACK")(peer)))
inside("a long query, sent in part", lambda peer: peer.send(LONG[:1_000_000]),
       lambda peer: (peer.send(LONG[1_000_000:]), peer.ready()))
