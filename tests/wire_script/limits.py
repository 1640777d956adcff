"""Lengths, fields and orders at the edge of what the protocol allows (checklist 1a, 1c)."""

import struct

from .case import case
from .messages import (FLUSH, SSL_REQUEST, SYNC, bind, execute, function_call, message, parse, query, startup, text)

SMALL = 10_000  # PQ_SMALL_MESSAGE_LIMIT; a length counts itself.


def header(kind, length):
    return kind.encode() + struct.pack(">I", length)


def longer_than_it_may_be(kind):
    @case(f"a message {kind} that is longer than its kind may be ends the connection", probe=False, explains=True)
    def _(peer):
        peer.send(query("SELECT 1"), header(kind, SMALL + 1), bytes(SMALL - 3))
        peer.end()


for kind in "CDEHSXcf":
    longer_than_it_may_be(kind)


@case("a message longer than 1 GB ends the connection, whatever its kind", probe=False, explains=True)
def _(peer):
    for kind in "QPBFd":
        other = peer.another()
        other.start()
        other.send(header(kind, 0x4000_0000))
        other.end()
        peer.transcript += other.transcript
        other.close()
    peer.send(header("Q", 0x7fff_ffff))
    peer.end()


@case("messages of exactly the longest length", bulk=True)
def _(peer):
    name = b"n" * (SMALL - 6)
    peer.send(message("D", b"S" + name + b"\0"), SYNC, message("E", name[:-4] + b"x\0" + bytes(4)), SYNC,
              message("C", b"P" + name + b"\0"), SYNC)
    peer.ready(3)


@case("Sync, Flush and Terminate with a body, Query without one", probe=False)
def _(peer):
    peer.send(message("S", b"more"), message("H", b"more"), message("Q"), query("SELECT 1"), SYNC)
    peer.ready(2)
    peer.send(message("X", b"more"))
    peer.end()


@case("Bind and Parse with numbers and lengths that cannot be")
def _(peer):
    def wrong(body):
        peer.send(parse("SELECT $1::text"), message("B", text("") + text("") + body), execute(), SYNC)
        peer.ready()
    wrong(struct.pack(">HHiH", 0, 1, -2, 0))
    wrong(struct.pack(">HHiH", 0, 1, 1000, 0))
    wrong(struct.pack(">HHHHiH", 2, 0, 1, 1, -1, 0))
    wrong(struct.pack(">HHHiH", 1, 7, 1, -1, 0))
    wrong(struct.pack(">HHiHHH", 0, 1, -1, 2, 0, 0))
    wrong(struct.pack(">HH", 0, 0xFFFF))
    wrong(struct.pack(">HHi", 0, 1, 1) + b"x" + struct.pack(">H", 0) + b"surplus")
    peer.send(message("P", text("") + text("SELECT 1") + struct.pack(">h", -1)), SYNC)
    peer.ready()
    peer.send(message("P", text("") + text("SELECT 1") + struct.pack(">H", 3) + bytes(4)), SYNC)
    peer.ready()
    peer.send(parse("SELECT generate_series(1, 3)"), bind(), message("E", text("") + struct.pack(">i", -1)), SYNC)
    peer.ready()
    peer.send(message("C", b"?" + text("")), SYNC)
    peer.ready()


@case("FunctionCall in a failed transaction, inside a batch, with text and with NULL")
def _(peer):
    call = function_call(177, (struct.pack(">i", 1), struct.pack(">i", 2)))
    peer.send(query("BEGIN"), call, query("SELECT 1/0"), call, query("ROLLBACK"))
    peer.ready(5)
    peer.send(parse("SELECT 1"), bind(), execute(), call, SYNC)
    peer.ready(2)
    text_call = struct.pack(">IHHi", 177, 0, 2, 2) + b"40" + struct.pack(">i", 1) + b"2" + struct.pack(">H", 0)
    peer.send(message("F", text_call), message("F", struct.pack(">IHHiiIH", 177, 0, 2, -1, 1, 0x31000000, 0)[:-5] + b"\0\0"))
    peer.ready(2)
    peer.send(message("F", struct.pack(">IH", 177, 0)))
    peer.ready()


