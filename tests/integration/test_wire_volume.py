"""Messages of 1 GB in bounded memory, slow readers on either side, limits on what waits, storms of cancels."""

import random
import socket
import ssl
import struct
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from harness import wait_until
from relay_program import Later, Relay, prepare

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from wire_script import messages  # noqa: E402
from wire_script.bulk import BulkClient, BulkServer, silent_server  # noqa: E402
from wire_script.peer import Peer  # noqa: E402

LONGEST = (1 << 30) - 2  # MaxAllocSize - 1 of the server, as a length field.
LOGIN = ("app", "app-secret", "app")
BOUND = 24 << 20  # Bytes by which nothing may grow; a message held once would be 1 GB.


@pytest.fixture
def bulk(tmp_path):
    """bulk(**options): a server, a relay in front of it, and a client that has logged in."""
    made = []

    def make(**options):
        server = BulkServer(**options)
        url = f"postgresql://app:app-secret@127.0.0.1:{server.port}/app?sslmode=disable"
        relay = Relay(url, url, tmp_path / "relay.log")
        peer = Peer(("127.0.0.1", relay.port), LOGIN)
        peer.start()
        made.extend((peer.close, relay.stop, server.stop))
        return server, relay, peer
    yield make
    for end in made:
        end()


def most_memory(relay):
    """The largest resident size so far, in bytes."""
    for line in Path(f"/proc/{relay.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def settled(value):
    """Waits until `value()` is above zero and stays the same from one look to the next; that value."""
    last = []

    def same():
        last.append(value())
        return len(last) > 5 and last[-1] > 0 and len(set(last[-5:])) == 1
    wait_until(same, 60, "the transfer to stop", every=0.1)
    return last[-1]


def test_messages_of_1_gb_pass_in_both_directions_in_bounded_memory(bulk):
    server, relay, peer = bulk(row=LONGEST - 4)
    client = BulkClient(peer)
    before = most_memory(relay)
    client.send_long(b"Q", LONGEST)
    assert [kind for kind, size in client.messages() if size > 1 << 29] == [b"D"]
    assert server.taken == LONGEST - 4
    client.send_long(b"P", LONGEST)
    client.send_long(b"B", LONGEST)
    client.send_long(b"d", LONGEST)
    client.socket.sendall(messages.SYNC)
    assert [kind for kind, size in client.messages()][-1] == b"Z"
    assert server.taken == 4 * (LONGEST - 4)
    assert most_memory(relay) - before < BOUND


def test_a_client_that_does_not_read_stops_the_server_and_nothing_grows(bulk):
    server, relay, peer = bulk(row=600 << 20)
    client = BulkClient(peer)
    before = most_memory(relay)
    client.socket.sendall(messages.query("SELECT 1"))
    assert settled(lambda: server.sent) < 64 << 20, "the server could send all of it to nobody"
    assert [kind for kind, _ in client.messages()] == [b"T", b"D", b"C", b"Z"]
    assert server.sent == (600 << 20) - 6
    assert most_memory(relay) - before < BOUND


def test_a_server_that_does_not_read_stops_the_client_and_nothing_grows(bulk):
    server, relay, peer = bulk(row=100)
    client = BulkClient(peer)
    before = most_memory(relay)
    server.reading.clear()
    size = 700 << 20
    client.socket.sendall(b"Q" + struct.pack(">I", size))
    sent = [0]

    def more():
        sent[0] += client.fill()
        return sent[0]
    assert settled(more) < 64 << 20, "the client could send all of it to nobody"
    server.reading.set()
    left = size - 4 - sent[0]
    while left:
        left -= client.socket.send(bytes(min(left, 1 << 20)))
    assert [kind for kind, _ in client.messages()] == [b"T", b"D", b"C", b"Z"]
    assert most_memory(relay) - before < BOUND


def test_neither_direction_stops_the_other(bulk):
    """A flood that the client does not read must not keep the server from what the client sends."""
    server, relay, peer = bulk(row=100, notices=60)
    client = BulkClient(peer)
    settled(lambda: server.sent)
    client.send_long(b"Q", 200 << 20)
    wait_until(lambda: server.taken == (200 << 20) - 4, 60, "the query to arrive")
    assert server.sent < 60 << 20
    kinds = [kind for kind, _ in client.messages()]
    assert kinds == [b"N"] * 60 + [b"T", b"D", b"C", b"Z"]


def test_notices_and_long_settings_of_a_servers_log_in_reach_the_client(bulk):
    _, _, peer = bulk()
    assert any("welcome to the bulk server" in line for line in peer.transcript), peer.transcript
    assert any(line.startswith("S 100013 bytes") for line in peer.transcript), peer.transcript


def test_a_server_that_never_answers_is_given_up(tmp_path):
    with silent_server() as silent:
        url = f"postgresql://app:app-secret@127.0.0.1:{silent.getsockname()[1]}/app?sslmode={{}}&connect_timeout=1"
        for mode in ("disable", "require"):
            relay = Relay(url.format(mode), url.format(mode), tmp_path / "silent.log")
            with pytest.raises(psycopg.OperationalError) as error:
                relay.connect()
            assert "no answer in time" in str(error.value)
            relay.stop()


# A real server.

@pytest.fixture(scope="module")
def server(factory):
    made = factory.make("volume")
    prepare(made)
    yield made
    made.stop("immediate")


@pytest.fixture
def relay(server, tmp_path):
    made = Relay(server.owner_url, server.owner_url, tmp_path / "relay.log")
    yield made
    made.stop()


def test_a_storm_of_cancels_hits_only_those_who_asked(relay):
    """Half of the clients cancel themselves at random moments, also when nothing runs; the others
    must never be told that they did."""
    chance = random.Random(7)
    stop = threading.Event()

    def calm():
        with relay.connect() as client:
            count = 0
            while not stop.is_set():
                assert client.execute("SELECT %s::int, pg_sleep(0.001)", (count,)).fetchone()[0] == count
                count += 1
        return count

    def stormy(seed):
        mine = random.Random(seed)
        hit = 0
        with relay.connect() as client:
            handle = client.pgconn.get_cancel()
            for turn in range(60):
                canceller = Later(lambda: [handle.cancel() for _ in range(mine.randrange(1, 4))])
                try:
                    client.execute("SELECT %s::int, pg_sleep(%s)", (turn, mine.choice((0, 0.002, 0.02))))
                except psycopg.errors.QueryCanceled:
                    hit += 1
                canceller.value()
                # Whatever became of it, the next one is answered by its own row.
                assert client.execute("SELECT %s::int", (turn,)).fetchone()[0] == turn
        return hit

    others = [Later(calm) for _ in range(3)]
    storms = [Later(lambda seed=chance.random(): stormy(seed)) for _ in range(3)]
    hits = sum(storm.value() for storm in storms)
    stop.set()
    assert all(other.value() > 0 for other in others)
    assert hits > 0


def test_guessed_cancel_keys_hit_nobody(relay):
    with relay.connect() as client:
        query = Later(lambda: client.execute("SELECT 'unharmed' FROM pg_sleep(0.5)").fetchone())
        pid = client.info.backend_pid
        chance = random.Random(11)
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", relay.port), 10) as guess:
                guess.sendall(messages.cancel_request(pid, chance.getrandbits(31)))
                assert guess.recv(1) == b""
        assert query.value() == ("unharmed",)


def test_every_socket_notices_a_dead_peer(relay):
    """Keepalive on both legs; the kernel shows its timer for each connection."""
    with relay.connect() as client:
        client.execute("SELECT 1")
        ports = {f"{relay.port:04X}"}
        mine = _sockets_of(relay.process.pid)

        def timers():
            found = {}
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] in mine and fields[3] == "01":
                    found[fields[1].split(":")[1] in ports] = fields[5].split(":")[0]
            return found
        # 02: keepalive; 01: the last segment is not confirmed yet. True: the client's leg, False: the server's.
        wait_until(lambda: timers() == {True: "02", False: "02"}, what=lambda: f"keepalive on both legs: {timers()}")


