"""Start-up (checklist 1a)."""

import struct

from .case import case
from .messages import GSSENC_REQUEST, SSL_REQUEST, cancel_request, message, query, startup


def log_in(peer):
    user, _, database = peer.login_as
    return startup((("user", user), ("database", database)))


@case("an ordinary log-in reports the server's settings", login=False)
def _(peer):
    peer.start()


@case("SSLRequest that is refused goes on in plain text on the same socket", login=False)
def _(peer):
    peer.send(SSL_REQUEST)
    peer.byte()
    peer.start()


@case("GSSENCRequest is refused", login=False, refused=1)
def _(peer):
    peer.send(GSSENC_REQUEST)
    peer.byte()
    peer.start()


@case("GSSENCRequest, then SSLRequest", login=False, refused=2)
def _(peer):
    peer.send(GSSENC_REQUEST)
    peer.byte()
    peer.send(SSL_REQUEST)
    peer.byte()
    peer.start()


@case("SSLRequest, then GSSENCRequest", login=False, refused=2)
def _(peer):
    peer.send(SSL_REQUEST)
    peer.byte()
    peer.send(GSSENC_REQUEST)
    peer.byte()
    peer.start()


@case("a second SSLRequest is a violation", login=False, probe=False, own_error=True)
def _(peer):
    peer.send(SSL_REQUEST)
    peer.byte()
    peer.send(SSL_REQUEST)
    peer.end()


@case("CancelRequest with a key that nobody has is closed without a word", login=False, probe=False)
def _(peer):
    peer.send(cancel_request(1, 2))
    peer.end()


@case("a startup packet that is too short is turned away", login=False, probe=False, explains=True)
def _(peer):
    peer.send(struct.pack(">II", 7, 196608))
    peer.end()


@case("a startup packet that is too long is turned away", login=False, probe=False, explains=True)
def _(peer):
    peer.send(struct.pack(">II", 10_100, 196608))
    peer.end()


@case("a client that speaks HTTP is turned away", login=False, probe=False, explains=True)
def _(peer):
    peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    peer.end()


@case("a client that begins with TLS is turned away", login=False, probe=False, explains=True)
def _(peer):
    peer.send(bytes.fromhex("1603010020010000200303") + bytes(32))
    peer.end()


@case("a connection that is closed before start-up ends quietly", login=False, probe=False)
def _(peer):
    peer.end_of_input()
    peer.end()


@case("a startup packet that is cut off ends quietly", login=False, probe=False)
def _(peer):
    peer.send(log_in(peer)[:-5])
    peer.end_of_input()
    peer.end()


# The server answers in the format of protocol 2, which our reader would take for a long message.
@case("protocol 2.0 is not supported", login=False, probe=False, own_error=True,
      instead=("E FATAL 0A000", "end"))
def _(peer):
    peer.send(startup((), version=(2, 0)))
    peer.end()


@case("protocol 4.0 is not supported", login=False, probe=False, own_place=True)
def _(peer):
    peer.send(startup((), version=(4, 0)))
    peer.end()


@case("a newer minor version and unknown protocol options are negotiated once", login=False)
def _(peer):
    peer.start(("_pq_.test_protocol_negotiation", "1"), ("_pq_.other", ""), version=(3, 9999))


@case("an unknown protocol option alone is negotiated too", login=False)
def _(peer):
    peer.start(("_pq_.command_tag_format", "x"))


@case("no user name", login=False, probe=False, own_place=True)
def _(peer):
    peer.send(startup((("database", peer.login_as[2]),)))
    peer.end()


@case("a startup packet without its terminator", login=False, probe=False, own_place=True)
def _(peer):
    peer.send(startup((("user", peer.login_as[0]),), tail=b""))
    peer.end()


@case("a startup packet with bytes after its terminator", login=False, probe=False, own_place=True)
def _(peer):
    peer.send(startup((("user", peer.login_as[0]),), tail=b"\0surplus\0"))
    peer.end()


@case("a wrong password", login=False, probe=False, own_error=True)
def _(peer):
    peer.login_as = (peer.login_as[0], "wrong", peer.login_as[2])
    peer.start()


@case("a user that does not exist", login=False, probe=False, own_error=True)
def _(peer):
    peer.login_as = ("nobody", "wrong", peer.login_as[2])
    peer.start()


@case("a database that does not exist", login=False, probe=False, own_error=True)
def _(peer):
    peer.login_as = (*peer.login_as[:2], "nowhere")
    peer.start()


@case("settings in the startup packet reach the server", login=False)
def _(peer):
    peer.start(("application_name", "wire script"), ("DateStyle", "German, DMY"), ("geqo", "off"),
               ("TimeZone", "Asia/Tokyo"), ("extra_float_digits", "0"))
    peer.send(query("SHOW geqo; SHOW datestyle; SHOW application_name; SHOW extra_float_digits"))
    peer.ready()


