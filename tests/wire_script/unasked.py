"""What a server says and does unasked (checklist 1e)."""

from .case import case
from .leaving import running
from .messages import SYNC, bind, execute, parse, query


def elsewhere(peer, *statements):
    """Runs statements on another connection."""
    other = peer.another()
    other.start()
    other.send(*(query(sql) for sql in statements))
    other.ready(len(statements))
    other.close()


@case("a notification from another session reaches an idle client")
def _(peer):
    peer.send(query("LISTEN unasked_one; LISTEN unasked_two"))
    peer.ready()
    elsewhere(peer, "NOTIFY unasked_one, 'first'", "NOTIFY unasked_two")
    peer.until("A", 2)


@case("a notification waits while its listener is in a transaction")
def _(peer):
    peer.send(query("LISTEN unasked_late"), query("BEGIN"))
    peer.ready(2)
    elsewhere(peer, "NOTIFY unasked_late, 'from elsewhere'")
    peer.send(query("SELECT 1"), query("COMMIT"), query("SELECT 2"))
    peer.ready(3)


@case("notifications between the batches of a pipeline")
def _(peer):
    peer.send(query("LISTEN unasked_own"))
    peer.ready()
    for n in range(5):
        peer.send(parse(f"SELECT pg_notify('unasked_own', '{n}')"), bind(), execute(), SYNC)
    peer.ready(5)


@case("a notification with the longest payload that there may be")
def _(peer):
    peer.send(query("LISTEN unasked_long"), query("SELECT pg_notify('unasked_long', repeat('p', 7999))"))
    peer.ready(2)


@case("idle_session_timeout ends an idle client", probe=False, own_server=True)
def _(peer):
    peer.send(query("SET idle_session_timeout = 100"))
    peer.ready()
    peer.end()


@case("idle_in_transaction_session_timeout ends an open transaction", probe=False)
def _(peer):
    peer.send(query("SET idle_in_transaction_session_timeout = 100"), query("BEGIN"), query("SELECT 1"))
    peer.ready(3)
    peer.end()


@case("lock_timeout and a deadlock are errors like others")
def _(peer):
    elsewhere(peer, "SET client_min_messages = warning", "CREATE TABLE IF NOT EXISTS unasked_locked (a int)")
    other = peer.another()
    other.start()
    other.send(query("BEGIN; LOCK unasked_locked"))
    other.ready()
    peer.send(query("SET lock_timeout = 50"), query("SELECT * FROM unasked_locked"), query("SELECT 1"))
    peer.ready(3)
    other.close()


def own_pid(peer):
    peer.send(query("SELECT pg_advisory_lock_shared(77)"))  # From then on the server is ours alone.
    peer.ready()
    peer.send(query("SELECT pg_backend_pid()"))
    pid = int(peer.until("D")[1][6:])
    del peer.transcript[-1]
    peer.ready()
    return pid


@case("an idle client whose server process is ended hears why, once", probe=False, own_server=True)
def _(peer):
    elsewhere(peer, f"SELECT pg_terminate_backend({own_pid(peer)})")
    peer.end()


@case("a client in a transaction whose server process is ended hears why, once", probe=False)
def _(peer):
    pid = own_pid(peer)
    peer.send(query("BEGIN"))
    peer.ready()
    elsewhere(peer, f"SELECT pg_terminate_backend({pid})")
    peer.end()


@case("a statement whose server process is ended is answered by the reason, once", probe=False)
def _(peer):
    pid = own_pid(peer)
    peer.send(parse("SELECT 1"), bind(), execute(), parse("SELECT pg_sleep(60) /* ended one */"), bind(), execute(), SYNC)
    running(peer, "ended one")
    elsewhere(peer, f"SELECT pg_terminate_backend({pid})")
    peer.end()


@case("pg_cancel_backend of the process id in the key cancels the statement", own_server=True)
def _(peer):
    peer.send(query("SELECT pg_sleep(60) /* cancelled by process id */"))
    running(peer, "cancelled by process id")
    elsewhere(peer, f"SELECT pg_cancel_backend({peer.key[0]})")
    peer.ready()