@case("errors until Sync: every kind of message is skipped, none is answered")
def _(peer):
    peer.send(parse("SELEC"), parse("SELECT 1", "s"), bind(statement="s"), execute(), FLUSH, message("D", b"Ss\0"),
              message("C", b"Ss\0"), message("F", b"nonsense"), message("d", b"data"), message("c"), message("f", b"\0"),
              query("SELECT 'skipped'"), SYNC, parse("SELECT 2", "s"), bind(statement="s"), execute(), SYNC)
    peer.ready(2)


def start_up_of(length):
    """A startup packet whose length field says `length`."""
    def packet(user, database):
        fixed = startup((("user", user), ("database", database), ("options", "")))
        return startup((("user", user), ("database", database), ("options", " " * (length - len(fixed)))))
    return packet


@case("a startup packet of the longest length that there may be", login=False)
def _(peer):
    peer.send(start_up_of(10_004)(peer.login_as[0], peer.login_as[2]))
    peer.authenticate()


@case("a startup packet one byte longer", login=False, probe=False, explains=True)
def _(peer):
    peer.send(start_up_of(10_005)(peer.login_as[0], peer.login_as[2]))
    peer.end()


@case("a startup packet without parameters", login=False, probe=False, own_place=True)
def _(peer):
    peer.send(startup(()))
    peer.end()


@case("a startup packet of only the protocol version", login=False, probe=False, own_place=True)
def _(peer):
    peer.send(startup((), tail=b""))
    peer.end()


@case("a parameter's name without its value", login=False, probe=False, own_place=True)
def _(peer):
    peer.send(startup((("user", peer.login_as[0]),), tail=b"application_name\0\0"))
    peer.end()


@case("a parameter without a name", login=False, probe=False, own_place=True)
def _(peer):
    peer.send(startup((("user", peer.login_as[0]), ("", "nameless"), ("database", peer.login_as[2]))))
    peer.end()


@case("an empty user name", login=False, probe=False, own_place=True)
def _(peer):
    peer.send(startup((("user", ""), ("database", peer.login_as[2]))))
    peer.end()


@case("an empty database name is the user's; the last of several names counts", login=False)
def _(peer):
    user = peer.login_as[0]
    peer.send(startup((("user", "nobody"), ("database", "nowhere"), ("user", user), ("database", ""))))
    peer.authenticate()
    peer.send(query("SELECT current_user, current_database()"))
    peer.ready()


@case("CancelRequests of wrong lengths are closed without a word", login=False, probe=False)
def _(peer):
    for size in (12, 20, 100):
        other = peer.another()
        other.send(struct.pack(">III", size, 80877102, 1) + bytes(size - 12))
        other.end()
        peer.transcript += other.transcript
        other.close()
    peer.send(SSL_REQUEST)
    peer.byte()
    peer.send(struct.pack(">IIII", 20, 80877102, 1, 2) + bytes(4))
    peer.end()


@case("settings that no client may give at start-up", login=False, probe=False)
def _(peer):
    for name, value in (("server_version", "99"), ("is_superuser", "on"), ("role", "postgres"), ("port", "1"),
                        ("session_authorization", "postgres"), ("log_statement", "all"), ("client_encoding", "none"),
                        ("wal_level", "minimal"), ("default_transaction_isolation", "none")):
        other = peer.another()
        other.start((name, value))
        peer.transcript += [f"{name}:", *other.transcript]
        other.close()


@case("client_encoding and an application name beyond ASCII at start-up", login=False)
def _(peer):
    peer.start(("client_encoding", "LATIN1"), ("application_name", b"gr\xfcn"))
    peer.send(query("SHOW client_encoding; SHOW application_name"), query(b"SELECT 'gr\xfcn'"))
    peer.ready(2)
