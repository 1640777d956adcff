"""One flip while clients write, and what happens to it: pgjanus or a server is killed or frozen in its midst."""

import re
import subprocess
import time

import psycopg

import shop
from harness import wait_until
from harness.wait import PATIENCE
from shoppers import Disturbance

VERB_LIMIT = 40 * PATIENCE  # Seconds after the disaster in which a verb must have ended.
KINDS = (["kill"] * 8 + ["kill_twice"] * 4 + ["kill_and_wait"] * 2 + ["none"] * 3
         + ["freeze_pgjanus", "freeze_mirror", "freeze_primary", "kill_mirror", "kill_primary", "kill_with_primary", "kill_with_mirror", "load"])


def draw(chance):
    """A flip of the plan. `aim`: "held" is a part of the time from when clients are held on, "began" one of a whole flip."""
    aim = "held" if chance.random() < 0.65 else "began"
    return {"kind": chance.choice(KINDS), "quiet": chance.random() < 0.7, "timeout": chance.choice(["1s", "3s", "5s"]), "aim": aim,
            "part": chance.random(), "define_meanwhile": chance.random() < 0.5, "table": chance.choice(shop.TABLES),
            "seconds": chance.random() * (chance.choice([0.1, 0.5, 2, 6])), "rest": chance.random()}