def _sockets_of(pid):
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = entry.readlink().name
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def test_tls_clients_that_leave_without_a_goodbye_are_ordinary(server, factory, tmp_path):
    files = factory.tls()
    relay = Relay(server.owner_url, server.owner_url, tmp_path / "tls.log", f"certificate={files.certificate}",
                  f"key={files.key}")
    context = ssl.create_default_context(cafile=str(files.ca))
    for _ in range(5):
        raw = socket.create_connection(("127.0.0.1", relay.port), 10)
        raw.sendall(messages.SSL_REQUEST)
        assert raw.recv(1) == b"S"
        inside = context.wrap_socket(raw, server_hostname="localhost")
        inside.sendall(messages.startup((("user", "app"), ("database", "app"))))
        assert inside.recv(1) == b"R"
        socket.socket(fileno=inside.detach()).close()
    with psycopg.connect(relay.url(sslmode="verify-full", sslrootcert=files.ca), autocommit=True) as client:
        # More than one record, in either direction.
        assert client.execute("SELECT md5(%s)", ("x" * 3_000_000,)).fetchone()
        assert len(client.execute("SELECT repeat('x', 3000000)").fetchone()[0]) == 3_000_000
    wait_until(lambda: relay.number("clients") == 0, what="no client to be left")
    relay.stop()
    assert "level=error" not in relay.log()
