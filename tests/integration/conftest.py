"""Fixtures of the integration tests; the parts are in harness/.

Logs and data stay when a test failed, and the summary says where.
"""

import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import ClusterFactory, Pgjanus
from relay_program import prepare

FAILED = pytest.StashKey[bool]()
_directories = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        item.session.stash[FAILED] = True
        item.stash[FAILED] = True


@pytest.fixture(scope="session")
def factory(request):
    """Makes servers and keeps the one directory of this run."""
    directory = Path(tempfile.mkdtemp(prefix="pgjanus-"))  # Short: sockets live below it.
    directory.chmod(0o755)
    _directories.append(directory)
    _report_into(directory)
    made = ClusterFactory(directory)
    yield made
    for cluster in made.made:
        cluster.stop("immediate")
    if not request.session.stash.get(FAILED, False):
        shutil.rmtree(directory, ignore_errors=True)


def _report_into(directory):
    """Every program of ours that was built with a sanitizer writes its findings to
    DIRECTORY/sanitizer.PID, verbs and programs that a test kills included."""
    common = f"log_path={directory}/sanitizer:print_stacktrace=1"
    for name, options in (("ASAN_OPTIONS", "detect_stack_use_after_return=1:"
                                           "check_initialization_order=1"),
                          ("UBSAN_OPTIONS", ""),
                          ("TSAN_OPTIONS", "second_deadlock_stack=1:history_size=4")):
        given = os.environ.get(name, "")
        os.environ[name] = ":".join(part for part in (common, options, given) if part)


@pytest.fixture(autouse=True)
def sanitizer_reports(request):
    """A test during which a sanitizer found something has failed, whatever else it saw."""
    yield
    if "factory" not in request.fixturenames:
        return
    directory = request.getfixturevalue("factory").directory
    for report in sorted(directory.glob("sanitizer.*")):
        text = report.read_text(errors="replace")
        report.rename(report.with_name(f"seen-{report.name}"))
        if text.strip():
            request.node.stash[FAILED] = request.node.session.stash[FAILED] = True
            pytest.fail(f"{report.name.replace('sanitizer', 'seen-sanitizer')}:\n{text[:12000]}",
                        pytrace=False)


def pytest_terminal_summary(terminalreporter):
    for directory in _directories:
        if directory.exists():
            terminalreporter.write_line(f"servers, logs and data of this run: {directory}")


@pytest.fixture
def cluster(factory):
    """cluster(name, **options): a server that ends with the test."""
    made = []

    def make(name="server", **options):
        made.append(factory.make(name, **options))
        return made[-1]
    yield make
    for server in made:
        server.stop("immediate")


@pytest.fixture
def source(cluster):
    """A server with database app and a role app that merely owns what it makes (plain_owner)."""
    server = cluster("source")
    server.owner_url = server.plain_owner()
    return server


@pytest.fixture
def target(cluster):
    """A server with an empty database app and a role as RDS gives it (rds_owner)."""
    server = cluster("target")
    server.owner_url = server.rds_owner()
    return server


@pytest.fixture
def programs(factory, request):
    """programs(source_url, target_url, **options): a Pgjanus, not started; ends with the test, and
    then its log must not hold a password."""
    made = []

    def make(source_url=None, target_url=None, **options):
        directory = tempfile.mkdtemp(prefix="run-", dir=factory.directory)
        made.append(Pgjanus(directory, source_url, target_url, **options))
        return made[-1]
    yield make
    for program in made:
        program.stop()
    if request.node.stash.get(FAILED, False):
        for program in made:
            print(f"--- last lines of {program.log_path}\n{program.log()[-6000:]}")
    for program in made:
        for secret in ("app-secret", "target-secret"):
            assert secret not in program.log(), f"a password stands in {program.log_path}"


@pytest.fixture
def pgjanus(source, target, programs):
    """A running proxy between `source` and `target`, nothing prepared."""
    return programs(source.owner_url, target.owner_url).start()


@pytest.fixture
def configured(source, target, programs, tmp_path):
    """A proxy with a settings file; write() replaces that and makes it count."""
    file = tmp_path / "pgjanus.toml"
    program = programs(source.owner_url, target.owner_url, arguments=["--config", str(file)])

    def write(text):
        file.write_text(text)
        if program.running():
            with program.admin() as connection:
                connection.execute("RELOAD")
    program.write = write
    return program


@pytest.fixture
def sides(source, target):
    """Superuser connections to database app on both sides: sides.source, sides.target."""
    pair = SimpleNamespace(source=source.connect("app"), target=target.connect("app"))
    yield pair
    pair.source.close()
    pair.target.close()


@pytest.fixture
def app(source):
    """Runs SQL as the plain owner, straight on the source: app("CREATE TABLE …")."""
    return lambda sql: source.script(sql, "app", "app")


@pytest.fixture
def seed():
    """PGJANUS_SEED, or a new one; printed, so that a failure can be had again."""
    value = int(os.environ.get("PGJANUS_SEED") or int.from_bytes(os.urandom(4), "big"))
    print(f"PGJANUS_SEED={value}")
    return value


@pytest.fixture(scope="module")
def pair(factory):
    """Two servers for a whole file, filled for the relay; files that need others make their own."""
    source, target = factory.make("source"), factory.make("target")
    for server in (source, target):
        prepare(server)
    yield source, target
    source.stop("immediate")
    target.stop("immediate")


@pytest.fixture
def patient(source, target, programs):
    """Waits for the mirror for long: what is acknowledged is there."""
    return programs(source.owner_url, target.owner_url, environment={"PGJANUS_ACKNOWLEDGE_WAIT": "60s"}).start()


@pytest.fixture
def mirrored(request, app, patient):
    """With the TABLES of the module, loaded and in sync."""
    app(request.module.TABLES)
    for verb in ("prepare", "load"):
        patient.do(verb)
    patient.wait_in_sync()
    return patient