@case("options in the startup packet reach the server, blanks escaped", login=False)
def _(peer):
    peer.start(("options", r"-c geqo=off --search-path=a,\ pg_catalog -c application_name=from\ options"))
    peer.send(query("SHOW geqo; SHOW search_path; SHOW application_name"))
    peer.ready()


@case("an empty application name and empty options", login=False)
def _(peer):
    peer.start(("application_name", ""), ("options", ""))
    peer.send(query("SHOW application_name"))
    peer.ready()


@case("a setting that does not exist is refused at start-up", login=False, probe=False)
def _(peer):
    peer.start(("no_such_setting", "1"))


@case("a setting with a wrong value is refused at start-up", login=False, probe=False)
def _(peer):
    peer.start(("geqo", "perhaps"))


@case("a SASL mechanism that was not offered", login=False, probe=False, own_error=True)
def _(peer):
    peer.send(log_in(peer))
    peer.until("R")
    peer.send(message("p", b"SCRAM-SHA-1\0" + struct.pack(">I", 3) + b"n,,"))
    peer.end()


@case("a query instead of the password", login=False, probe=False, own_error=True)
def _(peer):
    peer.send(log_in(peer))
    peer.until("R")
    peer.send(query("SELECT 1"))
    peer.end()


@case("a malformed first SCRAM message", login=False, probe=False, own_error=True)
def _(peer):
    peer.send(log_in(peer))
    peer.until("R")
    peer.send(message("p", b"SCRAM-SHA-256\0" + struct.pack(">I", 5) + b"n,,x="))
    peer.end()


@case("the database defaults to the user's name", login=False)
def _(peer):
    peer.send(startup((("user", peer.login_as[0]),)))
    peer.authenticate()
    peer.send(query("SELECT current_database()"))
    peer.ready()


@case("a startup packet of nearly the longest length", login=False)
def _(peer):
    peer.start(("application_name", "long"), ("options", "-c my.long=" + "x" * 9_800))
    peer.send(query("SELECT length(current_setting('my.long'))"))
    peer.ready()


@case("CancelRequest behind a refused SSLRequest is closed without a word", login=False, probe=False)
def _(peer):
    peer.send(SSL_REQUEST)
    peer.byte()
    peer.send(cancel_request(1, 2))
    peer.end()


@case("settings given twice, in other cases, and with quotes", login=False)
def _(peer):
    peer.start(("application_name", "first"), ("APPLICATION_NAME", "second"), ("datestyle", "iso, dmy"),
               ("search_path", '"$user", public'), ("options", "-c application_name=third -c DateStyle=german"),
               ("timezone", "Europe/Berlin"))
    peer.send(query("SHOW application_name; SHOW datestyle; SHOW search_path; SHOW timezone"))
    peer.ready()


@case("options with an error are refused", login=False, probe=False)
def _(peer):
    peer.start(("options", "-c"))


@case("options of every spelling", login=False)
def _(peer):
    peer.start(("options", r"-cgeqo=off --jit=off --work-mem=9MB -c search_path=a\\b,\ c"))
    peer.send(query("SHOW geqo; SHOW jit; SHOW work_mem; SHOW search_path"))
    peer.ready()


@case("role and session settings that only some may set are refused as the server refuses them", login=False, probe=False)
def _(peer):
    peer.start(("session_replication_role", "replica"))


@case("replication = false, in each of its spellings, is an ordinary connection", login=False)
def _(peer):
    for value in ("false", "off", "0", "no", "F", "Off"):
        other = peer.another()
        other.start(("replication", value))
        peer.transcript += other.transcript
        other.close()
    peer.start()


@case("replication connections are refused, and the error says so", login=False, probe=False, own_error=True,
      instead=("E FATAL 0A000", "end"))
def _(peer):
    peer.send(startup((("user", peer.login_as[0]), ("database", peer.login_as[2]), ("replication", "database"))))
    peer.end()


@case("physical replication is refused, and the error says so", login=False, probe=False, own_error=True,
      instead=("E FATAL 0A000", "end"))
def _(peer):
    peer.send(startup((("user", peer.login_as[0]), ("replication", "true"))))
    peer.end()


@case("a query sent along with the last message of the log-in", login=False)
def _(peer):
    send, count = peer.send, 0

    def with_query(*parts):
        nonlocal count
        count += 1  # StartupMessage, first and last SASL message.
        send(*parts, *([query("SELECT 'early'")] if count == 3 else []))
    peer.send = with_query
    peer.start()
    peer.send = send
    peer.ready()


@case("names of users and databases that are too long are cut as the server cuts them", login=False, probe=False,
      own_error=True)
def _(peer):
    peer.login_as = (*peer.login_as[:2], "d" * 80)
    peer.start()
