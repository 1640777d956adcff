"""Makes a failing plan small: leaves out phases, events, sessions, transactions, steps and tables
while the same kind of failure stays.

A race may need several tries to show again, so a candidate gets `tries` runs.
"""

import copy
import json
import time


def kind(text):
    """What a failure is about, without its details."""
    return text.split(":", 1)[0].split("\n", 1)[0][:60] if text else None


def _lists(plan):
    """(path, length) of every list of which entries may go, the big ones first."""
    yield ("phases",)
    for p, phase in enumerate(plan["phases"]):
        yield "phases", p, "events"
        yield "phases", p, "sessions"
    yield ("schema",)
    for p, phase in enumerate(plan["phases"]):
        for s, session in enumerate(phase["sessions"]):
            yield "phases", p, "sessions", s, "transactions"
    yield ("fill",)
    for p, phase in enumerate(plan["phases"]):
        for s, session in enumerate(phase["sessions"]):
            yield "phases", p, "sessions", s, "set"
            for t, transaction in enumerate(session["transactions"]):
                yield "phases", p, "sessions", s, "transactions", t, "steps"
    for number in range(len(plan["schema"])):
        yield "schema", number


def _at(plan, path):
    for step in path:
        plan = plan[step]
    return plan


class Shrinker:
    def __init__(self, arena, plan, play, tries, limit):
        self.arena, self.play, self.tries, self.plan = arena, play, tries, plan
        self.deadline, self.runs = time.monotonic() + limit, 0
        self.text, self.player = self._fails(plan, tries * 3)
        self.wanted = kind(self.text)

    def _fails(self, plan, tries):
        for _ in range(tries):
            self.runs += 1
            text, player = self.play(self.arena, json.loads(json.dumps(plan)), lenient=True)
            if text and (not hasattr(self, "wanted") or kind(text) == self.wanted):
                return text, player
        return None, None

    def _try(self, candidate):
        if time.monotonic() > self.deadline:
            return False
        text, player = self._fails(candidate, self.tries)
        if text:
            self.plan, self.text, self.player = candidate, text, player
        return bool(text)

    def _thin(self, path):
        """Removes runs of entries of one list, halving."""
        size = len(_at(self.plan, path))
        step = size
        least = 1 if path == ("phases",) or path[-1] == "steps" else 0
        while step >= 1 and time.monotonic() < self.deadline:
            start = 0
            while start < len(_at(self.plan, path)):
                candidate = copy.deepcopy(self.plan)
                entries = _at(candidate, path)
                del entries[start:start + step]
                if len(entries) < least or not self._try(candidate):
                    start += step
            step //= 2

    def run(self):
        before = None
        while before != json.dumps(self.plan) and time.monotonic() < self.deadline:
            before = json.dumps(self.plan)
            seen = set()
            while True:
                path = next((path for path in _lists(self.plan) if path not in seen), None)
                if path is None or time.monotonic() > self.deadline:
                    break
                seen.add(path)
                if len(_at(self.plan, path)):
                    self._thin(path)
            for phase in range(len(self.plan["phases"])):
                for name in ("flip", "early"):
                    if self.plan["phases"][phase][name]:
                        candidate = copy.deepcopy(self.plan)
                        candidate["phases"][phase][name] = False
                        self._try(candidate)
        return self.plan


def run(arena, chosen, play, keep):
    plan = json.loads(chosen.shrink.read_text())
    shrinker = Shrinker(arena, plan, play, chosen.times, chosen.limit)
    if not shrinker.text:
        print(f"it passed {shrinker.runs} times")
        return 2
    shrinker.run()
    directory = chosen.shrink.parent / "small"
    keep(directory, shrinker.plan, shrinker.text, shrinker.player)
    print(f"after {shrinker.runs} runs, kept in {directory}:\n{json.dumps(shrinker.plan, indent=1)}\n{shrinker.text[:3000]}")
    return 1
