"""TLS and authentication towards the servers: sslmode, channel binding, client certificates."""

from harness.cluster import run
from relay_program import side
from test_auth import Authority, authority, refused, relays, secure  # noqa: F401 - fixtures among them


def connects(relays, url, other, wanted_tls):
    relay = relays(url, other)
    with relay.connect() as client:
        assert client.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()[0] \
            == wanted_tls
    relay.stop()


def fails(relays, url, other, *said):
    relay = relays(url, other)
    text = refused(relay.url())
    for words in said:
        assert words in text
    relay.stop()


def url_of(server, host="localhost", **parameters):
    return server.url("app", "app-secret", "app", **parameters).replace("127.0.0.1", host)


def test_every_sslmode(secure, pair, relays, authority, factory, tmp_path):
    files, plain = factory.tls(), pair[0].owner_url
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(f"# Roots of several authorities.\n{files.other_ca.read_text()}\nnotes\n"
                      f"{authority.certificate.read_text()}{files.ca.read_text()}")
    # A server with TLS: the mode, whether TLS is used.
    for mode, tls in (("disable", False), ("allow", False), ("prefer", True), ("require", True)):
        connects(relays, url_of(secure, sslmode=mode), plain, tls)
    for mode in ("require", "verify-ca", "verify-full"):
        connects(relays, url_of(secure, sslmode=mode, sslrootcert=bundle), plain, True)
    # Names: verify-ca takes any, verify-full only those of the certificate.
    for host, mode, ok in (("127.0.0.1", "verify-full", True), ("ip6-nowhere", "verify-full", False)):
        url = url_of(secure, host, sslmode=mode, sslrootcert=bundle)
        if ok:
            connects(relays, url, plain, True)
        else:
            fails(relays, f"{url}&hostaddr=127.0.0.1", plain, "certificate verify failed", "hostname")
            connects(relays, f"{url}&hostaddr=127.0.0.1".replace("verify-full", "verify-ca"), plain, True)
    nameless = (f"hostaddr=127.0.0.1 port={secure.port} user=app password=app-secret dbname=app "
                f"sslmode=verify-full sslrootcert={bundle}")
    fails(relays, nameless, plain, "only hostaddr is given")
    # Authorities that did not sign it; `require` with roots verifies as well (libpq).
    for mode in ("require", "verify-ca", "verify-full"):
        fails(relays, url_of(secure, sslmode=mode, sslrootcert=files.other_ca), plain,
              "certificate verify failed", str(files.other_ca))
    fails(relays, url_of(secure, sslmode="verify-full"), plain, "sslrootcert")
    # A server without TLS.
    for mode in ("disable", "allow", "prefer"):
        connects(relays, url_of(pair[0], sslmode=mode), plain, False)
    for mode in ("require", "verify-ca", "verify-full"):
        fails(relays, url_of(pair[0], sslmode=mode, sslrootcert=bundle), plain, "does not support TLS")


def test_allow_and_prefer_follow_the_servers_rules(secure, pair, relays, factory):
    plain = pair[0].owner_url
    try:
        secure.hba(lines=["hostssl all all 127.0.0.1/32 scram-sha-256"])
        connects(relays, url_of(secure, sslmode="allow"), plain, True)
        fails(relays, url_of(secure, sslmode="disable"), plain, "no encryption")
        secure.hba(lines=["hostnossl all all 127.0.0.1/32 scram-sha-256"])
        connects(relays, url_of(secure, sslmode="prefer"), plain, False)
        fails(relays, url_of(secure, sslmode="require"), plain, "no pg_hba.conf entry")
        # The handshake fails for a reason of TLS alone: `prefer` goes on without, `require` does not.
        none = {"ssl_min_protocol_version": "TLSv1.3"}
        secure.execute("ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'")
        secure.execute("SELECT pg_reload_conf()")
        connects(relays, url_of(secure, sslmode="prefer", **none), plain, False)
        fails(relays, url_of(secure, sslmode="require", **none), plain, "protocol version")
    finally:
        secure.execute("ALTER SYSTEM RESET ssl_max_protocol_version")
        secure.hba()


def test_channel_binding_to_servers(secure, pair, relays, factory):
    plain = pair[0].owner_url
    for binding in ("require", "prefer", "disable"):
        connects(relays, url_of(secure, sslmode="require", channel_binding=binding), plain, True)
    fails(relays, url_of(secure, sslmode="disable", channel_binding="require"), plain, "no TLS")
    try:
        for method, said in (("password", "without it"), ("trust", "everybody in")):
            secure.hba(method)
            fails(relays, url_of(secure, sslmode="require", channel_binding="require"), plain, said)
            connects(relays, url_of(secure, sslmode="require"), plain, True)
    finally:
        secure.hba()


def test_client_certificates(secure, pair, relays, authority, factory, tmp_path):
    plain, files = pair[0].owner_url, factory.tls()
    certificate, key = authority.sign("app", subject="/CN=app")
    hidden = tmp_path / "hidden.key"
    run(["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:key-secret", "-out", hidden])
    for path in (key, hidden):
        path.chmod(0o600)
    roots = secure.data / "roots.crt"
    roots.write_text(files.ca.read_text() + authority.certificate.read_text())
    roots.chmod(0o644)
    secure.execute("ALTER SYSTEM SET ssl_ca_file = 'roots.crt'")
    try:
        secure.hba(lines=["hostssl all all 127.0.0.1/32 cert"])
        own = {"sslmode": "require", "sslcert": certificate, "sslkey": key}
        connects(relays, url_of(secure, **own), plain, True)
        connects(relays, url_of(secure, **{**own, "sslkey": hidden, "sslpassword": "key-secret"}), plain,
                 True)
        fails(relays, url_of(secure, **{**own, "sslkey": hidden, "sslpassword": "no"}), plain,
              "private key file")
        fails(relays, url_of(secure, **{**own, "sslkey": hidden}), plain, "private key file")
        fails(relays, url_of(secure, sslmode="require"), plain, "certificate")
        stranger = Authority(tmp_path / "stranger", "stranger").sign("app", subject="/CN=app")
        fails(relays, url_of(secure, **{**own, "sslcert": stranger[0], "sslkey": stranger[1]}), plain)
        # A key that was renewed is taken without a restart.
        relay = relays(url_of(secure, **own), plain)
        with relay.connect() as client:
            assert side(client) == "secure"
        renewed = authority.sign("app", subject="/CN=app")
        renewed[1].chmod(0o600)
        with relay.connect() as client:
            assert side(client) == "secure"
    finally:
        secure.execute("ALTER SYSTEM RESET ssl_ca_file")
        secure.hba()