class Flip:
    """A flip of the plan as it is carried out. `found` are sentences on what must not be."""

    def __init__(self, match, book, event, *, slow=0.0, lasts=0.4, gap=False):
        self.match, self.book, self.event, self.kind = match, book, event, event["kind"]
        self.slow, self.lasts, self.gap = slow, lasts, gap
        self.found, self.held, self.seen, self.needed_quiet = [], False, {}, False

    def play(self):
        """What became of it, as a class of its kind."""
        match, book, event = self.match, self.book, self.event
        if event["quiet"]:  # A flip that is refused says nothing.
            book.may_define.clear()
            self._wait_for_readiness()
        before = match.find_primary()
        mirror = match.servers[match.mirror()]
        if not self.gap and self.kind != "none":  # The fence of the old primary keeps DDL out of the gap that a promotion and a kill leave.
            book.confined = before
        self.began = time.time()
        verb = match.pgjanus.cli_process(verb_from(before), "--force", "--wait", "3s", "--timeout", event["timeout"])
        if event["define_meanwhile"]:
            book.may_define.set()
        self._aim(verb)
        book.may_define.set()
        at, late = time.time(), verb.poll() is not None
        getattr(self, self.kind)(match.servers[before], mirror)
        outcome = self._end_of(verb)
        self._wait_until_ready()
        after = book.primary = match.find_primary()
        if self.kind not in ("none", "load"):
            lost = self.kind.startswith("kill") and (self.kind != "kill_mirror" or after != before)
            book.disturbances.append(Disturbance(at - 0.3, time.time() + 3, self.kind, lost))
        if book.confined:
            self._wait_for_the_catalog()
            book.confined = None
        if self.kind == "none" and verb.returncode == 0:
            self.lasts = 0.7 * self.lasts + 0.3 * (self.ended - self.began)
        words = [f"{self.kind}:", "flipped" if after != before else "same", "held" if self.held else "", "too late" if late else "",
                 self._moment(before), self._refusal(outcome) if verb.returncode and after == before else ""]
        return " ".join(filter(None, words))

    def _wait_for_readiness(self):
        def ready():
            return '"ready": true' in self.match.pgjanus.cli(verb_from(self.match.find_primary()), "--dry-run", "--force").stdout.lower()
        try:
            wait_until(ready, 5, every=0.3)
        except AssertionError:
            pass  # Then it is refused, which is judged like all else.

    def _aim(self, verb):
        """Until the moment at which the disaster happens."""
        part = self.event["part"]
        if self.event["aim"] == "began":
            self._pass(verb, part * 1.3 * self.lasts)
            return
        try:
            wait_until(lambda: verb.poll() is not None or self.match.status().get("held") not in (None, "none"), 3, every=0.002)
        except AssertionError:
            return
        if verb.poll() is None:
            self.held = True
            self._pass(verb, part * (0.15 + 2.2 * self.slow))

    def _pass(self, verb, seconds):
        try:
            verb.wait(seconds)
        except subprocess.TimeoutExpired:
            pass

    def _end_of(self, verb):
        """What the verb said."""
        try:
            out, err = verb.communicate(timeout=VERB_LIMIT)
        except subprocess.TimeoutExpired:
            verb.kill()
            out, err = verb.communicate()
            self.found.append(f"hang: the flip does not end within {VERB_LIMIT:g} s of {self.kind}: {self.match.describe()}")
        self.ended = time.time()
        return " ".join((err + out).split())

    def _wait_until_ready(self):
        try:
            self.match.pgjanus.wait_ready(30)
        except AssertionError as error:
            self.found.append(f"not ready after {self.kind}: {error}")

    def _wait_for_the_catalog(self):
        """In sync at last: DDL several times a second from both sides may hold that up for as long as it goes on."""
        try:
            self.match.pgjanus.wait_in_sync(10)
            return
        except AssertionError:
            self.book.may_define.clear()
        try:
            self.match.pgjanus.wait_in_sync(30)
        except AssertionError as error:
            self.found.append(f"not in sync: after {self.kind}, without DDL: {error}")
        self.needed_quiet = True
        self.book.may_define.set()

    def _roles(self):
        """Who the servers say they are, between a kill and the next start; None of one that does not answer."""
        for side in self.match.servers:
            try:
                with self.match.superuser(side, connect_timeout=2) as connection:
                    self.seen[side] = connection.execute("SELECT role FROM pgjanus.state").fetchone()[0]
            except psycopg.Error:
                self.seen[side] = None

    def _moment(self, before):
        """How far the flip had come when it was met, by what was committed."""
        roles = set(self.seen.values())
        if not roles or None in roles:
            return "unreadable" if roles else ""
        if roles == {"primary"}:
            self.found.append(f"two primaries: both servers say so after {self.kind}")
        return "two mirrors" if roles == {"mirror"} else "not decided" if self.seen[before] == "primary" else "promoted"

    def _refusal(self, text):
        guard = re.search(r"guard (\w+)", text)
        return f"guard {guard[1]}" if guard else "undone" if "undone" in text else "cut off" if self.kind.startswith("kill") else text[:60]

    # The disasters, by name.

    def none(self, _primary, _mirror):
        pass

    def kill(self, _primary, _mirror):
        self.match.pgjanus.kill9()
        self._roles()
        self.match.pgjanus.start(ready=False)

    def kill_twice(self, primary, mirror):
        self.kill(primary, mirror)
        self.book.end.wait(self.event["rest"] * 0.5)
        self.match.pgjanus.restart(ready=False)

    def kill_and_wait(self, _primary, _mirror):
        self.match.pgjanus.kill9()
        self._roles()
        self.book.end.wait(self.event["rest"] * 2)
        self.match.pgjanus.start(ready=False)

    def kill_with_primary(self, primary, _mirror):
        self.match.pgjanus.kill9()
        primary.kill9()
        primary.start()
        self._roles()
        self.match.pgjanus.start(ready=False)

    def kill_with_mirror(self, _primary, mirror):
        self.match.pgjanus.kill9()
        mirror.kill9()
        self.match.pgjanus.start(ready=False)
        self.book.end.wait(self.event["rest"])
        mirror.start()
        self._roles()

    def kill_mirror(self, _primary, mirror):
        mirror.kill9()
        self.book.end.wait(self.event["rest"])
        mirror.start()

    def kill_primary(self, primary, _mirror):
        self.kill_mirror(None, primary)

    def freeze_pgjanus(self, _primary, _mirror):
        self.match.pgjanus.freeze()
        self.book.end.wait(self.event["rest"] * 3)
        self._roles()
        self.match.pgjanus.thaw()

    def freeze_mirror(self, _primary, mirror):
        mirror.freeze()
        self.book.end.wait(self.event["seconds"])
        mirror.thaw()

    def freeze_primary(self, primary, _mirror):
        self.freeze_mirror(None, primary)

    def load(self, _primary, _mirror):
        verb = self.match.pgjanus.cli_process("load", self.event["table"])
        self._end_of(verb)


def verb_from(primary):
    return "cutover" if primary == "source" else "rollback"
