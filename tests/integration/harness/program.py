"""pgjanus itself as a process: started, asked, killed."""

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg

from .wait import PATIENCE, free_port, wait_until

ROOT = Path(__file__).resolve().parents[3]


def find_binary():
    """PGJANUS_BINARY, or the newest of the presets' binaries."""
    given = os.environ.get("PGJANUS_BINARY")
    if given:
        return Path(given).resolve()
    built = [ROOT / "build" / preset / "pgjanus" for preset in ("dev", "release", "asan", "tsan")]
    built = [path for path in built if path.exists()]
    if not built:
        raise RuntimeError("no pgjanus under build/: cmake --preset dev && cmake --build --preset dev")
    return max(built, key=lambda path: path.stat().st_mtime)


@dataclass
class CliResult:
    """How a verb ended. `json` is its one object, None when stdout held none."""

    code: int
    stdout: str
    stderr: str
    json: Any

    def __str__(self):
        return f"exit {self.code}\nstdout: {self.stdout}\nstderr: {self.stderr}"


class Pgjanus:
    """A proxy between `source` and `target` (URLs); see start()."""

    def __init__(self, directory, source=None, target=None, *, environment=None, arguments=(),
                 binary=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.binary = Path(binary) if binary else find_binary()
        self.source, self.target = source, target
        self.port, self.http_port = free_port(), free_port()
        self.admin_directory = self.directory / "admin"
        self.log_path = self.directory / "pgjanus.log"
        self.arguments = list(arguments)
        self.environment = dict(environment or {})
        self.process = None
        self.pass_fds = ()  # Descriptors that the next start() leaves open for it.

    # Life and death.

    def start(self, ready=True, limit=30.0):
        """Starts `pgjanus run`; with `ready`, waits until /readyz says so."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), "run", *self.arguments], env=self.client_environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                pass_fds=self.pass_fds,
                start_new_session=True)  # Ctrl-C is for whoever started us, who then ends it.
        if ready:
            self.wait_ready(limit)
        return self

    def wait_ready(self, limit=30.0):
        def ready():
            if self.process.poll() is not None:
                raise _Ended(f"pgjanus ended with {self.process.returncode}:\n{self.log()[-4000:]}")
            return self.http("/readyz")[0] == 200
        try:
            wait_until(ready, limit, lambda: f"/readyz of pgjanus; its log:\n{self.log()[-4000:]}")
        except _Ended as ended:
            raise AssertionError(str(ended)) from None

    def exited(self, limit=30.0):
        """Waits for the process to end by itself; its exit code."""
        return self.process.wait(timeout=limit * PATIENCE)

    def term(self, limit=40.0):
        """SIGTERM: drains and stops; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=limit * PATIENCE)

    def kill9(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=20)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def restart(self, ready=True):
        """Kills it without warning and starts it on the same ports."""
        self.kill9()
        return self.start(ready)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """The end of a test: gently, then not."""
        if self.running():
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=3 * PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill9()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # Talking to it.

    def login(self):
        """(user, password, database) of its clients: those of the source URL."""
        parts = urlsplit(self.source)
        return parts.username, parts.password, parts.path.lstrip("/")

    @property
    def url(self):
        """What the app gets as its DATABASE_URL."""
        user, password, database = self.login()
        return (f"postgresql://{quote(user, safe='')}:{quote(password or '', safe='')}"
                f"@127.0.0.1:{self.port}/{database}")

    def connect(self, **options):
        """A client's connection through the proxy."""
        options.setdefault("autocommit", True)
        options.setdefault("connect_timeout", 10)
        return psycopg.connect(self.url, **options)

    def admin(self, **options):
        """A connection to the admin socket."""
        return psycopg.connect(host=str(self.admin_directory), port=self.port, dbname="pgjanus",
                               user="operator", autocommit=True, connect_timeout=10, **options)

    def cli(self, verb, *arguments, timeout=120, parse=True, environment=None):
        """Runs a verb as an operator does, with --json unless `parse` is off."""
        command = [str(self.binary), verb, *map(str, arguments)]
        if parse:
            command.append("--json")
        done = subprocess.run(command, env={**self.client_environment(), **(environment or {})},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout * PATIENCE, cwd=self.directory, check=False)
        try:
            document = json.loads(done.stdout) if done.stdout.strip() else None
        except json.JSONDecodeError:
            document = None
        return CliResult(done.returncode, done.stdout, done.stderr, document)

    def do(self, verb, *arguments, timeout=120):
        """A verb that must succeed; its result."""
        result = self.cli(verb, *arguments, timeout=timeout)
        assert result.code == 0, f"pgjanus {verb}: {result}\n--- log\n{self.log()[-4000:]}"
        return result

    def cli_process(self, verb, *arguments):
        """A verb in the background (Popen)."""
        return subprocess.Popen([str(self.binary), verb, *map(str, arguments), "--json"],
                                env=self.client_environment(), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                cwd=self.directory)

    def http(self, path, method="GET", timeout=5 * PATIENCE):
        """(status, body) of the HTTP endpoint."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def status(self):
        """The status document of the one database."""
        return json.loads(self.http("/status")[1])["databases"][0]

    def wait_in_sync(self, limit=60.0):
        wait_until(lambda: self.status()["mirror"]["state"] == "in_sync", limit,
                   lambda: f"the mirror to be in sync; status: {self._status_text()}", every=0.05)

    def _status_text(self):
        try:
            return json.dumps(self.status())
        except Exception as error:  # noqa: BLE001 - it is shown in a failure, whatever it is
            return f"unknown ({error})\n{self.log()[-3000:]}"

    def client_environment(self):
        """The environment of `run` and of every verb: ours only, so that nothing of the caller's
        PG* variables matters."""
        values = {key: os.environ[key]
                  for key in ("PATH", "HOME", "TMPDIR", "ASAN_OPTIONS", "TSAN_OPTIONS",
                              "UBSAN_OPTIONS", "LANG") if key in os.environ}
        values.update(PGJANUS_LISTEN=f"127.0.0.1:{self.port}",
                      PGJANUS_HTTP=f"127.0.0.1:{self.http_port}",
                      PGJANUS_ADMIN_DIR=str(self.admin_directory), PGJANUS_DRAIN="2s")
        if "PGJANUS_POOL" in os.environ:  # Tests that run in both modes.
            values["PGJANUS_POOL"] = os.environ["PGJANUS_POOL"]
        if self.source:
            values["SOURCE_DATABASE_URL"] = self.source
        if self.target:
            values["TARGET_DATABASE_URL"] = self.target
        values.update(self.environment)
        return {key: value for key, value in values.items() if value is not None}


class _Ended(BaseException):
    """Not an Exception: wait_until must not take it for "not yet"."""
