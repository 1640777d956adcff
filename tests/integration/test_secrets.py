"""Who may log in, from where and as whom; secrets that rotate while everything runs."""

import json
from pathlib import Path

import psycopg
import pytest

from harness import LedgerLoad, wait_until
from test_auth import authority, refused  # noqa: F401 - a fixture

TOKENS = ("app-secret", "target-secret", "web-hunter", "job-hunter", "new-hunter", "other-hunter")


def config_of(tmp_path, text):
    path = tmp_path / "pgjanus.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def url_for(program, user, password, **options):
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return f"postgresql://{user}:{password}@127.0.0.1:{program.port}/app?{query}"


def who(url):
    with psycopg.connect(url, connect_timeout=20) as client:
        return client.execute("SELECT session_user").fetchone()[0]


def says_no_secret(program):
    """Everything that operators and dashboards can see."""
    with program.admin() as admin:
        shown = [repr(admin.execute(f"SHOW {what}").fetchall())
                 for what in ("CONFIG", "CLIENTS", "SERVERS", "STATUS", "EVENTS", "MEMBERS", "POOLS")]
    shown += [program.http(path)[1] for path in ("/status", "/metrics", "/")]
    shown += [program.log(), Path(f"/proc/{program.process.pid}/cmdline").read_text()]
    for token in TOKENS:
        assert not any(token in text for text in shown), token


def test_several_users_with_credentials_of_their_own(programs, source, target, app, tmp_path):
    app("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    for server, name in ((source, "web_old"), (target, "web_new")):
        server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}-web-hunter'")
    for server in (source, target):
        server.execute("CREATE ROLE job LOGIN PASSWORD 'job-hunter'")
    verifier = source.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'job'")[0][0]
    job_file = tmp_path / "job"
    job_file.write_text("job-hunter\n")
    config = config_of(tmp_path, f"""
[[user]]
name = "web"
password = "web-hunter"
source_user = "web_old"
source_password = "web_old-web-hunter"
target_user = "web_new"
target_password = "web_new-web-hunter"
[[user]]
name = "job"
password_file = "{job_file}"
[[user]]
name = "proven"
verifier = "{verifier}"
source_user = "job"
source_password = "job-hunter"
target_user = "job"
target_password_file = "{job_file}"
""")
    program = programs(source.owner_url, target.owner_url, arguments=["--config", str(config)]).start()
    assert who(url_for(program, "web", "web-hunter")) == "web_old"
    assert who(url_for(program, "job", "job-hunter")) == "job"
    assert who(url_for(program, "proven", "job-hunter")) == "job"
    for user, password in (("web", "job-hunter"), ("proven", "web-hunter"), ("app", "app-secret"),
                           ("web_old", "web_old-web-hunter"), ("job", "")):
        text = refused(url_for(program, user, password))
        assert "password" in text and not any(token in text for token in TOKENS)
    # A password in a file, changed; the database follows.
    for server in (source, target):
        server.execute("ALTER ROLE job PASSWORD 'new-hunter'")
    job_file.write_text(json.dumps({"username": "x", "password": "new-hunter"}))
    assert who(url_for(program, "job", "new-hunter")) == "job"
    assert "password" in refused(url_for(program, "job", "job-hunter"))
    # The other side has its own.
    program.do("migrate")
    with psycopg.connect(url_for(program, "web", "web-hunter"), autocommit=True) as client:
        assert client.execute("SELECT session_user").fetchone()[0] == "web_old"
        program.do("cutover")
        assert client.execute("SELECT session_user").fetchone()[0] == "web_new"
    assert who(url_for(program, "web", "web-hunter")) == "web_new"
    says_no_secret(program)


