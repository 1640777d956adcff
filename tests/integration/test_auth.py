"""TLS and authentication on both legs."""

import contextlib
import shutil
import socket
import ssl
import struct
from pathlib import Path

import psycopg
import pytest

from harness import wait_until
from harness.cluster import run
from relay_program import Later, Relay, prepare, side

REQUEST_TLS, REQUEST_GSS, CANCEL = 80877103, 80877104, 80877102


class Authority:
    """A throwaway CA, and what it signs."""

    def __init__(self, directory, name, key_options=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
        self.directory, self.name = Path(directory), name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        run(["openssl", "req", "-x509", "-newkey", *key_options, "-nodes", "-days", "30", "-subj",
             f"/CN=pgjanus test {name}", "-keyout", self.key, "-out", self.certificate])

    def sign(self, name, subject="/CN=localhost", names="DNS:localhost,IP:127.0.0.1",
             key_options=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"), digest="-sha256"):
        """(certificate, key) of a new key."""
        base = self.directory / name
        request, extra = f"{base}.csr", f"{base}.ext"
        run(["openssl", "req", "-newkey", *key_options, "-nodes", "-subj", subject, "-keyout",
             f"{base}.key", "-out", request])
        Path(extra).write_text(f"subjectAltName={names}\n")
        run(["openssl", "x509", "-req", "-days", "30", digest, "-in", request, "-CA", self.certificate,
             "-CAkey", self.key, "-CAcreateserial", "-extfile", extra, "-out", f"{base}.crt"])
        return Path(f"{base}.crt"), Path(f"{base}.key")


@pytest.fixture(scope="module")
def authority(factory):
    return Authority(factory.directory / "authority", "ours")


@pytest.fixture(scope="module")
def secure(factory):
    """A server with TLS."""
    server = factory.make("secure", tls=True)
    prepare(server)
    yield server
    server.stop("immediate")


@pytest.fixture
def relays(tmp_path):
    """relays(source_url, target_url, *options): a relay that ends with the test."""
    made = []

    def make(source_url, target_url, *options):
        made.append(Relay(source_url, target_url, tmp_path / f"relay{len(made)}.log", *options))
        return made[-1]
    yield make
    for relay in made:
        relay.stop()


@pytest.fixture
def shown(pair, relays, authority, tmp_path):
    """A relay that shows clients a certificate of ours; its files are shown.files."""
    files = tmp_path / "server.crt", tmp_path / "server.key"
    for made, place in zip(authority.sign("shown"), files):
        shutil.copy(made, place)
    relay = relays(pair[0].owner_url, pair[1].owner_url, f"certificate={files[0]}", f"key={files[1]}")
    relay.files = files
    return relay


def packet(code, **parameters):
    body = struct.pack("!i", code)
    if parameters:
        body += b"".join(f"{k}\0{v}\0".encode() for k, v in parameters.items()) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def dial(relay):
    return socket.create_connection(("127.0.0.1", relay.port), timeout=20)


def encrypted(raw, *protocols, ca=None):
    """TLS on a socket, as a client of the given ALPN protocols."""
    context = ssl.create_default_context(cafile=ca)
    if ca is None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    return context.wrap_socket(raw, server_hostname="localhost")


def everything(stream):
    """What comes until the peer closes."""
    got = b""
    with contextlib.suppress(OSError):
        while chunk := stream.recv(65536):
            got += chunk
    return got


def refused(url, **options):
    """The text of a refused login."""
    with pytest.raises(psycopg.OperationalError) as error:
        psycopg.connect(url, connect_timeout=20, **options)
    assert "secret" not in str(error.value)
    return str(error.value)


# Clients: TLS.

def test_a_client_that_begins_with_tls(shown):
    start = packet(3 << 16, user="app", database="app")
    with dial(shown) as raw, encrypted(raw, "postgresql") as stream:
        assert stream.selected_alpn_protocol() == "postgresql"
        stream.sendall(start)
        assert b"SCRAM-SHA-256-PLUS" in stream.recv(4096)
    with dial(shown) as raw, encrypted(raw) as stream:  # No ALPN: not meant for us.
        with contextlib.suppress(OSError):
            stream.sendall(start)
        assert everything(stream) == b""
    with dial(shown) as raw, pytest.raises(OSError):  # For somebody else.
        stream = encrypted(raw, "http/1.1")
        stream.sendall(start)
        assert not everything(stream)
        raise OSError("let go")
    wait_until(lambda: "ALPN postgresql" in shown.log(), what="the log to say why")


def test_a_client_that_begins_with_tls_where_there_is_none(pair, relays):
    relay = relays(pair[0].owner_url, pair[1].owner_url)
    with dial(relay) as raw, pytest.raises(OSError):
        encrypted(raw, "postgresql")


def test_one_request_for_encryption_each(shown):
    with dial(shown) as raw:
        raw.sendall(packet(REQUEST_GSS))
        assert raw.recv(1) == b"N"
        raw.sendall(packet(REQUEST_GSS))
        assert b"0A000" in everything(raw)
    with dial(shown) as raw:  # Refused GSS, then TLS: libpq's order.
        raw.sendall(packet(REQUEST_GSS))
        assert raw.recv(1) == b"N"
        raw.sendall(packet(REQUEST_TLS))
        assert raw.recv(1) == b"S"
        with encrypted(raw) as stream:
            for request in (packet(REQUEST_TLS), packet(REQUEST_GSS)):
                stream.sendall(request)
            assert b"0A000" in everything(stream)


def test_plain_bytes_behind_the_request_for_tls_are_refused(shown):
    """CVE-2021-23214: what a man in the middle puts in front of the encrypted conversation."""
    injected = packet(3 << 16, user="app", database="app")
    with dial(shown) as raw:
        raw.sendall(packet(REQUEST_TLS) + injected)
        got = everything(raw)
        assert b"received unencrypted data after SSL request" in got and not got.startswith(b"S")
    with dial(shown) as raw:  # Later than the answer: no TLS record.
        raw.sendall(packet(REQUEST_TLS))
        assert raw.recv(1) == b"S"
        raw.sendall(injected)
        assert b"SCRAM" not in everything(raw)
    wait_until(lambda: shown.number("clients") == 0, what="nobody to be left")


def test_a_cancel_request_inside_tls(shown):
    with shown.connect() as client:
        query = Later(lambda: client.execute("SELECT pg_sleep(60)"))
        # libpq shows the process id; the key is only in its own cancel packet, so ask by hand.
        with dial(shown) as raw:
            raw.sendall(packet(REQUEST_TLS))
            assert raw.recv(1) == b"S"
            with encrypted(raw) as stream:
                stream.sendall(struct.pack("!iiii", 16, CANCEL, client.info.backend_pid, 12345))
                assert everything(stream) == b""  # No answer, ever; and a wrong key does nothing.
        assert query.running()

        def heard():
            client.cancel()
            return not query.running()
        wait_until(heard, what="the query to be cancelled")
        with pytest.raises(psycopg.errors.QueryCanceled):
            query.value()


# Clients: SCRAM and channel binding.

def sasl(stream, mechanism, first):
    """Start-up up to the server's answer to the client's first SASL message."""
    stream.sendall(packet(3 << 16, user="app", database="app"))
    offered = stream.recv(4096)
    body = mechanism + b"\0" + struct.pack("!i", len(first)) + first
    stream.sendall(b"p" + struct.pack("!i", len(body) + 4) + body)
    return offered, stream.recv(4096)


def test_what_is_offered_and_the_downgrade_is_noticed(shown):
    with dial(shown) as raw:
        offered, answer = sasl(raw, b"SCRAM-SHA-256", b"y,,n=,r=abcdefgh")
        assert b"PLUS" not in offered  # Nothing to bind to; then 'y' is fine.
        assert answer.startswith(b"R")
    with dial(shown) as raw:
        raw.sendall(packet(REQUEST_TLS))
        assert raw.recv(1) == b"S"
        with encrypted(raw) as stream:
            offered, answer = sasl(stream, b"SCRAM-SHA-256", b"y,,n=,r=abcdefgh")
            assert b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0" in offered
            assert answer.startswith(b"E") and b"28000" in answer and b"channel binding" in answer


@pytest.mark.parametrize("key_options, digest", [
    (("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"), "-sha384"),
    (("rsa:2048",), "-sha256"), (("rsa:2048",), "-sha512")])
def test_channel_binding_with_any_signature(pair, relays, authority, factory, key_options, digest):
    certificate, key = authority.sign("signature", key_options=key_options, digest=digest)
    relay = relays(pair[0].owner_url, pair[1].owner_url, f"certificate={certificate}", f"key={key}")
    with psycopg.connect(relay.url(sslmode="require", channel_binding="require")) as client:
        assert side(client) == "source"
    assert "password" in refused(relay.url("wrong", sslmode="require", channel_binding="require"))
    assert "channel binding" in refused(relay.url(sslmode="disable", channel_binding="require"))


def test_a_certificate_that_nobody_can_bind_to(pair, relays, tmp_path):
    """A signature by Ed25519 has no hash of its own (RFC 5929 leaves it open): binding is not
    offered, and logins go on."""
    made = Authority(tmp_path, "edwards", key_options=("ed25519",))
    certificate, key = made.certificate, made.key
    relay = relays(pair[0].owner_url, pair[1].owner_url, f"certificate={certificate}", f"key={key}")
    with psycopg.connect(relay.url(sslmode="require", channel_binding="prefer")) as client:
        assert side(client) == "source"
    assert "channel binding" in refused(relay.url(sslmode="require", channel_binding="require"))


def test_nobody_learns_which_users_exist(shown):
    """An unknown user's exchange looks like that of a wrong password, and its salt does not change."""
    def first_answer(user):
        with dial(shown) as raw:
            raw.sendall(packet(3 << 16, user=user, database="nowhere"))
            raw.recv(4096)
            body = b"SCRAM-SHA-256\0" + struct.pack("!i", 13) + b"n,,n=,r=abcde"
            raw.sendall(b"p" + struct.pack("!i", len(body) + 4) + body)
            answer = raw.recv(4096).split(b",")
            return answer[1:], len(answer[0])
    assert first_answer("ghost") == first_answer("ghost")
    assert first_answer("app") == first_answer("app")
    (ghost, ghost_size), (app, app_size) = first_answer("ghost"), first_answer("app")
    assert ghost[1] == app[1] and len(ghost[0]) == len(app[0]) and ghost_size == app_size
    said = refused(shown.url("wrong")).replace('"app"', '"?"')
    assert said == refused(shown.url("wrong").replace("//app:", "//ghost:")).replace('"ghost"', '"?"')


def test_long_and_broken_sasl_messages(shown):
    for length, body in ((4 + 1025, b"x" * 1025), (2 ** 31 - 1, b""), (3, b""), (-1, b"")):
        with dial(shown) as raw:
            raw.sendall(packet(3 << 16, user="app", database="app"))
            raw.recv(4096)
            raw.sendall(b"p" + struct.pack("!i", length) + body)
            assert b"R" not in everything(raw)[:1]
    with dial(shown) as raw:
        offered, answer = sasl(raw, b"SCRAM-SHA-1", b"n,,n=,r=abcdefgh")
        assert b"08P01" in answer
    wait_until(lambda: shown.number("clients") == 0, what="nobody to be left")


# Clients: the certificate changes.

def serial_of(relay):
    with dial(relay) as raw:
        raw.sendall(packet(REQUEST_TLS))
        assert raw.recv(1) == b"S"
        with encrypted(raw) as stream:
            return stream.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_shown_from_then_on(shown, authority):
    certificate, key = shown.files
    before = serial_of(shown)
    with psycopg.connect(shown.url(sslmode="require"), autocommit=True) as open_before:
        renewed = authority.sign("renewed")
        shutil.copy(renewed[0], certificate)  # The key does not fit yet.
        assert serial_of(shown) == before
        assert serial_of(shown) == before
        assert shown.log().count("certificate_not_reloaded") == 1
        shutil.copy(renewed[1], key)
        after = serial_of(shown)
        assert after != before and after == serial_of(shown)
        assert "certificate_reloaded" in shown.log()
        # Bound to the new one; who came before stays.
        url = shown.url(sslmode="verify-full", sslrootcert=authority.certificate,
                        channel_binding="require")
        with psycopg.connect(url.replace("127.0.0.1", "localhost")) as client:
            assert side(client) == "source"
        assert side(open_before) == "source"
        certificate.write_text("-----BEGIN CERTIFICATE-----\nnothing\n")
        assert serial_of(shown) == after
        certificate.unlink()
        assert serial_of(shown) == after
    assert shown.log().count("certificate_not_reloaded") == 3