def test_access_rules_and_their_reload(programs, source, target, authority, tmp_path):
    certificate, key = authority.sign("listener")
    users = '[[user]]\nname = "app"\npassword = "app-secret"\n[[user]]\nname = "web"\n' \
            'password = "web-hunter"\nsource_user = "app"\nsource_password = "app-secret"\n' \
            'target_user = "app"\ntarget_password = "target-secret"\n'
    listen = f'[listen]\ncertificate = "{certificate}"\nkey = "{key}"\n'
    config = config_of(tmp_path, '[[access]]\nfrom = ["10.0.0.0/8", "fd00::/8"]\n' + users + listen)
    program = programs(source.owner_url, target.owner_url, arguments=["--config", str(config)]).start()
    app, web = url_for(program, "app", "app-secret"), url_for(program, "web", "web-hunter")
    for url in (app, url_for(program, "nobody", "x")):
        assert 'no access from host "127.0.0.1"' in refused(url)

    def reload(text):
        config_of(tmp_path, text)
        with program.admin() as admin:
            admin.execute("RELOAD")
    # Whom a rule leaves out is told no more than a wrong password is; the log says why.
    reload('[[access]]\nfrom = "loopback"\nusers = ["web"]\n' + users + listen)
    assert who(web) == "app"
    assert "password authentication failed" in refused(app)
    wait_until(lambda: 'lets user \\"app\\" in from 127.0.0.1' in program.log(), what="the reason")
    # TLS required, for one of them.
    reload('[[access]]\nfrom = ["127.0.0.1"]\ntls = true\n[[access]]\nusers = ["web"]\n' + users + listen)
    assert who(f"{app}sslmode=require") == "app" and who(f"{web}sslmode=disable") == "app"
    assert "password authentication failed" in refused(f"{app}sslmode=disable")
    # Wrong rules: everything stays.
    for wrong, said in (('[[access]]\nfrom = ["10.1.2.3/8"]\n', "no network"),
                        ('[[access]]\nform = "loopback"\n', "from, tls, users"),
                        ('[[access]]\ntls = "yes"\n', "true or false"),
                        ('[[user]]\nname = "web"\npassword = "x"\n', "second [[user]]"),
                        ('[[user]]\nname = "v"\nverifier = "md5"\n', "SCRAM-SHA-256$")):
        with pytest.raises(psycopg.Error) as error:
            reload(wrong + users + listen)
        assert said in str(error.value) and "pgjanus.toml:" in str(error.value)
        assert who(f"{web}sslmode=disable") == "app"
    with pytest.raises(psycopg.Error) as error:
        reload("[[access]]\ntls = true\n" + users)
    assert "certificate" in str(error.value)
    # A certificate that comes later, and users that go.
    reload(users.split("[[user]]\nname = \"web\"")[0] + listen)
    assert who(f"{app}sslmode=require") == "app"
    assert "password authentication failed" in refused(web)
    says_no_secret(program)


def secret(server, user, password, **more):
    return json.dumps({"engine": "postgres", "username": user, "password": password, "host": "127.0.0.1",
                       "port": server.port, "dbname": "app", "dbInstanceIdentifier": "x", **more})


def cut(*servers):
    """Whoever comes back needs a password that holds."""
    for server in servers:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'app%' "
                       "AND backend_type = 'client backend'")


@pytest.mark.parametrize("pool", ["session", "transaction"])
def test_a_password_rotates_under_write_load(programs, source, target, app, sides, tmp_path, pool):
    """One side after the other, database first, then the file; every connection is cut in between."""
    app(LedgerLoad.SCHEMA)
    files = {server: tmp_path / name for server, name in ((source, "source"), (target, "target"))}
    for server, password in ((source, "app-secret"), (target, "target-secret")):
        files[server].write_text(secret(server, "app", password))
    program = programs(environment={"PGJANUS_POOL": pool, "SOURCE_DATABASE_URL_FILE": str(files[source]),
                                    "TARGET_DATABASE_URL_FILE": str(files[target])}).start()
    with LedgerLoad(url_for(program, "app", "app-secret"), threads=4) as load:
        load.progress()
        program.do("migrate", timeout=200)
        load.check()  # So far nobody has noticed anything.
        for server, password in ((target, "new-hunter"), (source, "other-hunter")):
            before = len(load.errors)
            server.execute(f"ALTER ROLE app PASSWORD '{password}'")
            # Until the file follows, whoever is in stays in, on both sides.
            load.progress()
            assert len(load.errors) == before
            files[server].write_text(secret(server, "app", password))
            if server is source:
                load.url = url_for(program, "app", password)
            cut(server)
            load.progress(100)
            program.wait_in_sync()
            load.progress()  # Acknowledged by both again.
            program.wait_in_sync()
        assert program.do("verify").json["differences"] == []
        # The new passwords carry everything else, too: the way there and back.
        program.do("cutover")
        load.progress()
        program.do("rollback")
        load.progress()
    load.check_kept(sides.source)
    program.wait_in_sync()
    load.check_kept(sides.target)
    assert program.do("verify").json["differences"] == []
    # Only those were disturbed whose connections were cut, once each, when it was their primary.
    assert len(load.errors) <= 4, load.errors
    assert all("connection" in text for *_, text in load.errors), load.errors
    says_no_secret(program)


def test_secrets_rotate_while_the_mirror_runs(programs, source, target, app, tmp_path):
    app("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    files = {server: tmp_path / name for server, name in ((source, "source"), (target, "target"))}
    first = {source: "app-secret", target: "target-secret"}
    for server, path in files.items():
        path.write_text(secret(server, "app", first[server]))
    program = programs(environment={"SOURCE_DATABASE_URL_FILE": str(files[source]),
                                    "TARGET_DATABASE_URL_FILE": str(files[target])}).start()
    assert who(url_for(program, "app", "app-secret")) == "app"
    program.do("migrate")
    old = psycopg.connect(url_for(program, "app", "app-secret"), autocommit=True)
    old.execute("INSERT INTO notes VALUES (1, 'before')")

    def goes_on(user, password, key):
        cut(*files)
        with psycopg.connect(url_for(program, user, password), autocommit=True) as client:
            client.execute("INSERT INTO notes VALUES (%s, 'after')", (key,))
        wait_until(lambda: target.execute("SELECT count(*) FROM notes WHERE id = %s", (key,),
                                          "app")[0][0] == 1, 60, "the mirror to follow")
        program.wait_in_sync()
        assert program.do("verify").json["differences"] == []

    # The database first, as AWS rotates; then the files.
    for server in files:
        server.execute("ALTER ROLE app PASSWORD 'new-hunter'")
    for server, path in files.items():
        path.write_text(secret(server, "app", "new-hunter"))
    assert old.execute("SELECT count(*) FROM notes").fetchone()[0] == 1  # Who is in stays in.
    goes_on("app", "new-hunter", 2)
    assert "password authentication failed" in refused(url_for(program, "app", "app-secret"))

    # The files first: until the database follows, the former password still reaches it.
    for server, path in files.items():
        path.write_text(secret(server, "app", "other-hunter"))
    goes_on("app", "other-hunter", 3)
    for server in files:
        server.execute("ALTER ROLE app PASSWORD 'other-hunter'")
    goes_on("app", "other-hunter", 4)

    # Alternating users: the former one still logs in until the next rotation, as in the database.
    for server, path in files.items():
        server.execute("CREATE ROLE app_clone LOGIN IN ROLE app PASSWORD 'web-hunter'")
        path.write_text(secret(server, "app_clone", "web-hunter"))
    assert who(url_for(program, "app_clone", "web-hunter")) == "app_clone"
    assert who(url_for(program, "app", "other-hunter")) == "app_clone"
    goes_on("app_clone", "web-hunter", 5)

    # Half written, or gone: what it held goes on to hold, and the log says so once.
    files[source].write_text('{"username": "app", "passw')
    assert who(url_for(program, "app_clone", "web-hunter")) == "app_clone"
    files[source].unlink()
    assert who(url_for(program, "app_clone", "web-hunter")) == "app_clone"
    assert program.log().count("secret_unreadable") == 1
    old.close()
    says_no_secret(program)
